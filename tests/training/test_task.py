"""A task says what is trained on what: windows for any network, and whatever else can be put into its few fields."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from loracast.errors import TrainingError
from loracast.models.base import ModelCard
from loracast.spec import TrainSpec
from loracast.study.bench.windows import synthetic_windows
from loracast.training.checkpoint import last_checkpoint
from loracast.training.fit import fit
from loracast.training.task import Batch, Task, window_task
from loracast.tuning.attach import attach
from loracast.tuning.method import Attached
from loracast.tuning.methods import Scratch
from loracast.types import Rows

LOOP = TrainSpec(
    steps=6, batch_size=8, evaluate_every=2, learning_rate=1e-2, warmup_share=0, weight_decay=0, decay="halving"
)


class Straight:
    """A network from scratch: a line through the last value, with a loss over the observed steps."""

    card = ModelCard("straight", "stub", "network", 2, 12, 4, "CC0-1.0")

    def __init__(self) -> None:
        self.net: nn.Module = nn.Linear(1, 1)
        nn.init.constant_(self.net.weight, 0.5)
        nn.init.constant_(self.net.bias, 0.0)

    def loss(self, context: Tensor, future: Tensor, rows: Rows | None = None) -> Tensor:
        assert rows is not None
        assert (rows.step_seconds, rows.season, len(rows.start)) == (300, 12, len(context))
        off = self.net(context[:, -1:].nan_to_num() / 100) - future / 100
        return off[~future.isnan()].abs().mean()

    def counted(self, context: Tensor, future: Tensor) -> int:
        return int((~future.isnan()).sum())


def scratch() -> Attached:
    return attach(Straight(), Scratch())


def windows(count: int, seed: int = 0) -> Any:
    return synthetic_windows(count, 12, 4, seed=seed)


def test_a_network_from_scratch_is_trained_by_the_same_loop(tmp_path):
    arm = scratch()
    task = window_task(arm, windows(20), windows(10, seed=1), name="straight")
    curve = fit(task, LOOP, tmp_path, progress=False)
    assert [score["step"] for score in curve.validation] == [0, 2, 4, 6]
    assert curve.validation[-1]["loss"] < curve.validation[0]["loss"]
    assert len(curve.step_seconds) == curve.steps == 6
    assert not arm.network.net.training


def test_an_epoch_takes_every_window_once_and_its_last_batch_may_be_smaller(tmp_path):
    arm, seen = scratch(), []
    whole = arm.network.loss

    def loss(context: Tensor, future: Tensor, rows: Rows) -> Tensor:
        seen.append(context)
        return whole(context, future, rows)

    arm.network.loss = loss
    fit(window_task(arm, windows(20), name="straight"), LOOP.model_copy(update={"steps": 3}), tmp_path, progress=False)
    assert [len(batch) for batch in seen] == [8, 8, 4]
    expected = windows(20).batch(slice(None))[0]
    np.testing.assert_array_equal(np.sort(torch.cat(seen), axis=0), np.sort(expected, axis=0))


def test_the_validation_loss_is_the_mean_over_observed_steps_whatever_the_batches(tmp_path):
    arm, side = scratch(), windows(30, seed=1)
    context, future = (torch.from_numpy(part) for part in side.batch(slice(None)))
    with torch.no_grad():
        expected = float(arm.network.loss(context, future, Rows(torch.zeros(30, dtype=torch.long), 300, season=12)))
    curve = fit(window_task(arm, windows(20), side, name="straight"), LOOP, tmp_path, progress=False)
    assert curve.validation[0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_without_validation_the_last_weights_are_kept_and_a_resume_gives_the_same(tmp_path):
    found = []
    for name in ("whole", "cut"):
        arm = scratch()
        task = window_task(arm, windows(20), name="straight")
        if name == "cut":

            def stop() -> None:
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                fit(task, LOOP, tmp_path / name, progress=False, after_checkpoint=stop)
            assert last_checkpoint(tmp_path / name) == tmp_path / name / "checkpoint-2"
            arm = scratch()
            task = window_task(arm, windows(20), name="straight")
        curve = fit(task, LOOP, tmp_path / name, progress=False, resume=True)
        assert (curve.validation, curve.best_step) == ([], 6)
        found.append((curve.as_json(), arm.network.net.weight.item(), arm.network.net.bias.item()))
    assert found[0] == found[1]
    assert not (tmp_path / "whole" / "best.safetensors").exists()


class Numbers(Dataset[Batch]):
    """0, 1, 2 …, each an example."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, i: int) -> Batch:
        return {"number": torch.tensor(float(i))}


def counting(seen: list[list[int]], **changed: Any) -> Task:
    """A task that learns a constant and notes what it was given."""
    net = nn.Linear(1, 1, bias=False)

    def loss(batch: Batch) -> Tensor:
        seen.append([int(number) for number in batch["number"]])
        return net.weight.sum() * 1.0

    return Task("numbers", net, dict(net.named_parameters()), loss, Numbers(), default_collate, **changed)


def test_a_corpus_is_read_in_its_order_where_a_task_says_so(tmp_path):
    seen: list[list[int]] = []
    fit(counting(seen, shuffle=False), LOOP.model_copy(update={"steps": 3}), tmp_path, progress=False)
    assert seen == [list(range(start, start + 8)) for start in (0, 8, 16)]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"decay": "halving"}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"decay": "linear"}, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ({"decay": "linear", "warmup_share": 0.34}, [0, 0.5, 1, 0.75, 0.5, 0.25]),
        ({"decay": "halving", "warmup_share": 0.34}, [0, 0.5, 0.5, 0.5, 0.25, 0.25]),
    ],
)
def test_the_learning_rate_follows_its_decay(changed, expected, tmp_path):
    assert moves(counting([]), LOOP.model_copy(update=changed), tmp_path) == pytest.approx(expected, abs=1e-4)


def test_a_task_may_bring_a_learning_rate_of_its_own(tmp_path):
    found = moves(counting([], rate=lambda step: 1 / (step + 1)), LOOP, tmp_path)
    assert found == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6], abs=1e-4)


def moves(task: Task, loop: TrainSpec, folder: Path) -> list[float]:
    """How far each step moved the one number, in learning rates: at a constant slope Adam takes the whole rate."""
    weights, loss = [], task.loss

    def watched(batch: Batch) -> Tensor:
        weights.append(task.net.weight.item())
        return loss(batch)

    task.loss = watched
    fit(task, loop, folder, progress=False)
    weights.append(task.net.weight.item())
    return [(before - after) / 1e-2 for before, after in itertools.pairwise(weights)]


def test_a_training_that_moves_nothing_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="numbers: after training every trainable weight is what it was"):
        fit(counting([], rate=lambda _: 0.0), LOOP, tmp_path, progress=False)
