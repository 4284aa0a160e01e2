"""How the benchmarks take a time."""

import statistics
import time
from collections.abc import Callable


def median_seconds(task: Callable[[], object], repeats: int, *, processor: bool = False) -> float:
    """Median wall time of `task`, or processor time of all its threads, after one run that does not count."""
    now = time.process_time if processor else time.perf_counter
    task()
    times = []
    for _ in range(repeats):
        start = now()
        task()
        times.append(now() - start)
    return statistics.median(times)
