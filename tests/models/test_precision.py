"""In bfloat16 every pretrained model forecasts much the same, from each window alone, and what is asked for is said."""

import logging

import numpy as np
import pytest
import torch

from loracast.errors import ConfigError
from loracast.models import precision
from loracast.models.forecast import predict
from loracast.models.nets.lag_llama_window import teacher_forced
from loracast.models.nets.token_paths import Decoder, _Kept
from loracast.models.precision import computing, dtype_of, has_bfloat16, precision_of
from loracast.models.registry import load_model
from loracast.spec import ForecastSpec, parse
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from tests.models.conftest import CONTEXT, DRAWS, HORIZON, OWN, SAVED
from tests.models.test_alone import COUNT, known, walks

HALF = ForecastSpec(samples=12, precision="bfloat16")
BOUND = 0.05
"""Most that a number of a network may be off in bfloat16, as a share of the largest. A step of bfloat16 is 0.008 of a
number; Chronos-2, which takes the sinh of what its last layer says, makes most of it."""


@pytest.fixture(params=SAVED)
def backbone(request, folders):
    return load_model(str(folders[request.param]))


def forecast(model, chosen: np.ndarray, spec: ForecastSpec = HALF) -> np.ndarray:
    return predict(model, walks()[chosen], HORIZON, spec, known(chosen)).quantiles


def numbers_of(model) -> torch.Tensor:
    """What the network says before anything is drawn: logits, parameters of distributions, or quantiles."""
    context, family = torch.from_numpy(walks()[:8]), model.card.family
    if family == "chronos-t5":
        ids, mask, _ = model._pipeline.tokenizer.context_input_transform(context)
        decoder = Decoder(model.net, ids, mask, HORIZON)
        return decoder.step(decoder.first, 0, _Kept(model.net, len(ids), 1)).float()
    if family == "lag-llama":
        rows = known(np.arange(8))
        window = model._window(context, HORIZON, rows)
        return torch.cat(teacher_forced(model.net, window, context[:, :HORIZON].nan_to_num(80.0))[0])
    quantiles = model.forecast(context, HORIZON, levels=(0.1, 0.5, 0.9), samples=2, seed=0)
    return quantiles - context.nanmean(dim=1)[:, None, None]


@torch.no_grad()
def test_the_numbers_of_a_network_are_nearly_those_in_float32(backbone):
    usual = numbers_of(backbone)
    with computing(backbone, "bfloat16"):
        assert dtype_of(backbone.net) == torch.bfloat16
        half = numbers_of(backbone)
    assert half.dtype == torch.float32
    assert 0 < float((half - usual).abs().max() / usual.abs().max()) < BOUND


def test_company_order_and_the_size_of_a_batch_change_no_bit(backbone):
    every = np.arange(COUNT)
    whole = forecast(backbone, every)
    assert not np.array_equal(whole, forecast(backbone, every, ForecastSpec(samples=12)))
    order = np.random.default_rng(1).permutation(COUNT)
    np.testing.assert_array_equal(forecast(backbone, order), whole[order])
    for size in (1, 7):
        parts = [forecast(backbone, every[start : start + size]) for start in range(0, COUNT, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("family", sorted(DRAWS))
def test_an_update_too_small_for_bfloat16_beside_its_weight_is_not_lost(family, folders):
    arm = parse(ArmSpec, {"model": str(folders[family]), "method": "lora", "rank": 2}, "The arm")
    attached = attach(load_model(arm.model), arm.method)
    chosen = np.arange(4)
    before = forecast(attached.model, chosen)
    with torch.no_grad():
        for name, parameter in attached.trainable.items():
            if "lora_B" in name:
                parameter.fill_(1e-3)
    usual = forecast(attached.model, chosen, ForecastSpec(samples=12))
    found = forecast(attached.model, chosen)
    assert not np.array_equal(found, before)
    assert np.abs(found - usual).mean() < 0.05 * np.ptp(usual, axis=2).mean()


def test_upstreams_procedure_of_lag_llama_works_in_it_too(folders):
    model = load_model(str(folders["lag-llama"]))
    model.procedure = "exact"
    usual, half = (forecast(model, np.arange(4), ForecastSpec(samples=12, precision=one)) for one in
                   ("float32", "bfloat16"))  # fmt: skip
    assert 0 < np.abs(half - usual).mean() < 0.05 * np.ptp(usual, axis=2).mean()


def test_a_network_is_left_as_it_was_whatever_happens(folders):
    model = load_model(str(folders["chronos-t5"]))
    for number, parameter in enumerate(model.net.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    before = {name: (one.requires_grad, one.clone()) for name, one in model.net.named_parameters()}
    with pytest.raises(RuntimeError), computing(model, "bfloat16"):
        raise RuntimeError
    assert not torch.is_autocast_enabled("cpu")
    for name, one in model.net.named_parameters():
        assert one.requires_grad == before[name][0]
        assert one.dtype == torch.float32
        assert torch.equal(one, before[name][1])


@pytest.mark.parametrize("name", [name for name in OWN if name not in ("nbeats", "nhits", "tft")])
def test_what_has_no_network_has_no_precision(name):
    model = load_model(name, context=CONTEXT, horizon=HORIZON)
    assert precision_of(model, HALF) is None


def test_precision_is_that_which_was_asked_for(backbone):
    assert precision_of(backbone, HALF) == "bfloat16"
    assert precision_of(backbone, ForecastSpec()) == "float32"


@pytest.mark.parametrize("asked", ["auto", "float16", "bf16"])
def test_another_precision_is_refused_with_those_there_are(asked):
    with pytest.raises(ConfigError, match=rf"precision: .*'float32' or 'bfloat16' \('{asked}' given\)"):
        ForecastSpec(precision=asked)


@pytest.mark.parametrize("has", [True, False, None])
def test_a_machine_without_it_is_told_once(has, folders, monkeypatch, caplog):
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: has)
    precision._tell_slow.cache_clear()
    model = load_model(str(folders["chronos-t5"]))
    with caplog.at_level(logging.WARNING, precision.__name__):
        for _ in range(2):
            forecast(model, np.arange(1))
    told = [record.message for record in caplog.records if record.name == precision.__name__]
    assert len(told) == (has is False)
    assert all("more slowly than in float32; leave precision out" in one for one in told)


@pytest.mark.parametrize(("named", "has"), [("amx_bf16", True), ("avx512_bf16", True), ("bf16", True), ("avx2", False)])
def test_a_processor_has_it_where_torch_says_so(named, has, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False, named: True})
    assert has_bfloat16("cpu") is has
