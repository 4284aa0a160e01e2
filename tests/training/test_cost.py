"""What a run costs and what it ran on."""

import json
from pathlib import Path
from types import SimpleNamespace

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


def test_the_package_of_a_family_is_told_only_where_it_is():
    assert "pandas" not in costs.versions()
    assert "pandas" in costs.versions(["pandas", "no-such-package"])
    assert "no-such-package" not in costs.versions(["pandas", "no-such-package"])


def test_a_block_is_measured_when_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "time", SimpleNamespace(perf_counter=iter([10.0, 12.5]).__next__))
    with costs.metered(powercap=tmp_path) as cost:
        block = np.ones(16_000_000)
    assert cost.seconds == 2.5
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


CPUS = "".join(
    f"processor\t: {n}\nmodel name\t: Example CPU 3000\nphysical id\t: 0\ncore id\t: {n // 2}\n\n" for n in range(8)
)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight threads of four cores, all of them ours, in no control group."""
    (tmp_path / "cpuinfo").write_text(CPUS)
    monkeypatch.setattr(costs, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(costs, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(costs, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(costs, "_affinity", lambda: set(range(8)))
    return tmp_path


def group(kernel: Path, line: str, **settings: str) -> None:
    """Put this process into a control group with these settings; `__` in a name stands for a dot."""
    (kernel / "own").write_text(f"{line}\n")
    _, controllers, path = line.split(":")
    folder = kernel / "groups" / controllers / path.lstrip("/")
    folder.mkdir(parents=True)
    for name, value in settings.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_the_processor_is_called_by_its_model(kernel):
    assert costs.processor() == "Example CPU 3000"


def test_without_limits_all_cores_are_ours(kernel):
    assert (costs.logical_cores(), costs.physical_cores()) == (8, 4)


def test_cores_are_those_of_the_affinity(kernel, monkeypatch):
    monkeypatch.setattr(costs, "_affinity", lambda: {0, 1, 2})
    assert (costs.logical_cores(), costs.physical_cores()) == (3, 2)


def test_a_control_group_limits_cores_and_memory(kernel):
    group(kernel, "0::/job", cpu__max="150000 100000", memory__max="1000000")
    assert (costs.logical_cores(), costs.physical_cores()) == (2, 2)
    assert costs.memory_bytes() == 1_000_000


def test_a_group_below_another_has_the_limits_of_both(kernel):
    group(kernel, "0::/job/step", cpu__max="max 100000")
    (kernel / "groups" / "job" / "cpu.max").write_text("300000 100000\n")
    assert costs.logical_cores() == 3


def test_groups_of_the_first_version_limit_too(kernel):
    group(kernel, "4:cpu:/job", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")
    assert costs.logical_cores() == 1


def test_no_limit_is_no_limit(kernel):
    group(kernel, "4:cpu:/job", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert costs.logical_cores() == 8


def test_a_system_that_tells_nothing_is_no_error(kernel):
    (kernel / "cpuinfo").unlink()
    assert costs.processor()
    assert costs.physical_cores() is None
