"""Forecasts against the models' own libraries: the same weights, windows and threads, in turns, after a proof.

    make bench-peers
    python benchmarks/peers/run.py [--only chronos-t5] [--repeats 5] [--threads 2] [--json benchmarks/peers.json]
    python benchmarks/peers/run.py --check benchmarks/peers.json

Weights are random, of released shapes: nothing is downloaded but the libraries, into `.peers/`, by the pins beside this
file. First it is shown that both sides compute the same (how: `CASES`); a case that fails that is not timed. Then each
side does the work in a process of its own, the other one waiting, once unmeasured and then in turns. Written are the
medians of wall and processor time with their range, the ratios (theirs over ours: above 1, loracast is faster), the
peak memory, and the floor: the operations that the work needs over the rate of one plain product of matrices on this
machine. With --check the same is measured again, and it ends with 1 where a ratio has dropped by a quarter.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sides import loracast as ours
from torch.utils.flop_counter import FlopCounterMode

from loracast.training import cost as costs

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".peers"
DROP = 0.75
LEVELS = np.arange(1, 10) / 10
PATHS_OF_PROOF = 400

CASES: dict[str, dict[str, Any]] = {
    "Chronos-T5 tiny, 32 windows × 20 paths": {
        "model": "chronos-t5-tiny", "family": "chronos-t5", "peer": "chronos_forecasting", "windows": 32,
        "samples": 20,
    },
    "Chronos-Bolt tiny, 256 windows": {
        "model": "chronos-bolt-tiny", "family": "chronos-bolt", "peer": "chronos_forecasting", "windows": 256,
    },
    "Chronos-Bolt tiny, 256 windows, AutoGluon": {
        "model": "chronos-bolt-tiny", "family": "chronos-bolt", "peer": "autogluon_timeseries", "windows": 256,
    },
    "Chronos-2, 32 windows": {
        "model": "chronos-2", "family": "chronos-2", "peer": "chronos_forecasting", "windows": 32,
    },
    "MOIRAI small, 32 windows × 100 samples, patches of 16": {
        "model": "moirai-1.1-R-small", "family": "moirai", "peer": "uni2ts", "windows": 32, "samples": 100, "patch": 16,
    },
    "MOIRAI small, 32 windows × 100 samples, patches of 32": {
        "model": "moirai-1.1-R-small", "family": "moirai", "peer": "uni2ts", "windows": 32, "samples": 100, "patch": 32,
    },
}  # fmt: skip
"""What is compared, 72 steps seen and 36 forecast. The proof: of Chronos-T5 the path of the likeliest tokens, of
Chronos-Bolt and Chronos-2 the quantiles, both to 1e-4 of the largest; of MOIRAI that as many of uni2ts' samples lie
below each of our quantiles as its level says, to four standard errors."""


class Side:
    """One side's process."""

    def __init__(self, python: Path | str, side: str, case: Path, model: Path, context: Path, threads: int) -> None:
        call = [str(python), "work.py", side, str(case), str(model), str(context), str(threads)]
        self._process = subprocess.Popen(
            call, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, text=True
        )

    def ask(self, order: str = "again") -> dict[str, float]:
        """Do the work once; raises RuntimeError where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a side ended with {self._process.wait()}: {self._process.args}")
        return dict(json.loads(answer))

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate()


def environment(peer: str) -> Path | str:
    """The Python of a peer's environment, which is built from its pins where it is not there yet."""
    pins = HERE / "pins" / f"{peer}.txt"
    if not pins.is_file():
        return sys.executable  # a library that loracast needs itself, by its own constraints
    folder = ENVIRONMENTS / peer
    python = folder / "bin" / "python"
    done = folder / ".pins"
    if not done.is_file() or done.read_text() != pins.read_text():
        print(f"Building {folder.name} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        named = pins.read_text().split()
        own = [pin for pin in named if pin.startswith(f"{peer}==")]
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *(pin for pin in named if pin not in own)], check=True)
        if own:  # without what its own metadata ask for: another torch
            subprocess.run([*install, "--no-deps", *own], check=True)
        done.write_text(pins.read_text())
    return python


def windows(count: int, context: int) -> np.ndarray:
    """Random walks around 80, a few steps missing."""
    rng = np.random.default_rng(0)
    walk = 80 + rng.normal(size=(count, context)).cumsum(axis=1)
    walk[rng.random(walk.shape) < 0.02] = np.nan
    walk[:, -1] = 80
    return walk.astype(np.float32)


def proved(case: dict[str, Any], place: Path, sides: Callable[[dict[str, Any], Path], list[Side]], model: Path) -> str:
    """How far both sides agree, in words; raises RuntimeError where they do not."""
    if case["family"] == "chronos-t5":
        greedy = place / "greedy"
        ours.make(case, str(greedy))
        config = json.loads((greedy / "config.json").read_text())
        config["chronos_config"]["top_k"] = 1
        (greedy / "config.json").write_text(json.dumps(config))
        model = greedy
    own, other = sides(case, model)
    own.ask(f"save {place / 'own.npy'}")
    if case["family"] == "moirai":
        other.ask(f"samples {PATHS_OF_PROOF} {place / 'other.npy'}")
    else:
        other.ask(f"save {place / 'other.npy'}")
    own.end()
    other.end()
    found, reference = np.load(place / "own.npy"), np.load(place / "other.npy")
    if case["family"] == "moirai":
        # A mixture with whole numbers has shares at single values: a level lies between what is below and what is not
        # above its quantile.
        room, draws, quantiles = 1e-5 * np.abs(found[:, None]), reference[:, :, :, None], found[:, None]
        below, up_to = ((draws < quantiles + one).mean(axis=(0, 1, 2)) for one in (-room, room))
        error = np.sqrt(LEVELS * (1 - LEVELS) / reference.size)
        far = float(np.maximum((below - LEVELS) / error, (LEVELS - up_to) / error).max())
        if far > 4:
            raise RuntimeError(f"shares below our quantiles are {below} to {up_to}, {far:.1f} standard errors off")
        return f"{reference.size:,} samples lie below our quantiles as levels say, to {max(far, 0):.1f} standard errors"
    far = float(np.abs(found - reference).max() / np.abs(reference).max())
    if not far < 1e-4:
        raise RuntimeError(f"the forecasts differ by {far:.2g} of the largest")
    what = "likeliest paths" if case["family"] == "chronos-t5" else "quantiles"
    return f"{what} agree to {far:.1g} of the largest"


def rate(threads: int) -> float:
    """Operations a second of a plain product of matrices in float32."""
    torch.set_num_threads(threads)
    one = torch.randn(1024, 1024)
    best = min(_seconds(lambda: one @ one) for _ in range(20))
    return float(2 * 1024**3 / best)


def _seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def measured(name: str, case: dict[str, Any], arguments: argparse.Namespace, speed: float) -> dict[str, Any]:
    """Prove, then time in turns; what went wrong is in the row."""
    case = {"context": 72, "horizon": 36, **case}
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        np.save(place / "context.npy", windows(case["windows"], case["context"]))
        python = environment(case["peer"])
        ours.make(case, str(place / "model"))

        def sides(wanted: dict[str, Any], model: Path) -> list[Side]:
            (place / "case.json").write_text(json.dumps(wanted))
            common = (place / "case.json", model, place / "context.npy", arguments.threads)
            return [Side(sys.executable, "loracast", *common), Side(python, case["peer"], *common)]

        proof = proved(case, place, sides, place / "model")
        print(f"{name}: {proof}", file=sys.stderr)
        both = sides(case, place / "model")
        times: list[list[dict[str, float]]] = [[], []]
        for repeat in range(arguments.repeats + 1):
            for side, found in zip(both, times, strict=True):
                answer = side.ask()
                if repeat:
                    found.append(answer)
        for side in both:
            side.end()
        with FlopCounterMode(display=False) as counter:
            ours.prepare(case, str(place / "model"))(np.load(place / "context.npy"))
    own, other = ({key: [one[key] for one in found] for key in found[0]} for found in times)
    floor = counter.get_total_flops() / speed
    return {
        "case": name, **case, "proof": proof,
        "ours": _told(own), "theirs": _told(other),
        "ratio": round(median(other["wall"]) / median(own["wall"]), 2),
        "ratio_cpu": round(median(other["cpu"]) / median(own["cpu"]), 2),
        "operations": counter.get_total_flops(), "floor_seconds": round(floor, 4),
        "ours_over_floor": round(median(own["wall"]) / floor, 2),
    }  # fmt: skip


def _told(found: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "wall": round(median(found["wall"]), 4), "wall_range": [round(f(found["wall"]), 4) for f in (min, max)],
        "cpu": round(median(found["cpu"]), 4), "cpu_range": [round(f(found["cpu"]), 4) for f in (min, max)],
        "peak_bytes": max(found["peak"]), "peak_above_start_bytes": max(found["peak"]) - max(found["before"]),
    }  # fmt: skip


def main() -> None:
    """Measure, print and write; with --check, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of a case's name")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", type=Path, help="a file of an earlier run; nothing is written")
    arguments = parser.parse_args()
    speed = rate(arguments.threads)
    rows = []
    for name, case in CASES.items():
        if arguments.only.lower() in name.lower():
            row = measured(name, case, arguments, speed)
            rows.append(row)
            print(
                f"{name}: ours {row['ours']['wall']:.3f} s, theirs {row['theirs']['wall']:.3f} s, ratio {row['ratio']} "
                f"({row['ratio_cpu']} of processor time), {row['ours_over_floor']} × the floor",
                flush=True,
            )
    if arguments.check:
        known = {row["case"]: row["ratio_cpu"] for row in json.loads(arguments.check.read_text())["rows"]}
        dropped = [row["case"] for row in rows if row["ratio_cpu"] < DROP * known.get(row["case"], 0)]
        if dropped:
            sys.exit(f"A quarter slower against its peer than before: {'; '.join(dropped)}.")
        return
    if arguments.json:
        names = ("loracast", "torch", "transformers", "chronos-forecasting", "numpy")
        pins = {file.stem: file.read_text().split() for file in sorted((HERE / "pins").glob("*.txt"))}
        arguments.json.write_text(
            json.dumps(
                {
                    "threads": arguments.threads, "repeats": arguments.repeats, "operations_per_second": round(speed),
                    "hardware": costs.hardware(), "versions": {name: version(name) for name in names}, "pins": pins,
                    "rows": rows,
                },
                indent=2,
            )
            + "\n"
        )  # fmt: skip


if __name__ == "__main__":
    main()
