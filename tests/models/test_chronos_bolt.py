"""Chronos-Bolt: the library's loss and quantiles, trainable, strict about weights, unmoved by flat windows."""

import contextlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from chronos import ChronosBoltPipeline
from peft import PeftModel

from loracast.errors import BackboneError, ConfigError
from loracast.models.base import Backbone
from loracast.models.chronos_bolt import load
from loracast.models.registry import Wanted, load_backbone
from loracast.tuning.adapter import base_digest, load_adapter, save_adapter
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.tuning.method import quiet_peft
from loracast.types import LEVELS
from tests.models.tiny_chronos import save_bolt

NAN = float("nan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bolt(tmp_path_factory.mktemp("bolt") / "tiny-bolt")


@pytest.fixture
def backbone(folder: Path) -> Backbone:
    return load_backbone(str(folder))


@pytest.fixture(scope="module")
def library(folder: Path) -> ChronosBoltPipeline:
    """The same weights through the library alone."""
    return ChronosBoltPipeline.from_pretrained(str(folder), dtype=torch.float32)


def walk(windows: int, steps: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 80 + torch.randn(windows, steps, generator=generator).cumsum(dim=1)


def forecast(backbone: Backbone, context: torch.Tensor, horizon: int = 16, levels: tuple[float, ...] = LEVELS):
    return backbone.forecast(context, horizon, levels=levels, samples=5, seed=0)


def by_hand(library: ChronosBoltPipeline, context: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
    """Twice the pinball loss on the standardised target: mean over quantiles, sum over steps, mean over rows."""
    with torch.no_grad():
        quantiles = library.model(context=context).quantile_preds[:, :, : future.shape[1]]
    mean = context.nanmean(dim=1, keepdim=True)
    scale = (context - mean).square().nanmean(dim=1, keepdim=True).sqrt()[:, None]
    miss = (future[:, None] - quantiles) / scale
    tau = torch.tensor(library.quantiles)[None, :, None]
    pinball = torch.maximum(tau * miss, (tau - 1) * miss).nan_to_num(nan=0.0)
    return 2 * pinball.mean(dim=1).sum(dim=1).mean()


def test_the_card_tells_what_the_folder_holds(backbone):
    card = backbone.card
    assert (card.name, card.family, card.context, card.horizon) == ("tiny-bolt", "chronos-bolt", 48, 16)
    assert card.parameters == sum(p.numel() for p in backbone.net.parameters())


@pytest.mark.parametrize("horizon", [16, 6])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_loss_is_the_librarys_pinball_loss(backbone, library, horizon, gaps):
    context, future = walk(5, 48), walk(5, horizon, seed=1)
    if gaps:
        context[1, :20] = context[2, 5:9] = future[0, 3] = future[4, 2:] = NAN
    found = backbone.loss(context, future)
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), by_hand(library, context, future), rtol=1e-4, atol=0)
    torch.testing.assert_close(found.detach(), library.model(context=context, target=future).loss.detach())


def test_of_a_longer_horizon_the_native_steps_are_scored(backbone):
    context, future = walk(3, 48), walk(3, 40, seed=1)
    assert torch.equal(backbone.loss(context, future), backbone.loss(context, future[:, :16]))


@pytest.mark.parametrize("value", [36.6, 0.0, 98.0, NAN])
def test_a_window_without_a_scale_does_not_drown_the_batch(backbone, library, value):
    context, future = walk(4, 48), walk(4, 16, seed=1)
    alone = backbone.loss(context[:3], future[:3]).detach()
    context[3] = value
    torch.testing.assert_close(backbone.loss(context, future).detach(), alone * 3 / 4)
    assert library.model(context=context, target=future).loss > 2 * alone


def test_a_batch_in_which_nothing_can_be_scored_has_a_loss_of_zero_with_gradient(backbone):
    loss = backbone.loss(torch.full((2, 48), 36.6), walk(2, 6))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in backbone.net.parameters())


def test_the_loss_leaves_its_input_as_it_was(backbone):
    context, future = walk(2, 48), walk(2, 16, seed=1)
    future[0, 3] = NAN
    kept = context.clone(), future.clone()
    backbone.loss(context, future)
    assert torch.equal(context, kept[0])
    torch.testing.assert_close(future, kept[1], equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("horizon", [1, 16, 17, 40])
def test_a_forecast_is_the_librarys_for_any_horizon(backbone, library, horizon):
    quantiles = forecast(backbone, walk(3, 48), horizon)
    assert quantiles.shape == (3, horizon, 9)
    assert quantiles.dtype == torch.float32
    with pytest.warns(match="We recommend") if horizon > 16 else contextlib.nullcontext():
        expected, _ = library.predict_quantiles(walk(3, 48), prediction_length=horizon, quantile_levels=list(LEVELS))
    assert torch.equal(quantiles, expected)


def test_levels_between_the_native_ones_lie_between_their_quantiles_whatever_else_is_asked(backbone):
    nine, found = forecast(backbone, walk(3, 48), 6), forecast(backbone, walk(3, 48), 6, levels=(0.25, 0.5))
    torch.testing.assert_close(found[..., 0], (nine[..., 1] + nine[..., 2]) / 2)
    assert torch.equal(found[..., 1], nine[..., 4])


def test_levels_beyond_the_native_ones_are_refused(backbone):
    with pytest.raises(ConfigError, match=r"levels from 0\.1 to 0\.9 and forecasts none of 0\.05, 0\.95"):
        forecast(backbone, walk(1, 48), levels=(0.05, 0.5, 0.95))


def test_a_forecast_draws_nothing_and_leaves_the_callers_random_state_alone(backbone):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = backbone.forecast(walk(2, 48), 16, levels=LEVELS, samples=3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, forecast(backbone, walk(2, 48)))


def test_a_window_is_forecast_alone_as_in_a_batch_and_padding_changes_nothing(backbone):
    context = walk(3, 40)
    context[0, 4:9] = NAN
    whole = forecast(backbone, context)
    torch.testing.assert_close(forecast(backbone, context[1:2]), whole[1:2], rtol=1e-4, atol=1e-4)
    padded = torch.cat([torch.full((3, 8), NAN), context], dim=1)
    torch.testing.assert_close(forecast(backbone, padded), whole, rtol=1e-4, atol=1e-4)


def test_a_thousand_times_the_series_is_a_thousand_times_the_forecast(backbone):
    context = walk(3, 48)
    context[0, :9] = NAN
    torch.testing.assert_close(
        forecast(backbone, 1000 * context), 1000 * forecast(backbone, context), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("value", [0.0, 36.6, -5.0])
def test_a_constant_context_is_forecast_to_stay(backbone, value):
    torch.testing.assert_close(
        forecast(backbone, torch.full((2, 48), value)), torch.full((2, 16, 9), value), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("call", ["loss", "forecast"])
def test_a_context_that_would_be_cut_short_is_refused(backbone, call):
    with pytest.raises(BackboneError, match="drop the oldest 2"):
        backbone.loss(walk(1, 50), walk(1, 16)) if call == "loss" else forecast(backbone, walk(1, 50))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_lowers_the_loss_and_what_is_saved_forecasts_the_same(folder, tmp_path, method):
    arm = ArmSpec(model=str(folder), method=method)
    attached = attach(load_backbone(str(folder)), arm.method)
    backbone, base = attached.network, base_digest(load_backbone(str(folder)))
    context, future = walk(8, 48), walk(8, 6, seed=1)
    untouched = forecast(load_backbone(str(folder)), context)
    torch.testing.assert_close(forecast(backbone, context), untouched, rtol=1e-6, atol=1e-4)
    optimizer = torch.optim.AdamW(attached.trainable.values(), lr=0.01)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = backbone.loss(context, future)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    save_adapter(attached, arm, tmp_path / "adapter", base=base)
    trained = forecast(backbone, context)
    assert not torch.equal(trained, untouched)
    again = load_adapter(tmp_path / "adapter", backbone=str(folder))
    torch.testing.assert_close(forecast(again, context), trained)
    texts = [file.read_text() for file in (tmp_path / "adapter").glob("*.json")]
    assert not any(str(folder.parent) in text for text in texts)


def test_plain_peft_opens_the_adapter_on_the_network_that_the_library_loads(folder, library, tmp_path):
    arm = ArmSpec(model=str(folder), method="lora", rank=2)
    attached = attach(load_backbone(str(folder)), arm.method)
    with torch.no_grad():
        for parameter in attached.trainable.values():
            parameter.add_(0.1)
    save_adapter(attached, arm, tmp_path / "adapter", base="-")
    plain = ChronosBoltPipeline.from_pretrained(str(folder), dtype=torch.float32).model
    with quiet_peft():
        opened = PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        found = opened(context=walk(2, 48)).quantile_preds
    torch.testing.assert_close(found.transpose(1, 2), forecast(attached.network, walk(2, 48)))


def test_patch_weights_that_a_file_lacks_are_named_where_the_library_makes_them_up(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["input_patch_embedding.hidden_layer.bias"]
    weights["decoder.extra"] = torch.ones(1)
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    said = r"lacks input_patch_embedding\.hidden_layer\.bias \(1 in all\); has, beyond its config, decoder\.extra"
    with pytest.raises(BackboneError, match=said):
        load_backbone(str(tmp_path))


def test_weights_of_another_width_are_named_with_both_shapes(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config["chronos_config"]["prediction_length"] = 24
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(BackboneError, match=r"output_patch_embedding\.output_layer\.bias \[144\] for \[216\]"):
        load_backbone(str(tmp_path))


def test_a_config_that_lacks_an_entry_or_is_of_another_family_is_refused(folder, tiny, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    del config["chronos_config"]["input_patch_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(BackboneError, match=r"cannot be loaded as a chronos-bolt: .*input_patch_size"):
        load_backbone(str(tmp_path))
    with pytest.raises(
        BackboneError, match="holds T5ForConditionalGeneration, which is no model of the family chronos-b"
    ):
        load(Wanted("tiny", tiny, "-"))
