"""Every series comes out whole and in order, wherever the file's batches and row groups end."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from loracast.data.stream import series_of
from loracast.data.table import open_table
from loracast.errors import DataError
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
    for one, other in zip(series_of(table), series_of(open_table(cut)), strict=True):
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
