"""Of a training step, what share does each part take? Tokens, patches and scaling do not depend on the adapter.

    python benchmarks/shares.py [--backbones chronos-t5-nano,moirai-nano,lag-llama-nano] [--steps 30] [--json]

Parts are read through clocks put around each family's own functions, on synthetic windows of 72 → 36 steps in batches
of 32, for LoRA of rank 2. "inputs" is what a cache of the windows as the network reads them would save at most.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader

from loracast.models.base import Backbone
from loracast.models.nets import lag_llama_window, packing
from loracast.models.registry import load_backbone
from loracast.study.bench.windows import synthetic_windows
from loracast.training import cost as costs
from loracast.training.task import Examples
from loracast.tuning.attach import attach
from loracast.tuning.methods import LoRA
from loracast.types import Rows

PARTS = ("windows", "inputs", "forward", "backward", "optimizer")
WARM_UP = 5


class Clock:
    """Seconds spent in functions, the outermost call counted."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def around(self, owner: Any, *names: str) -> None:
        """Time these functions of a module or an object."""
        for name in names:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, task: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return task(*arguments, **named)
            self._inside, start = True, time.perf_counter()
            try:
                return task(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - start
                self._inside = False

        return timed


def watch(backbone: Backbone, clock: Clock) -> None:
    """Put the clock around what a family makes of a window before its network reads it."""
    family: Any = backbone
    if backbone.card.family == "chronos-t5":
        clock.around(family._pipeline.tokenizer, "context_input_transform", "_input_transform")
    elif backbone.card.family == "moirai":
        clock.around(packing, "pack")
        clock.around(family, "_arranged")
    elif backbone.card.family == "lag-llama":
        clock.around(lag_llama_window, "lagged", "features", "rotation")
        clock.around(family, "_window")
    else:
        raise SystemExit(f"No clocks for the family {backbone.card.family}.")


def shares(name: str, steps: int, batch_size: int = 32) -> dict[str, float]:
    """Median milliseconds of a step, and the share of each part in it."""
    backbone, clock = load_backbone(name), Clock()
    torch.manual_seed(0)
    attached = attach(backbone, LoRA(rank=2))
    watch(backbone, clock)
    examples = Examples(synthetic_windows((steps + WARM_UP) * batch_size, 72, 36))
    optimizer = torch.optim.AdamW(attached.trainable.values(), lr=1e-3)
    backbone.net.train()
    loader = iter(DataLoader(examples, batch_size=batch_size, collate_fn=examples.together))
    rows = []
    for _ in range(steps + WARM_UP):
        marks = [time.perf_counter()]
        batch = next(loader)
        marks.append(time.perf_counter())
        clock.seconds = 0.0
        loss = backbone.loss(batch["context"], batch["future"], Rows(batch["start"], 300))
        marks.append(time.perf_counter())
        loss.backward()  # type: ignore[no-untyped-call]
        marks.append(time.perf_counter())
        optimizer.step()
        optimizer.zero_grad()
        marks.append(time.perf_counter())
        windows, passed, backward, optimized = (after - before for before, after in itertools.pairwise(marks))
        rows.append((windows, clock.seconds, passed - clock.seconds, backward, optimized, marks[-1] - marks[0]))
    *parts, whole = (statistics.median(column) for column in zip(*rows[WARM_UP:], strict=True))
    return {"milliseconds": 1000 * whole, **{part: p / whole for part, p in zip(PARTS, parts, strict=True)}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", default="chronos-t5-nano,moirai-nano,lag-llama-nano")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {name: shares(name, arguments.steps) for name in arguments.backbones.split(",")}
    if arguments.json:
        print(json.dumps({"hardware": costs.hardware(), "backbones": found}))
        return
    for name, row in found.items():
        print(f"{name}: {row['milliseconds']:.0f} ms a step; " + ", ".join(f"{p} {row[p]:.1%}" for p in PARTS))


if __name__ == "__main__":
    main()
