import json
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loracast.data.checked import LONG_SCHEMA
from loracast.data.readers.table import write_table
from loracast.data.table import Table
from loracast.errors import DataError

DAY = datetime(2021, 7, 30)


def long_table(tmp_path, **replaced):
    """A hand-made long table of two series, hourly, with some columns replaced."""
    columns = {
        "patient": ["a", "a", "a", "b", "b"],
        "stay": ["a", "a", "a", "b", "b"],
        "series": ["a/heart_rate"] * 3 + ["b/heart_rate"] * 2,
        "signal": ["heart_rate"] * 5,
        "time": [DAY + timedelta(hours=h) for h in (0, 1, 2, 0, 1)],
        "value": [80.0, None, 82.0, 70.0, 71.0],
    }
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({**columns, **replaced}), path)
    return path


def test_the_long_table_has_six_columns_in_order():
    assert LONG_SCHEMA.names == ["patient", "stay", "series", "signal", "time", "value"]


def test_a_long_table_is_described_from_its_rows_where_it_has_no_metadata(tmp_path):
    table = Table.open(long_table(tmp_path))
    assert (table.step_seconds, table.signals, table.units) == (3600, ("heart_rate",), {"heart_rate": "1/min"})
    assert len(table.fingerprint) == 64


HOURS = [DAY + timedelta(hours=h) for h in range(4)]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"time": [HOURS[0], HOURS[2], HOURS[1], HOURS[0], HOURS[1]]}, "the grid has a hole|not sorted by time"),
        ({"time": [HOURS[1], HOURS[0], HOURS[2], HOURS[0], HOURS[1]]}, r"Row 1 \(from 0\) of .* not sorted by time"),
        ({"time": [HOURS[0], HOURS[0], HOURS[1], HOURS[0], HOURS[1]]}, "repeats the time of the row above"),
        ({"time": [HOURS[0], HOURS[1], HOURS[3], HOURS[0], HOURS[1]]}, "Row 2 .* the grid has a hole"),
        ({"series": ["b/x"] * 3 + ["a/x"] * 2}, r"Row 3 .*not sorted by \(series, time\)"),
        ({"value": [80.0, np.inf, 82.0, 70.0, 71.0]}, "Row 1 .* infinite value"),
        ({"patient": ["a", "a", "b", "b", "b"]}, "another patient than the row above it in the same series"),
        ({"patient": ["a", "a", "a", "b", None]}, "Row 4 .* has no patient"),
        ({"signal": ["lactate"] * 5}, "'lactate' is neither a column nor a known signal"),
        ({"value": ["80"] * 5}, "Column value of .* is string; a long table has double"),
        ({"time": [1, 2, 3, 1, 2]}, "Column time of .* is int64"),
    ],
)
def test_a_long_table_that_breaks_a_rule_is_refused_by_row_number(tmp_path, replaced, message):
    with pytest.raises(DataError, match=message):
        Table.open(long_table(tmp_path, **replaced))


def test_a_rule_broken_between_two_batches_is_found(tmp_path):
    count = 131_072
    times = [DAY + timedelta(seconds=i) for i in range(count)]
    same = {"patient": ["a"], "stay": ["a"], "series": ["a/map"], "signal": ["map"], "value": [70.0]}
    columns = {name: values * (count + 1) for name, values in same.items()}
    pq.write_table(pa.table({**columns, "time": [*times, times[-1]]}), tmp_path / "long.parquet")
    with pytest.raises(DataError, match=r"Row 131,072 .* repeats the time"):
        Table.open(tmp_path / "long.parquet")


def test_a_table_that_is_missing_empty_or_something_else_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such table"):
        Table.open(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("patient,stay\n")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        Table.open(tmp_path / "text.parquet")
    pq.write_table(pa.table({"patient": ["a"]}), tmp_path / "few.parquet")
    with pytest.raises(DataError, match="has no column stay, series, signal, time, value"):
        Table.open(tmp_path / "few.parquet")
    pq.write_table(LONG_SCHEMA.empty_table(), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="holds no rows"):
        Table.open(tmp_path / "empty.parquet")


def test_a_table_that_states_another_unit_for_a_known_signal_is_refused(tmp_path):
    path = long_table(tmp_path)
    metadata = {"loracast": json.dumps({"grid_seconds": 3600, "units": {"heart_rate": "Hz"}})}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(DataError, match="heart_rate is given in 'Hz'"):
        Table.open(path)


def test_the_grid_a_table_states_is_the_one_its_rows_are_held_to(tmp_path):
    path = long_table(tmp_path)
    metadata = {"loracast": json.dumps({"grid_seconds": 300, "units": {}})}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(DataError, match="is not 300 s after the row above it"):
        Table.open(path)


def test_a_table_that_was_changed_beside_its_attrition_is_refused(tmp_path):
    frame = pd.DataFrame(
        {"who": ["a"] * 3, "at": pd.date_range("2150-03-01", periods=3, freq="h"), "mg": [80.0, 90, 95]}
    )
    out = tmp_path / "a.parquet"
    write_table(frame, out, grid="60min", patient="who", time="at", value="mg", signal="glucose")
    Table.open(out)
    pq.write_table(pq.read_table(out), out, compression="none")
    with pytest.raises(DataError, match=r"is not the table that a\.attrition\.json was written with"):
        Table.open(out)
    (tmp_path / "a.attrition.json").rename(tmp_path / "moved.json")
    assert Table.open(out).signals == ("glucose",)


def test_a_slash_in_a_signal_makes_no_two_series_one(tmp_path):
    rows = [(stay, signal, hour) for stay, signal in (("a/b", "c"), ("a", "b/c")) for hour in range(3)]
    frame = pd.DataFrame(rows, columns=["stay", "signal", "hour"])
    frame["at"] = pd.Timestamp("2150-03-01") + pd.to_timedelta(frame.pop("hour"), "h")
    frame = frame.assign(patient=frame["stay"], mg=1.0)
    columns = {"patient": "patient", "stay": "stay", "time": "at", "value": "mg", "signal": "signal"}
    write_table(frame, tmp_path / "a.parquet", grid="60min", unit={"c": "x", "b/c": "x"}, **columns)
    Table.open(tmp_path / "a.parquet")
    assert set(pq.read_table(tmp_path / "a.parquet")["series"].to_pylist()) == {"a%2Fb/c", "a/b%2Fc"}


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ("{", "is not JSON"),
        ("[1]", "the whole: Input should be"),
        ('{"grid_seconds": "3600"}', "grid_seconds: Input should be a valid integer"),
        ('{"grid_seconds": 0}', "grid_seconds: Input should be greater"),
        ('{"units": {"map": 1}}', r"units\.map: Input should be a valid string"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_metadata_of_another_type_is_refused(tmp_path, metadata, told):
    table = pa.table({name: [] for name in LONG_SCHEMA.names}, schema=LONG_SCHEMA.with_metadata({"loracast": metadata}))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=told):
        Table.open(tmp_path / "a.parquet")


def test_a_text_that_is_no_text_is_refused(tmp_path):
    whole = pa.table({name: ["x"] for name in ("patient", "stay", "series", "signal")})
    damaged = whole.set_column(0, "patient", pa.array([b"\xff"]).view(pa.string()))
    table = damaged.append_column("time", pa.array([0], pa.timestamp("us"))).append_column("value", pa.array([1.0]))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        Table.open(tmp_path / "a.parquet")
