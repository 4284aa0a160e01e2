"""A method's schedule is told of every step, adds to the training loss alone, and is part of a checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from loracast.data.split import split_patients
from loracast.data.table import Table, patients_of
from loracast.data.windows import Windows, cut_windows
from loracast.errors import ConfigError, TrainingError
from loracast.spec import SplitSpec, TrainSpec, WindowSpec
from loracast.tuning.method import Attached
from tests.training.test_fit import attached, same, train, weights

LOOP = TrainSpec(steps=12, batch_size=40, evaluate_every=3, patience=10, learning_rate=3e-3)


@pytest.fixture(scope="module")
def windows(vitals: Table, tmp_path_factory: pytest.TempPathFactory) -> Windows:
    sides = split_patients(patients_of(vitals), SplitSpec())
    spec = WindowSpec(context=24, horizon=6, stride=6)
    return cut_windows(vitals, sides, spec, tmp_path_factory.mktemp("windows") / "w")


class Pruning:
    """A schedule that pulls every weight to 0 and silences, now and then, the one with the least gradient so far."""

    def __init__(self, arm: Attached, pull: float) -> None:
        self.trainable, self.pull = arm.trainable, pull
        self.begun: list[int] = []
        self.told: list[int] = []
        self.sizes: dict[str, Tensor] = {}

    def begin(self, steps: int) -> None:
        self.begun.append(steps)

    def penalty(self) -> Tensor:
        return self.pull * torch.stack([p.square().sum() for p in self.trainable.values()]).sum()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        self.told.append(step)
        for name, p in self.trainable.items():
            assert p.grad is not None, "the gradients are gone"
            self.sizes[name] = self.sizes.get(name, torch.zeros(())) + p.grad.abs().sum()
        if step % 2 == 0:
            self.trainable[min(self.sizes, key=lambda name: float(self.sizes[name]))].mul_(0.5)

    def state(self) -> dict[str, Tensor]:
        return self.sizes

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.sizes = dict(state)


def pruned(tiny: Path, pull: float = 0.01) -> Attached:
    arm = attached(tiny, "lora")
    arm.schedule = Pruning(arm, pull)
    return arm


def test_a_schedule_is_told_how_many_steps_there_are_and_of_each_of_them(tiny, windows, tmp_path):
    arm = pruned(tiny)
    train(arm, windows, tmp_path, LOOP)
    assert arm.schedule.begun == [12]
    assert arm.schedule.told == list(range(1, 13))


def test_the_penalty_is_part_of_the_training_loss_and_not_of_the_validation_loss(tiny, windows, tmp_path):
    loop = LOOP.model_copy(update={"steps": 1, "evaluate_every": 1, "learning_rate": 1e-9})
    curves = [train(pruned(tiny, pull), windows, tmp_path / str(pull), loop) for pull in (0.0, 10.0)]
    arm = pruned(tiny)
    penalty = 10 * sum(float(p.detach().square().sum()) for p in arm.trainable.values())
    assert curves[1].train[0]["loss"] - curves[0].train[0]["loss"] == pytest.approx(penalty, rel=1e-4)
    assert curves[1].validation[0] == curves[0].validation[0]


@pytest.mark.parametrize("last", [3, 9])
def test_training_with_a_schedule_resumes_to_the_same_numbers(tiny, windows, tmp_path, last):
    expected = pruned(tiny)
    curve = train(expected, windows, tmp_path / "whole", LOOP)

    def stop() -> None:
        if (tmp_path / "cut" / f"checkpoint-{last}").exists():
            raise ConfigError("the time is spent")

    with pytest.raises(ConfigError, match="the time is spent"):
        train(pruned(tiny), windows, tmp_path / "cut", LOOP, after_checkpoint=stop)
    found = pruned(tiny)
    assert train(found, windows, tmp_path / "cut", LOOP, resume=True).as_json() == curve.as_json()
    assert found.schedule.told == list(range(last + 1, 13))
    assert same(weights(found), weights(expected))
    assert same(found.schedule.sizes, expected.schedule.sizes)


def test_the_schedule_is_left_as_it_was_at_the_step_that_is_kept(tiny, windows, tmp_path):
    arm = pruned(tiny)
    enough = arm.model.loss
    arm.model.loss = lambda *batch: enough(*batch) * (-1 if torch.is_grad_enabled() else 1)
    assert train(arm, windows, tmp_path, LOOP).best_step == 0
    assert arm.schedule.sizes == {}


def test_a_checkpoint_without_the_schedules_state_is_refused(tiny, windows, tmp_path):
    train(attached(tiny, "lora"), windows, tmp_path, LOOP.model_copy(update={"steps": 3}))
    with pytest.raises(TrainingError, match="other weights than this method trains"):
        train(pruned(tiny), windows, tmp_path, LOOP, resume=True)
