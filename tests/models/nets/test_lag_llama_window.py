"""Lag-Llama's level, spread, lags and time, each against a slow way to the same number."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig
from loracast.models.nets.lag_llama_window import (
    Window,
    features,
    lagged,
    level_and_spread,
    teacher_forced,
    time_features,
)

NAN = float("nan")


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
