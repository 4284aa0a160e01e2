"""What a run costs and what it ran on: seconds, joules, peak memory, bytes on disk, hardware, versions. No host name.

A container or a batch system often lends a part of a machine; counted is that part, because it decides the times.
"""

import contextlib
import importlib.metadata
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loracast.training import energy

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_CPUINFO = Path("/proc/cpuinfo")
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
SHORTEST_COUNTED = 1.0
"""Seconds below which no energy is told: the counters move in steps of up to a tenth of a second."""
_NEEDED = ("loracast", "torch", "transformers", "peft", "numpy", "scipy", "duckdb", "pyarrow")


@dataclass
class Meter:
    """The cost of a block: filled in when it ends.

    `energy_joules` is None where no counter can be read, and for a block too short for them; `energy_counters` names
    those that were. Memory is the largest resident size within the block, that of the GPU None without one.
    """

    seconds: float = 0.0
    energy_joules: float | None = None
    energy_counters: tuple[str, ...] = ()
    peak_memory_bytes: int = 0
    peak_gpu_memory_bytes: int | None = None


@contextlib.contextmanager
def metered(*, powercap: Path | None = None, shortest: float = SHORTEST_COUNTED) -> Iterator[Meter]:
    """Measure a block: `with metered() as cost: ...`, then read `cost`.

    It begins a new measurement of peak memory, so a block within a block takes the outer one's peak away. Energy is
    that of the whole packages and the whole GPU (see `energy`).
    """
    meter = Meter()
    reset_peak_memory()
    finish_queued()
    with energy.counted(powercap) as joules:
        start = time.perf_counter()
        try:
            yield meter
        finally:
            finish_queued()
            meter.seconds = time.perf_counter() - start
    memory = peak_memory()
    meter.peak_memory_bytes, meter.peak_gpu_memory_bytes = memory["process"] or 0, memory["gpu"]
    if joules.by_counter and meter.seconds >= shortest:
        meter.energy_joules = sum(joules.by_counter.values())
        meter.energy_counters = tuple(joules.by_counter)


def reset_peak_memory() -> None:
    """Begin a new measurement of peak memory, where the system can (Linux, CUDA)."""
    if _CLEAR_REFS.exists():
        # Writing 5 sets the kernel's high-water mark back to the present size (proc(5)).
        # Some containers forbid it; then the mark is the largest since the process began.
        with contextlib.suppress(OSError):
            _CLEAR_REFS.write_text("5", encoding="ascii")
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, int | None]:
    """Largest resident size since the last reset in bytes, of the process and of the GPU (None without one).

    Where the system cannot reset the mark (macOS, some containers) it is the largest since the process began.
    """
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        process = int(line.split()[1]) * 1024
    cuda = _cuda()
    return {"process": process, "gpu": None if cuda is None else int(cuda.max_memory_allocated())}


def folder_bytes(path: Path) -> int:
    """Bytes of all files in a folder and below it (of a file: its own); 0 where there is nothing."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def hardware() -> dict[str, Any]:
    """What a reader needs to place a time: processor, cores, memory, GPU, precision.

    `cores` are the machine's; `logical_cores`, `physical_cores` and `memory_bytes` are what this process may use of it.
    `dtype` is what training multiplies in; weights are float32 everywhere.
    """
    import torch

    cuda = _cuda()
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": None if cuda is None else cuda.get_device_name(),
        "processor": processor(),
        "physical_cores": physical_cores(),
        "logical_cores": logical_cores(),
        "memory_bytes": memory_bytes(),
        "gpu_memory_bytes": None
        if cuda is None
        else int(cuda.get_device_properties(cuda.current_device()).total_memory),
        "dtype": "bfloat16" if cuda is not None and cuda.is_bf16_supported() else "float32",
    }


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Versions of everything that a number depends on; `packages` are those of the family of its model."""
    found = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _NEEDED}}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def finish_queued() -> None:
    """Wait for what the GPU has yet to do: a time without it would be that of asking for the work."""
    cuda = _cuda()
    if cuda is not None:
        cuda.synchronize()


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def processor() -> str:
    """Model name of the processor, or its architecture where the system does not tell."""
    named = (cpu["model name"] for cpu in _cpus().values() if cpu.get("model name"))
    return next(named, None) or platform.processor() or platform.machine()


def logical_cores() -> int:
    """Hardware threads that this process may use: its affinity, and no more than its control group pays for."""
    return _paid_for(len(_affinity()))


def physical_cores() -> int | None:
    """Cores behind those threads; None where the system does not tell."""
    cpus = _cpus()
    places = {(cpus.get(n, {}).get("physical id"), cpus.get(n, {}).get("core id")) for n in _affinity()}
    return None if any(None in place for place in places) else _paid_for(len(places))


def memory_bytes() -> int | None:
    """Memory that this process may use: the machine's, or the limit of its control group where that is less."""
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    limits = [*_settings("", "memory.max"), *_settings("memory", "memory.limit_in_bytes")]
    return min([installed, *(int(limit) for limit in limits if limit.isdigit())])


def _affinity() -> set[int]:
    # macOS has no affinity: all cores are the process's.
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _paid_for(cores: int) -> int:
    """`cores`, or what the control group's share of processor time amounts to, rounded up."""
    shares = [limit.split() for limit in _settings("", "cpu.max")]
    periods = _settings("cpu", "cpu.cfs_period_us")
    shares += [[quota, period] for quota, period in zip(_settings("cpu", "cpu.cfs_quota_us"), periods, strict=False)]
    # "max" (second version) and -1 (first version) stand for no limit.
    quotas = [int(quota) / int(period) for quota, period in shares if quota.isdigit() and int(period) > 0]
    return min([cores, *(max(1, math.ceil(quota)) for quota in quotas)])


def _settings(controller: str, name: str) -> Iterator[str]:
    """What the control group of this process and those above it say; `controller` is empty in the second version."""
    for line in _lines(_OWN_GROUPS):
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        root = _GROUPS / controllers
        own = root / path.lstrip("/")
        for folder in [own, *own.parents]:
            if folder.is_relative_to(root):
                yield from _lines(folder / name)


def _cpus() -> dict[int, dict[str, str]]:
    """What /proc/cpuinfo says of each hardware thread."""
    found: dict[int, dict[str, str]] = {}
    for line in _lines(_CPUINFO):
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdigit():
            found[int(value)] = {}
        elif found:
            found[max(found)][key] = value
    return found


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line]
    except OSError:
        return []
