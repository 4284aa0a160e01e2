"""Lag-Llama's paths, each against a slow way to the same number."""

import numpy as np
import peft
import pytest
import scipy.stats
import torch

from loracast.models.nets import lag_llama_exact, lag_llama_paths
from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig, StudentT, rotation
from loracast.models.nets.lag_llama_paths import mean_path, sample_paths, student_t
from loracast.models.nets.lag_llama_window import Window, features, lagged, teacher_forced

HORIZON, SAMPLES, TOKENS = 7, 5, 6
KINDS = {
    "robust": {},
    "mean": {"scaling": "mean"},
    "std": {"scaling": "std", "time_feat": False},
    "unscaled": {"scaling": None},
    "linear": {"rope_scaling": {"type": "linear", "factor": 3.0}},
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_context_length": 8},
    "nope": {"rope_scaling": {"type": "nope", "factor": 1.0}},
}


def network(**settings) -> LagLlama:
    """A random network whose weights are large enough for its predictions to depend on everything."""
    config = LagLlamaConfig(**{"lags_seq": (0, 1, 4, 9), "n_layer": 3, "n_head": 2, "n_embd_per_head": 4, **settings})
    torch.manual_seed(0)
    net = LagLlama(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.mul_(1.5)
    return net


def window_of(net: LagLlama, rows: int = 3, *, rounded: bool = False) -> Window:
    generator = torch.Generator().manual_seed(1)
    values = 5 + torch.randn(rows, net.config.reach + TOKENS, generator=generator)
    values = values.round() if rounded else values
    time = torch.rand(rows, TOKENS + HORIZON, 6, generator=generator) - 0.5 if net.config.time_feat else None
    seen = torch.rand(values.shape, generator=generator) > 0.2
    return Window.of(net.config, values * seen, seen, time)


def draws(rows: int = 3) -> torch.Tensor:
    return torch.rand(rows, SAMPLES, HORIZON, 2, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module", params=KINDS)
def net(request) -> LagLlama:
    return network(**KINDS[request.param])


def test_a_frozen_path_is_what_full_recomputation_gives_for_the_same_draws(net):
    window, numbers = window_of(net), draws()
    paths = sample_paths(net, window, numbers, exact=False)
    for sample in range(SAMPLES):
        path = paths[:, sample]
        predicted = StudentT(*(part[:, TOKENS - 1 :] for part in teacher_forced(net, window, path)[0]))
        expected = window.loc + window.scale * student_t(predicted, numbers[:, sample])
        assert ((path - expected).abs().max() / expected.abs().max()).item() <= 1e-5


@pytest.mark.parametrize("rounded", [False, True])
def test_an_exact_path_takes_level_and_spread_anew_before_each_step(net, rounded):
    window, numbers, config = window_of(net, rounded=rounded), draws(), net.config
    paths = sample_paths(net, window, numbers, exact=True)
    for sample in (0, SAMPLES - 1):
        for step in range(HORIZON):
            grown = torch.cat([window.values, paths[:, sample, :step]], dim=1)
            seen = torch.cat([window.observed, torch.ones(len(grown), step, dtype=torch.bool)], dim=1)
            anew = Window.of(config, grown, seen, window.time)
            time = None if anew.time is None else anew.time[:, : anew.tokens]
            read = lagged(grown, config.lags_seq, slice(config.reach, grown.shape[1]))
            turn = rotation(config, 0, anew.tokens, longest=TOKENS + HORIZON - 1, device=grown.device)
            whole = net(features(read, anew.loc, anew.scale, time), turn)
            last = StudentT(*(part[:, -1:] for part in whole))
            expected = anew.loc + anew.scale * student_t(last, numbers[:, sample, step : step + 1])
            torch.testing.assert_close(paths[:, sample, step : step + 1], expected, rtol=1e-4, atol=1e-4)


def test_what_a_drawn_step_leaves_as_it_was_is_not_computed_again():
    def tokens(*, rounded: bool) -> int:
        net, seen = network(), []
        net.transformer["wte"].register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:2].numel()))
        sample_paths(net, window_of(net, 1, rounded=rounded), draws(1), exact=True)
        return sum(seen)

    whole = sum(TOKENS + step for step in range(1, HORIZON)) * SAMPLES + TOKENS
    assert tokens(rounded=True) < tokens(rounded=False) < whole
    assert tokens(rounded=True) < 0.6 * whole


class Bent(torch.nn.Module):
    """A map that no matrix stands for."""

    def __init__(self, map_: torch.nn.Module) -> None:
        super().__init__()
        self.map = map_

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.map(x).tanh()


def tuned(kind: str) -> LagLlama:
    """A network with something around its maps and norms."""
    net = network()
    if kind == "bent":
        for block in net.blocks:
            block.attn.kv_proj, block.mlp.c_proj = Bent(block.attn.kv_proj), Bent(block.mlp.c_proj)
        return net
    config = {
        "lora": peft.LoraConfig(target_modules="all-linear", r=2, init_lora_weights=False),
        "ia3": peft.IA3Config(target_modules=["kv_proj", "c_fc1"], feedforward_modules=["c_fc1"]),
        "norms": peft.LNTuningConfig(target_modules=["rms_1", "rms_2", "ln_f"]),
    }[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        peft.inject_adapter_in_model(config, net)
        for name, parameter in net.named_parameters():
            if parameter.requires_grad:
                parameter.requires_grad_(False)
                if "lora" not in name:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return net.eval()


@pytest.mark.filterwarnings("ignore:Unsupported layer type")
@pytest.mark.parametrize("kind", ["lora", "ia3", "norms", "bent"])
def test_what_a_tuner_put_around_a_layer_is_part_of_every_step(kind):
    net = tuned(kind)
    window, numbers = window_of(net), draws()
    paths = sample_paths(net, window, numbers, exact=False)
    assert not torch.allclose(paths, sample_paths(network(), window, numbers, exact=False), rtol=1e-2)
    for sample in range(SAMPLES):
        path = paths[:, sample]
        predicted = StudentT(*(part[:, TOKENS - 1 :] for part in teacher_forced(net, window, path)[0]))
        expected = window.loc + window.scale * student_t(predicted, numbers[:, sample])
        torch.testing.assert_close(path, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exact", [True, False])
def test_a_network_in_bfloat16_draws_much_the_same_paths(exact):
    net = network()
    window, numbers = window_of(net), draws()
    whole = sample_paths(net, window, numbers, exact=exact)
    half = sample_paths(net.to(torch.bfloat16), window, numbers, exact=exact)
    assert half.dtype == torch.float32
    assert (half - whole).abs().median() < 0.1 * whole.std()


def test_the_first_step_of_both_procedures_is_the_same_and_later_ones_are_not():
    net = network()
    exact, frozen = (sample_paths(net, window_of(net), draws(), exact=exact) for exact in (True, False))
    torch.testing.assert_close(exact[..., 0], frozen[..., 0])
    assert not torch.isclose(exact[..., 1:], frozen[..., 1:]).all()


@pytest.mark.parametrize("exact", [True, False])
def test_work_in_parts_gives_the_same_paths(exact, monkeypatch):
    net = network()
    window, numbers = window_of(net), draws()
    whole = sample_paths(net, window, numbers, exact=exact)
    for most in (1, 2 * 13 * 48, 8 * 13 * 48):
        monkeypatch.setattr(lag_llama_exact, "_TOKENS_AT_ONCE", most // 48)
        monkeypatch.setattr(lag_llama_paths, "_MOST_CACHED", most)
        # A part of another size is summed in another order, and a path hands its rounding on from step to step.
        torch.testing.assert_close(sample_paths(net, window, numbers, exact=exact), whole, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("exact", [True, False])
def test_a_window_is_forecast_alike_alone_and_among_others(exact):
    net = network()
    window, numbers = window_of(net), draws()
    whole = sample_paths(net, window, numbers, exact=exact)
    for row in range(3):
        one = slice(row, row + 1)
        torch.testing.assert_close(sample_paths(net, window.rows(one), numbers[one], exact=exact), whole[one])


def test_a_horizon_of_one_step_needs_no_cache():
    net = network()
    assert sample_paths(net, window_of(net), draws()[:, :, :1], exact=False).shape == (3, SAMPLES, 1)


@pytest.mark.parametrize("exact", [True, False])
def test_the_mean_path_feeds_the_mean_back(exact):
    net = network()
    window = window_of(net)
    path = mean_path(net, window, HORIZON, exact=exact)
    first = teacher_forced(net, window, path)[0].loc[:, TOKENS - 1 : TOKENS]
    torch.testing.assert_close(path[:, :1], window.loc + window.scale * first)


@pytest.mark.parametrize("df", [2.01, 4.0, 60.0])
def test_two_uniform_numbers_make_a_student_t_one(df):
    numbers = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(3))
    found = student_t(StudentT(torch.tensor(df), torch.tensor(1.0), torch.tensor(2.0)), numbers)
    shares = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    below = [(found <= at).float().mean().item() for at in scipy.stats.t(df, 1, 2).ppf(shares)]
    np.testing.assert_allclose(below, shares, atol=4 * 0.5 / 200_000**0.5)


def test_the_rarest_draws_are_still_numbers():
    edge = torch.tensor([0.0, 1 - 2**-24])
    predicted = StudentT(torch.tensor(2.0), torch.tensor(0.0), torch.tensor(1.0))
    assert student_t(predicted, torch.cartesian_prod(edge, edge)).isfinite().all()
