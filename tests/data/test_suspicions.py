"""What is not as it is told: seen on small tables, from the measurements to what the attrition says."""

from datetime import datetime, timedelta

import pandas as pd
import pytest

from loracast.data.readers.table import write_table
from loracast.errors import DataError
from tests.data.conftest import cells, sums_up

SUNDAY = datetime(2024, 10, 27)  # the night that European clocks went back
OWN = {"patient": "who", "time": "at", "value": "x"}


def frame_of(values, *, start=SUNDAY, minutes=60):
    """A frame of the hourly values of each patient."""
    rows = [
        (who, start + timedelta(minutes=minutes * i), x) for who, series in values.items() for i, x in enumerate(series)
    ]
    return pd.DataFrame(rows, columns=["who", "at", "x"])


def put(frame, tmp_path, signal, **options):
    out = tmp_path / "own.parquet"
    attrition = write_table(frame, out, grid="60min", signal=signal, overwrite=True, **{**OWN, **options})
    assert sums_up(attrition.as_json())
    return out, attrition


@pytest.mark.parametrize(
    ("signal", "value", "unit"),
    [
        ("temperature", 98.6, "°F"),
        ("temperature", 310.2, "K"),
        ("glucose", 5.5, "mmol/L"),
        ("sbp", 16.0, "kPa"),
        ("map", 11.0, "kPa"),
        ("dbp", 9.0, "kPa"),
        ("spo2", 0.97, "a share of 1"),
    ],
)
def test_values_of_most_patients_in_another_unit_are_refused_with_how_many(tmp_path, signal, value, unit):
    frame = frame_of({"p": [value] * 5, "q": [value] * 5, "r": [value] * 5})
    with pytest.raises(DataError, match=rf"{signal} of 3 of 3 patients looks like {unit}, not .*--unit {signal}="):
        put(frame, tmp_path, signal)
    assert list(tmp_path.iterdir()) == []


def test_one_patient_in_another_unit_is_told_and_counted_and_so_is_the_signal_that_is_lost(tmp_path):
    frame = frame_of({"p": [98.6] * 5, "q": [37.0] * 5, "r": [36.5] * 5})
    _, attrition = put(frame, tmp_path, "temperature")
    (note,) = attrition.notes
    assert (note.signal, note.patients, note.rows) == ("temperature", 1, 5)
    assert "temperature of 1 of 3 patients looks like °F, not °C" in attrition.as_text()
    lost = {step.name: step.lost for step in attrition.steps if step.lost}
    assert lost == {"within the plausible range": {"temperature": 1}}
    assert "1 patient left without temperature at: within the plausible range" in attrition.as_text()


def test_a_tenth_of_a_patients_values_is_enough_and_less_is_an_error_of_entry(tmp_path):
    few, enough = [98.6, *[37.0] * 10], [98.6, *[37.0] * 9]
    _, attrition = put(frame_of({"p": few, "q": [37.0]}), tmp_path, "temperature")
    assert attrition.notes == []
    _, attrition = put(frame_of({"p": enough, "q": [37.0]}), tmp_path, "temperature")
    assert [note.patients for note in attrition.notes] == [1]


def test_half_of_the_patients_are_told_and_more_are_refused(tmp_path):
    _, attrition = put(frame_of({"p": [98.6], "q": [37.0]}), tmp_path, "temperature")
    assert [note.patients for note in attrition.notes] == [1]
    with pytest.raises(DataError, match="2 of 3 patients looks like °F"):
        put(frame_of({"p": [98.6], "q": [99.0], "r": [37.0]}), tmp_path, "temperature")


def test_a_unit_that_is_stated_is_believed_and_the_doubt_is_told(tmp_path):
    out, attrition = put(frame_of({"p": [20.0] * 3}), tmp_path, "glucose", unit="mg/dL")
    assert set(cells(out).values()) == {20}
    assert [note.patients for note in attrition.notes] == [1]


def test_a_signal_of_ones_own_in_degrees_is_held_against_the_other_degrees(tmp_path):
    mixed = frame_of({"p": [98.6] * 3, "q": [37.0] * 3})
    _, attrition = put(mixed, tmp_path, "skin", unit="C")
    assert "skin of 1 of 2 patients looks like °F, not C" in attrition.notes[0].text
    _, attrition = put(mixed, tmp_path, "skin", unit="F")
    assert "skin of 1 of 2 patients looks like °C, not F" in attrition.notes[0].text


def test_measurements_that_disagree_are_counted_apart_from_those_that_repeat(tmp_path):
    frame = pd.concat([frame_of({"p": [80.0] * 200}), frame_of({"p": [80.0]}), frame_of({"p": [81, 180.0]})[1:]])
    out, attrition = put(frame, tmp_path, "heart_rate")
    dropped = {step.name: step.dropped_rows for step in attrition.steps}
    assert dropped["repeats (same stay, signal, time and value) averaged"] == 1
    assert dropped["measurements that disagree (same stay, signal and time) averaged"] == 1
    assert attrition.as_json()["table"]["disagreeing"] == 2
    assert list(cells(out).values())[:3] == [80, 130, 80]
    assert attrition.notes == []  # 2 of 202 are less than one in a hundred


def test_more_than_one_in_a_hundred_that_disagree_is_told_with_how_many(tmp_path):
    frame = pd.concat([frame_of({"p": [80.0] * 20, "q": [75.0] * 20}), frame_of({"p": [180.0]})])
    _, attrition = put(frame, tmp_path, "heart_rate")
    (note,) = attrition.notes
    assert (note.signal, note.patients, note.rows) == ("heart_rate", 1, 2)
    assert "4.9% of the measurements of heart_rate (2 of 41, of 1 patient) share their time" in note.text


def test_what_a_conversion_does_to_the_last_digit_is_no_disagreement(tmp_path):
    frame = frame_of({"p": [38.0] * 3})
    frame = pd.concat([frame.assign(unit="C"), frame.assign(x=100.4, unit="F")])
    _, attrition = put(frame, tmp_path, "temperature", unit_column="unit")
    assert [step.dropped_rows for step in attrition.steps[-3:]] == [3, 0, 0]


def went_back(attrition):
    return [note for note in attrition.notes if "clock seems to have gone back" in note.text]


def night(*clock, start=SUNDAY):
    """A frame whose rows stand in the order of a clock's times."""
    hours = [timedelta(hours=int(at[:2]), minutes=int(at[3:])) for at in clock]
    return pd.DataFrame({"who": "p", "at": [start + at for at in hours], "x": range(80, 80 + len(hours))})


def test_a_clock_that_seems_to_have_gone_back_is_told_and_its_pairs_averaged(tmp_path):
    frame = night("01:30", "02:00", "02:30", "02:00", "02:30", "03:00", "04:00")
    out, attrition = put(frame, tmp_path, "heart_rate")
    (note,) = went_back(attrition)
    assert (note.patients, note.rows) == (1, 2)
    assert len(cells(out)) == 3


def test_an_hourly_clock_that_shows_an_hour_twice_is_told_too(tmp_path):
    _, attrition = put(night("01:00", "02:00", "02:00", "03:00"), tmp_path, "heart_rate")
    assert [note.rows for note in went_back(attrition)] == [1]


@pytest.mark.parametrize(
    "frame",
    [
        night("01:30", "02:30", "02:00", "03:00", start=SUNDAY + timedelta(days=1)),  # a Monday
        night("11:30", "12:30", "12:00", "13:00"),  # by day
        night("01:30", "02:30", "01:00", "03:00"),  # by more than an hour
        night("02:30", "01:30", "02:45", "02:15", "03:00"),  # twice in a night: not sorted
        night("01:30", "02:30", "02:00", "03:00", "12:00", "11:30"),  # by day as well: not sorted
        night("01:00", "02:00", "02:00", "03:00").assign(x=80),  # a row that was written twice
    ],
)
def test_rows_that_are_not_sorted_or_repeat_are_no_clock_that_went_back(tmp_path, frame):
    _, attrition = put(frame, tmp_path, "heart_rate")
    assert went_back(attrition) == []
