"""Lag-Llama's level, spread, lags, time and paths, each against a slow way to the same number."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from loracast.models.nets import lag_llama_paths
from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig, StudentT, rotation
from loracast.models.nets.lag_llama_paths import (
    Window,
    features,
    lagged,
    level_and_spread,
    mean_path,
    sample_paths,
    student_t,
    teacher_forced,
    time_features,
)

NAN = float("nan")
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


def rows(*values: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Values with 0 where they are NaN, and where they are not."""
    table = torch.tensor(values)
    return table.nan_to_num(0.0), ~table.isnan()


def test_the_level_is_the_lower_median_and_the_spread_the_interquartile_range():
    loc, scale = level_and_spread("robust", *rows([7.0, 1.0, NAN, 4.0, 2.0], [3.0, 9.0, 5.0, 1.0, 8.0]))
    assert loc.flatten().tolist() == [2.0, 5.0]
    expected = [np.subtract(*np.quantile(x, [0.75, 0.25])) for x in ([7, 1, 4, 2], [3, 9, 5, 1, 8])]
    assert scale.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_standard_scaling_is_over_observed_steps_with_their_number():
    loc, scale = level_and_spread("std", *rows([7.0, 1.0, NAN, 4.0, 2.0]))
    assert loc.item() == pytest.approx(3.5)
    assert scale.item() == pytest.approx(math.sqrt(np.var([7, 1, 4, 2]) + 1e-5), rel=1e-6)


def test_mean_scaling_is_by_the_mean_magnitude_and_without_scaling_nothing_is_done():
    values, observed = rows([-7.0, 1.0, NAN, 4.0])
    assert [x.item() for x in level_and_spread("mean", values, observed)] == [0.0, 4.0]
    assert [x.item() for x in level_and_spread(None, values, observed)] == [0.0, 1.0]


@pytest.mark.parametrize("kind", ["robust", "std", "mean", None])
def test_a_row_without_observations_has_a_level_and_a_spread(kind):
    loc, scale = level_and_spread(kind, *rows([NAN] * 4), guarded=True)
    assert loc.item() == 0
    assert scale.item() == pytest.approx(math.sqrt(1e-5) if kind == "std" else 1.0)


def test_an_empty_row_takes_the_batchs_magnitude_as_released_and_1_guarded():
    table = rows([NAN, NAN, NAN], [2.0, NAN, 4.0], [12.0, NAN, NAN])
    assert level_and_spread("mean", *table)[1].flatten().tolist() == [6.0, 3.0, 12.0]
    assert level_and_spread("mean", *table, guarded=True)[1].flatten().tolist() == [1.0, 3.0, 12.0]


def test_the_guard_touches_only_rows_whose_middle_half_is_one_value():
    torch.manual_seed(0)
    usual = torch.randn(6, 50).mul(torch.tensor([1e-6, 1e-3, 1.0, 5.0, 1e3, 1e6])[:, None])
    seen = torch.rand(6, 50) > 0.2
    plain, guarded = (level_and_spread("robust", usual, seen, guarded=guard) for guard in (False, True))
    assert all(torch.equal(one, other) for one, other in zip(plain, guarded, strict=True))


def test_a_degenerate_row_has_the_released_floor_and_guarded_a_spread_of_its_own():
    zeros = [0.0] * 15 + [8.0]
    flat = [36.6] * 16
    table = rows(zeros, flat, [0.0] * 16)
    assert level_and_spread("robust", *table)[1].flatten().tolist() == pytest.approx([1e-10] * 3)
    guarded = level_and_spread("robust", *table, guarded=True)[1].flatten().tolist()
    assert guarded == pytest.approx([math.sqrt(64 / 16), 0.0366, 1e-10], rel=1e-4)


def test_a_lag_is_the_value_so_many_steps_back():
    values = torch.arange(20.0)[None]
    assert lagged(values, (0, 3, 7), slice(10, 12)).tolist() == [[[10, 7, 3], [11, 8, 4]]]


def test_a_token_is_lags_level_spread_and_time_in_this_order():
    loc, scale = torch.tensor([[-4.0]]), torch.tensor([[2.0]])
    time = torch.tensor([[[0.25, -0.5]]])
    token = features(torch.tensor([[[2.0, -6.0]]]), loc, scale, time)
    assert token.flatten().tolist() == pytest.approx([3.0, -1.0, math.log(5), math.log(2), 0.25, -0.5])


@pytest.mark.parametrize("frequency", ["s", "min", "5min", "h", "12h", "D", "W-SUN"])
def test_time_features_are_those_of_pandas_periods(frequency):
    step = {"s": 1, "min": 60, "5min": 300, "h": 3600, "12h": 43_200, "D": 86_400, "W-SUN": 604_800}[frequency]
    starts = ["1969-12-29 00:00:00", "2024-02-26 00:00:00", "2150-12-31 00:00:00"]
    if step < 604_800:
        starts += ["2023-12-31 23:17:41"]
    else:
        starts[2] = "2150-12-28 00:00:00"  # a Monday, as weeks that end on Sunday begin
    stamps = [pd.Timestamp(start) for start in starts]
    seconds = torch.tensor([int((stamp - pd.Timestamp(0)).total_seconds()) for stamp in stamps])
    found = time_features(seconds, step, 40)
    for row, stamp in zip(found, stamps, strict=True):
        times = pd.DatetimeIndex([stamp + pd.Timedelta(seconds=step * i) for i in range(40)])
        p = times.to_period({"5min": "min", "12h": "h"}.get(frequency, frequency))
        if frequency == "W-SUN":
            p = p.asfreq("D", how="end")
        parts = [
            p.second / 59,
            p.minute / 59,
            p.hour / 23,
            p.day_of_week / 6,
            (p.day - 1) / 30,
            (p.day_of_year - 1) / 365,
        ]
        np.testing.assert_allclose(row.numpy(), np.stack(parts, axis=-1) - 0.5, atol=1e-6)


def test_the_likelihood_is_that_of_torchs_student_t_in_the_units_of_the_series():
    torch.manual_seed(0)
    config = LagLlamaConfig(lags_seq=(0, 2), n_layer=1, n_head=2, n_embd_per_head=4, time_feat=False)
    net, series = LagLlama(config), 50 + 9 * torch.randn(3, 16)
    window = Window.of(config, series[:, :12], torch.ones(3, 12, dtype=torch.bool), None)
    predicted, surprise = teacher_forced(net, window, series[:, 12:])
    shifted = torch.distributions.StudentT(
        predicted.df, window.loc + window.scale * predicted.loc, window.scale * predicted.scale
    )
    assert window.tokens == 10
    torch.testing.assert_close(surprise, -shifted.log_prob(series[:, 3:]), rtol=1e-5, atol=1e-5)


def network(**settings) -> LagLlama:
    """A random network whose weights are large enough for its predictions to depend on everything."""
    config = LagLlamaConfig(**{"lags_seq": (0, 1, 4, 9), "n_layer": 3, "n_head": 2, "n_embd_per_head": 4, **settings})
    torch.manual_seed(0)
    net = LagLlama(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.mul_(1.5)
    return net


def window_of(net: LagLlama, rows: int = 3) -> Window:
    generator = torch.Generator().manual_seed(1)
    values = 5 + torch.randn(rows, net.config.reach + TOKENS, generator=generator)
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


def test_an_exact_path_takes_level_and_spread_anew_before_each_step(net):
    window, numbers, config = window_of(net), draws(), net.config
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
    for most in (1, 2 * 13 * 32, 8 * 13 * 32):
        monkeypatch.setattr(lag_llama_paths, "_MOST_ACTIVE", most)
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
