"""What this process may use of the machine it runs on: processor, cores, memory. No host name.

A container or a batch system often lends a part of a machine; counted is that part, because it decides the times.
"""

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


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
