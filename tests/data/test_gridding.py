from datetime import datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loracast.data.gridding import cell_of, grid_seconds, out_of_range
from loracast.data.schema import SIGNALS
from loracast.errors import DataError

EPOCH = datetime(1970, 1, 1)


def rows(query):
    with duckdb.connect() as con:
        return con.execute(query).fetchall()


@pytest.mark.parametrize(
    ("grid", "seconds"),
    [("60min", 3600), ("5min", 300), ("1h", 3600), ("15 min", 900), ("30s", 30), ("1d", 86_400), ("4H", 14_400)],
)
def test_a_grid_is_a_number_and_a_unit(grid, seconds):
    assert grid_seconds(grid) == seconds


@pytest.mark.parametrize(
    "grid", ["7min", "5", "min", "0min", "-5min", "2d", "1.5h", "5 fortnights", "\u0663h", "9" * 5000 + "s", ""]
)
def test_a_grid_that_does_not_divide_a_day_is_refused(grid):
    with pytest.raises(DataError, match="Give a step that divides a day"):
        grid_seconds(grid)


@settings(max_examples=40)
@given(
    microseconds=st.integers(-(10**16), 10**16 // 2),
    grid=st.sampled_from([30, 300, 900, 3600, 86_400]),
)
def test_a_cell_is_the_first_multiple_of_the_grid_at_or_after_a_time(microseconds, grid):
    query = f"SELECT epoch_us({cell_of('t', grid)}) FROM (SELECT make_timestamp({microseconds}::BIGINT) AS t)"
    ((cell,),) = rows(query)
    assert cell % (grid * 1_000_000) == 0
    assert 0 <= cell - microseconds < grid * 1_000_000


@pytest.mark.parametrize("signal", list(SIGNALS))
def test_the_range_in_sql_is_the_range_of_the_table(signal):
    kind = SIGNALS[signal]
    values = [kind.low - 0.1, kind.low, kind.low + 0.1, kind.high, kind.high + 0.1, float("nan"), float("inf")]
    expected = [True, kind.low == 0, False, False, True, True, True]
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t (signal VARCHAR, value DOUBLE)")
        con.executemany("INSERT INTO t VALUES (?, ?)", [(signal, value) for value in values])
        found = [row[0] for row in con.execute(f"SELECT {out_of_range(list(SIGNALS))} FROM t").fetchall()]
    assert found == expected


def test_a_signal_of_ones_own_has_no_range():
    conditions = f"{out_of_range(['lactate'])}, {out_of_range(['lactate', 'map'])}"
    assert rows(f"SELECT {conditions} FROM (SELECT 'lactate' AS signal, -5 AS value)") == [(False, False)]


def test_a_time_on_the_grid_is_its_own_cell():
    time = EPOCH + timedelta(hours=5)
    ((cell,),) = rows(f"SELECT {cell_of('t', 3600)} FROM (SELECT TIMESTAMP '{time}' AS t)")
    assert cell == time
