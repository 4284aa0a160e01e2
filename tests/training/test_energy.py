"""Joules from a powercap folder and from NVML, both made up here."""

import ctypes
import threading
from pathlib import Path

import pytest

from loracast.training import cost as costs
from loracast.training import energy


def zone(folder: Path, number: str, *, name: str, energy_uj: int, most: int = 1_000_000_000) -> Path:
    """A zone of RAPL as the kernel shows it; the file to which its counter is written."""
    place = folder / number
    place.mkdir()
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{most}\n")
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    return place / "energy_uj"


def test_joules_are_what_the_packages_used_within_the_block(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=7_000_000)
    second = zone(tmp_path, "intel-rapl:1", name="package-1", energy_uj=0)
    with energy.counted(tmp_path) as joules:
        first.write_text("10000000")
        second.write_text("500000")
    assert joules.by_counter == {"cpu package-0": 3.0, "cpu package-1": 0.5}


def test_a_counter_that_begins_again_goes_on(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=9_000_000, most=10_000_000)
    with energy.counted(tmp_path) as joules:
        file.write_text("2000000")
    assert joules.by_counter == {"cpu package-0": 3.0}


def test_a_long_block_is_looked_at_in_between_so_that_no_round_is_lost(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=0, most=10_000_000)
    counter = next(energy._packages(tmp_path))
    counter.begin()
    for shown in ("8000000", "5000000", "4000000"):  # two rounds and 4 joules: what one look at the end cannot know
        file.write_text(shown)
        counter.look()
    assert counter.look() == 24_000_000


def test_the_looks_in_between_come_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_LOOK_EVERY", 0.01)
    looked, look = threading.Semaphore(0), energy.Counter.look

    def told(counter: energy.Counter) -> int:
        found = look(counter)
        looked.release()
        return found

    monkeypatch.setattr(energy.Counter, "look", told)
    file = zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=0, most=10_000_000)
    with energy.counted(tmp_path) as joules:
        for shown in ("8000000", "5000000"):
            fresh = tmp_path / "fresh"
            fresh.write_text(shown)
            fresh.replace(file)  # never half-written, since another thread reads it
            for _ in range(2):  # the first may have read what stood there before
                looked.acquire()
    assert joules.by_counter == {"cpu package-0": 15.0}


def test_parts_of_a_package_are_not_counted_twice(tmp_path):
    zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=0)
    zone(tmp_path, "intel-rapl:0:0", name="core", energy_uj=0)
    zone(tmp_path, "intel-rapl:1", name="psys", energy_uj=0)
    zone(tmp_path, "intel-rapl-mmio:0", name="package-0", energy_uj=0)
    with energy.counted(tmp_path) as joules:
        pass
    assert list(joules.by_counter) == ["cpu package-0"]


def test_a_counter_that_may_not_be_read_is_left_out(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=0)
    file.unlink()
    file.mkdir()  # cannot be read, whoever asks; a test may run as root, for whom nothing is forbidden
    with energy.counted(tmp_path) as joules:
        pass
    assert joules.by_counter == {}


def test_a_counter_that_fails_on_the_way_is_left_out(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=0)
    with energy.counted(tmp_path) as joules:
        file.unlink()
    assert joules.by_counter == {}


def test_a_meter_tells_energy_and_which_counters_it_is_from(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=0)
    with costs.metered(powercap=tmp_path, shortest=0) as cost:
        file.write_text("4000000")
    assert (cost.energy_joules, cost.energy_counters) == (4.0, ("cpu package-0",))


def test_a_block_too_short_for_the_counters_has_no_energy(tmp_path):
    zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=0)
    with costs.metered(powercap=tmp_path, shortest=60) as cost:
        pass
    assert (cost.energy_joules, cost.energy_counters) == (None, ())


class FakeNvml:
    """The driver's library with one GPU."""

    millijoules = 5000

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: object) -> int:  # noqa: N802
        return 0 if uuid == b"GPU-1" else 6

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object, total: ctypes.c_ulonglong) -> int:  # noqa: N802
        total._obj.value = self.millijoules
        return 0


def test_the_gpu_counts_in_millijoules():
    assert energy.nvml_energy(FakeNvml(), "GPU-1")() == 5_000_000


def test_a_gpu_that_nvml_does_not_know_has_no_counter():
    with pytest.raises(OSError, match="nvmlDeviceGetHandleByUUID answers 6"):
        energy.nvml_energy(FakeNvml(), "GPU-2")
