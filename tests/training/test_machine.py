"""What of a machine a process may use, told from files that stand in for the kernel's."""

from pathlib import Path

import pytest

from loracast.training import machine

CPUS = "".join(
    f"processor\t: {n}\nmodel name\t: Example CPU 3000\nphysical id\t: 0\ncore id\t: {n // 2}\n\n" for n in range(8)
)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight threads of four cores, all of them ours, in no control group."""
    (tmp_path / "cpuinfo").write_text(CPUS)
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "_affinity", lambda: set(range(8)))
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
    assert machine.processor() == "Example CPU 3000"


def test_without_limits_all_cores_are_ours(kernel):
    assert (machine.logical_cores(), machine.physical_cores()) == (8, 4)


def test_cores_are_those_of_the_affinity(kernel, monkeypatch):
    monkeypatch.setattr(machine, "_affinity", lambda: {0, 1, 2})
    assert (machine.logical_cores(), machine.physical_cores()) == (3, 2)


def test_a_control_group_limits_cores_and_memory(kernel):
    group(kernel, "0::/job", cpu__max="150000 100000", memory__max="1000000")
    assert (machine.logical_cores(), machine.physical_cores()) == (2, 2)
    assert machine.memory_bytes() == 1_000_000


def test_a_group_below_another_has_the_limits_of_both(kernel):
    group(kernel, "0::/job/step", cpu__max="max 100000")
    (kernel / "groups" / "job" / "cpu.max").write_text("300000 100000\n")
    assert machine.logical_cores() == 3


def test_groups_of_the_first_version_limit_too(kernel):
    group(kernel, "4:cpu:/job", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")
    assert machine.logical_cores() == 1


def test_no_limit_is_no_limit(kernel):
    group(kernel, "4:cpu:/job", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert machine.logical_cores() == 8


def test_a_system_that_tells_nothing_is_no_error(kernel):
    (kernel / "cpuinfo").unlink()
    assert machine.processor()
    assert machine.physical_cores() is None
