"""Frames of every kind, and arrays: the same table whatever library holds them, or a refusal that names nobody."""

import dataclasses
import gc
import logging
import os
import re
import subprocess
import sys
import traceback
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from loracast.data.attrition import attrition_path
from loracast.data.readers import read, reader_of
from loracast.data.roles import CALLED
from loracast.data.table import Table
from loracast.errors import ConfigError, DataError, LoracastError
from tests.conftest import PATIENT, STAY

HOURS = [datetime(2150, 3, 1, hour, 30) for hour in range(6)]
LONG = {"patient": ["p1"] * 6, "time": HOURS, "value": [80.25, 82, None, 81, 80, 79.1], "signal": ["heart_rate"] * 6}
WIDE = {"patient": ["p1"] * 6, "time": HOURS, "heart_rate": [80.25, 82, None, 81, 80, 79.1], "MAP": [70.0] * 6}
SECRET = "Zq7x"
PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def silent(_: str) -> None:
    pass


def table(frame, **settings):
    return Table.from_frame(frame, **{"grid": "60min", "say": silent, **settings})


def bytes_of(frame, **settings):
    found = table(frame, **settings)  # held: the file goes away with it
    return found.path.read_bytes()


def frame_of(**changed):
    return pd.DataFrame({**LONG, **changed})


KINDS = {
    "pandas": pd.DataFrame,
    "pandas of categories": lambda one: pd.DataFrame(one).astype({"patient": "category", "signal": "category"}),
    "pandas of ordered categories": lambda one: pd.DataFrame(one).assign(
        patient=pd.Categorical(one["patient"], ordered=True)
    ),
    "pandas of nullable numbers": lambda one: pd.DataFrame(one).astype({"value": "Float64"}),
    "pandas of Arrow": lambda one: pd.DataFrame(one).convert_dtypes(dtype_backend="pyarrow"),
    "pandas of objects": lambda one: pd.DataFrame(one).astype(object),
    "pandas by an index": lambda one: pd.DataFrame(one).set_index(["patient", "time"]),
    "pandas without some rows": lambda one: pd.concat([pd.DataFrame(one).iloc[:1]] * 2 + [pd.DataFrame(one)]).iloc[2:],
    "polars": pl.DataFrame,
    "polars of categories": lambda one: pl.DataFrame(one).with_columns(
        pl.col("patient", "signal").cast(pl.Categorical)
    ),
    "polars, lazy": pl.LazyFrame,
    "Arrow": pa.table,
    "DuckDB": lambda one: duckdb.from_arrow(pa.table(one)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_of_any_kind_gives_the_bytes_that_its_file_gives(kind, tmp_path):
    pd.DataFrame(LONG).to_csv(tmp_path / "own.csv", index=False)
    pq = tmp_path / "own.parquet"
    pd.DataFrame(LONG).to_parquet(pq)
    for file in (tmp_path / "own.csv", pq):
        reader_of({"source": "table", "path": file, "grid": "60min"}).read(tmp_path / f"{file.suffix}.out.parquet")
    expected = (tmp_path / ".csv.out.parquet").read_bytes()
    assert bytes_of(KINDS[kind](LONG)) == expected == (tmp_path / ".parquet.out.parquet").read_bytes()


def test_a_wide_frame_gives_the_bytes_of_the_same_in_rows_and_so_does_its_file(tmp_path):
    wide = pd.DataFrame(WIDE)
    rows = wide.rename(columns={"MAP": "map"}).melt(["patient", "time"], var_name="signal")
    expected = bytes_of(rows)
    assert bytes_of(wide) == bytes_of(pl.DataFrame(WIDE)) == expected
    assert bytes_of(wide, value=["heart_rate", "MAP"]) == expected
    assert bytes_of(wide, value={"heart_rate": "heart_rate", "map": "MAP"}) == expected
    wide.to_csv(tmp_path / "wide.csv", index=False)
    for value in (None, {"map": "MAP", "heart_rate": "heart_rate"}):
        content = {"source": "table", "path": tmp_path / "wide.csv", "grid": "60min", "value": value}
        reader_of(content).read(tmp_path / "out.parquet", overwrite=True)
        assert (tmp_path / "out.parquet").read_bytes() == expected


def test_columns_of_values_may_be_called_as_they_like_and_have_units_of_their_own():
    wide = pd.DataFrame({**LONG, "HR": 80, "lactate": 2.5, "Temp": 98.6})
    found = table(
        wide,
        value={"heart_rate": "HR", "lactate": "lactate", "temperature": "Temp"},
        unit={"lactate": "mmol/L", "temperature": "°F"},
    )
    assert found.units == {"heart_rate": "1/min", "temperature": "°C", "lactate": "mmol/L"}
    assert found.to_frame().groupby("signal")["value"].first().to_dict() == pytest.approx(
        {"heart_rate": 80, "lactate": 2.5, "temperature": 37}
    )


def test_only_the_mistaken_row_of_a_wide_frame_is_told():
    wide = pd.DataFrame({**WIDE, "heart_rate": ["80", "81", SECRET, "82", "83", "84"]})
    with pytest.raises(DataError, match=r"1 of 12 values have text .*row 3 below the names") as refused:
        table(wide, value=["heart_rate", "MAP"])
    assert SECRET not in told(refused.value)


def test_the_columns_of_nixtla_are_known_and_a_signal_is_named_or_has_a_unit():
    nixtla = pd.DataFrame({"unique_id": 7, "ds": HOURS, "y": LONG["value"]})
    found = table(nixtla, signal="heart_rate")
    assert found.to_frame()["patient"].unique().tolist() == ["7"]
    assert table(nixtla, unit="mg/dL").units == {"y": "mg/dL"}
    with pytest.raises(DataError, match=r"Nothing says what is measured in 'y'\. Name the signal"):
        table(nixtla)


def test_typed_numbers_make_no_trip_through_text():
    single = np.array([80.1, 81.2, 79.9], np.float32)
    frame = pl.DataFrame({"patient": ["p"] * 3, "time": HOURS[:3], "heart_rate": single})
    assert table(frame).to_frame()["value"].tolist() == single.astype(np.float64).tolist()
    half = frame.to_pandas().astype({"heart_rate": np.float16})
    assert table(half).to_frame()["value"].tolist() == single.astype(np.float16).astype(np.float64).tolist()


def test_a_whole_number_is_the_same_patient_however_pandas_holds_it():
    whole = frame_of(patient=[12] * 6)
    assert bytes_of(whole) == bytes_of(whole.astype({"patient": float})) == bytes_of(frame_of(patient=["12"] * 6))


def test_frames_go_out_and_come_in_as_the_same_table(vitals):
    out = vitals.to_frame()
    assert list(out.columns) == ["patient", "stay", "signal", "time", "value"]
    again = table(out)
    assert (again.signals, again.step_seconds) == (vitals.signals, vitals.step_seconds)
    pd.testing.assert_frame_equal(again.to_frame(), out)
    assert set(read("table", vitals.path, signals=["map"]).to_frame()["signal"]) == {"map"}


def test_an_array_is_a_patient_a_row_with_nan_where_nothing_was_observed():
    array = np.array([[80, 81, np.nan, 79], [70, 71, 72, 73]])
    found = table(array, signal="heart_rate", grid="5min", start="2150-03-01 10:00").to_frame()
    assert found["value"].tolist() == pytest.approx([80, 81, np.nan, 79, 70, 71, 72, 73], nan_ok=True)
    assert found["time"].tolist()[:4] == [datetime(2150, 3, 1, 10, minute) for minute in (0, 5, 10, 15)]
    assert found["patient"].tolist() == ["0"] * 4 + ["1"] * 4
    masked = np.ma.masked_equal(np.array([80, 0, 81]), 0)
    assert table(masked, signal="heart_rate").to_frame()["value"].isna().tolist() == [False, True, False]
    many = table(np.full((11, 2), 80), signal="heart_rate").to_frame()
    assert many["patient"].tolist()[::2] == [f"{row:02d}" for row in range(11)]


@pytest.mark.parametrize(
    ("array", "settings", "error", "says"),
    [
        (np.ones((2, 2, 2)), {}, DataError, r"shape \(2, 2, 2\) given. Give \(step,\) or \(series, step\)"),
        (np.ones((0, 3)), {}, DataError, r"shape \(0, 3\)"),
        (np.array(["80", SECRET]), {}, DataError, "Give numbers, with NaN"),
        (np.array([True, False]), {}, DataError, "An array of bool given"),
        (np.ones(3), {"signal": None}, ConfigError, "Give the signal of its values and the grid"),
        (np.ones(3), {"grid": None}, ConfigError, "Give the signal of its values and the grid"),
        (np.ones(3), {"patient": "p"}, ConfigError, "so that patient would change nothing"),
        (np.ones(3), {"start": "noon"}, ConfigError, "start='noon' is no time"),
        (np.ones(3), {"start": "2150-03-01 10:00+01:00"}, ConfigError, "bears a time zone"),
        (np.ones(3), {"signal": "lactate"}, DataError, "State its unit"),
        (np.full(3, np.nan), {}, DataError, "Nothing is left to forecast"),
    ],
)
def test_an_array_that_would_have_to_be_guessed_at_is_refused(array, settings, error, says):
    with pytest.raises(error, match=says) as refused:
        table(array, **{"signal": "heart_rate", **settings})
    assert SECRET not in told(refused.value)


def told(error: BaseException) -> str:
    """What a notebook shows of an error: its traceback, with whatever it came from."""
    return "".join(traceback.format_exception(error))


ZONED = pd.Series(HOURS).dt.tz_localize("UTC").tolist()
REFUSED = {
    "no rows": (frame_of().iloc[:0], {}, "has no rows"),
    "no columns": (pd.DataFrame(), {}, "No column of the patient is named"),
    "a series": (pd.Series([1.0]), {}, "A Series given, which is no frame. Give a DataFrame"),
    "a list": ([SECRET], {}, "A list given, which is no frame"),
    "nothing": (None, {}, "A NoneType given"),
    "two columns of one name": (
        frame_of().set_axis(["patient", "time", "value", "value"], axis=1), {}, "Rename one of them"
    ),
    "names that differ by case": (frame_of(Time=HOURS), {}, "Rename one of them"),
    "columns of two levels": (pd.DataFrame({("a", "b"): [1]}), {}, "names of several levels"),
    "an index without a name": (pd.DataFrame({"value": LONG["value"]}, index=HOURS), {}, r"rename_axis\('time'\)"),
    "an index named as a column": (
        frame_of().set_index("patient", drop=False), {}, "'patient' names a column .* its index"
    ),
    "mixed values": (frame_of(value=[80, SECRET, 81, 82, 83, 84]), {}, "Column 'value' .* several kinds"),
    "mixed patients": (frame_of(patient=[1, SECRET, 1, 1, 1, 1]), {}, "Column 'patient' .* several kinds"),
    "texts for values": (frame_of(value=["80", SECRET, "81", "82", "83", "84"]), {}, "1 of 6 rows have text"),
    "patients in bytes": (frame_of(patient=[SECRET.encode()] * 6), {}, r"\(patient\) holds BLOB.*whole numbers"),
    "values in bytes": (frame_of(value=[SECRET.encode()] * 6), {}, r"\(value\) holds BLOB, not numbers"),
    "values of true and false": (frame_of(value=[True, False] * 3), {}, "holds BOOLEAN, not numbers"),
    "lists for values": (frame_of(value=[[1.0]] * 6), {}, r"holds DOUBLE\[\], not numbers"),
    "objects of no kind": (pl.DataFrame({**LONG, "patient": pl.Series([object()] * 6, dtype=pl.Object)}), {}, "BLOB"),
    "a patient that is NaN": (frame_of(patient=[1.0, np.nan, 1, 1, 1, 1]), {}, "1 of 6 rows have no patient"),
    "a patient that is null": (pl.DataFrame({**LONG, "patient": [None, *["p"] * 5]}), {}, "1 of 6 rows have no pat"),
    "no signal": (frame_of(signal=None), {}, "6 of 6 rows have no signal"),
    "whole numbers for times": (frame_of(time=range(6)), {}, "holds BIGINT, not times.*pd.to_timedelta"),
    "times since something": (frame_of(time=[timedelta(hours=h) for h in range(6)]), {}, "holds INTERVAL, not times"),
    "times of a zone": (frame_of(time=ZONED), {}, "6 times in column 'time' bear a time zone"),
    "times of categories": (frame_of(time=pd.Categorical([SECRET] * 6)), {}, "6 of 6 rows have a time .* not parse"),
    "an infinite value": (frame_of(value=[80, np.inf, 81, 82, 83, 84]), {}, "1 of 6 rows have an infinite value"),
    "a column that is not there": (frame_of(), {"patient": "id"}, r"No column 'id' \(patient\).*It has: patient, time"),
    "no column of values": (
        pd.DataFrame({"patient": ["p"], "time": HOURS[:1], "x": [1]}), {},
        r"No column of the value is named, none is called value, valuenum, y, target, and none .*heart_rate.*"
        r"has: patient, time, x. Say which it is \(value=\.\.\., --value\)",
    ),
    "two columns that could be the patient": (
        pd.DataFrame({**LONG, "subject_id": 1, "unique_id": 2}).drop(columns="patient"), {},
        "'subject_id' and 'unique_id' could each be the column of the patient. Say which",
    ),
    "values and signals": (
        frame_of(heart_rate=80).drop(columns="signal"), {}, "'value' could hold the values, or those called as signals"
    ),
    "a column of units beside several of values": (
        pd.DataFrame({**WIDE, "unit": "x"}), {"unit_column": "unit"}, "A column of units, 'unit', is given for 2"
    ),
    "one signal for several columns": (
        pd.DataFrame(WIDE), {"value": ["heart_rate", "MAP"], "signal": "map"}, "and signal is left out"
    ),
    "a column of values twice": (pd.DataFrame(WIDE), {"value": ["MAP", "MAP"]}, "Name each column of values once"),
    "two columns of one signal": (
        pd.DataFrame(WIDE).assign(map=70), {}, "Rename one of them"
    ),
    "two columns called as one signal": (
        pd.DataFrame({**WIDE, "heart rate": 80}), {}, "'heart_rate' and 'heart rate' are both called as heart_rate"
    ),
    "times with and without a zone": (
        frame_of(time=[*ZONED[:5], HOURS[5]]).astype({"time": object}), {"zone": "UTC"}, "'time' .* several kinds"
    ),
    "a lazy frame of a column that is not there": (
        pl.LazyFrame(LONG).with_columns(pl.col("nothing")), {}, "cannot be carried out"
    ),
    "a lazy frame that fails": (
        pl.LazyFrame({**LONG, "value": [SECRET] * 6}).with_columns(pl.col("value").cast(pl.Float64)), {},
        "cannot be carried out .*Collect it first",
    ),
    "a start": (frame_of(), {"start": "2150-03-01"}, "is for an array"),
    "a setting of another kind": (frame_of(), {"unit": 5}, "unit"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_and_nobody_is_named(case):
    frame, settings, says = REFUSED[case]
    with pytest.raises(LoracastError, match=says) as refused:
        table(frame, **settings)
    assert SECRET not in told(refused.value)


def test_times_of_a_zone_are_read_where_it_is_said_whose_clock_it_is():
    there = table(frame_of(time=ZONED), zone="Europe/Berlin").to_frame()
    assert there["time"][0] == datetime(2150, 3, 1, 2)
    polars = pl.DataFrame(LONG).with_columns(pl.col("time").dt.replace_time_zone("UTC"))
    assert table(polars, zone="Europe/Berlin").to_frame()["time"][0] == datetime(2150, 3, 1, 2)
    days = table(frame_of(time=[date(2150, 3, day) for day in range(1, 7)]), grid="1d")
    assert days.step_seconds == 86_400


def test_a_column_that_is_not_asked_for_may_hold_anything():
    assert bytes_of(frame_of(junk=[1, SECRET, [], None, {}, b""])) == bytes_of(frame_of())


def test_a_grid_is_inferred_where_times_are_regular_with_gaps_or_without():
    gap = frame_of().drop(index=[1, 2])
    found = table(gap, grid=None)
    assert (found.step_seconds, found.reading["grid"]) == (3600, "60min")
    assert "Grid 60min: the step of the times, which all lie on it." in [one.text for one in found.attrition.notes]
    late = frame_of(time=[*HOURS[:5], HOURS[5] + timedelta(minutes=7)])
    with pytest.raises(DataError, match=r"2 of 4 steps are 3600 s.* 1 are no multiple.*grid='60min'"):
        table(late, value="value", grid=None)
    with pytest.raises(DataError, match="No series has two times"):
        table(frame_of().iloc[:1], grid=None)
    odd = frame_of(time=[HOURS[0] + timedelta(minutes=7 * step) for step in range(6)])
    with pytest.raises(DataError, match=r"420 s.*one that divides a day"):
        table(odd, grid=None)


def test_a_table_reads_a_later_frame_of_the_same_columns_alike():
    wide = pd.DataFrame(WIDE).rename(columns={"patient": "subject_id", "time": "charttime"})
    nixtla = pd.DataFrame({"unique_id": 7, "ds": HOURS, "y": LONG["value"]})
    zoned = pl.DataFrame(LONG).with_columns(pl.col("time").dt.replace_time_zone("UTC"), unit=pl.lit("1/min"))
    cases = [
        (wide, {"grid": None}),
        (nixtla, {"signal": "glucose", "unit": "mmol/L", "missing": ["80.25"]}),
        (zoned, {"zone": "Europe/Berlin", "unit_column": "unit"}),
        (np.arange(50.0, 60), {"signal": "map", "start": datetime(2150, 3, 1)}),
    ]
    for frame, settings in cases:
        first = table(frame, **settings)
        assert table(frame, **{"grid": None, **first.reading}).fingerprint == first.fingerprint
    with pytest.raises(DataError, match=r"No column 'subject_id' \(patient\), 'charttime' \(time\)"):
        Table.from_frame(nixtla, **table(wide).reading)


def test_what_was_taken_by_its_name_and_what_was_not_read_is_said(caplog):
    frame = pd.DataFrame({**WIDE, "stay_id": 3, "age": 80})
    with caplog.at_level(logging.WARNING):
        found = Table.from_frame(frame, grid="60min")
    said = "Columns taken by their names: stay = stay_id, values = heart_rate, MAP. Not read: age."
    assert [record.getMessage() for record in caplog.records] == [f"Note: {said}"]
    assert [note.text for note in found.attrition.notes] == [said]
    assert table(frame_of()).attrition.notes == []


def test_what_was_dropped_is_kept_on_the_table_and_beside_it(tmp_path):
    found = table(frame_of(), out=tmp_path / "own.parquet")
    assert found.path == tmp_path / "own.parquet"
    assert attrition_path(found.path).is_file()
    assert [step.dropped_rows for step in found.attrition.steps][:2] == [0, 1]
    again = Table.open(found.path)
    assert (again, again.attrition, again.reading) == (found, found.attrition, found.reading)
    with pytest.raises(ConfigError, match="exists already"):
        table(frame_of(), out=found.path)
    table(frame_of(), out=found.path, overwrite=True)


def test_without_out_a_table_goes_away_with_its_object_and_a_refused_one_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = table(frame_of())
    (place,) = tmp_path.iterdir()
    assert place.stat().st_mode & 0o077 == 0
    assert found.path.is_relative_to(place)
    del found
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError):
        table(frame_of(patient=None))
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_of_a_frame_is_swept_by_the_next(tmp_path, monkeypatch):
    code = (
        "import os, signal, pandas as pd; from loracast.data.table import Table\n"
        "frame = pd.DataFrame({'patient': 'p', 'heart_rate': [80, 81]})\n"
        "frame['time'] = pd.date_range('2150-03-01', periods=2, freq='h')\n"
        "table = Table.from_frame(frame); assert table.path.is_file(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert len(list(tmp_path.rglob("frame.parquet"))) == 1
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = table(frame_of())
    assert list(tmp_path.rglob("frame.parquet")) == [found.path]


def test_a_source_is_read_into_a_table_in_one_call(tmp_path, vitals, caplog):
    found = read("simulate", patients=10, cohort="all", signals=["map"], grid="60min")
    assert (found.signals, found.simulated, len(found.attrition.steps) > 3) == (("map",), True, True)
    written = read("simulate", None, tmp_path / "out.parquet", patients=10, cohort="all", signals=["map"], grid="60min")
    assert written.path == tmp_path / "out.parquet"
    assert written.fingerprint == found.fingerprint
    assert read("table", vitals.path) == vitals
    with pytest.raises(ConfigError, match="overwrite given without out"):
        read("simulate", overwrite=True)


def test_a_table_shows_itself_in_a_few_words_and_names_nobody(vitals):
    assert repr(vitals) == "Table(vitals.parquet: heart_rate, map; every 3600 s; source test)"
    page = vitals._repr_html_()
    for fact in ("heart rate (1/min), mean arterial pressure (mmHg)", ">14<", ">21<", "CC0-1.0", "60 min", "not known"):
        assert fact in page
    assert PATIENT not in page
    assert STAY not in page
    assert "2150" not in page
    assert len(page) < 4000
    named = table(frame_of(signal="<b>", patient=SECRET), unit={"<b>": "<i>"}, licence="<script>")
    shown = named._repr_html_()
    assert "&lt;b&gt; (&lt;i&gt;)" in shown
    assert "<script>" not in shown
    assert SECRET not in shown + repr(named)
    assert "1 row not with a value" in shown


def test_the_lines_of_the_documentation_read_what_they_say():
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- frames -->\n```python\n(.*?)```", text, re.DOTALL)
    nixtla = pd.DataFrame({"unique_id": 7, "ds": HOURS, "y": LONG["value"]})
    wide = pd.DataFrame({**WIDE, "HR": 80, "lac": 2.0}).rename(columns={"MAP": "map"})
    found = {"long": frame_of(), "wide": wide, "nixtla": nixtla, "array": np.full((2, 4), 80.0), "later": nixtla}
    exec(code, found)
    assert found["again"] == dataclasses.replace(found["table"], path=found["again"].path)
    for role, names in CALLED.items():
        (line,) = re.findall(rf"^\| {role} \| (`.*)$", text, re.MULTILINE)
        assert re.findall(r"`(\w+)`", line)[: len(names)] == list(names)


def test_a_description_has_a_row_a_signal(vitals):
    frame, found = vitals.to_frame(), vitals.describe()
    assert list(found.index) == ["heart_rate", "map"]
    assert list(found.columns) == ["patients", "stays", "cells", "observed", "median", "unit"]
    pressure = frame[frame["signal"] == "map"]
    assert found.loc["map"].tolist() == [
        14, 21, len(pressure), pytest.approx(pressure["value"].notna().mean()), pressure["value"].median(), "mmHg",
    ]  # fmt: skip
