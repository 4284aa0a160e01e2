"""Does the dropout of a pretrained base help validation, with LoRA and in full? The default of `base_dropout`.

    python benchmarks/dropout.py TABLE.parquet … [--rate 0.1] [--steps 120] [--seeds 3] [--json benchmarks/dropout.json]

chronos-t5-nano with the dropout that every released Chronos has (0.1; its own config has none, and it was pretrained
without), adapted with and without it from the same seeds on the same windows, 24 → 6 steps. Told is the lowest
validation loss of each run, and how far it is above that of the twin without. All else is the default of `TrainSpec`.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import set_seed

from loracast.data.table import Table
from loracast.data.windows import Windows, split_and_cut
from loracast.models.registry import load_backbone
from loracast.spec import SplitSpec, TrainSpec, WindowSpec
from loracast.training import cost as costs
from loracast.training.fit import fit
from loracast.training.task import window_task
from loracast.tuning.attach import attach
from loracast.tuning.method import Method
from loracast.tuning.methods import Full, LoRA

MODEL = "chronos-t5-nano"
METHODS: tuple[Method, ...] = (LoRA(rank=2), Full())
VALIDATED = 200


def with_dropout(net: nn.Module, rate: float) -> None:
    """Give the network the dropout of the released ones."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = rate


def losses(windows: Windows, method: Method, seed: int, spec: TrainSpec, rate: float) -> list[float]:
    """The validation losses of one training, by step."""
    model = load_backbone(MODEL)
    with_dropout(model.net, rate)
    set_seed(seed)
    attached = attach(model, method)
    task = window_task(attached, windows.train, windows.validation, name=method.short, validation_windows=VALIDATED)
    spec = spec.model_copy(update={"learning_rate": method.rate(model.card.parameters)})
    with tempfile.TemporaryDirectory() as folder:
        curve = fit(task, spec, Path(folder), seed=seed, progress=False)
    return [entry["loss"] for entry in curve.validation]


def compared(table: Path, method: Method, spec: TrainSpec, seeds: int, rate: float) -> dict[str, Any]:
    """The runs of a method on a table, with and without, seed by seed."""
    found: dict[bool, list[list[float]]] = {True: [], False: []}
    opened = Table.open(table)
    with tempfile.TemporaryDirectory() as folder:
        windows = split_and_cut(opened, SplitSpec(), WindowSpec(context=24, horizon=6), Path(folder) / "windows")
        for seed in range(seeds):
            for on in found:
                own = spec.model_copy(update={"base_dropout": on})
                found[on].append(losses(windows, method, seed, own, rate))
    best = {on: [min(run) for run in runs] for on, runs in found.items()}
    return {
        "table": table.stem,
        "fingerprint": opened.fingerprint,
        "method": method.short,
        "windows": windows.meta["counts"],
        "start": found[False][0][0],
        "with": best[True],
        "without": best[False],
        "worse_with": [one - other for one, other in zip(best[True], best[False], strict=True)],
        "curves_with": found[True],
        "curves_without": found[False],
    }


def told(row: dict[str, Any]) -> str:
    """A line of the table."""
    apart = row["worse_with"]
    return (
        f"{row['table']:<12}{row['method']:<10} {row['start']:.4f} at the start; "
        f"with {statistics.mean(row['with']):.4f}, "
        f"without {statistics.mean(row['without']):.4f}: {statistics.mean(apart):+.4f} with "
        f"({min(apart):+.4f} to {max(apart):+.4f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = TrainSpec(steps=arguments.steps, evaluate_every=20)
    facts = {"model": MODEL, "rate": arguments.rate, "training": spec.model_dump(mode="json"), "seeds": arguments.seeds}
    facts |= {"hardware": costs.hardware(), "versions": costs.versions()}
    rows: list[dict[str, Any]] = []
    for table in arguments.tables:
        for method in METHODS:
            rows.append(compared(table, method, spec, arguments.seeds, arguments.rate))
            print(told(rows[-1]), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
