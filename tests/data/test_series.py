"""Every series comes out whole and in order, and its end is what a forecast of the unseen future starts from."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loracast.data.checked import LONG_SCHEMA, _Check
from loracast.data.series import One, series_of, tails_of
from loracast.data.table import Table
from loracast.errors import DataError
from loracast.types import LEVELS
from tests.conftest import START, cohort, write_long


def test_values_keys_and_last_times_are_those_of_the_table(tmp_path):
    rows = cohort(6)
    table = write_long(tmp_path / "t.parquet", rows)
    found = {(one.patient, one.stay, one.signal): one for one in series_of(table)}
    assert list(found) == sorted(rows, key=lambda key: f"{key[1]}/{key[2]}")
    for key, values in rows.items():
        expected = np.array([np.nan if v is None else v for v in values], np.float32)
        np.testing.assert_array_equal(found[key].values, expected)
        assert found[key].series == f"{key[1]}/{key[2]}"
        assert found[key].last_time == START + timedelta(hours=len(values) - 1)


@pytest.mark.parametrize("rows_a_group", [1, 7, 100])
def test_a_series_that_spans_row_groups_is_one_series(tmp_path, rows_a_group):
    table = write_long(tmp_path / "t.parquet", cohort(3))
    cut = tmp_path / "cut.parquet"
    pq.write_table(pq.read_table(table.path), cut, row_group_size=rows_a_group)
    for one, other in zip(series_of(table), series_of(Table.open(cut)), strict=True):
        assert (one.series, one.last_time) == (other.series, other.last_time)
        np.testing.assert_array_equal(one.values, other.values)


def test_a_series_that_spans_batches_is_one_series(tmp_path):
    table = write_long(tmp_path / "t.parquet", {("p", "s", "map"): [70.0] * 65_000, ("q", "u", "map"): [60.0] * 80_000})
    assert [(one.stay, len(one.values)) for one in series_of(table)] == [("s", 65_000), ("u", 80_000)]


def test_signals_that_were_not_asked_for_are_passed_over(vitals):
    only = replace(vitals, signals=("map",))
    assert {one.signal for one in series_of(only)} == {"map"}
    assert len(list(series_of(only))) == len(list(series_of(vitals))) // 2


def test_a_value_beyond_single_precision_is_refused_not_made_infinite(tmp_path):
    table = write_long(tmp_path / "t.parquet", {("p", "s", "lactate"): [1.0, 1e300, 2.0]})
    with pytest.raises(DataError, match=r"lactate.*too large"):
        list(series_of(table))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_every_series_has_its_last_values_in_the_tables_order(vitals, size):
    tails = list(tails_of(vitals, 24, size))
    assert all(len(part.series) < size + 2 for part in tails), "two signals of a stay are kept together"
    stays = [one.stay for part in tails for one in part.series[:1]]
    assert len(set(stays)) == len(stays)
    contexts = np.concatenate([part.context for part in tails])
    np.testing.assert_array_equal(contexts, [one.values[-24:] for one in series_of(vitals)])


def test_a_series_shorter_than_the_context_is_padded_on_the_left(tmp_path):
    table = write_long(tmp_path / "t.parquet", {("p", "s", "map"): [70.0, None, 72.0]})
    (part,) = tails_of(table, 5, 8)
    np.testing.assert_array_equal(part.context, np.array([[np.nan, np.nan, 70, np.nan, 72]], np.float32))


def test_stays_of_one_name_in_several_patients_are_apart(vitals, monkeypatch):
    values = np.full(4, 70, np.float32)
    ones = [One(patient, "1", f"{patient}/1/map", "map", START, values) for patient in "pqr"]
    monkeypatch.setattr("loracast.data.series.series_of", lambda _: iter(ones))
    assert [[one.patient for one in part.series] for part in tails_of(vitals, 4, 1)] == [["p"], ["q"], ["r"]]


def test_the_first_step_has_its_time_and_signals_that_end_together_a_number(tmp_path):
    rows = {("p", "s", "map"): [70.0] * 4, ("p", "s", "sbp"): [80.0] * 4, ("p", "s", "spo2"): [90.0] * 6}
    (part,) = tails_of(write_long(tmp_path / "t.parquet", rows, step=300), 5, 8)
    first = (START - datetime(1970, 1, 1)).total_seconds()
    assert part.starts(300).tolist() == [first - 300, first - 300, first + 300]
    assert part.groups().tolist() == [0, 0, 1]


def test_jointly_all_signals_of_a_stay_end_with_its_last_cell(tmp_path):
    rows = {("p", "s", "map"): [70.0] * 4, ("p", "s", "sbp"): [80.0] * 9, ("q", "t", "map"): [60.0] * 5}
    (part,) = tails_of(write_long(tmp_path / "t.parquet", rows, step=300), 6, 8, joint=True)
    nan = np.nan
    expected = [[70, nan, nan, nan, nan, nan], [80] * 6, [nan, 60, 60, 60, 60, 60]]
    np.testing.assert_array_equal(part.context, np.array(expected, np.float32))
    assert part.groups().tolist() == [0, 0, 1]
    assert [one.last_time for one in part.series[:2]] == [START + timedelta(minutes=40)] * 2


def test_a_series_has_one_number_wherever_it_is_met_and_no_two_have_the_same():
    def number(*key: str) -> int:
        return One(*key[:2], "x", key[2], START, np.zeros(1, np.float32)).number

    assert number("a", "1", "map") == number("a", "1", "map")
    assert len({number(*key) for key in [("a", "1-1", "map"), ("a-1", "1", "map"), ("a", "1-1", "sbp")]}) == 3
    assert -(2**63) <= number("a", "1", "map") < 2**63


def test_forecast_rows_follow_the_end_of_their_series_step_by_step(tmp_path):
    rows = {("p", "s", "map"): [70.0] * 4, ("q", "u", "heart_rate"): [80.0] * 9}
    table = write_long(tmp_path / "t.parquet", rows, step=300)
    (part,) = tails_of(table, 4, 8)
    quantiles = np.arange(2 * 3 * 9, dtype=np.float32).reshape(2, 3, 9)
    found = part.with_quantiles(quantiles, LEVELS, 300)
    assert found.column_names == [
        "patient",
        "stay",
        "series",
        "signal",
        "time",
        *(f"q0.{i}" for i in range(1, 10)),
        "status",
    ]
    assert found.schema.field("time").type == pa.timestamp("us")
    minutes = [20, 25, 30, 45, 50, 55]
    assert found["time"].to_pylist() == [START + timedelta(minutes=m) for m in minutes]
    assert found["series"].to_pylist() == ["s/map"] * 3 + ["u/heart_rate"] * 3
    assert found["q0.1"].to_pylist() == quantiles[:, :, 0].ravel().tolist()
    assert found["q0.9"].to_pylist() == quantiles[:, :, 8].ravel().tolist()


def test_what_was_read_of_a_table_does_not_stay_in_memory(tmp_path, monkeypatch):
    rows, groups = 65_536, 24
    hours = np.datetime64("2150-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h")
    values = np.random.default_rng(0).normal(80, 5, rows)
    with pq.ParquetWriter(tmp_path / "long.parquet", LONG_SCHEMA) as writer:
        for name in "abcdefghijklmnopqrstuvwx"[:groups]:
            texts = [pa.array([text] * rows) for text in (name, name, f"{name}/map", "map")]
            writer.write_table(pa.table([*texts, hours, values], schema=LONG_SCHEMA))
    kept = []
    checked_one = _Check.batch

    def watched(check: _Check, batch: pa.RecordBatch) -> None:
        kept.append(pa.total_allocated_bytes())
        checked_one(check, batch)

    monkeypatch.setattr(_Check, "batch", watched)
    before, size = pa.total_allocated_bytes(), (tmp_path / "long.parquet").stat().st_size
    table = Table.open(tmp_path / "long.parquet")
    checking = max(kept) - before
    reading = max(pa.total_allocated_bytes() - before for _ in series_of(table))
    assert checking < 0.75 * size
    assert reading < 0.75 * size
