"""Time the three things that a user waits for: building windows, a training step, a forecast.

    python benchmarks/speed.py [--backbone chronos-t5-nano] [--json]

Medians over repeats on this machine, on simulated 5-minute series, 72 → 36 steps.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from loracast import costs
from loracast.backbones import load_backbone
from loracast.config import ArmSpec, SplitSpec, WindowSpec
from loracast.data.frame import open_table, patients_of
from loracast.data.mimic3 import read_mimic3
from loracast.data.simulate import simulate
from loracast.data.split import split_patients
from loracast.data.windows import cut_windows
from loracast.forecast import rows_of
from loracast.methods import METHODS, attach
from loracast.series import LEVELS


def median_seconds(task: Callable[[], object], repeats: int) -> float:
    """Median wall time of `task`, after one run that does not count."""
    task()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="chronos-t5-nano")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        read_mimic3(simulate(work / "tables"), work / "v.parquet", grid="5min")
        table = open_table(work / "v.parquet")
        sides = split_patients(patients_of(table), SplitSpec())
        number = iter(range(1000))
        build = median_seconds(
            lambda: cut_windows(table, sides, WindowSpec(), work / f"w{next(number)}"), arguments.repeats
        )
        windows = cut_windows(table, sides, WindowSpec(), work / "windows")
        context, future = map(torch.from_numpy, windows.train.batch(slice(0, 32)))
        rows = rows_of(windows.train, slice(0, 32))
        found = {"windows": sum(windows.meta["counts"].values()), "build_windows_seconds": build}
        for name, method in METHODS.items():
            backbone = load_backbone(arguments.backbone)
            attach(backbone, ArmSpec(backbone=arguments.backbone, method=name))
            if method.trains:
                found[f"{name}_step_milliseconds_batch_32"] = 1000 * median_seconds(
                    lambda backbone=backbone: backbone.loss(context, future, rows).backward(), arguments.repeats
                )
        backbone = load_backbone(arguments.backbone)
        generator = torch.Generator().manual_seed(0)
        found["forecast_milliseconds_per_window"] = (
            1000
            * median_seconds(
                lambda: backbone.forecast(
                    context, 36, levels=LEVELS, samples=arguments.samples, generator=generator, rows=rows
                ),
                arguments.repeats,
            )
            / len(context)
        )
    result = {"backbone": arguments.backbone, "samples": arguments.samples, "hardware": costs.hardware(), **found}
    if arguments.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key}: {value:.2f}" if isinstance(value, float) else f"{key}: {value}")


if __name__ == "__main__":
    main()
