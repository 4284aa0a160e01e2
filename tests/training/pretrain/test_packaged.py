"""The nano backbones that ship: small, whole, offline, and worth what their cards say."""

from pathlib import Path

import pytest
import torch

from loracast.models.registry import PACKAGED, backbones, load_backbone, skeleton
from loracast.training.pretrain.card import read_measured
from loracast.training.pretrain.measure import synthetic_scores
from loracast.training.pretrain.recipe import load_recipe

NANOS = [name for name, (_, release) in backbones().items() if isinstance(release.location, Path)]


def test_all_weights_together_are_twenty_megabytes_at_most() -> None:
    sizes = {name: (PACKAGED / name / "model.safetensors").stat().st_size for name in NANOS}
    assert sizes["chronos-t5-nano"] <= 8e6
    assert sum(sizes.values()) <= 20e6


@pytest.mark.parametrize("name", NANOS)
def test_a_nano_is_safetensors_with_its_config_card_curve_and_numbers(name: str) -> None:
    found = {file.name for file in (PACKAGED / name).iterdir()}
    assert found == {"config.json", "model.safetensors", "README.md", "loss.json", "measured.json"}


@pytest.mark.parametrize("name", NANOS)
def test_a_nano_loads_offline_with_the_size_that_is_registered(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    backbone = load_backbone(name)
    assert backbone.card.parameters == skeleton(name).card.parameters
    assert f"({backbone.card.parameters:,} parameters)" in (PACKAGED / name / "README.md").read_text(encoding="utf-8")
    assert all(p.isfinite().all() for p in backbone.net.parameters())
    assert all(p.dtype == torch.float32 for p in backbone.net.parameters())


@pytest.mark.parametrize("name", NANOS)
def test_a_card_tells_the_steps_of_the_recipe_and_the_scores_that_were_measured(name: str) -> None:
    card = (PACKAGED / name / "README.md").read_text(encoding="utf-8")
    measured, plan = read_measured(PACKAGED / name), load_recipe(name).training
    assert f"{plan.steps:,} steps of {plan.batch_size} series" in card
    for score in measured["synthetic"]["mean_mase"].values():
        assert f"{score:.3f}" in card
    assert set(measured["tables"]) == {"shanghai-cgm", "cinc2019"}


@pytest.mark.parametrize("name", NANOS)
def test_on_series_that_it_has_not_seen_a_nano_beats_the_last_value(name: str) -> None:
    scores = synthetic_scores(load_backbone(name), seed=991, count=160, context=48, horizon=6)
    assert scores["median_mase"]["zero-shot"] < scores["median_mase"]["last-value"]
