"""Lag-Llama's network beside upstream's: the same names, and the same numbers for the same weights."""

import json
import math
from pathlib import Path

import pytest
import torch

from loracast.errors import BackboneError
from loracast.models.hub import read_config, read_tensors
from loracast.models.nets.lag_llama import RELEASED_LAGS, LagLlama, LagLlamaConfig, rotation
from loracast.models.nets.lag_llama_paths import mean_path
from loracast.models.nets.lag_llama_window import Window, teacher_forced

GOLDEN = Path(__file__).parents[2] / "golden" / "lag_llama"
FOLDERS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
TOLERANCE = 1e-5

Case = tuple[LagLlama, Window, dict[str, torch.Tensor]]


def released() -> LagLlama:
    with torch.device("meta"):
        return LagLlama(LagLlamaConfig())


@pytest.fixture(scope="module", params=FOLDERS)
def case(request) -> Case:
    """A folder of reference tensors: the network with its weights, the window, all tensors."""
    folder = GOLDEN / request.param
    config = LagLlamaConfig.read(read_config(folder), str(folder))
    net = LagLlama(config)
    net.load_state_dict(read_tensors(folder / "weights.safetensors"))
    tensors = read_tensors(folder / "io.safetensors")
    time = None
    if config.time_feat:
        time = torch.cat([tensors["past_time_feat"][:, config.reach :], tensors["future_time_feat"]], dim=1)
    window = Window.of(config, tensors["past_target"], tensors["past_observed_values"] == 1, time)
    return net.eval(), window, tensors


def error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    assert ours.shape == reference.shape
    return float((ours - reference).abs().max() / reference.abs().max().clamp_min(1e-30))


def test_the_reference_covers_three_scalings_no_time_features_and_rotary_scaling():
    assert FOLDERS == ["tiny-mean", "tiny-robust", "tiny-rope-linear", "tiny-std-notime"]


@torch.no_grad()
def test_distributions_and_likelihoods_are_upstreams(case):
    net, window, reference = case
    predicted, surprise = teacher_forced(net, window, reference["future_target"])
    ours = {"df": predicted.df, "loc_param": predicted.loc, "scale_param": predicted.scale, "nll": surprise}
    ours |= {"loc": window.loc, "scale": window.scale}
    assert {name: error(value, reference[name]) for name, value in ours.items()} == pytest.approx(
        dict.fromkeys(ours, 0), abs=TOLERANCE
    )


def test_the_path_of_means_is_upstreams(case):
    net, window, reference = case
    path = mean_path(net, window, reference["future_target"].shape[1], exact=True)
    assert error(path, reference["greedy_mean_path"]) <= TOLERANCE


def test_names_shapes_lags_and_number_of_parameters_are_the_published_ones():
    published = json.loads((GOLDEN / "official_tensors.json").read_text())
    ours = {name: list(tensor.shape) for name, tensor in released().state_dict().items()}
    assert ours == published["tensors"]
    assert list(RELEASED_LAGS) == published["lags_seq"]
    assert sum(math.prod(shape) for shape in ours.values()) == published["parameters"] == 2_449_299


def test_the_feed_forward_of_a_tiny_network_still_has_256_hidden_features():
    with torch.device("meta"):
        net = LagLlama(LagLlamaConfig(n_head=2, n_embd_per_head=8))
    assert net.get_parameter("transformer.h.0.mlp.c_fc1.weight").shape == (256, 16)


def test_a_token_sees_no_later_one():
    torch.manual_seed(0)
    config = LagLlamaConfig(lags_seq=(0, 2), n_layer=2, n_head=2, n_embd_per_head=4)
    net = LagLlama(config)
    tokens = torch.randn(1, 9, config.features)
    turn = rotation(config, 0, 9, longest=9, device=tokens.device)
    other = tokens.clone()
    other[:, 6:] += 1
    for one, changed in zip(net(tokens, turn), net(other, turn), strict=True):
        torch.testing.assert_close(one[:, :6], changed[:, :6])
        assert not torch.isclose(one[:, 6:], changed[:, 6:]).any()


def test_only_the_last_token_may_be_carried_to_the_end():
    torch.manual_seed(0)
    config = LagLlamaConfig(lags_seq=(0, 2), n_layer=2, n_head=2, n_embd_per_head=4)
    net, tokens = LagLlama(config), torch.randn(3, 9, config.features)
    turn = rotation(config, 0, 9, longest=9, device=tokens.device)
    for all_tokens, last in zip(net(tokens, turn), net(tokens, turn, only_last=True), strict=True):
        torch.testing.assert_close(all_tokens[:, -1:], last)


def table(scaling, *, longest=64, most=32):
    config = LagLlamaConfig(rope_scaling=scaling, max_context_length=most)
    return rotation(config, 0, longest, longest=longest, device=torch.device("cpu"))


def test_linear_rotary_scaling_divides_the_positions():
    plain, scaled = table(None), table({"type": "linear", "factor": 4.0})
    torch.testing.assert_close(scaled[0][::4], plain[0][:16])


def test_dynamic_rotary_scaling_acts_beyond_the_longest_context_alone_and_is_not_remembered():
    dynamic = {"type": "dynamic", "factor": 2.0}
    assert torch.equal(table(dynamic, longest=32)[1], table(None, longest=32)[1])
    cos, sin = table(dynamic, longest=64)
    base = 10_000 * (2.0 * 64 / 32 - 1) ** (16 / 14)
    angle = 5 * base ** (-2 * 3 / 16)
    assert cos[5, 3].item() == pytest.approx(math.cos(angle), rel=1e-5)
    assert sin[5, 3].item() == pytest.approx(math.sin(angle), rel=1e-5)
    assert torch.equal(table(dynamic, longest=32)[1], table(None, longest=32)[1])


def test_nope_rotates_nothing():
    assert table({"type": "nope", "factor": 1.0}) is None


GOOD = {"lags_seq": [0, 3], "n_layer": 1, "n_head": 1, "n_embd_per_head": 4}


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("lags_seq", [], "whole numbers"),
        ("lags_seq", [0, -1], "whole numbers"),
        ("lags_seq", ["D", "H"], "whole numbers"),
        ("n_layer", 0, "at least 1"),
        ("n_layer", 10**9, "at least 1"),
        ("n_head", 2.0, "at least 1"),
        ("n_embd_per_head", 3, "even"),
        ("input_size", 2, "one series"),
        ("scaling", "log", "robust, std, mean"),
        ("rope_scaling", {"type": "yarn", "factor": 2.0}, "linear, dynamic, nope"),
        ("rope_scaling", {"type": "linear"}, "factor"),
        ("rope_scaling", {"type": "linear", "factor": 0.5}, "factor"),
        ("time_feat", "yes", "true or false"),
        ("dropout", 1.5, "share"),
        ("distr_output", "negative-binomial", "studentT"),
    ],
)
def test_a_config_that_is_no_lag_llamas_is_refused_by_name(name, value, needed):
    with pytest.raises(BackboneError, match=f"(?s){name} of somewhere.*{needed}"):
        LagLlamaConfig.read({**GOOD, name: value}, "somewhere")


def test_what_a_config_does_not_say_is_as_released_and_none_means_no_scaling():
    assert LagLlamaConfig.read({**GOOD, "unheard_of": 1}, "x").max_context_length == 2048
    assert LagLlamaConfig.read({**GOOD, "scaling": "none"}, "x").scaling is None


def test_it_computes_in_bfloat16_and_predicts_in_float32(case):
    net, window, reference = case
    half = LagLlama(net.config).to(torch.bfloat16)
    half.load_state_dict(net.state_dict())
    with torch.no_grad():
        wide, _ = teacher_forced(net, window, reference["future_target"])
        narrow, _ = teacher_forced(half, window, reference["future_target"])
    assert narrow.df.dtype == torch.float32
    torch.testing.assert_close(narrow.loc, wide.loc, rtol=0.1, atol=0.1)
