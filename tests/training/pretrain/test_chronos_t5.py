from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from loracast.files import read_json
from loracast.models.registry import load_backbone, skeleton
from loracast.training.checkpoint import MARKER
from loracast.training.pretrain import pretrain_backbone
from loracast.training.pretrain.chronos_t5 import SoftLabels, build, pretrain
from loracast.training.pretrain.recipe import ChronosT5Shape, Recipe, Schedule, Stage, load_recipe

SHAPE = ChronosT5Shape(
    d_model=32,
    d_kv=16,
    d_ff=32,
    num_layers=1,
    num_heads=4,
    n_tokens=256,
    low_limit=-6,
    high_limit=6,
    context_length=32,
    prediction_length=8,
)
PLAN = Schedule(
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=2,
    weight_decay=0.01,
    gradient_clip=1.0,
    label_width=1.0,
    checkpoint_every=2,
    stages=(
        Stage(steps=3, contexts=(18, 24), horizons=(2, 8)),
        Stage(steps=3, contexts=(32,), horizons=(4,), grains=(0.1, 1.0), decay=2),
    ),
)
TINY = Recipe(name="tiny", seed=3, model=SHAPE, training=PLAN)


class _Output:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


def test_an_untrained_network_forecasts_near_the_last_value(tmp_path: Path) -> None:
    torch.manual_seed(0)
    build(load_recipe("chronos-t5-nano").model).save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    walk = 10 + np.cumsum(np.random.default_rng(0).standard_normal((64, 48)), axis=1)
    context = torch.tensor(walk, dtype=torch.float32)
    forecast = backbone.forecast(context, 1, levels=(0.5,), samples=50, seed=0)
    from_last = (forecast[:, 0, 0] - context[:, -1]).abs().mean()
    from_mean = (forecast[:, 0, 0] - context.mean(1)).abs().mean()
    assert from_last < from_mean / 2


def test_labels_of_no_width_are_plain_cross_entropy() -> None:
    logits, labels = torch.randn(2, 5, 20), torch.randint(2, 20, (2, 5))
    labels[0, 1] = -100
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(SoftLabels(0.0, special=2)(_Output(logits), labels), plain)


def test_a_spread_label_prefers_the_neighbouring_bin_and_leaves_eos_whole() -> None:
    loss = SoftLabels(1.0, special=2)
    peaks = torch.eye(20)[None] * 5
    at = [loss(_Output(peaks[:, i : i + 1]), torch.tensor([[10]])) for i in (10, 11, 15)]
    assert at[0] < at[1] < at[2]
    eos = loss(_Output(peaks[:, 1:2]), torch.tensor([[1]]))
    torch.testing.assert_close(eos, -peaks[0, 1].log_softmax(-1)[1])


def test_a_batch_without_targets_costs_nothing() -> None:
    assert SoftLabels(1.0, special=2)(_Output(torch.randn(1, 3, 20)), torch.full((1, 3), -100)) == 0


def test_a_run_killed_while_saving_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    straight = pretrain(TINY, tmp_path / "straight")
    killed = pretrain(TINY, tmp_path / "killed")
    (killed / "checkpoints" / "checkpoint-6" / MARKER).unlink()
    (killed / "model.safetensors").unlink()
    pretrain(TINY, killed, resume=True)
    whole, resumed = (safetensors.torch.load_file(folder / "model.safetensors") for folder in (straight, killed))
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0)
    assert read_json(straight / "loss.json")["train"] == read_json(killed / "loss.json")["train"]


def test_a_folder_with_a_run_is_not_started_over(tmp_path: Path) -> None:
    from loracast.errors import ConfigError

    checkpoint = tmp_path / "nano.work" / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    with pytest.raises(ConfigError, match="is not of loracast"):
        pretrain_backbone("chronos-t5-nano", tmp_path / "nano")
    (tmp_path / "nano.work" / "asked.json").write_text('"another recipe"')
    with pytest.raises(ConfigError, match="--resume"):
        pretrain_backbone("chronos-t5-nano", tmp_path / "nano")
    with pytest.raises(ConfigError, match="begun with another"):
        pretrain_backbone("chronos-t5-nano", tmp_path / "nano", resume=True)
    assert checkpoint.is_dir()


def test_the_registered_sizes_are_those_that_the_recipe_builds() -> None:
    built = build(load_recipe("chronos-t5-nano").model)
    assert skeleton("chronos-t5-nano").card.parameters == sum(p.numel() for p in built.parameters())


def test_a_batch_taken_in_parts_trains_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretrain(TINY, tmp_path / "whole")
    monkeypatch.setattr("loracast.training.distributed.share_of", lambda size: size // 2)
    parts = pretrain(TINY, tmp_path / "parts")
    losses = [[entry["loss"] for entry in read_json(folder / "loss.json")["train"]] for folder in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
