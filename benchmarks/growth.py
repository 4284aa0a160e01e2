"""Measure how processor time and memory grow: with windows, patients, series, paths, horizon, context, batch and arms.

    python benchmarks/growth.py [--only WORD] [--most SIZE] [--json benchmarks/growth.json]

Every size is measured in a process of its own, forked after the imports: user and system time of the part that is
measured, on one thread, after a first call of a small size, the median of three such processes where it is short; and
the largest resident size (`ru_maxrss`) less what was there before. The exponent of a curve is the slope of log time
against log size by least squares; the exit code is 1 where it is more than `ALLOWED` above that of the work itself. The
forecasts are those of the last value and of the nano T5. With `--most`, curves that say so have one more size
(1,000,000 windows or series take some minutes).
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from typing import Any

ALLOWED = 0.15
REPEATS, AT_ONCE = 3, 0.5
"""Processes a size, and the seconds above which one will do."""
ROOT = Path(__file__).parents[1]
CONTEXT, HORIZON = 72, 36
Task = Callable[[], object]


@dataclass(frozen=True)
class Curve:
    """What grows, the sizes at which it is measured, and what is made ready for a size before the clock starts."""

    what: str
    against: str
    sizes: tuple[int, ...]
    ready: Callable[[int, Path], Task]
    work: float = 1.0
    """The exponent of the work itself: how often something must be done, against the size."""
    kept: str = "nothing"
    """What of every one has to be kept in memory."""
    first: int = 64
    """A size that is run before, so that what is done once in a process does not count; 0 for none."""
    further: bool = False
    """Whether `--most` makes it longer."""


def a_window_set(count: int, *, patients: int, horizon: int = HORIZON) -> Any:
    """Windows that overlap on one long series, of patients in a row and two signals in turn."""
    import numpy as np

    from loracast.data.windows import WindowSet

    rng, number = np.random.default_rng(0), np.arange(count)
    values = (80 + np.cumsum(rng.normal(size=10_000 + CONTEXT + horizon)) % 20).astype(np.float32)
    index = np.column_stack([number % 10_000, number * patients // count, number % 2, number * 3600, number])
    units = {"heart_rate": "1/min", "map": "mmHg"}
    return WindowSet(values, index, CONTEXT, horizon, 1, 3600, tuple(units), units)


def scoring(count: int, *, patients: int, horizon: int = HORIZON) -> Task:
    """Last values of these windows, scored and added up."""
    from loracast.models.forecast import forecaster, score
    from loracast.models.registry import load_model
    from loracast.spec import ForecastSpec

    windows = a_window_set(count, patients=patients, horizon=horizon)
    one = forecaster(load_model("last-value"), ForecastSpec())
    return lambda: score(one, windows, batch_size=64, label="", progress=False)


def a_table(series: int, folder: Path) -> Path:
    """A long table of so many series with 30 hourly values, written a thousand series at a time."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from loracast.data.checked import LONG_SCHEMA

    length, path = 30, folder / "long.parquet"
    rng, hours = (
        np.random.default_rng(0),
        np.datetime64("2150-01-01", "us") + np.arange(length) * np.timedelta64(1, "h"),
    )
    with pq.ParquetWriter(path, LONG_SCHEMA) as writer:
        for first in range(0, series, 1000):
            count = min(1000, series - first)
            row = pa.array(np.repeat(np.arange(count), length))
            stay = [f"{number:09d}" for number in range(first, first + count)]
            columns = [stay, stay, [f"{name}/map" for name in stay], ["map"] * count]
            texts = [pa.array(column, pa.string()).take(row) for column in columns]
            values = 80 + rng.normal(size=count * length)
            writer.write_table(pa.table([*texts, np.tile(hours, count), values], schema=LONG_SCHEMA))
    return path


def forecasting(series: int, folder: Path) -> Task:
    """`loracast forecast` of a table, opened and checked, by the last value: what there is besides a network."""
    from loracast.data.table import Table
    from loracast.models.registry import load_model
    from loracast.spec import ForecastSpec, WindowSpec
    from loracast.study.steps.ahead import ForecastPlan, write_forecasts
    from loracast.types import LEVELS

    path, model = a_table(series, folder), load_model("last-value")
    spec = WindowSpec(context=24, horizon=HORIZON).resolved(3600)
    plan = ForecastPlan(model, spec, ForecastSpec(), LEVELS)
    return lambda: write_forecasts(Table.open(path), plan, folder / "out.parquet", progress=False)


def drawing(
    *, paths: int = 20, windows: int = 32, context: int = CONTEXT, horizon: int = HORIZON, batch: int = 32
) -> Task:
    """Forecasts of the nano T5."""
    import numpy as np
    import torch

    from loracast.models.forecast import predict
    from loracast.models.registry import load_model
    from loracast.spec import ForecastSpec
    from loracast.types import Rows

    model, spec = load_model("chronos-t5-nano"), ForecastSpec(samples=paths)
    values = (80 + np.random.default_rng(0).normal(size=(windows, context))).astype(np.float32)
    number = torch.arange(windows)

    def forecast() -> None:
        for first in range(0, windows, batch):
            some = slice(first, first + batch)
            rows = Rows(number[some], 3600, None, 1, number[some])
            predict(model, values[some], horizon, spec, rows)

    return forecast


def drawing_again(patients: int, *, influence: bool = False) -> Task:
    """The intervals of all scores of an arm with three seeds, or what each patient decides."""
    import numpy as np

    from loracast.scoring import bootstrap
    from loracast.scoring.cells import METRICS
    from loracast.scoring.influence import influence as influence_of
    from loracast.scoring.sums import PatientSums

    rng, count = np.random.default_rng(0), len(METRICS)
    sums, counts = rng.random((count, 3, patients)), rng.integers(1, 50, (count, patients)).astype(float)
    arm = PatientSums(
        scores=tuple(METRICS),
        patients=np.arange(patients),
        sums=sums,
        counts=counts,
        step_sums=sums.sum(axis=2, keepdims=True),
        step_counts=counts.sum(axis=1, keepdims=True),
        targets=np.zeros(patients),
        windows=patients,
        worst=np.full((2, 3, patients), np.nan),
    )
    return (lambda: influence_of(arm, arm)) if influence else (lambda: bootstrap.estimates([arm]))


def reporting(arms: int, folder: Path) -> Task:
    """The report of the committed MIMIC-III demo with its arms as often as it takes, under other names."""
    from loracast.report import write_report
    from loracast.report.results import summary_in
    from loracast.study.summary import SUMMARY, write_facts

    summary = summary_in(ROOT / "results" / "mimic3-demo")
    many = [
        one if not again else one.model_copy(update={"arm": f"{one.arm} ({again})"})
        for again in range(math.ceil(arms / len(summary.arms)))
        for one in summary.arms
    ]
    write_facts(summary.model_copy(update={"arms": many[:arms]}), folder / SUMMARY)
    return lambda: write_report(folder)


CURVES = {
    "windows": Curve(
        "score, 100 patients", "windows", (2_000, 8_000, 32_000), lambda n, _: scoring(n, patients=100), further=True
    ),
    "patients": Curve(
        "score, 4 windows a patient",
        "patients",
        (500, 2_000, 8_000),
        lambda n, _: scoring(4 * n, patients=n),
        kept="their sums",
    ),
    "series": Curve("open a table and forecast it", "series", (1_000, 6_000, 36_000), forecasting, further=True),
    "horizon": Curve(
        "score, 1,000 windows",
        "steps of horizon",
        (18, 72, 288),
        lambda n, _: scoring(1_000, patients=100, horizon=n),
        work=2,
        kept="sums of each step",
    ),
    "paths": Curve(
        "forecast 4 windows by a T5", "paths", (25, 100, 400), lambda n, _: drawing(paths=n, windows=4), first=2
    ),
    "steps": Curve(
        "forecast 8 windows by a T5",
        "steps of horizon",
        (8, 24, 64),
        lambda n, _: drawing(horizon=n, windows=8),
        first=1,
    ),
    "context": Curve(
        "forecast 8 windows by a T5",
        "steps of context",
        (64, 128, 256),
        lambda n, _: drawing(context=n, windows=8),
        first=0,
    ),
    "batch": Curve(
        "forecast 32 windows by a T5",
        "windows a batch",
        (16, 32),
        lambda n, _: drawing(windows=32, batch=n),
        first=0,
        work=0,
    ),
    "bootstrap": Curve(
        "intervals of 9 scores, 3 seeds",
        "patients",
        (1_000, 4_000, 16_000),
        lambda n, _: drawing_again(n),
        kept="their sums",
    ),
    "influence": Curve(
        "what each patient decides",
        "patients",
        (1_000, 4_000, 16_000),
        lambda n, _: drawing_again(n, influence=True),
        kept="their sums",
    ),
    "arms": Curve("write a report", "arms", (8, 16, 32), reporting, kept="their scores", first=0),
}


def measure(name: str, size: int) -> dict[str, float]:
    """Seconds and bytes of one size, in this process."""
    with tempfile.TemporaryDirectory() as work:
        if CURVES[name].first:
            CURVES[name].ready(CURVES[name].first, Path(work))()
        task = CURVES[name].ready(size, Path(work))
        before, start = getrusage(RUSAGE_SELF).ru_maxrss, time.process_time()
        task()
        seconds = time.process_time() - start
    added = getrusage(RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "bytes": added * (1 if sys.platform == "darwin" else 1024)}


def measured(name: str, size: int) -> dict[str, float]:
    """The median of some processes of their own, of one where it takes long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["loracast.study.steps.ahead", "loracast.models.chronos_t5", "loracast.report.page"])
    found: list[dict[str, float]] = []
    while not found or (len(found) < REPEATS and found[0]["seconds"] < AT_ONCE):
        with ProcessPoolExecutor(1, mp_context=context) as fresh:
            found.append(fresh.submit(measure, name, size).result())
    return {"size": size, **{key: median(one[key] for one in found) for key in ("seconds", "bytes")}}


def slope(points: list[dict[str, float]], key: str) -> float:
    """The exponent: the slope of the logarithms by least squares."""
    x, y = ([math.log(max(point[name], 1e-9)) for point in points] for name in ("size", key))
    middle, height = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def curve_of(name: str, most: int) -> dict[str, Any]:
    """One curve, measured and fitted."""
    curve = CURVES[name]
    sizes = list(curve.sizes)
    if curve.further and sizes[-1] < most:
        sizes.append(most)
    points = [measured(name, size) for size in sizes]
    exponent = round(slope(points, "seconds"), 2)
    return {
        **{key: getattr(curve, key) for key in ("what", "against", "work", "kept")},
        "name": name,
        "points": [{key: round(value, 4) for key, value in point.items()} for point in points],
        "exponent": exponent,
        "faster": exponent > curve.work + ALLOWED,
    }


def told(curve: dict[str, Any]) -> str:
    """A line for each curve: sizes, seconds, megabytes."""
    points = ", ".join(f"{p['size']:,}: {p['seconds']:.2f} s {p['bytes'] / 1e6:.0f} MB" for p in curve["points"])
    faster = "  FASTER THAN ITS WORK" if curve["faster"] else ""
    return f"{curve['what']} against {curve['against']}: {points}; exponent {curve['exponent']:.2f}{faster}"


def kept_in(file: Path) -> dict[str, dict[str, Any]]:
    """The curves that a file holds, by name: of these, `--only` replaces those that it measures again."""
    if not file.is_file():
        return {}
    return {curve["name"]: curve for curve in json.loads(file.read_text(encoding="utf-8"))["curves"]}


def main() -> None:
    """Measure and print; ends with 1 where a curve grows faster than its work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of a curve's name")
    parser.add_argument("--most", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # before anything is imported
    from loracast.training import cost

    command = f"python benchmarks/growth.py --most {arguments.most} --json benchmarks/growth.json"
    facts = {"command": command, "hardware": cost.hardware(), "versions": cost.versions()}
    kept = kept_in(arguments.json) if arguments.json and arguments.only else {}
    found: dict[str, dict[str, Any]] = {}
    for name in CURVES:
        if arguments.only in name:
            found[name] = curve_of(name, arguments.most)
            print(told(found[name]), flush=True)
            if arguments.json:
                curves = [one for one in map((kept | found).get, CURVES) if one is not None]
                text = json.dumps({**facts, "curves": curves}, indent=2)
                arguments.json.write_text(text + "\n", encoding="utf-8")
    sys.exit(any(curve["faster"] for curve in found.values()))


if __name__ == "__main__":
    main()
