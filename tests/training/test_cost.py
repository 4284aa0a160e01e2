"""What a run costs and what it ran on."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from loracast.training import cost as costs

OLD_KEYS = {"system", "machine", "cores", "torch_threads", "gpu"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak since a reset")
def test_peak_memory_holds_what_was_allocated_since_the_reset():
    costs.reset_peak_memory()
    before = costs.peak_memory()["process"]
    block = np.ones(16_000_000)
    assert costs.peak_memory()["process"] - before > 0.9 * block.nbytes


def test_a_system_that_forbids_the_reset_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "_CLEAR_REFS", tmp_path)  # a folder cannot be written to
    costs.reset_peak_memory()
    assert costs.peak_memory()["process"] > 0


def test_hardware_and_versions_are_fit_for_json_and_name_no_host():
    json.dumps([costs.hardware(), costs.versions()])
    new = {"processor", "physical_cores", "logical_cores", "memory_bytes", "gpu_memory_bytes", "dtype"}
    assert set(costs.hardware()) == OLD_KEYS | new
    assert {"loracast", "torch", "python"} <= set(costs.versions())


def test_a_package_that_is_not_needed_is_told_only_where_it_is(monkeypatch):
    monkeypatch.setattr(costs, "_OPTIONAL", ("numpy", "no-such-package"))
    assert "numpy" in costs.versions()
    assert "no-such-package" not in costs.versions()


def test_a_block_is_measured_when_it_ends(tmp_path):
    with costs.metered(powercap=tmp_path) as cost:
        time.sleep(0.05)
        block = np.ones(16_000_000)
    assert 0.05 <= cost.seconds < 5
    assert cost.peak_memory_bytes >= block.nbytes
    assert (cost.energy_joules, cost.energy_counters) == (None, ())


def test_a_block_that_fails_still_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), costs.metered(powercap=tmp_path):
        _ = 1 / 0


def test_the_bytes_of_a_folder_are_those_of_all_its_files(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "one").write_bytes(b"x" * 10)
    (tmp_path / "below" / "two").write_bytes(b"x" * 5)
    assert costs.folder_bytes(tmp_path) == 15
    assert costs.folder_bytes(tmp_path / "one") == 10
    assert costs.folder_bytes(tmp_path / "none") == 0
