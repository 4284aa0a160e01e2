"""What a run costs and what it ran on."""

import json
from pathlib import Path

import numpy as np
import pytest

from loracast import costs


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
    assert set(costs.hardware()) == {"system", "machine", "cores", "torch_threads", "gpu"}
    assert {"loracast", "torch", "python"} <= set(costs.versions())
