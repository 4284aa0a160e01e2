"""The naive floor against the textbook's formulas, worked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from loracast.errors import ConfigError, DataError
from loracast.models.naive import FLOOR, context_mean, last_value, seasonal_naive
from loracast.models.registry import load_model
from loracast.types import LEVELS, Rows

NAN = np.nan
Z90 = norm.ppf(0.9)


def row(*numbers):
    return np.array([numbers], dtype=np.float32)


def deviation(forecast):
    """The standard deviation that the 0.9 quantile stands for, per step of the first window."""
    return (forecast.quantiles[0, :, -1] - forecast.median[0]) / Z90


def test_the_last_value_stays_and_its_interval_grows_with_the_root_of_the_steps():
    # Changes 2, -1, 2: sigma² = (4 + 1 + 4) / 3 = 3; at h steps sigma sqrt(h)
    forecast = last_value(row(10, 12, 11, 13), 3)
    np.testing.assert_array_equal(forecast.median, [[13, 13, 13]])
    np.testing.assert_allclose(deviation(forecast), np.sqrt([3, 6, 9]), rtol=1e-5)


def test_an_older_last_value_is_less_certain_and_a_change_over_a_gap_counts_for_its_length():
    # 10, 12 one step apart, then 15 two steps later: sigma² = (4/1 + 9/2) / 2 = 4.25; the value is 1 step old.
    forecast = last_value(row(10, 12, NAN, 15, NAN), 2)
    np.testing.assert_array_equal(forecast.median, [[15, 15]])
    np.testing.assert_allclose(deviation(forecast), np.sqrt([2 * 4.25, 3 * 4.25]), rtol=1e-5)


def test_the_seasonal_naive_repeats_the_last_season():
    # Season 2. Phases: (1, 4) and (2, 6), changes 3 and 4: sigma² = (9 + 16) / 2 = 12.5; k + 1 = 1, 1, 2 cycles on.
    forecast = seasonal_naive(row(1, 2, 4, 6), 3, 2)
    np.testing.assert_array_equal(forecast.median, [[4, 6, 4]])
    np.testing.assert_allclose(deviation(forecast), np.sqrt([12.5, 12.5, 25]), rtol=1e-5)


def test_the_seasonal_naive_takes_an_earlier_cycle_where_the_last_one_was_not_observed():
    # Season 2, context . | 1 2 | 4 . : phase one last 4 (1 cycle on), phase two last 2 (2 cycles on); sigma² = 9 / 1.
    forecast = seasonal_naive(row(NAN, 1, 2, 4, NAN), 2, 2)
    np.testing.assert_array_equal(forecast.median, [[4, 2]])
    np.testing.assert_allclose(deviation(forecast), np.sqrt([9, 18]), rtol=1e-5)


def test_the_seasonal_naive_takes_the_last_value_at_a_phase_that_was_never_observed():
    # Season 3, context 1 . 5 | 3 . 8: the second phase is unknown; last value 8 with its own interval.
    context = row(1, NAN, 5, 3, NAN, 8)
    forecast = seasonal_naive(context, 3, 3)
    np.testing.assert_array_equal(forecast.median, [[3, 8, 8]])
    np.testing.assert_allclose(forecast.quantiles[:, 1], last_value(context, 3).quantiles[:, 1])


def test_a_single_season_takes_its_interval_from_the_spread_of_the_context():
    # 1, 3, 5: variance 4 (T - 1); the difference of two unrelated values has variance 8.
    forecast = seasonal_naive(row(1, 3, 5), 3, 3)
    np.testing.assert_array_equal(forecast.median, [[1, 3, 5]])
    np.testing.assert_allclose(deviation(forecast), np.sqrt([8, 8, 8]), rtol=1e-5)


def test_the_mean_has_the_same_interval_at_every_step():
    # 2, 4, 9 observed: mean 5, variance (9 + 1 + 16) / 2 = 13, times 1 + 1/3
    forecast = context_mean(row(2, NAN, 4, 9), 2)
    np.testing.assert_array_equal(forecast.median, [[5, 5]])
    np.testing.assert_allclose(deviation(forecast), np.sqrt([13 * 4 / 3] * 2), rtol=1e-5)


def forecast(name, context, horizon, season, levels=LEVELS):
    """Quantiles of shape (window, horizon, level) of the model of that name."""
    rows = Rows(torch.zeros(len(context), dtype=torch.long), 3600, season=season)
    model, given = load_model(name), torch.from_numpy(context)
    return model.forecast(given, horizon, levels=levels, samples=1, seed=0, rows=rows).numpy()


@pytest.mark.parametrize("name", FLOOR)
def test_a_constant_or_single_value_is_kept_without_width(name):
    for context in (row(7, 7, NAN, 7, 7, 7), row(NAN, 7, NAN, NAN, NAN, NAN)):
        np.testing.assert_array_equal(forecast(name, context, 5, 2), np.full((1, 5, 9), 7))


@pytest.mark.parametrize("name", FLOOR)
@given(
    arrays(np.float32, (3, 11), elements=st.floats(-50, 50, width=16) | st.just(NAN)),
    st.integers(1, 9),
    st.integers(1, 14),
)
def test_every_rule_forecasts_ascending_finite_quantiles_window_by_window(name, context, horizon, season):
    context[:, 4] = 1.0
    quantiles = forecast(name, context, horizon, season)
    assert quantiles.shape == (3, horizon, len(LEVELS))
    assert quantiles.dtype == np.float32
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    np.testing.assert_array_equal(forecast(name, context[1:2], horizon, season), quantiles[1:2])


def test_a_random_walk_falls_into_the_interval_of_the_last_value_as_often_as_it_should():
    walks = np.random.default_rng(0).normal(size=(4000, 60)).cumsum(axis=1).astype(np.float32)
    forecast = last_value(walks[:, :50], 10)
    inside = (walks[:, 50:] >= forecast.quantiles[..., 0]) & (walks[:, 50:] <= forecast.quantiles[..., -1])
    assert inside.mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("name", FLOOR)
def test_a_context_without_any_observed_value_is_refused(name):
    with pytest.raises(DataError, match="1 of 2 contexts hold no observed value"):
        forecast(name, np.array([[1, 2], [NAN, NAN]], dtype=np.float32), 2, 1)


def test_a_model_takes_its_season_from_the_rows_and_any_levels_in_any_order():
    context, levels = row(10, 12, 11, 13, 9, 14), (0.975, 0.5, 0.025)
    found = forecast("seasonal-naive", context, 4, 2, levels)[0]
    expected = seasonal_naive(context, 4, 2)
    np.testing.assert_array_equal(found[:, 1], expected.median[0])
    ends = expected.median[0] + deviation(expected) * norm.ppf(0.975) * np.array([[1], [-1]])
    np.testing.assert_allclose(found[:, [0, 2]], ends.T, rtol=1e-5)
    model = load_model("seasonal-naive")
    without = model.forecast(torch.from_numpy(context), 4, levels=LEVELS, samples=1, seed=0)
    np.testing.assert_array_equal(without.numpy(), last_value(context, 4).quantiles)


def test_lengths_below_one_levels_that_are_none_and_infinities_are_refused():
    with pytest.raises(ConfigError, match="season is 0"):
        seasonal_naive(row(1, 2), 2, 0)
    with pytest.raises(ConfigError, match="horizon is 0"):
        last_value(row(1, 2), 0)
    with pytest.raises(DataError, match="infinities"):
        context_mean(row(1, np.inf), 1)
    for levels in ((), (0.5, 1.0), (0.0,)):
        with pytest.raises(ConfigError, match=r"levels are .*each above 0 and below 1"):
            last_value(row(1, 2), 1, levels=levels)
