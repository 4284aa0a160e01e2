"""One person under two ids is found, whatever was done to the second; strangers are not taken for one."""

import numpy as np
import pytest

from loracast.data import twins
from loracast.data.twins import RUN, count_twins, hashes_of, spans_of
from loracast.data.windows import cut_windows
from loracast.spec import WindowSpec
from tests.conftest import cohort, write_long

SPEC = WindowSpec(context=12, horizon=6, stride=6)
SIDES = ("train", "train", "train", "train", "validation", "test")


def counted(tmp_path, rows, sides=SIDES):
    """How many twins there are among these series; the sides are those of the patients in order."""
    table = write_long(tmp_path / "long.parquet", rows)
    patients = sorted({patient for patient, _, _ in rows})
    return count_twins(cut_windows(table, dict(zip(patients, sides, strict=True)), SPEC, tmp_path / "windows"))


def with_twin(change, *, original=0, twin=5, signals=("heart_rate", "map")):
    """Six patients, of whom one has the series of another, changed."""
    rows = {key: values for key, values in cohort(6).items() if key[1].endswith("0")}
    names = sorted({patient for patient, _, _ in rows})
    for signal in signals:
        values = next(v for (patient, _, s), v in rows.items() if (patient, s) == (names[original], signal))
        key = next(k for k in rows if (k[0], k[2]) == (names[twin], signal))
        rows[key] = change(list(values))
    return rows


NONE = {"train and validation": 0, "train and test": 0, "validation and test": 0}


def test_strangers_are_strangers(tmp_path):
    assert counted(tmp_path, {key: v for key, v in cohort(6).items() if key[1].endswith("0")}) == NONE


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values,
        lambda values: values[20:],
        lambda values: values[:40],
        lambda values: [60.5, 61.5, *values],
        lambda values: [None if v is None else float(f"{v:.5g}") for v in values],
    ],
    ids=["the same", "admitted later", "cut short", "later on the clock", "rounded"],
)
def test_a_patient_of_two_ids_is_found_on_both_sides(tmp_path, change):
    assert counted(tmp_path, with_twin(change)) == NONE | {"train and test": 1}


def test_one_signal_is_enough_and_sides_are_told_apart(tmp_path):
    found = counted(tmp_path, with_twin(list, original=4, signals=("map",)))
    assert found == NONE | {"validation and test": 1}
    assert counted(tmp_path / "two", with_twin(list, twin=4)) == NONE | {"train and validation": 1}


def test_the_same_values_of_another_signal_are_no_twin(tmp_path):
    rows = with_twin(list)
    names = sorted({patient for patient, _, _ in rows})
    stay = {patient: stay for patient, stay, _ in rows}
    one, other = rows[names[0], stay[names[0]], "map"], rows[names[5], stay[names[5]], "heart_rate"]
    rows[names[5], stay[names[5]], "map"], rows[names[5], stay[names[5]], "heart_rate"] = other, one
    assert counted(tmp_path, rows) == NONE


def test_two_on_one_side_are_not_asked_about(tmp_path):
    assert counted(tmp_path, with_twin(list, twin=1)) == NONE


@pytest.mark.parametrize(("different", "found"), [(twins.FEWEST_VALUES - 1, 0), (twins.FEWEST_VALUES, 1)])
def test_a_run_of_few_different_values_could_be_anybodys(different, found):
    values = np.r_[np.arange(different), np.zeros(RUN - different)].astype(np.float32)
    assert len(hashes_of(values, 0)) == found


def test_a_run_has_twelve_values_and_its_hash_is_the_same_anywhere():
    values = np.random.default_rng(0).normal(80, 9, 40).astype(np.float32)
    assert len(hashes_of(values[:11], 0)) == 0
    whole = hashes_of(values, 0)
    assert len(set(whole.tolist())) == 40 - RUN + 1
    assert hashes_of(values[7:19], 0).tolist() == [whole[7]]
    assert hashes_of(values, 1)[0] not in whole
    assert hashes_of(values[::-1], 0)[0] not in whole


def test_values_of_any_size_and_sign_have_hashes():
    values = np.random.default_rng(0).normal(0, 1, 40).astype(np.float32)
    values[:3] = 0, -0.0, 0
    for scale in (1e-9, 1, 1e12):
        assert len(set(hashes_of(values * np.float32(scale), 0).tolist())) == 29
    assert hashes_of(values, 0).tolist() == hashes_of(np.where(values == 0, -0.0, values), 0).tolist()


def test_a_long_series_is_read_in_parts_and_a_large_side_by_a_choice(tmp_path, monkeypatch):
    rows = with_twin(list)
    table = write_long(tmp_path / "long.parquet", rows)
    patients = sorted({patient for patient, _, _ in rows})
    windows = cut_windows(table, dict(zip(patients, SIDES, strict=True)), SPEC, tmp_path / "windows")
    spans = spans_of(windows.train)
    whole = twins._runs(windows.train, spans, 1)
    monkeypatch.setattr(twins, "_CHUNK", 13)
    assert [part.tolist() for part in twins._runs(windows.train, spans, 1)] == [part.tolist() for part in whole]
    monkeypatch.setattr(twins, "MOST_RUNS", 100)
    assert count_twins(windows) == NONE | {"train and test": 1}
    some = twins._runs(windows.train, spans, 4)[0]
    assert 0 < len(some) < len(whole[0]) / 2
    assert set(some.tolist()) < set(whole[0].tolist())


def test_the_series_behind_windows_are_those_that_were_cut(tmp_path):
    rows = {key: values for key, values in cohort(6).items() if key[1].endswith("0")}
    table = write_long(tmp_path / "long.parquet", rows)
    patients = sorted({patient for patient, _, _ in rows})
    windows = cut_windows(table, dict(zip(patients, SIDES, strict=True)), SPEC, tmp_path / "windows")
    spans = spans_of(windows.test)
    assert len(spans) == 2
    for _, signal, first, last in spans.tolist():
        values = rows[patients[5], next(s for p, s, _ in rows if p == patients[5]), table.signals[signal]]
        covered = np.array([np.nan if v is None else v for v in values[: last - first]], dtype=np.float32)
        np.testing.assert_array_equal(windows.test.values[first:last], covered)
