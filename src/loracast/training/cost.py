"""What a run costs and what it ran on: seconds, joules, peak memory, bytes on disk, hardware, versions."""

import contextlib
import importlib.metadata
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loracast.training import energy, machine

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
SHORTEST_COUNTED = 1.0
"""Seconds below which no energy is told: the counters move in steps of up to a tenth of a second."""
_NEEDED = ("loracast", "torch", "transformers", "peft", "chronos-forecasting", "numpy", "scipy", "duckdb", "pyarrow")
_OPTIONAL = ("neuralforecast", "statsforecast", "ray")


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
    """What a reader needs to place a time: processor, cores, memory, GPU, precision. No host name.

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
        "processor": machine.processor(),
        "physical_cores": machine.physical_cores(),
        "logical_cores": machine.logical_cores(),
        "memory_bytes": machine.memory_bytes(),
        "gpu_memory_bytes": None
        if cuda is None
        else int(cuda.get_device_properties(cuda.current_device()).total_memory),
        "dtype": "bfloat16" if cuda is not None and cuda.is_bf16_supported() else "float32",
    }


def versions() -> dict[str, str]:
    """Versions of everything that a number depends on; packages that loracast can do without where they are here."""
    found = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _NEEDED}}
    for name in _OPTIONAL:
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
