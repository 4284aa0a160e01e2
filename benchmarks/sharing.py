"""What does a rank sweep save by running as one experiment? Against one experiment for each rank.

    python benchmarks/sharing.py OUT.json [--table vitals.parquet] [--ranks 1,2,4,8,16,32,64] [--steps 20]

Once zero-shot and all ranks in one `loracast run`, once zero-shot and one rank in a `loracast run` for each: what is
shared are the start of Python, the cut windows, the naive floors and the zero-shot arm. Both in processes of their
own, one seed, on the table given or on simulated patients. Prints both times and their ratio, and writes them.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from loracast.data.readers.mimic3 import Mimic3Reader
from loracast.data.simulator import simulate
from loracast.files import read_json, write_json
from loracast.training import cost as costs


def experiment(name: str, table: Path, arguments: argparse.Namespace, ranks: list[int]) -> str:
    """The TOML of zero-shot and these ranks."""
    arms = [f'[[arms]]\nmodel = "{arguments.backbone}"\nmethod = "zero-shot"']
    arms += [f'[[arms]]\nmodel = "{arguments.backbone}"\nmethod = "lora"\nrank = {rank}' for rank in ranks]
    head = [
        f'name = "{name}"',
        "seeds = [0]",
        f'[data]\nsource = "table"\npath = {json.dumps(str(table.resolve()))}',
        f"[windows]\nstride = {arguments.stride}",
        f"[training]\nsteps = {arguments.steps}\nevaluate_every = {arguments.steps}\nvalidation_windows = 128",
        f"[forecast]\nsamples = {arguments.samples}",
    ]
    return "\n".join([*head, *arms]) + "\n"


def timed(name: str, work: Path, table: Path, arguments: argparse.Namespace, ranks: list[int]) -> dict[str, Any]:
    """Seconds of one `loracast run`, and what of them its arms trained and forecast."""
    file, out = work / f"{name}.toml", work / name
    file.write_text(experiment(name, table, arguments, ranks), encoding="utf-8")
    start, spent = time.monotonic(), processor_seconds()
    subprocess.run(
        [sys.executable, "-m", "loracast", "run", str(file), "--out", str(out)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.monotonic() - start
    results = [read_json(found) for found in sorted((out / "runs").glob("*/result.json"))]
    train = sum(result["costs"]["train_seconds"] for result in results)
    forecast = sum(result["costs"]["forecast_seconds"] for result in results)
    spent = processor_seconds() - spent
    return {
        "seconds": seconds,
        "processor": spent,
        "train": train,
        "forecast": forecast,
        "rest": seconds - train - forecast,
    }


def processor_seconds() -> float:
    """What the processes that have ended took of the processor: a busy machine stretches it less than the wall time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--table", type=Path, help="a long table; simulated patients if not given")
    parser.add_argument("--backbone", default="chronos-t5-nano")
    parser.add_argument("--ranks", default="1,2,4,8,16,32,64")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--stride", type=int, default=72, help="steps between windows: a longer one leaves fewer")
    parser.add_argument("--patients", type=int, default=40, help="how many to simulate")
    arguments = parser.parse_args()
    ranks = [int(rank) for rank in arguments.ranks.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        table = arguments.table
        if table is None:
            table = work / "vitals.parquet"
            Mimic3Reader(path=simulate(work / "tables", patients=arguments.patients), grid="5min").read(table)
        together = timed("together", work, table, arguments, ranks)
        apart = [timed(f"rank-{rank}", work, table, arguments, [rank]) for rank in ranks]
    alone = {part: sum(one[part] for one in apart) for part in together}
    settings = {key: value for key, value in vars(arguments).items() if key not in ("out", "table")}
    result = {
        "settings": settings | {"simulated": arguments.table is None},
        "hardware": costs.hardware(),
        "versions": costs.versions(),
        "together": together,
        "apart": alone,
        "ratio": alone["seconds"] / together["seconds"],
        "processor_ratio": alone["processor"] / together["processor"],
    }
    write_json(arguments.out, result)
    for name, parts in (("together", together), ("apart", alone)):
        print(f"{name}: " + ", ".join(f"{part} {seconds:.1f} s" for part, seconds in parts.items()))
    print(f"Together {result['ratio']:.2f} times as fast, {result['processor_ratio']:.2f} times by processor time.")


if __name__ == "__main__":
    main()
