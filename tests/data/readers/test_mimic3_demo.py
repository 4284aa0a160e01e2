"""The reader on the open MIMIC-III demo, against a count that shares no code with it."""

import csv
import gzip
from collections import Counter
from datetime import datetime, timedelta
from functools import cache

import pytest

from loracast.data.cohort import COHORTS
from loracast.data.readers import read
from loracast.data.readers.mimic3 import ITEMS
from loracast.data.schema import SIGNALS
from tests.data.conftest import sums_up

VITALS = ("heart_rate", "map", "sbp", "dbp", "resp_rate", "spo2", "temperature")


@pytest.mark.parametrize("cohort", list(COHORTS))
def test_counts_on_the_mimic_demo_are_those_of_an_independent_query(mimic_demo, tmp_path, cohort):
    out = tmp_path / "vitals.parquet"
    attrition = read("mimic3", mimic_demo, out, signals=VITALS, cohort=cohort).attrition.as_json()
    assert sums_up(attrition)
    raw = Counter()
    final: dict[str, set[tuple[str, datetime]]] = {name: set() for name in VITALS}
    stays = _eligible_by_hand(mimic_demo, cohort)
    for name, row in _chart_of(mimic_demo):
        raw[name] += 1
        if row["icustay_id"] not in stays or not row["valuenum"] or row["error"] == "1":
            continue
        start, stop = stays[row["icustay_id"]]
        time = datetime.fromisoformat(row["charttime"])
        value = float(row["valuenum"])
        if row["itemid"] in ("678", "223761"):
            value = (value - 32) / 1.8
        kind = SIGNALS[name]
        plausible = kind.low <= value <= kind.high and value > 0
        if plausible and start - timedelta(hours=1) <= time <= stop + timedelta(hours=1):
            hour = time.replace(minute=0, second=0)
            final[name].add((row["icustay_id"], hour if hour == time else hour + timedelta(hours=1)))
    (charted,) = [step for step in attrition["steps"] if step["step"] == "CHARTEVENTS rows of the chosen items"]
    assert charted["signals"] == dict(raw)
    assert attrition["steps"][-1]["signals"] == {name: len(found) for name, found in final.items()}


def _eligible_by_hand(folder, cohort):
    born = {row["subject_id"]: datetime.fromisoformat(row["dob"]) for row in _csv(folder / "patients.csv.gz")}
    septic = {
        row["hadm_id"]
        for row in _csv(folder / "diagnoses_icd.csv.gz")
        if row["icd9_code"] in ("99591", "99592", "78552")
    }
    stays = {}
    for row in _csv(folder / "icustays.csv.gz"):
        start, stop = datetime.fromisoformat(row["intime"]), datetime.fromisoformat(row["outtime"])
        birth = born[row["subject_id"]]
        birthday = (birth.year + 18, birth.month, birth.day)
        adult = (start.year, start.month, start.day) >= birthday
        if adult and stop - start >= timedelta(hours=12) and (cohort == "all" or row["hadm_id"] in septic):
            stays[row["icustay_id"]] = (start, stop)
    return stays


@cache
def _chart_of(folder):
    signal_of = {str(item): name for name in VITALS for item in ITEMS[name]}
    rows = _csv(folder / "chartevents.csv.gz")
    return [(signal_of[row["itemid"]], row) for row in rows if row["itemid"] in signal_of]


def _csv(path):
    with gzip.open(path, "rt", newline="") as stream:
        yield from csv.DictReader(stream)
