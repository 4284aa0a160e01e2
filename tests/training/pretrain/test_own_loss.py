from pathlib import Path

import pytest
import safetensors.torch
import torch

from loracast.files import read_json
from loracast.models.registry import load_backbone
from loracast.training.checkpoint import MARKER
from loracast.training.pretrain.own_loss import Windows, build, pretrain
from loracast.training.pretrain.recipe import LagLlamaShape, MoiraiShape, Recipe, Schedule, Stage, load_recipe
from loracast.types import Rows

SHAPES = {
    "moirai": MoiraiShape(family="moirai", d_model=64, num_layers=1, patch_sizes=(4, 8), max_seq_len=64),
    "lag-llama": LagLlamaShape(
        family="lag-llama", n_layer=1, n_head=2, n_embd_per_head=8, context_length=16, lags_seq=(0, 1, 6, 11)
    ),
}


def recipe_of(family: str, *, steps: int = 6, joint: float = 0.5) -> Recipe:
    stage = Stage(steps=steps, contexts=(16, 24), horizons=(4, 8), grains=(0.1, 1.0), joint=joint, decay=2)
    plan = Schedule(
        batch_size=8,
        learning_rate=3e-3,
        warmup_steps=2,
        weight_decay=0.01,
        gradient_clip=1.0,
        checkpoint_every=2,
        stages=(stage,),
    )
    return Recipe(name="tiny", seed=3, model=SHAPES[family], training=plan)


@pytest.mark.parametrize("family", SHAPES)
def test_a_run_saves_a_backbone_that_has_learnt_from_its_corpus(family: str, tmp_path: Path) -> None:
    recipe = recipe_of(family, steps=60)
    out = pretrain(recipe, tmp_path / "run")
    torch.manual_seed(recipe.seed)
    fresh, trained = build(recipe), load_backbone(str(out))
    assert trained.card.family == family
    held_out = Windows(recipe.model_copy(update={"seed": recipe.held_out_seed}))
    items = [
        item for item in (held_out[i] for i in range(64)) if len(item["context"]) == 24 and len(item["future"]) == 8
    ]
    context, future = (torch.stack([item[part] for item in items]) for part in ("context", "future"))
    rows = Rows(torch.stack([item["start"] for item in items]), 3600)
    with torch.no_grad():
        assert trained.loss(context, future, rows) < fresh.loss(context, future, rows)


@pytest.mark.parametrize("family", SHAPES)
def test_a_run_killed_while_saving_resumes_to_the_weights_of_an_uninterrupted_one(family: str, tmp_path: Path) -> None:
    recipe = recipe_of(family)
    straight, killed = pretrain(recipe, tmp_path / "straight"), pretrain(recipe, tmp_path / "killed")
    (killed / "checkpoints" / "checkpoint-6" / MARKER).unlink()
    (killed / "model.safetensors").unlink()
    pretrain(recipe, killed, resume=True)
    whole, resumed = (safetensors.torch.load_file(folder / "model.safetensors") for folder in (straight, killed))
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0)
    assert read_json(straight / "loss.json")["train"] == read_json(killed / "loss.json")["train"]


def test_rows_of_a_joint_batch_share_a_component_within_their_group_only() -> None:
    windows = Windows(recipe_of("moirai", joint=1.0))
    batch = [windows[i] for i in range(8)]
    groups = torch.stack([item["group"] for item in batch])
    assert groups.unique().numel() < 8
    assert (groups.diff() >= 0).all()
    alone = [Windows(recipe_of("moirai", joint=0.0))[i] for i in range(8)]
    assert [int(item["group"]) for item in alone] == list(range(8))


def test_an_item_is_the_same_whoever_draws_it() -> None:
    one, other = Windows(recipe_of("moirai"))[11], Windows(recipe_of("moirai"))[11]
    assert all(torch.equal(one[name].nan_to_num(-9), other[name].nan_to_num(-9)) for name in one)


@pytest.mark.parametrize("name", ["moirai-nano", "lag-llama-nano"])
def test_every_window_of_a_packaged_recipe_fits_its_network(name: str) -> None:
    recipe = load_recipe(name)
    card = build(recipe).card
    assert max(max(stage.contexts) for stage in recipe.training.stages) <= card.context


def test_a_recipe_of_another_family_is_no_business_of_this_loop() -> None:
    with pytest.raises(TypeError, match="chronos-t5"):
        build(load_recipe("chronos-t5-nano"))
