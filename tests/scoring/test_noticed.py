"""What is noticed of forecasts is counted, whatever the batches."""

from types import SimpleNamespace

import numpy as np
import pytest

from loracast.scoring.facts import Forecasts
from loracast.scoring.noticed import Noticed, beyond_range
from loracast.types import Forecast

NAN = np.nan
SIGNALS = {"spo2": SimpleNamespace(low=50, high=100), "own": SimpleNamespace(low=-np.inf, high=np.inf)}


@pytest.mark.parametrize(
    ("low", "quantiles", "beyond"),
    [
        (50, [50, 75, 100], False),
        (50, [49.9, 75, 90], True),
        (50, [60, 75, 100.1], True),
        (0, [0, 1, 2], True),
        (0, [0.1, 1, 2], False),
        (50, [NAN, NAN, NAN], False),
    ],
)
def test_a_step_lies_beyond_the_range_if_any_quantile_does_and_zero_is_no_value(low, quantiles, beyond):
    assert beyond_range(np.array(quantiles, float), SimpleNamespace(low=low, high=100)) == beyond


def test_steps_widths_and_spreads_are_those_of_the_windows_of_each_signal():
    context = np.array(
        [[1, 3, NAN, 1, 3], [5, NAN, NAN, NAN, NAN], [90, 94, 92, NAN, NAN], [2, 8, NAN, NAN, 8]], np.float32
    )
    quantiles = np.array([[[-1, 2]] * 2, [[0, 1]] * 2, [[90, 101], [90, 99]], [[0, 1]] * 2], np.float32)
    signal, width = np.array([1, 1, 0, 1]), np.array([0.5, 9.0, 0.25, 1.5])
    for batches in ([slice(0, 4)], [slice(0, 1), slice(1, 4)]):
        noticed = Noticed(SIGNALS)
        for rows in batches:
            noticed.add(context[rows], quantiles[rows], signal[rows], width[rows])
        assert noticed.facts() == {
            "spo2": Forecasts(steps=2, beyond_range=1, token_width=0.25, spread=float(np.std([90.0, 94.0, 92.0]))),
            "own": Forecasts(
                steps=6, beyond_range=0, token_width=1.0, spread=(1.0 + float(np.std([2.0, 8.0, 8.0]))) / 2
            ),
        }


def test_what_was_not_forecast_is_left_out_and_without_tokens_there_is_no_width():
    noticed = Noticed(SIGNALS)
    noticed.add(np.ones((1, 4)), np.ones((1, 2, 3)), np.array([1]))
    assert noticed.facts() == {"own": Forecasts(steps=2, beyond_range=0)}


def test_steps_beyond_the_range_are_counted_step_by_step_and_batch_after_batch():
    quantiles = np.array([[[40.0, 60.0], [60.0, 70.0], [70.0, 101.0]]])
    np.testing.assert_array_equal(beyond_range(quantiles, SIGNALS["spo2"]), [[True, False, True]])
    noticed = Noticed(SIGNALS)
    for _ in range(2):
        noticed.add(np.ones((1, 4)), quantiles, np.array([0]))
    assert noticed.facts() == {"spo2": Forecasts(steps=6, beyond_range=4)}


def test_two_observed_values_are_enough_for_a_spread_and_one_is_not():
    noticed = Noticed(SIGNALS)
    context = np.array([[2.0, 4.0, NAN], [9.0, NAN, NAN]])
    noticed.add(context, np.ones((2, 1, 2)), np.array([1, 1]), np.array([0.5, 7.0]))
    assert noticed.facts()["own"] == Forecasts(steps=2, beyond_range=0, token_width=0.5, spread=1.0)


def test_what_drawing_adds_is_what_half_the_paths_err_beyond_all_of_them_on_observed_targets():
    truth = np.array([[10.0, NAN], [4.0, 6.0]])
    whole = np.array([[[10, 11, 12], [0, 0, 0]], [[3, 4, 5], [5, 6, 7]]], float)
    halves = np.stack([whole + step * np.array([0, 1, 0]) for step in (2, -1)])
    levels = (0.1, 0.5, 0.9)
    for batches in ([slice(0, 2)], [slice(0, 1), slice(1, 2)]):
        noticed = Noticed(SIGNALS)
        for rows in batches:
            noticed.add(np.ones((len(truth[rows]), 4)), whole[rows], np.array([1, 0])[rows])
            forecast = Forecast(whole[rows], levels, halves[:, rows])
            noticed.add_drawn(truth[rows], forecast, np.array([1, 0])[rows])
        # Errors of the whole 1 and 0, 0; of the halves 3 and 0 (mean 1.5), 2 and 1 (mean 1.5) each. A third is the
        # median's part of the CRPS, twice its pinball loss.
        facts = noticed.facts()
        assert facts["own"].drawing_mae == pytest.approx(0.5)
        assert facts["own"].drawing_crps == pytest.approx(0.5 / 3)
        assert facts["spo2"].drawing_mae == pytest.approx(1.5)
        assert facts["spo2"].drawing_crps == pytest.approx(0.5)


def test_without_halves_nothing_is_said_of_drawing():
    noticed = Noticed(SIGNALS)
    quantiles = np.ones((1, 2, 3))
    noticed.add(np.ones((1, 4)), quantiles, np.array([1]))
    noticed.add_drawn(np.ones((1, 2)), Forecast(quantiles, (0.1, 0.5, 0.9)), np.array([1]))
    assert noticed.facts() == {"own": Forecasts(steps=2, beyond_range=0)}


@pytest.mark.parametrize("paths", [10, 40])
def test_the_part_that_drawing_adds_is_found_for_a_forecast_that_is_right(paths):
    """Of a Gaussian that is forecast rightly the error without drawing is known: the root of 2 / pi."""
    random, levels = np.random.default_rng(0), (0.1, 0.5, 0.9)
    drawn, truth = random.normal(size=(40_000, paths)), random.normal(size=(40_000, 1))

    def quantiles(part):
        return np.quantile(part, levels, axis=1, method="weibull").T[:, None]

    forecast = Forecast(
        quantiles(drawn), levels, np.stack([quantiles(drawn[:, : paths // 2]), quantiles(drawn[:, paths // 2 :])])
    )
    noticed, code = Noticed(SIGNALS), np.ones(len(truth), int)
    noticed.add(truth, forecast.quantiles, code)
    noticed.add_drawn(truth, forecast, code)
    error = np.abs(forecast.median - truth).mean()
    assert noticed.facts()["own"].drawing_mae == pytest.approx(error - np.sqrt(2 / np.pi), abs=0.008)
