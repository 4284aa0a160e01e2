"""Chronos-2: the library's loss and quantiles, signals of one patient jointly, adapters that keep what they need."""

import contextlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from chronos import Chronos2Pipeline
from peft import PeftModel

from loracast.errors import BackboneError
from loracast.models.base import Backbone
from loracast.models.chronos2 import load
from loracast.models.registry import Wanted, load_backbone, skeleton
from loracast.tuning.adapter import base_digest, load_adapter, save_adapter
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.tuning.method import quiet_peft
from loracast.types import LEVELS, Rows
from tests.models.tiny_chronos import save_bolt, save_chronos2

NAN = float("nan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chronos2(tmp_path_factory.mktemp("chronos2") / "tiny-two")


@pytest.fixture
def backbone(folder: Path) -> Backbone:
    return load_backbone(str(folder))


@pytest.fixture(scope="module")
def library(folder: Path) -> Chronos2Pipeline:
    """The same weights through the library alone."""
    return Chronos2Pipeline.from_pretrained(str(folder), dtype=torch.float32)


def walk(windows: int, steps: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 80 + torch.randn(windows, steps, generator=generator).cumsum(dim=1)


def rows(*groups: int) -> Rows:
    return Rows(torch.zeros(len(groups), dtype=torch.long), 3600, torch.tensor(groups))


def forecast(
    backbone: Backbone,
    context: torch.Tensor,
    horizon: int = 16,
    levels: tuple[float, ...] = LEVELS,
    rows: Rows | None = None,
):
    return backbone.forecast(context, horizon, levels=levels, samples=5, seed=0, rows=rows)


def by_hand(library: Chronos2Pipeline, context: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
    """Twice the pinball loss on the arcsinh of the standardised target: sum over quantiles, mean over all else."""
    patches = -(-future.shape[1] // 8)
    with torch.no_grad():
        quantiles = library.model(context=context, num_output_patches=patches).quantile_preds
    quantiles = quantiles[:, :, : future.shape[1]]
    mean = context.nanmean(dim=1, keepdim=True)
    scale = (context - mean).square().nanmean(dim=1, keepdim=True).sqrt()
    target = ((future - mean) / scale).asinh()[:, None]
    miss = target - ((quantiles - mean[:, None]) / scale[:, None]).asinh()
    tau = torch.tensor(library.quantiles)[None, :, None]
    pinball = torch.maximum(tau * miss, (tau - 1) * miss).nan_to_num(nan=0.0)
    return 2 * (pinball.sum(dim=2) / (8 * patches)).sum(dim=1).mean()


def test_the_card_tells_what_the_folder_holds_and_what_is_published(backbone):
    card = backbone.card
    assert (card.name, card.family, card.context, card.horizon) == ("tiny-two", "chronos2", 48, 16)
    assert card.parameters == sum(p.numel() for p in backbone.net.parameters())
    published = skeleton("chronos-2").card
    assert (published.context, published.horizon, published.licence) == (8192, 1024, "Apache-2.0")


@pytest.mark.parametrize("horizon", [16, 6])
@pytest.mark.parametrize("gaps", [False, True])
def test_the_loss_is_the_librarys_pinball_loss(backbone, library, horizon, gaps):
    context, future = walk(5, 48), walk(5, horizon, seed=1)
    if gaps:
        context[1, :20] = context[2, 5:9] = future[0, 3] = future[4, 2:] = NAN
    found = backbone.loss(context, future)
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), by_hand(library, context, future), rtol=1e-4, atol=0)
    patches = 1 if horizon == 6 else 2
    same = library.model(context=context, future_target=future, num_output_patches=patches).loss
    torch.testing.assert_close(found.detach(), same.detach())


def test_of_a_longer_horizon_the_native_steps_are_scored(backbone):
    context, future = walk(3, 48), walk(3, 40, seed=1)
    assert torch.equal(backbone.loss(context, future), backbone.loss(context, future[:, :16]))


@pytest.mark.parametrize("value", [36.6, 0.0, NAN])
def test_a_window_without_a_scale_is_not_scored(backbone, value):
    context, future = walk(4, 48), walk(4, 16, seed=1)
    alone = backbone.loss(context[:3], future[:3]).detach()
    context[3] = value
    torch.testing.assert_close(backbone.loss(context, future).detach(), alone * 3 / 4)
    nothing = backbone.loss(context[3:], future[3:])
    nothing.backward()
    assert nothing.item() == 0


def test_the_signals_of_a_patient_see_each_other_and_no_one_else(backbone):
    context, future = walk(4, 48), walk(4, 16, seed=1)
    alone = forecast(backbone, context)
    joint = forecast(backbone, context, rows=rows(7, 3, 7, 3))
    assert all(not torch.allclose(joint[row], alone[row], rtol=1e-3) for row in range(4))
    for pair in ([0, 2], [1, 3]):
        of_one = forecast(backbone, context[pair], rows=rows(0, 0))
        torch.testing.assert_close(joint[pair], of_one, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(forecast(backbone, context, rows=rows(4, 1, 3, 2)), alone, rtol=1e-4, atol=1e-4)
    assert not torch.isclose(backbone.loss(context, future, rows(7, 3, 7, 3)), backbone.loss(context, future))
    torch.testing.assert_close(
        backbone.loss(context, future, rows(7, 3, 7, 3)), backbone.loss(context, future, rows(-1, 0, -1, 0))
    )


def test_a_joint_forecast_is_the_librarys_of_one_sample_with_several_variates(backbone, library):
    context = walk(5, 48)
    found = forecast(backbone, context, 40, rows=rows(2, 2, 9, 2, 9))
    with pytest.warns(match="We recommend"):
        expected, _ = library.predict_quantiles(
            [context[[0, 1, 3]], context[[2, 4]]], prediction_length=40, quantile_levels=list(LEVELS)
        )
    torch.testing.assert_close(found[[0, 1, 3]], expected[0])
    torch.testing.assert_close(found[[2, 4]], expected[1])


@pytest.mark.parametrize("horizon", [1, 16, 17, 40])
def test_a_forecast_is_the_librarys_for_any_horizon(backbone, library, horizon):
    quantiles = forecast(backbone, walk(3, 48), horizon)
    assert quantiles.shape == (3, horizon, 9)
    assert quantiles.dtype == torch.float32
    with pytest.warns(match="We recommend") if horizon > 16 else contextlib.nullcontext():
        expected, _ = library.predict_quantiles(
            walk(3, 48)[:, None], prediction_length=horizon, quantile_levels=list(LEVELS)
        )
    torch.testing.assert_close(quantiles, torch.cat(expected))


def test_levels_that_are_not_native_are_interpolated_and_few_native_ones_suffice(backbone, tmp_path):
    native = forecast(backbone, walk(3, 48), levels=(0.2, 0.3))
    between = forecast(backbone, walk(3, 48), levels=(0.25, 0.5))
    torch.testing.assert_close(between[:, :, 0], native.mean(dim=-1), rtol=1e-4, atol=1e-4)
    other = load_backbone(str(save_chronos2(tmp_path / "few", quantiles=[0.15, 0.5, 0.85])))
    assert forecast(other, walk(2, 48), 40, levels=(0.5,)).shape == (2, 40, 1)


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
    ragged = torch.cat([torch.full((3, 5), NAN), context[:, -35:]], dim=1)
    torch.testing.assert_close(forecast(backbone, ragged), forecast(backbone, context[:, -35:]), rtol=1e-4, atol=1e-4)


def test_a_thousand_times_the_series_is_a_thousand_times_the_forecast(backbone):
    context = walk(3, 48)
    context[0, :9] = NAN
    torch.testing.assert_close(
        forecast(backbone, 1000 * context), 1000 * forecast(backbone, context), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("value", [0.0, 36.6, -5.0])
def test_a_constant_context_is_forecast_as_a_number(backbone, value):
    assert forecast(backbone, torch.full((2, 48), value)).isfinite().all()


@pytest.mark.parametrize("call", ["loss", "forecast"])
def test_a_context_that_would_be_cut_short_is_refused(backbone, call):
    with pytest.raises(BackboneError, match="drop the oldest 2"):
        backbone.loss(walk(1, 50), walk(1, 16)) if call == "loss" else forecast(backbone, walk(1, 50))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_adapter_keeps_its_context_and_stores_no_path(folder, tmp_path, method):
    # 96 steps: more than the library's configuration class would have by itself, as after an extension of the context.
    wide = save_chronos2(tmp_path / "somewhere" / "wide", context_length=96, time_encoding_scale=48)
    arm = ArmSpec(model=str(wide), method=method)
    attached = attach(load_backbone(str(wide)), arm.method)
    backbone, base = attached.network, base_digest(load_backbone(str(wide)))
    context, future = walk(6, 96), walk(6, 6, seed=1)
    untouched = forecast(load_backbone(str(wide)), context)
    torch.testing.assert_close(forecast(backbone, context), untouched, rtol=1e-6, atol=1e-4)
    optimizer = torch.optim.AdamW(attached.trainable.values(), lr=0.01)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = backbone.loss(context, future, rows(0, 0, 1, 1, 2, 2))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    save_adapter(attached, arm, tmp_path / "adapter", base=base)
    again = load_adapter(tmp_path / "adapter", backbone=str(wide))
    assert again.card.context == 96
    trained = forecast(backbone, context)
    assert not torch.equal(trained, untouched)
    torch.testing.assert_close(forecast(again, context), trained)
    for file in (tmp_path / "adapter").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name
    if method == "full":
        assert load_backbone(str(tmp_path / "adapter")).card.context == 96


def test_plain_peft_opens_the_adapter_on_the_network_that_the_library_loads(folder, tmp_path):
    arm = ArmSpec(model=str(folder), method="lora", rank=2)
    attached = attach(load_backbone(str(folder)), arm.method)
    with torch.no_grad():
        for parameter in attached.trainable.values():
            parameter.add_(0.1)
    save_adapter(attached, arm, tmp_path / "adapter", base="-")
    plain = Chronos2Pipeline.from_pretrained(str(folder), dtype=torch.float32).model
    with quiet_peft():
        opened = PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        found = opened(context=walk(2, 48), num_output_patches=2).quantile_preds
    expected = forecast(attached.network, walk(2, 48), levels=tuple(plain.chronos_config.quantiles))
    torch.testing.assert_close(found.transpose(1, 2), expected, rtol=1e-4, atol=1e-4)


def test_other_weights_and_another_family_are_refused(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["encoder.block.1.layer.1.self_attention.v.weight"]
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"lacks encoder\.block\.1\.layer\.1\.self_attention\.v\.weight"):
        load_backbone(str(tmp_path))
    with pytest.raises(BackboneError, match="holds ChronosBoltModelForForecasting, which is no model of the family"):
        load(Wanted("bolt", save_bolt(tmp_path / "bolt"), "-"))
    config = json.loads((folder / "config.json").read_text())
    config["chronos_config"]["output_patch_size"] = 4
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=r"cannot be loaded as a chronos2: .*must be equal"):
        load_backbone(str(tmp_path))
