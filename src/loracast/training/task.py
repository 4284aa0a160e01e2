"""What is trained, on what, and with which loss: one form for adapters, networks from scratch and pretraining."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from loracast.data.windows import WindowSet
from loracast.models.magnitude import factor_of, sized
from loracast.tuning.method import Attached
from loracast.tuning.schedule import Schedule
from loracast.types import Rows

Batch = dict[str, Tensor]
"""Tensors of equal length, a row an item. `group`, where there is one, ascends from 0 and numbers the examples."""


def rows_in(batch: Batch) -> int:
    """How many rows a batch has."""
    return len(next(iter(batch.values())))


def examples_in(batch: Batch) -> int:
    """How many examples a batch holds: a row each, or the rows of a group, which are never divided."""
    return int(batch["group"][-1]) + 1 if "group" in batch else rows_in(batch)


def part_of(batch: Batch, first: int, last: int) -> Batch:
    """Examples `first` to `last` (excluded) of a batch."""
    if "group" not in batch:
        return {name: values[first:last] for name, values in batch.items()}
    mine = (batch["group"] >= first) & (batch["group"] < last)
    part = {name: values[mine] for name, values in batch.items()}
    return {**part, "group": part["group"] - first}


@dataclass
class Task:
    """One training. `name` stands beside the bar and in trackers.

    `loss` of a batch is a scalar with gradient, the mean of `weight(batch)` numbers: of its rows, unless said
    otherwise. Without `validation` the last weights are kept. `rate` gives the learning rate of a step (from 0) as a
    share of the one asked for, where it follows none of the decays of a `TrainSpec`.
    """

    name: str
    net: nn.Module
    trainable: dict[str, nn.Parameter]
    loss: Callable[[Batch], Tensor]
    train: Dataset[Batch]
    collate: Callable[[list[Batch]], Batch]
    validation: Dataset[Batch] | None = None
    weight: Callable[[Batch], int] = rows_in
    schedule: Schedule | None = None
    shuffle: bool = True
    rate: Callable[[int], float] | None = None
    bfloat16: bool = True
    """Whether the network may multiply in bfloat16 on a GPU that can; the tails of a density in raw numbers may not."""
    workers: int = 0
    """Processes that draw the examples; for those that take longer to draw than to learn from."""


class Examples(Dataset[Batch]):
    """A training example: a window, or the windows of a group where they are joint."""

    def __init__(self, windows: WindowSet) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return self.windows.groups

    def __getitem__(self, i: int) -> Batch:
        rows = self.windows.group(i)
        context, future = self.windows.batch(rows)
        parts = {"context": context, "future": future, "start": self.windows.starts(rows)}
        return {name: torch.from_numpy(part) for name, part in parts.items()}

    def together(self, examples: list[Batch]) -> Batch:
        """A batch of examples, their windows end to end."""
        batch = {name: torch.cat([example[name] for example in examples]) for name in examples[0]}
        if self.windows.joint:
            sizes = torch.tensor([rows_in(example) for example in examples])
            batch["group"] = torch.repeat_interleave(torch.arange(len(examples)), sizes)
        return batch


def window_task(
    attached: Attached,
    train: WindowSet,
    validation: WindowSet | None = None,
    *,
    name: str,
    validation_windows: int = 1024,
) -> Task:
    """Training what `attached` says is trainable on windows, by the network's own loss.

    `validation_windows` is how many windows a validation score reads at most, a choice that no seed changes. Networks
    from scratch are small and stay in float32.
    """
    network = attached.network

    def loss(batch: Batch) -> Tensor:
        rows = Rows(batch["start"], train.step_seconds, batch.get("group"), train.season)
        factor = factor_of(batch["context"])
        return network.loss(sized(batch["context"], factor), sized(batch["future"], factor), rows)

    def weight(batch: Batch) -> int:
        """Observed steps, where the loss is a mean over these and the network counts them; else rows."""
        counted = getattr(network, "counted", None)
        return int(counted(batch["context"], batch["future"])) if counted else rows_in(batch)

    examples = Examples(train)
    return Task(
        name,
        network.net,
        attached.trainable,
        loss,
        examples,
        examples.together,
        None if validation is None else Examples(validation.some(validation_windows, seed=0)),
        weight,
        attached.schedule,
        bfloat16=network.card.kind == "pretrained",
    )
