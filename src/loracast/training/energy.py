"""Joules, where the machine counts them: CPU packages by RAPL, the GPU by NVML. Nothing is estimated.

Both count all that a package or a GPU draws, idle power and other processes included: a number for one run is right
only while nothing else runs there. RAPL is Linux's powercap folder, which many systems keep from ordinary users; NVML
is the driver's own library, which is there wherever a GPU computes.
"""

import contextlib
import ctypes
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
LIBRARY = "libnvidia-ml.so.1"
_LOOK_EVERY = 30.0
"""Seconds between two looks at RAPL: a package of 400 W runs once through its counter in some ten minutes."""


@dataclass
class Counter:
    """One running total. `read` gives microjoules, which begin again at 0 after `most` (None: never)."""

    name: str
    read: Callable[[], int]
    most: int | None = None
    _last: int = 0
    _total: int = 0

    def begin(self) -> None:
        """Count from here."""
        self._last, self._total = self.read(), 0

    def look(self) -> int:
        """Microjoules since `begin`; between two looks the counter may begin again once."""
        now = self.read()
        gone = now - self._last
        if gone < 0 and self.most is not None:
            gone += self.most
        self._last, self._total = now, self._total + gone
        return self._total


@dataclass
class Joules:
    """What the counters said of a block, one entry a counter; empty where nothing could be read."""

    by_counter: dict[str, float] = field(default_factory=dict)


@contextlib.contextmanager
def counted(powercap: Path | None = None) -> Iterator[Joules]:
    """Count the joules of the block; they stand in the result when it ends.

    A counter that fails on the way is left out. `powercap` is the folder to look in instead of the system's.
    """
    counters, joules = [*_packages(powercap or POWERCAP), *_gpu()], Joules()
    started = [counter for counter in counters if _try(counter.begin)]
    broken: set[str] = set()

    def look() -> None:
        broken.update(counter.name for counter in started if not _try(counter.look))

    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY):
            look()

    thread = threading.Thread(target=watch, daemon=True) if any(c.most is not None for c in started) else None
    if thread is not None:
        thread.start()
    try:
        yield joules
    finally:
        over.set()
        if thread is not None:
            thread.join()
        look()
        joules.by_counter = {c.name: c._total / 1e6 for c in started if c.name not in broken}


def _try(read: Callable[[], object]) -> bool:
    """Whether the counter could be read."""
    try:
        read()
    except (OSError, ValueError):
        return False
    return True


def _packages(folder: Path) -> Iterator[Counter]:
    """The counters of whole CPU packages.

    Zones below a package are parts of it, `psys` holds the packages, and `intel-rapl-mmio` counts them a second time.
    """
    for zone in sorted(folder.glob("intel-rapl:*")):
        with contextlib.suppress(OSError, ValueError):
            name = (zone / "name").read_text(encoding="ascii").strip()
            if re.fullmatch(r"intel-rapl:\d+", zone.name) and name.startswith("package"):
                most = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
                yield Counter(f"cpu {name}", _file(zone / "energy_uj"), most)


def _file(file: Path) -> Callable[[], int]:
    return lambda: int(file.read_text(encoding="ascii"))


def _gpu() -> Iterator[Counter]:
    """The counter of the GPU that torch computes on, by its UUID: numbers differ where some GPUs are hidden."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    with contextlib.suppress(OSError):
        yield Counter("gpu", nvml_energy(ctypes.CDLL(LIBRARY), f"GPU-{uuid}"))


def nvml_energy(library: Any, uuid: str) -> Callable[[], int]:
    """Microjoules of the GPU `uuid` since its driver was loaded; raises OSError where NVML does not know them."""

    def ask(name: str, *arguments: object) -> None:
        code = getattr(library, name)(*arguments)
        if code != 0:
            raise OSError(f"{name} answers {code}")

    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    ask("nvmlInit_v2")
    ask("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(handle))

    def read() -> int:
        ask("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.byref(millijoules))
        return 1000 * millijoules.value

    return read
