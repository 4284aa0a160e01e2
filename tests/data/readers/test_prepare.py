"""From what an experiment names to a checked table: read once, and restricted to the signals asked for."""

import pytest

from loracast.data.readers.prepare import prepare
from loracast.errors import DataError
from loracast.spec import Mimic3Data, SimulatedData, TableData

QUIET = [].append


def test_a_callers_own_table_stays_where_it_is(vitals, tmp_path):
    found = prepare(TableData(source="table", path=vitals.path), tmp_path / "data", QUIET)
    assert found == vitals
    assert not (tmp_path / "data").exists()


def test_only_the_signals_asked_for_are_kept_in_their_order(vitals, tmp_path):
    spec = TableData(source="table", path=vitals.path, signals=("map", "heart_rate"))
    assert prepare(spec, tmp_path, QUIET).signals == ("map", "heart_rate")


@pytest.mark.parametrize(
    ("name", "says"), [("spo2", r"has no spo2\. It has: heart_rate, map"), ("spO2", "Unknown signal: spO2")]
)
def test_a_signal_that_is_not_there_is_refused(vitals, tmp_path, name, says):
    with pytest.raises(DataError, match=says):
        prepare(TableData(source="table", path=vitals.path, signals=(name,)), tmp_path, QUIET)


def test_a_simulated_cohort_is_read_once_says_so_and_is_labelled(tmp_path):
    said: list[str] = []
    spec = SimulatedData(source="simulate", patients=12, signals=("map",))
    first = prepare(spec, tmp_path / "data", said.append)
    when = first.path.stat().st_mtime_ns
    assert first.simulated
    assert first.step_seconds == 300
    assert any("no patient is real" in line for line in said)
    said.clear()
    assert prepare(spec, tmp_path / "data", said.append) == first
    assert first.path.stat().st_mtime_ns == when
    assert said == [f"{first.path} was read before; the source is not looked at again"]


def test_a_source_that_is_not_there_is_refused_and_leaves_no_table(tmp_path):
    with pytest.raises(DataError):
        prepare(Mimic3Data(source="mimic3", path=tmp_path / "none"), tmp_path / "data", QUIET)
    assert not list(tmp_path.rglob("*.parquet"))
