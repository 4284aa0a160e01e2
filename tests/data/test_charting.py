from collections import Counter

import numpy as np
import pytest

from loracast.data.readers.mimic3 import FAHRENHEIT, ITEMS, NEVER
from loracast.data.signs import ALARM_ITEM, CAREVUE, METAVISION, TWINS, chart

STEPS = 288


@pytest.fixture(scope="module")
def charted():
    stays = 40
    signs = {name: np.full((stays, STEPS), {"temperature": 37.04, "spo2": 97.4}.get(name, 80.4)) for name in CAREVUE}
    seconds = np.tile(np.arange(STEPS) * 300, (stays, 1)) + 10**9
    inside = np.ones((stays, STEPS), dtype=bool)
    metavision = np.arange(stays) % 2 == 1
    rows, truth = chart(np.random.default_rng(5), signs, seconds, inside, metavision, 5)
    return rows, truth, metavision


def test_every_item_charted_is_one_the_reader_knows_or_must_never_read():
    for vocabulary in (CAREVUE, METAVISION):
        for name, pair in vocabulary.items():
            assert set(pair) <= set(ITEMS[name])
    assert {*TWINS.values(), ALARM_ITEM} <= set(NEVER)


def test_a_stay_is_charted_in_one_vocabulary(charted):
    rows, _, metavision = charted
    assert ((rows["item"] > 220_000) == metavision[rows["stay"]]).all()


def test_values_are_rounded_as_nurses_write_them(charted):
    rows, truth, _ = charted
    clean = rows["reason"] == ""
    pulse = clean & np.isin(rows["item"], (211, 220045))
    assert set(rows["value"][pulse]) == {80.0}
    assert set(np.round(rows["value"][clean & np.isin(rows["item"], list(FAHRENHEIT))], 6)) == {98.7}
    assert set(truth["heart_rate"].value[~np.isnan(truth["heart_rate"].value)]) == {80.0}


def test_temperature_is_charted_once_an_hour(charted):
    _, truth, _ = charted
    at = np.flatnonzero(~np.isnan(truth["temperature"].value).all(axis=0))
    assert (at % 12 == 0).all()


def test_gaps_silence_all_sensors_or_one(charted):
    _, truth, _ = charted
    off = {name: np.isnan(truth[name].value) for name in ("heart_rate", "map", "resp_rate")}
    together = np.logical_and.reduce(list(off.values()))
    assert 0.01 < together.mean() < 0.2
    assert (off["map"] & ~together).any()


def test_faults_are_rare_and_flags_are_metavisions_alone(charted):
    rows, _, _ = charted
    reasons = Counter(rows["reason"])
    assert reasons[""] / len(rows["reason"]) > 0.9
    assert (rows["item"][rows["reason"] == "flagged as an error"] > 220_000).all()
