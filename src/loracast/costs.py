"""What a run costs and what it ran on: seconds, peak memory, hardware, versions."""

import contextlib
import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


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


def hardware() -> dict[str, Any]:
    """What a reader needs to place a time: processor, cores, GPU. No host name."""
    import torch

    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def versions() -> dict[str, str]:
    """Versions of everything that a number depends on."""
    names = ("loracast", "torch", "transformers", "peft", "chronos-forecasting", "numpy", "scipy", "duckdb", "pyarrow")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
