"""Score forecasts in bfloat16 against float32 on real series: what the option `precision` changes.

    python benchmarks/precision.py DATA [--windows 200] [--json benchmarks/precision.json]

DATA holds `shanghai-cgm/cgm_long.csv.gz` (1 h ahead from 12 h) and `cinc2019/*.tar.xz` (6 h ahead from 24 h), as for
`zero_shot.py`. The nano backbones, as they ship, forecast the same seeded choice of windows of all patients in both,
with the same numbers from the same streams. Told are each score in float32, the difference to it in bfloat16 with its
95 % interval over patients, and the mean distance of two medians as a share of the mean width between the 10 % and 90 %
quantiles. bfloat16 is emulated where a machine has none: the scores are then what they are on one that has it, but for
rounding, and no time is told: emulation is slow.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from zero_shot import all_windows

from loracast.data.readers.cinc2019 import Cinc2019Reader
from loracast.data.readers.table import TableReader
from loracast.data.windows import WindowSet
from loracast.models.forecast import forecaster, score
from loracast.models.precision import has_bfloat16
from loracast.models.registry import backbones_here, load_backbone
from loracast.scoring.bootstrap import differences, estimates
from loracast.scoring.compare import by_signal
from loracast.scoring.sums import Sums
from loracast.spec import ForecastSpec, WindowSpec
from loracast.training import cost as costs
from loracast.types import LEVELS

SCORES = ("mae", "crps", "coverage_80")


def window_sets(data: Path, most: int, work: Path) -> dict[str, WindowSet]:
    """At most so many windows of each table, by its name."""
    cgm, cinc = work / "cgm.parquet", work / "cinc.parquet"
    glucose = {"stay": "record", "value": "cgm_mgdl", "signal": "glucose"}
    TableReader(path=data / "shanghai-cgm" / "cgm_long.csv.gz", grid="15min", **glucose).read(cgm)
    archive = next((data / "cinc2019").glob("*.tar.xz"))
    Cinc2019Reader(path=archive, signals=("heart_rate", "map")).read(cinc)
    return {
        "cinc2019": all_windows(cinc, WindowSpec(context=24, horizon=6), work / "cinc", most),
        "shanghai-cgm": all_windows(cgm, WindowSpec(context=48, horizon=4), work / "cgm", most),
    }


def scored(name: str, windows: WindowSet, spec: ForecastSpec, file: Path) -> tuple[Sums, np.ndarray]:
    """The sums of a backbone's scores, and its quantiles."""
    one = forecaster(load_backbone(name), spec)
    sums = score(one, windows, batch_size=spec.batch_size, label=f"{name}, {spec.precision}", quantiles=file)
    return sums, np.load(file)


def compared(name: str, windows: WindowSet, work: Path) -> list[dict[str, Any]]:
    """A row a signal and score."""
    found = [
        scored(name, windows, ForecastSpec(precision=precision), work / "quantiles.npy")
        for precision in ("float32", "bfloat16")
    ]
    rows = []
    for metric in SCORES:
        usual, half = (by_signal([sums], [metric]) for sums, _ in found)
        for code, signal in enumerate(windows.signals):
            mine = windows.signal == code
            before, after = (quantiles[mine] for _, quantiles in found)
            width = float((before[..., -1] - before[..., 0]).mean())
            middle = LEVELS.index(0.5)
            (whole,), (apart,) = estimates([usual[signal]]), differences([half[signal]], usual[signal])
            rows.append(
                {
                    "backbone": name,
                    "signal": signal,
                    "score": metric,
                    "float32": whole[metric].value,
                    "difference": apart.value,
                    "interval": apart.ci95,
                    "medians_apart": float(np.abs(after - before)[..., middle].mean()) / width,
                    "patients": len(usual[signal].patients),
                    "windows": int(mine.sum()),
                }
            )
    return rows


def told(row: dict[str, Any]) -> str:
    """A line of the table."""
    low, high = row["interval"]
    return (
        f"{row['backbone']:<16}{row['table']:<13}{row['signal']:<11}{row['score']:<12}{row['float32']:9.4f} "
        f"{row['difference']:+.5f} ({low:+.5f} to {high:+.5f}), medians {row['medians_apart']:.2%} of a width apart"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    facts = {
        "command": f"python benchmarks/precision.py DATA --windows {arguments.windows}",
        "samples": ForecastSpec().samples,
        "in_hardware": has_bfloat16("cuda" if torch.cuda.is_available() else "cpu"),
        "hardware": costs.hardware(),
        "versions": costs.versions(),
    }
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tables = window_sets(arguments.data, arguments.windows, work)
        for name in [one for one in backbones_here() if one.endswith("-nano")]:
            for table, windows in tables.items():
                for row in compared(name, windows, work):
                    rows.append({"table": table, **row})
                    print(told(rows[-1]), flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
