"""Pretraining a Chronos-2: whole batches with their seasons beside them, exact resumes, a folder of the library's."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from chronos import Chronos2Pipeline

from loracast.files import read_json
from loracast.models.registry import load_backbone
from loracast.models.seasonal_row import Given
from loracast.training.checkpoint import MARKER
from loracast.training.pretrain.chronos2 import SpectralWindows, build, pretrain, weights
from loracast.training.pretrain.recipe import Chronos2Shape, Recipe, Schedule, Stage, load_recipe

SHAPE = Chronos2Shape(
    family="chronos2",
    d_model=32,
    d_kv=16,
    d_ff=32,
    num_layers=1,
    num_heads=2,
    patch_size=8,
    max_output_patches=2,
    context_length=48,
    quantiles=(0.1, 0.5, 0.9),
    seasonal_row=True,
)


def recipe_of(*, steps: int = 6, joint: float = 0.5, alone: float = 0.2, batch_size: int = 12) -> Recipe:
    stage = Stage(steps=steps, contexts=(24, 48), horizons=(8, 12), joint=joint, alone=alone, decay=2)
    plan = Schedule(
        batch_size=batch_size,
        learning_rate=3e-3,
        warmup_steps=2,
        weight_decay=0.01,
        gradient_clip=1.0,
        checkpoint_every=2,
        stages=(stage,),
    )
    return Recipe(name="tiny", seed=3, model=SHAPE, training=plan)


def batch_of(recipe: Recipe, step: int = 0) -> dict[str, torch.Tensor]:
    size = recipe.training.batch_size
    return SpectralWindows(recipe).__getitems__(range(step * size, (step + 1) * size))


def test_a_batch_has_its_windows_once_and_their_seasons_beside_them() -> None:
    batch = batch_of(recipe_of(joint=0.0, alone=0.0, batch_size=64))
    assert int(batch["target"].sum()) == 64
    assert torch.equal(batch["group"], batch["group"].sort().values)
    assert torch.equal(batch["group"][batch["target"]], torch.arange(64))
    seasons = ~batch["target"]
    assert 10 < int(seasons.sum()) < 64
    assert batch["future"][seasons].isnan().all()
    assert batch["known"][seasons].isfinite().any(dim=1).all()
    assert batch["known"][batch["target"]].isnan().all()


def test_a_share_of_windows_goes_without_its_season() -> None:
    rows = [int((~batch_of(recipe_of(joint=0.0, alone=share, batch_size=96))["target"]).sum()) for share in (0, 0.5, 1)]
    assert 0.2 * rows[0] < rows[1] < 0.8 * rows[0]
    assert rows[2] == 0


def test_series_of_a_joint_batch_follow_a_driver_that_some_batches_show() -> None:
    shown = 0
    for step in range(6):
        batch = batch_of(recipe_of(joint=1.0, alone=1.0, batch_size=24), step)
        targets = torch.bincount(batch["group"][batch["target"]])
        assert targets[:-1].unique().numel() == 1
        assert 2 <= int(targets[0]) <= 4
        drivers = int((~batch["target"]).sum())
        assert drivers in (0, len(targets))
        shown += drivers > 0
    assert 0 < shown < 6


def test_a_batch_is_the_same_again_and_every_step_has_another() -> None:
    recipe = recipe_of()
    first, again, next_one = batch_of(recipe, 1), batch_of(recipe, 1), batch_of(recipe, 2)
    for name, rows in first.items():
        torch.testing.assert_close(rows, again[name], rtol=0, atol=0, equal_nan=True)
    assert first["context"].shape != next_one["context"].shape or not torch.equal(first["context"], next_one["context"])


def test_a_run_saves_a_backbone_that_the_library_reads_and_that_has_learnt(tmp_path: Path) -> None:
    recipe = recipe_of(steps=60)
    out = pretrain(recipe, tmp_path / "run")
    torch.manual_seed(recipe.seed)
    fresh, trained = build(SHAPE), load_backbone(str(out))
    assert (trained.card.family, trained.card.context, trained.card.horizon) == ("chronos2", 48, 16)
    assert trained.seasonal_row  # type: ignore[attr-defined]
    assert Chronos2Pipeline.from_pretrained(str(out)).quantiles == [0.1, 0.5, 0.9]
    from loracast.models.chronos2 import loss_of

    held_out = batch_of(recipe.model_copy(update={"seed": recipe.held_out_seed}))
    given = Given(held_out["context"], held_out["known"], held_out["group"], held_out["target"])
    with torch.no_grad():
        assert loss_of(trained.net, given, held_out["future"]) < loss_of(fresh, given, held_out["future"])  # type: ignore[arg-type]


def test_a_run_killed_while_saving_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    recipe = recipe_of()
    straight, killed = pretrain(recipe, tmp_path / "straight"), pretrain(recipe, tmp_path / "killed")
    (killed / "checkpoints" / "checkpoint-6" / MARKER).unlink()
    (killed / "model.safetensors").unlink()
    pretrain(recipe, killed, resume=True)
    whole, resumed = (safetensors.torch.load_file(folder / "model.safetensors") for folder in (straight, killed))
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0)
    assert read_json(straight / "loss.json")["train"] == read_json(killed / "loss.json")["train"]


def test_a_batch_taken_in_parts_trains_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretrain(recipe_of(), tmp_path / "whole")
    monkeypatch.setattr("loracast.training.distributed.share_of", lambda size: size // 2)
    parts = pretrain(recipe_of(), tmp_path / "parts")
    losses = [[entry["loss"] for entry in read_json(folder / "loss.json")["train"]] for folder in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_no_window_of_the_packaged_recipe_is_longer_than_its_network_takes() -> None:
    recipe = load_recipe("chronos-2-nano")
    shape = recipe.model
    assert isinstance(shape, Chronos2Shape)
    longest = [max(stage.contexts) for stage in recipe.training.stages]
    assert max(longest) == shape.context_length, "a context that it was never trained on is refused"
    for stage in recipe.training.stages:
        assert max(stage.horizons) <= shape.patch_size * shape.max_output_patches


def test_the_network_begins_near_the_middle_of_its_context() -> None:
    """Its first loss is that of a forecast of no spread, not of the thousands that the library's own spread gives."""
    from loracast.models.chronos2 import loss_of

    torch.manual_seed(0)
    shape = load_recipe("chronos-2-nano").model
    assert isinstance(shape, Chronos2Shape)
    batch = batch_of(recipe_of(batch_size=64))
    given = Given(batch["context"], batch["known"], batch["group"], batch["target"])
    with torch.no_grad():
        assert loss_of(build(shape), given, batch["future"]) < 2 * len(shape.quantiles)


def test_a_calm_window_counts_more_than_noise_and_one_without_steps_as_much() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 96, generator=generator)
    context = torch.stack(
        [noise[0], noise[1].cumsum(dim=0), torch.arange(96.0), torch.full((96,), torch.nan), 0 * noise[0]]
    )
    found = weights(1e-4 * context, 0.7)
    assert 0.7 < found[0] < 1.1
    assert found[0] < found[1] < found[2] <= 6
    assert found[3:].tolist() == [1.0, 1.0]


def test_with_calm_weights_a_row_counts_so_often_in_the_librarys_loss() -> None:
    from loracast.models.chronos2 import loss_of

    torch.manual_seed(0)
    net, batch = build(SHAPE), batch_of(recipe_of(joint=0.0, alone=1.0))
    given = Given(batch["context"], batch["known"], batch["group"], batch["target"])

    def loss(weight: torch.Tensor | None) -> torch.Tensor:
        return loss_of(net, given, batch["future"], weight).detach()

    count = len(batch["context"])
    torch.testing.assert_close(loss(torch.ones(count)), loss(None))
    each = torch.stack([loss(torch.eye(count)[row]) for row in range(count)])
    weight = torch.arange(1.0, count + 1)
    torch.testing.assert_close(loss(weight), (weight * each).sum(), rtol=1e-4, atol=1e-5)
