"""Time how long it takes to cut windows: the step before training that grows with the data.

    python benchmarks/windows.py [--patients 120] [--repeats 5] [--json]

Median over repeats on this machine, on simulated 5-minute series, 72 → 36 steps. What a training step and a forecast
cost is measured by `loracast bench`.
"""

import argparse
import json
import tempfile
from pathlib import Path

from timing import median_seconds

from loracast.data.readers.mimic3 import Mimic3Reader
from loracast.data.simulator import simulate
from loracast.data.split import split_patients
from loracast.data.table import Table, patients_of
from loracast.data.windows import cut_windows, open_windows
from loracast.spec import SplitSpec, WindowSpec
from loracast.training import cost as costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tables = simulate(work / "tables", patients=arguments.patients)
        Mimic3Reader(path=tables, grid="5min").read(work / "v.parquet")
        table = Table.open(work / "v.parquet")
        sides = split_patients(patients_of(table), SplitSpec())
        seconds = median_seconds(lambda: cut_windows(table, sides, WindowSpec(), work / "windows"), arguments.repeats)
        count = sum(open_windows(work / "windows").meta["counts"].values())
    result = {"windows": count, "build_windows_seconds": seconds, "hardware": costs.hardware()}
    print(json.dumps(result) if arguments.json else f"{count:,} windows in {1000 * seconds:.0f} ms")


if __name__ == "__main__":
    main()
