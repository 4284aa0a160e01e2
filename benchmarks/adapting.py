"""A training step against plain PEFT in a bare torch loop: processor time and peak memory, at released shapes.

    python benchmarks/adapting.py [--models chronos-t5-tiny,chronos-bolt-tiny] [--methods lora,full] [--blocks 5]
        [--json benchmarks/adapting.json]

Plain is `get_peft_model`, torch's AdamW and the network's own forward as its library has it, dropout included, float32;
ours is a step of `training.fit`. Both take the same batches of 32 windows, 72 → 36 steps, with random weights (nano:
its own): no download, the same arithmetic. First it is shown that both have the same loss and the same gradients on one
batch, with dropout off on both sides. Then blocks of steps alternate; the seconds are processor time on one thread, so
that company on the machine counts little. Memory is the largest resident size in a process of its own, in all and
above what was there before the first step. MOIRAI has one patch size here, as upstream fine-tunes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peers.sides.loracast import released
from torch import Tensor, nn
from transformers import TrainerCallback

from loracast.models.base import Backbone
from loracast.models.registry import load_backbone
from loracast.spec import TrainSpec
from loracast.study.bench.windows import synthetic_windows
from loracast.training import cost as costs
from loracast.training.fit import fit
from loracast.training.task import Batch, Examples, window_task
from loracast.tuning.attach import attach
from loracast.tuning.method import Method, PeftMethod, quiet_peft
from loracast.tuning.methods import FourierFT, Full, LoRA, VeRA

MODELS = ("chronos-t5-tiny", "chronos-bolt-tiny", "moirai-1.1-R-small", "chronos-t5-nano")
METHODS: dict[str, Method] = {"lora": LoRA(rank=2), "vera": VeRA(), "fourierft": FourierFT(), "full": Full()}
SIZE, CONTEXT, HORIZON, PATCH = 32, 72, 36, 16
WARM_UP, STEPS = 1, 2
"""Steps of a block: those that do not count, and those that do."""
RATE = 1e-3


def opened(name: str) -> Backbone:
    """The backbone at its released shapes with random weights, or with its own where they are packaged."""
    model: Any = load_backbone(name) if name.endswith("nano") else released(name)
    if model.card.family == "moirai":
        model.patch_size = PATCH
    return model  # type: ignore[no-any-return]


def forward_of(model: Any) -> Callable[[Batch], Tensor]:
    """The loss of a batch by the network's own forward."""
    if model.card.family == "moirai":
        return lambda batch: model.loss(batch["context"], batch["future"])  # the network is ours
    if model.card.family == "chronos-bolt":
        return lambda batch: model.net(context=batch["context"], target=batch["future"]).loss

    def forward(batch: Batch) -> Tensor:
        tokenizer = model._pipeline.tokenizer
        ids, mask, scale = tokenizer.context_input_transform(batch["context"])
        labels, observed, _ = tokenizer._input_transform(batch["future"], scale)
        labels[~observed] = -100
        loss: Tensor = model.net(input_ids=ids, attention_mask=mask, labels=labels).loss
        return loss

    return forward


class Plain:
    """PEFT as its manual has it, in a loop of five lines."""

    def __init__(self, name: str, method: Method) -> None:
        from peft import get_peft_model

        self.model = opened(name)
        if isinstance(method, PeftMethod):
            with quiet_peft():
                get_peft_model(self.model.net, method.config(self.model, method.pattern(self.model)))
        else:
            self.model.net.requires_grad_(True)
        self.net: nn.Module = self.model.net
        self.forward = forward_of(self.model)
        self.optimizer = torch.optim.AdamW([p for p in self.net.parameters() if p.requires_grad], lr=RATE)

    def steps(self, batches: list[Batch]) -> list[float]:
        """Seconds of processor time of each step."""
        self.net.train()
        found = []
        for batch in batches:
            start = time.process_time()
            self.forward(batch).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad()
            found.append(time.process_time() - start)
        return found


class Seconds(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Processor time from the end of a step to the end of the next."""

    def __init__(self) -> None:
        self.found: list[float] = []
        self._since = 0.0

    def on_epoch_begin(self, *_: Any, **more: Any) -> None:
        self._since = time.process_time()

    def on_step_end(self, *_: Any, **more: Any) -> None:
        self.found.append(time.process_time() - self._since)
        self._since = time.process_time()


class Ours:
    """The same by `training.fit`."""

    def __init__(self, name: str, method: Method) -> None:
        self.model = opened(name)
        self.attached = attach(self.model, method)
        self.net: nn.Module = self.attached.network.net
        self.windows = synthetic_windows((WARM_UP + STEPS) * SIZE, CONTEXT, HORIZON)
        self.task = window_task(self.attached, self.windows, name=name)
        self.forward = self.task.loss

    def steps(self, batches: list[Batch]) -> list[float]:
        """Seconds of processor time of each step; the loop draws its batches from the windows by itself."""
        clock = Seconds()
        spec = TrainSpec(steps=len(batches), batch_size=SIZE, learning_rate=RATE, evaluate_every=len(batches))
        with tempfile.TemporaryDirectory() as folder:
            fit(self.task, spec, Path(folder), progress=False, callbacks=[clock])
        return clock.found


SIDES: dict[str, type[Plain] | type[Ours]] = {"plain": Plain, "ours": Ours}


def batches_of(count: int) -> list[Batch]:
    """Batches as both sides take them."""
    examples = Examples(synthetic_windows(count * SIZE, CONTEXT, HORIZON))
    return [examples.together([examples[SIZE * n + i] for i in range(SIZE)]) for n in range(count)]


def difference(plain: Plain, ours: Ours) -> dict[str, float]:
    """How far loss and gradients of both sides are apart on one batch, without dropout, relative to the largest."""
    batch, sides = batches_of(1)[0], {}
    with torch.no_grad():  # most adapters start at zero, where many gradients are zero on both sides
        own, generator = dict(ours.net.named_parameters()), torch.Generator().manual_seed(1)
        for name, weight in plain.net.named_parameters():
            if weight.requires_grad and isinstance(ours.attached.method, PeftMethod):
                weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
                own[name].copy_(weight)
    for key, side in (("plain", plain), ("ours", ours)):
        side.net.eval()
        loss = side.forward(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        found = {name: p.grad.clone() for name, p in side.net.named_parameters() if p.grad is not None}
        sides[key] = loss.item(), found
        side.net.zero_grad(set_to_none=True)
    (loss, gradients), (other_loss, others) = sides["plain"], sides["ours"]
    if set(gradients) != set(others):
        raise SystemExit("The sides train other weights.")
    largest = max(float(g.abs().max()) for g in gradients.values())
    apart = max(float((gradients[name] - others[name]).abs().max()) for name in gradients)
    return {"loss": abs(loss - other_loss) / abs(loss), "gradient": apart / largest}


def timed(name: str, method: Method, blocks: int) -> dict[str, Any]:
    """Both sides in turn: medians over the steps of all blocks, and the ratio of each pair of blocks."""
    plain, ours = Plain(name, method), Ours(name, method)
    apart = difference(plain, ours)
    batches, found = batches_of(WARM_UP + STEPS), []
    for number in range(blocks):
        pair = [plain, ours] if number % 2 == 0 else [ours, plain]
        seconds = {side: statistics.median(side.steps(batches)[WARM_UP:]) for side in pair}
        found.append((seconds[plain], seconds[ours]))
    ratios = sorted(one / other for one, other in found)
    return {
        "model": name,
        "method": method.short,
        "difference": apart,
        "plain_seconds": statistics.median(one for one, _ in found),
        "our_seconds": statistics.median(other for _, other in found),
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
    }


def memory(name: str, method: str, side: str) -> dict[str, int]:
    """Largest resident bytes in the steps of one side, in this process: in all, and above what was there before."""
    made, batches = SIDES[side](name, METHODS[method]), batches_of(WARM_UP + STEPS)
    with torch.no_grad():
        made.forward(batches_of(1)[0])  # what the first pass of all loads
    costs.reset_peak_memory()
    before = costs.peak_memory()["process"] or 0
    made.steps(batches)
    after = costs.peak_memory()["process"] or 0
    return {"peak_bytes": after, "step_bytes": after - before}


def in_own_process(name: str, method: str) -> dict[str, int]:
    """The memory of both sides, each in a process of its own."""
    found = {}
    for side in SIDES:
        call = [sys.executable, __file__, "--memory", name, method, side]
        said = subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        found |= {f"{side}_{key}": value for key, value in json.loads(said).items()}
    return found


def against_full(rows: list[dict[str, Any]]) -> None:
    """Add to each row its share of what full fine-tuning of the same model takes, both ours."""
    whole = {row["model"]: row for row in rows if row["method"] == "full"}
    for row in rows:
        full = whole.get(row["model"])
        if full is not None:
            for key in ("our_seconds", "ours_peak_bytes", "ours_step_bytes"):
                row[f"{key}_of_full"] = row[key] / full[key]


def told(row: dict[str, Any]) -> str:
    """A row of the table."""
    mega = {side: row[f"{side}_step_bytes"] / 2**20 for side in SIDES}
    of_full = ""
    if "our_seconds_of_full" in row:
        shares = [row[f"{key}_of_full"] for key in ("our_seconds", "ours_step_bytes", "ours_peak_bytes")]
        of_full = "  of full: time {:.2f}, memory above the start {:.2f}, in all {:.2f}".format(*shares)
    return (
        f"{row['model']:<20}{row['method']:<16}{1000 * row['plain_seconds']:7.0f} → {1000 * row['our_seconds']:5.0f} ms"
        f"{row['ratio']:6.2f} × ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        f"{mega['plain']:6.0f} → {mega['ours']:4.0f} MiB{of_full}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        print(json.dumps(memory(*arguments.memory)))
        return
    facts = {"blocks": arguments.blocks, "steps": STEPS, "batch": SIZE, "context": CONTEXT, "horizon": HORIZON}
    facts |= {"hardware": costs.hardware(), "versions": costs.versions(("chronos-forecasting", "accelerate"))}
    rows: list[dict[str, Any]] = []
    for name in arguments.models.split(","):
        for method in reversed(arguments.methods.split(",")):  # full comes first: the others are told as shares of it
            rows.append(timed(name, METHODS[method], arguments.blocks) | in_own_process(name, method))
            against_full(rows)
            print(told(rows[-1]), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
