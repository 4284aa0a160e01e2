"""Lag-Llama as a backbone: its checkpoint, its windows, its loss and forecast, where it may be tuned."""

import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, PeftModel, get_peft_model

from loracast.errors import BackboneError
from loracast.models import hub, lightning
from loracast.models.hub import Fetched, read_tensors
from loracast.models.lag_llama import CHECKPOINT, LagLlamaBackbone, read_lag_llama
from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig
from loracast.models.nets.lag_llama_window import Window, teacher_forced, time_features
from loracast.models.registry import backbones, load_backbone, skeleton
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.types import LEVELS, Rows
from tests.models.lightning import write_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden" / "lag_llama" / "tiny-robust"
REACH, TOKENS, NAN = 57, 32, float("nan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The tiny network of the reference tensors, as a folder that `save_pretrained` wrote."""
    config = LagLlamaConfig.read(json.loads((GOLDEN / "config.json").read_text()), "golden")
    net = LagLlama(config)
    net.load_state_dict(read_tensors(GOLDEN / "weights.safetensors"))
    net.save_pretrained(tmp_path_factory.mktemp("lag-llama") / "tiny")
    return tmp_path_factory.getbasetemp() / "lag-llama0" / "tiny"


@pytest.fixture
def backbone(folder) -> LagLlamaBackbone:
    return load_backbone(str(folder))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "loracast" / "lag-llama"


def test_a_history_shorter_than_the_lags_is_padded_and_said_once(backbone, caplog):
    context = torch.randn(2, 10)
    for _ in range(2):
        backbone.loss(context, torch.randn(2, 3), Rows(torch.zeros(2, dtype=torch.long), 3600))
    said = [record.message for record in caplog.records]
    assert len(said) == 1
    assert "a context of 10 steps does not hold them all" in said[0]


def checkpoint(folder: Path, **changed) -> Path:
    config = json.loads((GOLDEN / "config.json").read_text())
    del config["distr_output"]
    folder.mkdir(exist_ok=True)
    return write_checkpoint(folder / CHECKPOINT, read_tensors(GOLDEN / "weights.safetensors"), {**config, **changed})


def walk(rows: int, steps: int, seed: int = 0) -> torch.Tensor:
    return 80 + torch.randn(rows, steps, generator=torch.Generator().manual_seed(seed)).cumsum(dim=1)


def hours(rows: int) -> Rows:
    return Rows(torch.arange(rows) * 86_400 * 17 + 5_000_000_000, 3600)


def forecast(backbone, context, horizon=5, *, seed=0, samples=30, rows=None):
    given = rows or hours(len(context))
    return backbone.forecast(context, horizon, levels=LEVELS, samples=samples, seed=seed, rows=given)


def test_a_checkpoint_loads_from_its_folder_and_by_its_path_as_the_weights_it_holds(tmp_path, cache, backbone):
    file = checkpoint(tmp_path / "published")
    for name in (file.parent, file):
        loaded = load_backbone(str(name))
        assert loaded.net.config == backbone.net.config
        assert all(
            torch.equal(one, other)
            for one, other in zip(loaded.net.state_dict().values(), backbone.net.state_dict().values(), strict=True)
        )
        assert loaded.card.parameters == backbone.card.parameters
        assert all(parameter.requires_grad for parameter in loaded.net.parameters())


def test_a_checkpoint_is_imported_once_and_then_comes_from_the_cache(tmp_path, cache, monkeypatch):
    file = checkpoint(tmp_path / "published")
    first = load_backbone(str(file))
    (kept,) = cache.iterdir()
    assert sorted(path.name for path in kept.iterdir()) == ["config.json", "model.safetensors"]
    monkeypatch.setattr(lightning, "read_checkpoint", lambda *_: pytest.fail("read again"))
    second = load_backbone(str(file))
    assert torch.equal(first.net.param_proj.proj[0].weight, second.net.param_proj.proj[0].weight)
    assert load_backbone(str(kept)).card.parameters == first.card.parameters


def test_its_short_name_fetches_the_published_checkpoint_at_the_revision_asked_for(tmp_path, cache, monkeypatch):
    published = checkpoint(tmp_path / "published").parent
    asked = []
    monkeypatch.setattr(hub, "fetch", lambda *what: asked.append(what) or Fetched(published, "c0ffee"))
    loaded = load_backbone("lag-llama", revision="v1")
    assert asked == [("time-series-foundation-models/Lag-Llama", [CHECKPOINT], "v1")]
    assert (loaded.card.name, loaded.card.revision, loaded.card.licence) == ("lag-llama", "c0ffee", "Apache-2.0")


def test_a_damaged_cache_is_replaced(tmp_path, cache):
    file = checkpoint(tmp_path / "published")
    load_backbone(str(file))
    (weights,) = cache.glob("*/model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:500])
    load_backbone(str(file))
    assert weights.read_bytes() == whole


def test_a_cache_that_cannot_be_written_does_not_keep_the_model_from_loading(tmp_path, monkeypatch):
    blocked = tmp_path / "home"
    blocked.write_text("a file where a folder is wanted")
    monkeypatch.setattr(constants, "HF_HOME", str(blocked))
    assert load_backbone(str(checkpoint(tmp_path / "published"))).card.parameters > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n_layer": 3}, r"lacks transformer\.h\.2\.attn.*8 in all"),
        ({"n_layer": 1}, r"beyond its config, transformer\.h\.1\..*8 in all"),
        ({"lags_seq": [0, 1]}, r"another shape transformer\.wte\.weight"),
        ({"distr_output": "negative-binomial"}, "distr_output .* studentT"),
        ({"scaling": "log"}, "scaling .* robust"),
    ],
)
def test_a_checkpoint_whose_weights_or_settings_do_not_fit_is_refused_by_name(tmp_path, cache, change, reason):
    with pytest.raises(BackboneError, match=reason):
        load_backbone(str(checkpoint(tmp_path / "published", **change)))
    assert not cache.exists()


@pytest.mark.parametrize("name", ["lags_seq", "num_parallel_samples", "rope_scaling", "distr_output"])
def test_settings_that_are_endless_when_written_out_are_refused_at_once(tmp_path, cache, name):
    deep = [1]
    for _ in range(60):
        deep = [deep, deep]
    given = {"type": "nope", "more": deep} if name == "rope_scaling" else deep
    with pytest.raises(BackboneError, match=name):
        load_backbone(str(checkpoint(tmp_path / "published", **{name: given})))
    assert not cache.exists()


def test_weights_without_their_prefix_are_refused_instead_of_made_up(tmp_path):
    config = json.loads((GOLDEN / "config.json").read_text())
    weights = read_tensors(GOLDEN / "weights.safetensors")
    file = write_checkpoint(tmp_path / CHECKPOINT, weights, config, prefix="net.")
    with pytest.raises(BackboneError, match=r"lacks param_proj\.proj\.0\.bias"):
        read_lag_llama(file)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(BackboneError, match="another model"):
        load_backbone(str(tmp_path))


def test_a_folder_with_neither_form_is_refused(tmp_path):
    with pytest.raises(BackboneError, match=r"no config\.json"):
        load_backbone(str(tmp_path))
    (tmp_path / "config.json").write_text((GOLDEN / "config.json").read_text())
    with pytest.raises(BackboneError, match=r"no model\.safetensors"):
        load_backbone(str(tmp_path))


def test_the_released_size_is_known_offline_with_its_sites():
    released = skeleton("lag-llama")
    assert released.card.parameters == 2_449_299
    assert released.card.context == 1092 + 32
    assert backbones()["lag-llama"][1].location == "time-series-foundation-models/Lag-Llama"
    matched = {
        site: [name for name, _ in released.net.named_modules() if re.fullmatch(getattr(released.sites, site), name)]
        for site in ("attention", "feed_forward", "norm", "head")
    }
    assert {site: len(names) for site, names in matched.items()} == {
        "attention": 24,
        "feed_forward": 24,
        "norm": 17,
        "head": 3,
    }


def test_rank_2_on_the_attention_of_the_released_size_trains_16128_numbers():
    arm = ArmSpec(model="lag-llama", method="lora", rank=2)
    attached = attach(skeleton("lag-llama"), arm.method)
    assert attached.trainable_parameters == 16_128
    assert not [name for name in attached.trainable if ".mlp." in name]


def test_a_fresh_adapter_changes_no_forecast_and_comes_back_from_its_folder(backbone, folder, tmp_path):
    context = walk(2, 60)
    before = forecast(backbone, context)
    model = get_peft_model(backbone.net, LoraConfig(r=2, target_modules=backbone.sites.attention))
    torch.testing.assert_close(forecast(backbone, context), before)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    tuned = forecast(backbone, context)
    assert not torch.isclose(tuned, before).all()
    model.save_pretrained(tmp_path)
    again = load_backbone(str(folder))
    PeftModel.from_pretrained(again.net, str(tmp_path))
    torch.testing.assert_close(forecast(again, context), tuned)


def test_the_loss_is_the_masked_mean_over_tokens_and_future(backbone):
    context, future = walk(3, REACH + TOKENS), walk(3, 7, seed=1)
    context[0, 60:70] = context[2, :50] = future[1, 2:5] = NAN
    start = hours(3).start + REACH * 3600
    window = Window.of(
        backbone.net.config, context.nan_to_num(0.0), ~context.isnan(), time_features(start, 3600, TOKENS + 6)
    )
    _, surprise = teacher_forced(backbone.net, window, future.nan_to_num(0.0))
    seen = torch.cat([~context[:, REACH + 1 :].isnan(), ~future.isnan()], dim=1)
    torch.testing.assert_close(backbone.loss(context, future, hours(3)), surprise[seen].mean())


def test_the_loss_has_a_gradient_and_leaves_its_input_as_it_was(backbone):
    context, future = walk(2, 40), walk(2, 6, seed=1)
    context[0, 5:9] = future[1, 3:] = NAN
    kept = context.clone(), future.clone()
    backbone.loss(context, future, hours(2)).backward()
    assert all(parameter.grad.isfinite().all() for parameter in backbone.net.parameters())
    torch.testing.assert_close((context, future), kept, equal_nan=True)


def test_an_unobserved_target_is_not_scored(backbone):
    context, future = walk(1, 60), walk(1, 6, seed=1)
    shorter = backbone.loss(context, future[:, :4], hours(1))
    future[:, 4:] = NAN
    torch.testing.assert_close(backbone.loss(context, future, hours(1)), shorter)


def test_the_last_steps_become_tokens_and_loss_and_forecast_agree_on_them(backbone):
    window = backbone._window(walk(2, 70), 5, hours(2))
    assert window.tokens == TOKENS
    assert window.values.shape == (2, REACH + TOKENS)
    assert window.observed.sum(1).tolist() == [70, 70]
    expected = time_features(hours(2).start + (70 - TOKENS) * 3600, 3600, TOKENS + 4)
    assert torch.equal(window.time, expected)
    assert backbone._window(walk(2, 20), 5, hours(2)).tokens == 20


def test_more_tokens_may_be_asked_for(backbone):
    context = walk(2, 60)
    usual = forecast(backbone, context)
    backbone.context_tokens = 48
    assert backbone.card.context == REACH + 48
    assert not torch.isclose(forecast(backbone, context), usual).all()


@pytest.mark.parametrize("call", ["loss", "forecast"])
def test_a_context_that_would_be_cut_short_is_refused(backbone, call):
    context = walk(1, REACH + TOKENS + 3)
    with pytest.raises(BackboneError, match="drop the oldest 3"):
        backbone.loss(context, walk(1, 5), hours(1)) if call == "loss" else forecast(backbone, context)


@pytest.mark.parametrize("call", ["loss", "forecast"])
@pytest.mark.parametrize("rows", [None, hours(2)])
def test_a_call_without_the_times_of_its_rows_is_refused(backbone, call, rows):
    settings = {"levels": LEVELS, "samples": 2, "seed": 0}
    ask = {
        "loss": lambda: backbone.loss(walk(3, 40), walk(3, 5), rows),
        "forecast": lambda: backbone.forecast(walk(3, 40), 5, rows=rows, **settings),
    }[call]
    with pytest.raises(BackboneError, match="Pass `rows`"):
        ask()


def test_the_time_of_a_window_changes_its_forecast(backbone):
    context = walk(2, 60)
    later = Rows(hours(2).start + 5 * 3600, 3600)
    assert not torch.isclose(forecast(backbone, context), forecast(backbone, context, rows=later)).all()


@pytest.mark.parametrize("procedure", ["frozen", "exact"])
@pytest.mark.parametrize("horizon", [1, 12, 40])
def test_a_forecast_has_a_row_a_window_a_column_a_step_and_sorted_levels(backbone, procedure, horizon):
    backbone.procedure = procedure
    quantiles = forecast(backbone, walk(3, 60), horizon, samples=7)
    assert quantiles.shape == (3, horizon, 9)
    assert (quantiles.dtype, quantiles.device.type) == (torch.float32, "cpu")
    assert quantiles.isfinite().all()
    assert (quantiles.diff(dim=-1) >= 0).all()


def test_the_same_seed_gives_the_same_forecast_and_the_global_random_state_is_left_alone(backbone):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = forecast(backbone, walk(2, 60))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(forecast(backbone, walk(2, 60)), one)
    assert not torch.equal(forecast(backbone, walk(2, 60), seed=1), one)


def test_the_two_procedures_draw_from_distributions_that_are_close_where_the_history_is_long(backbone):
    context = walk(2, REACH + TOKENS)
    frozen = forecast(backbone, context, 5, samples=500)
    backbone.procedure = "exact"
    exact = forecast(backbone, context, 5, samples=500)
    spread = (frozen[..., -1] - frozen[..., 0]).mean()
    assert (frozen - exact).abs().mean() < 0.1 * spread


@pytest.mark.parametrize("value", [0.0, 36.6, -5.0, 1e6])
@pytest.mark.parametrize("procedure", ["frozen", "exact"])
def test_a_constant_context_has_a_finite_forecast_near_it(backbone, value, procedure):
    backbone.procedure = procedure
    quantiles = forecast(backbone, torch.full((2, 48), value))
    assert quantiles.isfinite().all()
    assert (quantiles - value).abs().max() <= 0.2 * abs(value) + 1e-6
    assert backbone.loss(torch.full((2, 48), value), torch.full((2, 6), value), hours(2)).isfinite()


def test_a_context_that_nobody_observed_has_a_finite_forecast(backbone):
    context = walk(2, 48)
    context[0] = NAN
    assert forecast(backbone, context).isfinite().all()
    assert backbone.loss(context, walk(2, 6, seed=1), hours(2)).isfinite()


def test_a_window_is_forecast_and_scored_alike_alone_and_among_others(backbone):
    context, future = walk(3, 60), walk(3, 6, seed=1)
    torch.testing.assert_close(forecast(backbone, context[:1]), forecast(backbone, context)[:1])
    alone = [
        backbone.loss(context[i : i + 1], future[i : i + 1], Rows(hours(3).start[i : i + 1], 3600)) for i in range(3)
    ]
    torch.testing.assert_close(torch.stack(alone).mean(), backbone.loss(context, future, hours(3)))


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
def test_any_unit_has_a_finite_forecast_of_its_own_size(backbone, factor):
    context = walk(2, 80)
    quantiles = forecast(backbone, context * factor) / factor
    assert quantiles.isfinite().all()
    assert (quantiles - 80).abs().max() < 400


def test_it_forecasts_in_bfloat16(backbone):
    wide = forecast(backbone, walk(2, 60))
    backbone.net.to(torch.bfloat16)
    narrow = forecast(backbone, walk(2, 60))
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, wide, rtol=0.1, atol=5.0)
