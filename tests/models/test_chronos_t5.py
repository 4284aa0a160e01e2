"""Chronos-T5: the loss against one computed by hand, and forecasts that are seeded, scaled and blind to padding."""

from pathlib import Path

import pytest
import torch
from chronos import ChronosPipeline

from loracast.errors import BackboneError
from loracast.models.base import Backbone
from loracast.models.registry import load_backbone
from loracast.types import LEVELS

NAN = float("nan")


@pytest.fixture(scope="module")
def backbone(tiny: Path) -> Backbone:
    return load_backbone(str(tiny))


@pytest.fixture(scope="module")
def chronos(tiny: Path) -> ChronosPipeline:
    """The same weights through the library alone."""
    return ChronosPipeline.from_pretrained(str(tiny), dtype=torch.float32)


def walk(windows: int, steps: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 80 + torch.randn(windows, steps, generator=generator).cumsum(dim=1)


def forecast(backbone: Backbone, context: torch.Tensor, horizon: int = 16, seed: int = 0, samples: int = 20):
    return backbone.forecast(context, horizon, levels=LEVELS, samples=samples, seed=seed)


def by_hand(chronos: ChronosPipeline, context: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the labels that the library's tokenizer makes of a full native horizon."""
    ids, mask, scale = chronos.tokenizer.context_input_transform(context)
    labels, seen = chronos.tokenizer.label_input_transform(future, scale)
    start = torch.zeros((len(labels), 1), dtype=torch.long)
    net = chronos.model.model
    with torch.no_grad():
        logits = net(input_ids=ids, attention_mask=mask, decoder_input_ids=torch.cat([start, labels[:, :-1]], 1)).logits
    return torch.nn.functional.cross_entropy(logits[seen], labels[seen])


@pytest.mark.parametrize("gaps", [False, True])
def test_the_loss_is_the_cross_entropy_of_the_librarys_own_labels(backbone, chronos, gaps):
    context, future = walk(5, 48), walk(5, 16, seed=1)
    if gaps:
        context[1, :20] = context[2, 5:9] = future[0, 3] = future[4, 10:] = NAN
    found = backbone.loss(context, future)
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), by_hand(chronos, context, future), rtol=1e-5, atol=0)


def test_at_a_shorter_horizon_the_closing_token_is_not_scored(backbone, chronos):
    context, future = walk(3, 48), walk(3, 6, seed=1)
    ids, mask, scale = chronos.tokenizer.context_input_transform(context)
    labels, _, _ = chronos.tokenizer._input_transform(future, scale)
    start = torch.zeros((3, 1), dtype=torch.long)
    with torch.no_grad():
        fed = torch.cat([start, labels[:, :-1]], 1)
        logits = chronos.model.model(input_ids=ids, attention_mask=mask, decoder_input_ids=fed).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(backbone.loss(context, future).detach(), expected, rtol=1e-5, atol=0)


def test_of_a_longer_horizon_the_native_steps_are_scored(backbone):
    context, future = walk(3, 48), walk(3, 40, seed=1)
    assert torch.equal(backbone.loss(context, future), backbone.loss(context, future[:, :16]))


def test_an_unobserved_target_is_not_scored(backbone):
    context, future = walk(4, 48), walk(4, 16, seed=1)
    future[:, 4:12] = NAN
    whole = backbone.loss(context, future)
    alone = torch.stack([backbone.loss(context[i : i + 1], future[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(whole, alone.mean(), rtol=1e-5, atol=0)
    future[3] = NAN  # of this window only the closing token is left
    assert not torch.isclose(backbone.loss(context, future), whole)


def test_targets_that_nobody_observed_have_no_influence_at_a_shorter_horizon(backbone):
    context, future = walk(4, 48), walk(4, 6, seed=1)
    some = future.clone()
    some[2:] = NAN
    torch.testing.assert_close(backbone.loss(context, some), backbone.loss(context[:2], future[:2]), rtol=1e-5, atol=0)


def test_the_loss_leaves_its_input_as_it_was(backbone):
    context, future = walk(2, 48), walk(2, 16, seed=1)
    kept = context.clone(), future.clone()
    backbone.loss(context, future)
    assert torch.equal(context, kept[0])
    assert torch.equal(future, kept[1])


def test_an_unobserved_context_value_enters_neither_the_scale_nor_the_attention(chronos):
    context = walk(1, 48)
    context[0, 10:30] = NAN
    _, mask, scale = chronos.tokenizer.context_input_transform(context)
    assert scale.item() == pytest.approx(context[~context.isnan()].abs().mean().item(), rel=1e-6)
    assert not mask[0, 10:30].any()
    assert mask[0, 30:].all()


def test_padding_on_the_left_changes_nothing(backbone):
    context, future = walk(3, 30), walk(3, 16, seed=1)
    padded = torch.cat([torch.full((3, 18), NAN), context], dim=1)
    torch.testing.assert_close(backbone.loss(padded, future), backbone.loss(context, future), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(forecast(backbone, padded), forecast(backbone, context))


@pytest.mark.parametrize("call", ["loss", "forecast"])
def test_a_context_that_would_be_cut_short_is_refused(backbone, call):
    with pytest.raises(BackboneError, match="drop the oldest 2"):
        backbone.loss(walk(1, 50), walk(1, 16)) if call == "loss" else forecast(backbone, walk(1, 50))


@pytest.mark.parametrize("horizon", [1, 16, 17, 40])
def test_a_forecast_has_a_row_a_window_a_column_a_step_and_sorted_levels(backbone, horizon):
    quantiles = forecast(backbone, walk(3, 48), horizon)
    assert quantiles.shape == (3, horizon, 9)
    assert quantiles.dtype == torch.float32
    assert quantiles.isfinite().all()
    assert (quantiles.diff(dim=-1) >= 0).all()


def test_the_same_seed_gives_the_same_forecast_and_another_seed_another(backbone):
    assert torch.equal(forecast(backbone, walk(3, 48)), forecast(backbone, walk(3, 48)))
    assert not torch.equal(forecast(backbone, walk(3, 48)), forecast(backbone, walk(3, 48), seed=1))


def test_a_forecast_leaves_the_callers_random_state_alone(backbone):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    forecast(backbone, walk(2, 48))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    one = forecast(backbone, walk(2, 48))
    torch.manual_seed(7)
    assert torch.equal(forecast(backbone, walk(2, 48)), one)


def test_a_thousand_times_the_series_is_a_thousand_times_the_forecast(backbone):
    context = walk(3, 48)
    context[0, :9] = NAN
    one, other = forecast(backbone, 1000 * context), forecast(backbone, context)
    torch.testing.assert_close(one, 1000 * other, rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("value", [0.0, 36.6, -5.0])
def test_a_constant_context_is_forecast_within_the_range_of_the_tokens(backbone, value):
    quantiles = forecast(backbone, torch.full((2, 48), value))
    assert quantiles.isfinite().all()
    assert quantiles.abs().max() <= 5 * max(abs(value), 1.0) * (1 + 1e-6)
    assert backbone.loss(torch.full((2, 48), value), torch.full((2, 16), value)).isfinite()


def test_a_long_forecast_is_quiet(backbone, caplog):
    forecast(backbone, walk(1, 48), horizon=20)
    assert not caplog.records
