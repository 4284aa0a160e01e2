"""Simulated patients are read once, are labelled as what they are, and are never taken for others."""

import pytest

from loracast.data.readers.mimic3 import Mimic3Reader
from loracast.data.readers.simulate import SimulatedReader
from loracast.errors import ConfigError


def test_a_simulated_cohort_is_read_once_says_so_and_is_labelled(tmp_path):
    said: list[str] = []
    reader = SimulatedReader(patients=12, signals=("map",))
    first = reader.open(tmp_path / "data", said.append)
    when = first.path.stat().st_mtime_ns
    assert (first.simulated, first.step_seconds, first.signals) == (True, 300, ("map",))
    assert any("no patient is real" in line for line in said)
    said.clear()
    assert reader.open(tmp_path / "data", said.append) == first
    assert first.path.stat().st_mtime_ns == when
    assert said == [f"{first.path} was read before; the source is not looked at again"]


def test_the_tables_are_those_that_the_mimic_reader_reads_with_the_same_settings(tmp_path):
    settings = {"signals": ("heart_rate",), "cohort": "all", "grid": "15min", "min_hours": 4}
    SimulatedReader(patients=12, seed=1, **settings).read(tmp_path / "one.parquet")
    Mimic3Reader(path=tmp_path / "tables", **settings).read(tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_tables_of_other_patients_are_neither_read_nor_replaced(tmp_path):
    SimulatedReader(patients=10, signals=("map",)).read(tmp_path / "one.parquet")
    with pytest.raises(ConfigError, match="tables exists already"):
        SimulatedReader(patients=10, seed=1, signals=("map",)).read(tmp_path / "two.parquet")
    assert not (tmp_path / "two.parquet").exists()
