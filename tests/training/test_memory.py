"""Where memory runs out, training goes on in smaller bites to the numbers that it would have had."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from loracast.data.split import split_patients
from loracast.data.table import patients_of
from loracast.data.windows import Windows, cut_windows
from loracast.errors import TrainingError
from loracast.spec import SplitSpec, TrainSpec, WindowSpec
from loracast.training.checkpoint import Curve
from loracast.tuning.method import Attached
from tests.conftest import cohort, write_long
from tests.models.tiny_ports import save_moirai
from tests.training.test_fit import attached, train, weights

LOOP = TrainSpec(steps=6, batch_size=40, evaluate_every=3, learning_rate=3e-3)
CHANCE = LOOP.model_copy(update={"base_dropout": True})
"""With what a pass draws of chance: the dropout of the tiny backbone."""
SPEC = {"context": 24, "horizon": 6, "stride": 6}


def cut(folder: Path, *, gaps: float, joint: bool = False) -> Windows:
    rows = cohort(14, gaps=gaps)
    if joint:  # groups of one signal and of two
        rows = {key: values for key, values in rows.items() if key[2] == "map" or int(key[0][-2:]) % 3}
    table = write_long(folder / "vitals.parquet", rows)
    sides = split_patients(patients_of(table), SplitSpec())
    return cut_windows(table, sides, WindowSpec(**SPEC, joint=joint), folder / "windows")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    """Windows without a gap."""
    return cut(tmp_path_factory.mktemp("whole"), gaps=0)


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    return cut(tmp_path_factory.mktemp("gappy"), gaps=0.3)


def counting(tiny: Path) -> Attached:
    """LoRA on a backbone that says how many steps its loss is a mean of."""
    arm = attached(tiny, "lora")
    arm.model.counted = lambda _, future: int((~future.isnan()).sum())
    return arm


def short_of_memory(arm: Attached, most: int, *, everywhere: bool = True) -> Attached:
    """The arm on a device that takes no more than `most` windows at once; `everywhere`: in validation too."""
    enough, seen = arm.model.loss, []

    def loss(context: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(len(context))
        if len(context) > most and (everywhere or torch.is_grad_enabled()):
            torch.rand(7)  # the pass that failed has drawn of chance
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return enough(context, *rest)

    arm.model.loss = loss
    return arm


def assert_same(one: tuple[Curve, Attached], other: tuple[Curve, Attached]) -> None:
    """Equal but for the rounding of float32 sums, made in another order."""
    for kind in ("train", "validation"):
        losses = [[entry["loss"] for entry in getattr(curve, kind)] for curve, _ in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    after = [weights(arm) for _, arm in (one, other)]
    for name, expected in after[0].items():
        torch.testing.assert_close(after[1][name], expected, rtol=1e-3, atol=1e-4)


def with_and_without(make: Callable[[], Attached], windows: Windows, folder: Path, most: int) -> Curve:
    """The curve of a run that is short of memory, once it has been compared with one that is not."""
    plenty, short = make(), short_of_memory(make(), most)
    expected = train(plenty, windows, folder / "plenty", LOOP)
    found = train(short, windows, folder / "short", LOOP)
    assert expected.accumulation == 1
    assert_same((expected, plenty), (found, short))
    return found


def test_a_batch_too_large_is_taken_in_parts_to_the_same_numbers(tiny, whole, tmp_path):
    curve = with_and_without(lambda: attached(tiny, "lora"), whole, tmp_path, 12)
    assert (curve.micro_batch, curve.accumulation) == (10, 4)


def test_gaps_change_nothing_where_the_backbone_says_what_its_loss_is_a_mean_of(tiny, gappy, tmp_path):
    with_and_without(lambda: counting(tiny), gappy, tmp_path, 12)


def test_groups_stay_whole_when_a_batch_is_taken_in_parts(tmp_path):
    windows = cut(tmp_path, gaps=0.15, joint=True)
    moirai = save_moirai(tmp_path / "moirai")
    with_and_without(lambda: attached(moirai, "lora"), windows, tmp_path, 21)


def test_it_is_said_aloud_once_a_halving(tiny, whole, tmp_path):
    said: list[str] = []
    train(short_of_memory(attached(tiny, "lora"), 12), whole, tmp_path, LOOP, say=said.append)
    assert [line.split("with ")[1][:11] for line in said] == ["20 examples", "10 examples"]
    assert "the effective batch stays 40" in said[-1]


def test_the_numbers_are_those_of_a_run_that_began_with_the_smaller_parts(tiny, whole, tmp_path):
    """With dropout on: what the failed pass has drawn is put back."""
    found = []
    for name, begun in (("late", 40), ("early", 10)):
        arm = attached(tiny, "lora")
        if name == "late":
            short_of_memory(arm, 12, everywhere=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("loracast.training.distributed.share_of", lambda size, begun=begun: begun)
            found.append((train(arm, whole, tmp_path / name, CHANCE), weights(arm)))
    assert found[0][0].train == found[1][0].train
    assert all(torch.equal(found[0][1][name], values) for name, values in found[1][1].items())


def test_a_resume_keeps_the_parts_and_the_numbers(tiny, whole, tmp_path):
    expected = train(short_of_memory(attached(tiny, "lora"), 12), whole, tmp_path / "whole", CHANCE)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(short_of_memory(attached(tiny, "lora"), 12), whole, tmp_path / "cut", CHANCE, after_checkpoint=stop)
    said: list[str] = []
    arm = short_of_memory(attached(tiny, "lora"), 12)
    found = train(arm, whole, tmp_path / "cut", CHANCE, resume=True, say=said.append)
    assert found.as_json() == expected.as_json()
    assert said == []


def test_a_single_example_too_large_says_what_to_lower(tiny, whole, tmp_path):
    with pytest.raises(TrainingError, match=r"single validation example\. Lower context"):
        train(short_of_memory(attached(tiny, "lora"), 0), whole, tmp_path / "a", LOOP)
    with pytest.raises(TrainingError, match=r"single example in the network.*Lower context"):
        train(
            short_of_memory(attached(tiny, "lora"), 0, everywhere=False),
            whole,
            tmp_path / "b",
            LOOP,
            say=lambda _: None,
        )


def test_validation_scores_do_not_depend_on_the_batch(tiny, gappy, tmp_path):
    found = []
    for most in (1000, 7):
        arm = short_of_memory(counting(tiny), most)
        folder = tmp_path / str(most)
        found.append(train(arm, gappy, folder, LOOP, say=lambda _: None).validation[0]["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_memory_that_smaller_batches_cannot_save_is_told_apart(tiny, whole, tmp_path, monkeypatch):
    def step(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(TrainingError, match=r"the optimizer's state do not fit.*fewer numbers.*9\.00 GiB"):
        train(attached(tiny, "lora"), whole, tmp_path, LOOP)
