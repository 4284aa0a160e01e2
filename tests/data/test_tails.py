"""What a forecast of the unseen future starts from: the last values of every series, and the hours after them."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from loracast.data.stream import One, series_of
from loracast.data.tails import tails_of
from loracast.types import LEVELS
from tests.conftest import START, write_long


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
    monkeypatch.setattr("loracast.data.tails.series_of", lambda _: iter(ones))
    assert [[one.patient for one in part.series] for part in tails_of(vitals, 4, 1)] == [["p"], ["q"], ["r"]]


def test_the_first_step_has_its_time_and_signals_that_end_together_a_number(tmp_path):
    rows = {("p", "s", "map"): [70.0] * 4, ("p", "s", "sbp"): [80.0] * 4, ("p", "s", "spo2"): [90.0] * 6}
    (part,) = tails_of(write_long(tmp_path / "t.parquet", rows, step=300), 5, 8)
    first = (START - datetime(1970, 1, 1)).total_seconds()
    assert part.starts(300).tolist() == [first - 300, first - 300, first + 300]
    assert part.groups().tolist() == [0, 0, 2]


def test_forecast_rows_follow_the_end_of_their_series_step_by_step(tmp_path):
    rows = {("p", "s", "map"): [70.0] * 4, ("q", "u", "heart_rate"): [80.0] * 9}
    table = write_long(tmp_path / "t.parquet", rows, step=300)
    (part,) = tails_of(table, 4, 8)
    quantiles = np.arange(2 * 3 * 9, dtype=np.float32).reshape(2, 3, 9)
    found = part.with_quantiles(quantiles, LEVELS, 300)
    assert found.column_names == ["patient", "stay", "series", "signal", "time", *(f"q0.{i}" for i in range(1, 10))]
    assert found.schema.field("time").type == pa.timestamp("us")
    minutes = [20, 25, 30, 45, 50, 55]
    assert found["time"].to_pylist() == [START + timedelta(minutes=m) for m in minutes]
    assert found["series"].to_pylist() == ["s/map"] * 3 + ["u/heart_rate"] * 3
    assert found["q0.1"].to_pylist() == quantiles[:, :, 0].ravel().tolist()
    assert found["q0.9"].to_pylist() == quantiles[:, :, 8].ravel().tolist()
