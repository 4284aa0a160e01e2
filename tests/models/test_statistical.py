"""Exponential smoothing and Theta say what statsforecast says where nothing is missing, and never nothing at all."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from loracast.errors import ConfigError, DataError
from loracast.models.naive import last_value
from loracast.models.registry import load_model
from loracast.models.statistical import ets, theta
from loracast.types import LEVELS

pytestmark = pytest.mark.skipif(find_spec("statsforecast") is None, reason='needs pip install "loracast[baselines]"')

NAN = np.nan
RULES = {"ets": ets, "theta": theta}


def drawn(windows: int, steps: int, *, period: int = 12, seed: int = 0) -> np.ndarray:
    """Waves with a trend and noise around 80."""
    rng, step = np.random.default_rng(seed), np.arange(steps)
    wave = 8 * np.sin(step * 2 * np.pi / period + rng.uniform(0, 6, (windows, 1)))
    return (80 + 0.2 * step + wave + rng.normal(0, 1, (windows, steps))).astype(np.float32)


def directly(name: str, series: np.ndarray, steps: int, season: int) -> np.ndarray:
    """What statsforecast itself forecasts: the ends of its intervals and its mean, shape (step, level)."""
    from statsforecast.models import AutoETS, AutoTheta

    models = {"ets": lambda: AutoETS(season, model="AZZ"), "theta": lambda: AutoTheta(season)}
    state = np.random.get_state()
    found = models[name]().forecast(series.astype(np.float64), steps, level=[20, 40, 60, 80])
    np.random.set_state(state)
    keys = ["lo-80", "lo-60", "lo-40", "lo-20", "mean", "hi-20", "hi-40", "hi-60", "hi-80"]
    return np.stack([found[key] for key in keys], axis=-1)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("steps", "horizon", "season"), [(24, 6, 1), (48, 14, 12)])
def test_a_context_without_gaps_is_forecast_as_statsforecast_does(name, steps, horizon, season):
    context = drawn(3, steps)
    quantiles = RULES[name](context, horizon, season).quantiles
    assert quantiles.shape == (3, horizon, len(LEVELS))
    assert quantiles.dtype == np.float32
    for window, series in zip(quantiles, context, strict=True):
        expected = directly(name, series, horizon, season)
        np.testing.assert_allclose(window[:, 4], expected[:, 4], rtol=1e-5)
        # An interval that statsforecast simulates may miss its own point forecast, by less than it is wide.
        width = np.maximum(expected[:, -1:] - expected[:, :1], 1e-3)
        assert (np.abs(window - expected) <= 0.25 * width).all()
        outer = [0, 1, 2, 6, 7, 8]
        np.testing.assert_allclose(window[:, outer], expected[:, outer], rtol=1e-5)


def test_the_quantiles_of_exponential_smoothing_are_gaussian():
    quantiles = ets(drawn(1, 30), 4, 1).quantiles[0]
    deviation = (quantiles - quantiles[:, 4:5])[:, [0, 1, 2, 3, 5, 6, 7, 8]] / norm.ppf(np.delete(LEVELS, 4))
    np.testing.assert_allclose(deviation, deviation[:, :1].repeat(8, axis=1), rtol=1e-3)


@pytest.mark.parametrize("name", RULES)
def test_a_season_is_fitted_where_the_context_holds_two_of_them(name):
    long, short = drawn(1, 48), drawn(1, 23)
    seasonal, without = (RULES[name](long, 12, season).median for season in (12, 1))
    assert np.ptp(seasonal) > 8 > np.ptp(without)
    unseasonal = RULES[name](short, 12, 1).quantiles
    np.testing.assert_array_equal(RULES[name](short, 12, 12).quantiles, unseasonal)


@pytest.mark.parametrize("name", RULES)
def test_a_gap_is_interpolated_and_values_before_the_first_one_are_left_out(name):
    context = drawn(1, 30)
    context[0, :4] = NAN
    context[0, 10:13] = NAN
    filled = context[0, 4:].copy()
    filled[6:9] = filled[5] + (filled[9] - filled[5]) * np.array([0.25, 0.5, 0.75])
    expected = RULES[name](filled[None], 5, 1).quantiles
    np.testing.assert_allclose(RULES[name](context, 5, 1).quantiles, expected, rtol=1e-4)


@pytest.mark.parametrize("name", RULES)
def test_a_context_that_ends_in_a_gap_is_forecast_that_much_further(name):
    context = drawn(1, 30)
    context[0, -3:] = NAN
    further = RULES[name](context[:, :-3], 8, 1).quantiles[:, 3:]
    np.testing.assert_array_equal(RULES[name](context, 5, 1).quantiles, further)


@pytest.mark.parametrize("name", RULES)
def test_a_constant_context_is_kept_without_width(name):
    context = np.full((2, 24), 36.6, dtype=np.float32)
    context[1, 5:9] = NAN
    quantiles = RULES[name](context, 6, 12).quantiles
    np.testing.assert_array_equal(quantiles, np.full((2, 6, 9), np.float32(36.6)))


@pytest.mark.parametrize("name", RULES)
def test_a_nearly_empty_context_keeps_the_last_value_with_its_interval(name):
    context = np.full((2, 24), NAN, dtype=np.float32)
    context[0, 9], context[1, [2, 3, 5, 8, 13, 20, 22]] = 70, np.arange(7)
    expected = last_value(context, 6).quantiles
    np.testing.assert_array_equal(RULES[name](context, 6, 4).quantiles, expected)
    np.testing.assert_array_equal(expected[0], np.full((6, 9), 70))


def test_an_interval_that_misses_the_point_forecast_is_stretched_to_it(monkeypatch):
    from statsforecast.models import AutoTheta

    ends = {f"{side}-{p}": sign * p / 10 for side, sign in (("lo", -1), ("hi", 1)) for p in (20, 40, 60, 80)}
    found = {key: np.full(6, value) for key, value in {"mean": 3.0, **ends}.items()}
    monkeypatch.setattr(AutoTheta, "forecast", lambda *_, **__: found)
    quantiles = theta(drawn(1, 24), 6, 1).quantiles
    np.testing.assert_array_equal(quantiles[0, 0], np.float32([-8, -6, -4, -2, 3, 3, 4, 6, 8]))


def no_model(*_, **__):
    raise RuntimeError("no model able to be fitted")


def no_number(self, series, steps, level):
    return {key: np.full(steps, NAN) for key in ("mean", *(f"{side}-{p}" for side in ("lo", "hi") for p in level))}


@pytest.mark.parametrize("failure", [no_model, no_number])
def test_what_the_library_cannot_fit_keeps_the_last_value(monkeypatch, failure):
    from statsforecast.models import AutoETS

    monkeypatch.setattr(AutoETS, "forecast", failure)
    context = drawn(2, 24)
    np.testing.assert_array_equal(ets(context, 6, 1).quantiles, last_value(context, 6).quantiles)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=40)
@given(
    arrays(np.float32, (2, 21), elements=st.floats(-50, 50, width=16) | st.sampled_from([7.0, 8.0, NAN])),
    st.integers(1, 9),
    st.integers(1, 14),
)
def test_quantiles_are_ascending_and_finite_window_by_window(name, context, horizon, season):
    context[:, 4] = 1.0
    quantiles = RULES[name](context, horizon, season).quantiles
    assert quantiles.shape == (2, horizon, len(LEVELS))
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    alone = RULES[name](context[1:], horizon, season)
    np.testing.assert_array_equal(alone.quantiles, quantiles[1:])


@pytest.mark.parametrize("name", RULES)
def test_other_levels_are_the_ends_of_other_intervals_and_nine_of_them_stay_as_they_are(name):
    context = drawn(2, 30)
    nine, found = RULES[name](context, 4, 1).quantiles, RULES[name](context, 4, 1, (0.95, 0.5, 0.1, 0.025)).quantiles
    np.testing.assert_array_equal(found[..., 1:3], nine[..., [4, 0]])
    assert (found[..., 0] > nine[..., 8]).all()
    assert (found[..., 3] < nine[..., 0]).all()
    np.testing.assert_array_equal(RULES[name](context, 4, 1, (0.5,)).quantiles, nine[..., 4:5])


def test_the_random_state_of_the_caller_is_left_alone():
    before = np.random.get_state()[1].tolist()
    theta(drawn(1, 24), 6, 1)
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("name", RULES)
def test_what_cannot_be_forecast_is_refused(name):
    with pytest.raises(DataError, match="1 of 1 contexts hold no observed value"):
        RULES[name](np.full((1, 24), NAN, dtype=np.float32), 6, 1)
    with pytest.raises(ConfigError, match="season is 0"):
        RULES[name](drawn(1, 24), 6, 0)


@pytest.mark.parametrize("name", RULES)
def test_without_the_extra_the_way_to_install_it_is_told(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "statsforecast.models", None)
    with pytest.raises(ConfigError, match=r'pip install "loracast\[baselines\]"'):
        RULES[name](drawn(1, 24), 6, 1)
    with pytest.raises(ConfigError, match="statsforecast cannot be imported"):
        load_model(name)
