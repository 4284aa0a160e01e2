"""Each method trains what its name says, and nothing until it is trained."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from loracast.errors import ConfigError, TrainingError
from loracast.models.base import Sites
from loracast.models.registry import load_backbone
from loracast.spec import ArmSpec, parse
from loracast.tuning.methods import METHODS, attach, method_named
from loracast.types import LEVELS

ATTENTION = re.compile(r"(encoder|decoder)\.block\.\d\.layer\.\d\.(SelfAttention|EncDecAttention)\.[qkvo]\.lora_[AB]\.")


def attached(tiny: Path, method: str, **more: object):
    return attach(load_backbone(str(tiny)), ArmSpec(backbone=str(tiny), method=method, **more))


def forecast(backbone) -> torch.Tensor:
    context = 80 + torch.randn(3, 40, generator=torch.Generator().manual_seed(1)).cumsum(dim=1)
    generator = torch.Generator().manual_seed(0)
    return backbone.forecast(context, 16, levels=LEVELS, samples=20, generator=generator)


def test_lora_trains_two_factors_at_every_query_key_value_and_output_and_nothing_else(tiny):
    names = attached(tiny, "lora").trainable
    assert all(ATTENTION.search(name) for name in names)
    # Two layers of encoder self-, decoder self- and cross-attention, four matrices each, two factors.
    assert len(names) == 2 * 3 * 4 * 2


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_lora_counts_rank_times_the_sides_of_each_matrix(tiny, rank):
    assert attached(tiny, "lora", rank=rank).trainable_parameters == 24 * rank * (16 + 16)


def test_alpha_and_rank_reach_peft(tiny):
    config = attached(tiny, "lora", rank=4, alpha=8).peft.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 8, 0.0)


def test_full_trains_every_number(tiny):
    found = attached(tiny, "full")
    assert found.peft is None
    assert found.trainable_parameters == found.backbone.card.parameters


def test_zero_shot_trains_nothing(tiny):
    found = attached(tiny, "zero-shot")
    assert found.trainable_parameters == 0
    assert not METHODS["zero-shot"].trains


def test_an_unknown_method_is_refused_with_the_list(tiny):
    for ask in (lambda: method_named("lorra"), lambda: attached(tiny, "lorra")):
        with pytest.raises(ConfigError, match=r"'lorra'. Methods: zero-shot, full, head, lora"):
            ask()


def test_a_method_that_finds_nothing_to_train_is_refused(tiny):
    backbone = load_backbone(str(tiny))
    backbone.sites = replace(backbone.sites, attention="nowhere")
    assert isinstance(backbone.sites, Sites)
    with pytest.raises(TrainingError, match=r"'lora' cannot tune attention of tiny-t5"):
        attach(backbone, ArmSpec(backbone=str(tiny), method="lora"))


def test_adalora_is_checked_by_the_rank_it_starts_with(tiny):
    assert attached(tiny, "adalora", rank=10)
    with pytest.raises(ConfigError, match="Rank 18 given; the tuned matrices of tiny-t5 have rank 16 at most"):
        attached(tiny, "adalora", rank=12)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "full", "alpha": 4}, "'full' has no use for alpha"),
        ({"method": "vera", "alpha": 4}, "'vera' has no use for alpha"),
        ({"method": "zero-shot", "learning_rate": 0.1}, "'zero-shot' has no use for learning_rate"),
        ({"method": "zero-shot", "patients": 0.5}, "'zero-shot' has no use for patients"),
    ],
)
def test_a_setting_without_effect_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        parse(ArmSpec, {"backbone": "tiny", **settings}, "The arm")


def test_a_tied_head_is_tuned_without_its_embedding(tiny):
    found = attached(tiny, "head")
    net = found.backbone.net
    assert net.lm_head.weight is not net.shared.weight
    assert [name for name, _ in net.named_parameters() if name in found.trainable] == ["lm_head.weight"]
