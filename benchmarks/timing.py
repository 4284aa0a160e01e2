"""How the benchmarks take a time."""

import statistics
import time
from collections.abc import Callable


def median_seconds(task: Callable[[], object], repeats: int) -> float:
    """Median wall time of `task`, after one run that does not count."""
    task()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
