from datetime import datetime, timedelta
from itertools import groupby

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loracast.data.readers import reader_of
from loracast.data.readers.table import TableReader, write_table
from loracast.data.series import series_of
from loracast.data.table import Table, patients_of
from loracast.errors import ConfigError, DataError
from tests.data.conftest import REAL, cells, sums_up

DAY = datetime(2021, 7, 30)
COLUMNS = {"patient": "who", "time": "at", "value": "mg", "signal": "glucose"}


def measured(*rows):
    """A caller's frame of (patient, minutes into the day, value)."""
    return pd.DataFrame(
        {
            "who": [who for who, _, _ in rows],
            "at": pd.to_datetime([DAY + timedelta(minutes=at) for _, at, _ in rows]),
            "mg": [mg for _, _, mg in rows],
        }
    )


def put(frame, tmp_path, **options):
    out = tmp_path / "own.parquet"
    attrition = write_table(frame, out, **{"grid": "15min", "overwrite": True, **COLUMNS, **options})
    return out, attrition.as_json()


def test_unsorted_measurements_of_own_columns_become_a_checked_table(tmp_path):
    out, attrition = put(measured(("p", 61, 120), ("p", 16, 100), ("q", 30, 90), ("q", 44, 95)), tmp_path)
    table = Table.open(out)
    assert (table.step_seconds, table.signals, table.units) == (900, ("glucose",), {"glucose": "mg/dL"})
    assert (table.source, table.licence, table.simulated) == ("table", "not stated", False)
    assert patients_of(table) == ["p", "q"]
    values = [value for (series, _), value in cells(out).items() if series == "p/glucose"]
    assert values == [100, None, None, 120]
    assert sums_up(attrition)


def test_duplicates_are_averaged_and_missing_values_and_implausible_ones_dropped_and_counted(tmp_path):
    rows = [("p", 15, 100), ("p", 15, 110), ("p", 30, np.nan), ("p", 45, 5000), ("p", 60, 90)]
    out, attrition = put(measured(*rows), tmp_path)
    assert list(cells(out).values()) == [105, None, None, 90]
    dropped = {step["step"]: step["dropped_rows"] for step in attrition["steps"]}
    assert dropped["with a value"] == 1
    assert dropped["within the plausible range"] == 1
    assert sum(dropped.values()) == 3


def test_csv_csv_gz_and_parquet_files_and_a_frame_give_the_same_bytes(tmp_path):
    frame = measured(("p", 15, 100.25), ("p", 31, 110), ("q", 31, 70))
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    results = set()
    for given_as in (frame, tmp_path / "a.csv", str(tmp_path / "a.csv.gz"), tmp_path / "a.parquet"):
        out, _ = put(given_as, tmp_path)
        results.add(out.read_bytes())
    assert len(results) == 1


def test_a_signal_column_names_several_signals_each_with_its_unit(tmp_path):
    frame = measured(("p", 15, 100), ("p", 30, 101), ("p", 15, 2.5), ("p", 30, 3.5))
    frame["what"] = ["glucose", "glucose", "insulin", "insulin"]
    out, _ = put(frame, tmp_path, signal="what", unit={"insulin": "U/h"})
    table = Table.open(out)
    assert table.units == {"glucose": "mg/dL", "insulin": "U/h"}
    with pytest.raises(DataError, match="One unit, 'U/h', is given for 2 signals"):
        put(frame, tmp_path, signal="what", unit="U/h")
    with pytest.raises(DataError, match="'insulin' is neither a column nor a known signal"):
        put(frame, tmp_path, signal="what")


def test_a_value_column_named_like_a_signal_is_still_one_signal(tmp_path):
    frame = measured(("p", 15, 100), ("p", 30, 101)).rename(columns={"mg": "glucose"})
    out, _ = put(frame, tmp_path, value="glucose")
    assert Table.open(out).signals == ("glucose",)


def test_stays_that_share_a_name_are_told_apart_by_their_patient(tmp_path):
    frame = measured(("p", 15, 100), ("p", 30, 101), ("q", 15, 70), ("q", 30, 71), ("r", 15, 80), ("r", 30, 81))
    frame["visit"] = [1, 1, 1, 1, 2, 2]
    out, attrition = put(frame, tmp_path, stay="visit")
    assert {series for series, _ in cells(out)} == {"p/1/glucose", "q/1/glucose", "r/2/glucose"}
    assert {step["stays"] for step in attrition["steps"]} == {3}
    assert [(one.patient, one.stay) for one in series_of(Table.open(out))] == [("p", "1"), ("q", "1"), ("r", "2")]


def test_no_two_stays_become_one_by_what_stands_in_their_names(tmp_path):
    keys = [("a", "1-1"), ("a-1", "1"), ("b", "1"), ("c", "1-1"), ("a/1", "1"), ("a", "1/1"), ("a%2F1", "1")]
    frame = measured(*[(patient, at, 80 + i) for i, (patient, _) in enumerate(keys) for at in (15, 30)])
    frame["visit"] = [visit for _, visit in keys for _ in range(2)]
    out, _ = put(frame, tmp_path, stay="visit")
    found = {(one.patient, one.stay): one.values.tolist() for one in series_of(Table.open(out))}
    assert found == {key: [80 + i, 80 + i] for i, key in enumerate(keys)}


def test_no_stay_and_signal_become_another_by_a_stroke_in_their_names(tmp_path):
    frame = measured(("x", 15, 1), ("x", 30, 1), ("x/y", 15, 2), ("x/y", 30, 2))
    frame["what"] = ["y/z", "y/z", "z", "z"]
    out, _ = put(frame, tmp_path, signal="what", unit={"y/z": "1", "z": "1"})
    found = {(one.patient, one.signal): one.values.tolist() for one in series_of(Table.open(out))}
    assert found == {("x", "y/z"): [1, 1], ("x/y", "z"): [2, 2]}


def test_the_signals_of_a_stay_stand_together_however_stays_are_called(tmp_path):
    rows = [(who, at, 80) for who in ("a", "a-1", "a/1", "b") for at in (15, 30)]
    frame = pd.concat([measured(*rows).assign(what=signal) for signal in ("glucose", "a/1", "zz")])
    frame["visit"] = frame["who"].map({"a": "1", "a-1": "1", "a/1": "1/a", "b": "a"})
    out, _ = put(frame, tmp_path, stay="visit", signal="what", unit={"a/1": "1", "zz": "1"})
    stays = [key for key, _ in groupby((one.patient, one.stay) for one in series_of(Table.open(out)))]
    assert len(stays) == len(set(stays)) == 4


def test_a_stay_whose_measurements_are_years_apart_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(
        DataError, match=r"(?s)2 observed cells would lie among 350,\d+.*Tell stays or recordings apart"
    ):
        put(measured(("p", 15, 100), ("p", 10 * 365 * 24 * 60, 101)), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("unit", ["mg/dL", "mg/dl", " MG/DL"])
def test_a_known_unit_may_be_spelt_in_its_usual_ways(tmp_path, unit):
    put(measured(("p", 15, 100), ("p", 30, 101)), tmp_path, unit=unit)
    (table,) = tmp_path.glob("*.parquet")
    assert Table.open(table).units == {"glucose": "mg/dL"}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"unit": "mmHg"}, "given in 'mmHg', but is kept in mg/dL"),
        ({}, {"signal": "lactate"}, "neither a column nor a known signal"),
        ({}, {"value": "mmol"}, r"No column 'mmol' \(value\) in the table given. It has: who, at, mg"),
        ({}, {"grid": "7min"}, "divides a day"),
        ({"mg": [np.inf, 1.0]}, {}, "1 of 2 rows have an infinite value"),
        ({"mg": ["high", "90"]}, {}, "1 of 2 rows have text instead of a number"),
        ({"at": ["2021-07-30 10:00", "half past ten"]}, {}, "1 of 2 rows have a time in 'at' that does not parse"),
        ({}, {"signal": "glucose", "unit": {"map": "mmHg"}}, "A unit is given for map, which is not read"),
        ({"at": [1, 2]}, {}, "holds BIGINT, not times"),
        ({"at": pd.to_datetime(["2021-07-30 10:00"] * 2, utc=True)}, {}, "2 times in column 'at' bear a time zone"),
        ({"who": ["p", None]}, {}, "1 of 2 rows have no patient"),
    ],
)
def test_what_would_have_to_be_guessed_is_refused_and_nothing_is_written(tmp_path, change, options, message):
    frame = measured(("p", 15, 100.0), ("p", 30, 101.0)).assign(**change)
    with pytest.raises(DataError, match=message):
        put(frame, tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "No file"),
        ("a.xlsx", "x", "of no kind that can be read"),
        ("a.csv", "", "does not begin with a line of different column names"),
        ("a.csv", "who,at,mg\n", "has no rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        put(tmp_path / name, tmp_path)


@settings(max_examples=15)
@given(
    times=st.lists(st.integers(0, 600), min_size=2, max_size=25),
    values=st.lists(st.floats(40, 2000), min_size=25, max_size=25),
    cut=st.integers(1, 40),
)
def test_a_cell_never_depends_on_a_later_measurement(tmp_path_factory, times, values, cut):
    folder = tmp_path_factory.mktemp("cut")
    rows = [("p", at, value) for at, value in zip(times, values, strict=False)]
    known = [row for row in rows if row[1] <= cut * 15]
    if not known:
        return
    everything, _ = put(measured(*rows), folder)
    whole = {time: value for (_, time), value in cells(everything).items()}
    before, _ = put(measured(*known), folder)
    for (_, time), value in cells(before).items():
        assert whole[time] == value
        assert time <= DAY + timedelta(minutes=cut * 15)


def test_continuous_glucose_of_two_hospitals_is_read_whole(tmp_path):
    source = REAL / "shanghai-cgm" / "cgm_long.csv.gz"
    if not source.is_file():
        pytest.skip("the Shanghai CGM data are not in ../shared/data")
    out, attrition = put(source, tmp_path, patient="patient", stay="record", time="time", value="cgm_mgdl")
    given_rows = pd.read_csv(source)
    assert attrition["steps"][0]["rows"] == len(given_rows)
    assert attrition["steps"][0]["patients"] == given_rows["patient"].nunique() == len(patients_of(Table.open(out)))
    assert sums_up(attrition)


def test_only_the_signals_asked_for_are_put_on_the_grid_and_the_others_counted(tmp_path):
    frame = measured(("p", 15, 100), ("p", 30, 101), ("p", 15, 2.5), ("p", 30, 3.5))
    frame["what"] = ["glucose", "glucose", "insulin", "insulin"]
    out, attrition = put(frame, tmp_path, signal="what", signals=["glucose"])
    assert Table.open(out).units == {"glucose": "mg/dL"}
    assert (attrition["steps"][1]["step"], attrition["steps"][1]["dropped_rows"]) == ("of a signal asked for", 2)
    assert sums_up(attrition)
    with pytest.raises(DataError, match="has no signal map"):
        put(frame, tmp_path, signal="what", signals=["map"])


def test_a_finished_table_stays_where_it_is_and_keeps_the_signals_asked_for_in_their_order(vitals, tmp_path):
    assert TableReader(path=vitals.path).open(tmp_path / "data") == vitals
    restricted = TableReader(path=vitals.path, signals=("map", "heart_rate")).open(tmp_path / "data")
    assert restricted.signals == ("map", "heart_rate")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "says"), [("spo2", r"has no spo2\. It has: heart_rate, map"), ("spO2", "Unknown signal: spO2")]
)
def test_a_signal_that_a_finished_table_does_not_have_is_refused(vitals, tmp_path, name, says):
    with pytest.raises(DataError, match=says):
        TableReader(path=vitals.path, signals=(name,)).open(tmp_path)


def test_with_a_grid_a_table_of_ones_own_is_read_once_into_the_folder(tmp_path):
    measured(("p", 15, 100), ("p", 31, 110)).to_csv(tmp_path / "own.csv", index=False)
    content = {"source": "table", "path": tmp_path / "own.csv", "grid": "15min", **COLUMNS}
    told = []
    found = reader_of({**content, "unit": "mg/dL", "zone": "UTC"}).open(tmp_path / "data", told.append)
    assert found.path == tmp_path / "data" / "vitals.parquet"
    assert not any("Note" in line for line in told)
    assert (found.step_seconds, found.signals) == (900, ("glucose",))


def test_what_to_notice_is_said_where_an_experiment_reads_its_data(tmp_path):
    measured(("p", 15, 5.0), ("p", 31, 6.0)).to_csv(tmp_path / "own.csv", index=False)
    told = []
    content = {"source": "table", "path": tmp_path / "own.csv", "grid": "15min", **COLUMNS, "unit": "mmol/L"}
    reader_of(content).open(tmp_path / "data", told.append)
    assert "Note: 2 measurements of glucose, of 1 patient, converted from mmol/L to mg/dL." in told


def test_what_would_change_nothing_about_a_finished_table_is_refused(vitals, tmp_path):
    with pytest.raises(ConfigError, match=r"unit, value given without a grid.*Give grid"):
        reader_of({"source": "table", "path": vitals.path, "value": "mg", "unit": "mmol/L", "patient": "patient"})
    with pytest.raises(ConfigError, match="to be read without a grid"):
        TableReader(path=vitals.path).read(tmp_path / "again.parquet")
