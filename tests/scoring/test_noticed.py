"""What is noticed of forecasts is counted, whatever the batches."""

from types import SimpleNamespace

import numpy as np
import pytest

from loracast.scoring.facts import Forecasts
from loracast.scoring.noticed import Noticed, beyond_range

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
    context = np.array([[1, 3, NAN, 1, 3], [5, NAN, NAN, NAN, NAN], [90, 94, 92, NAN, NAN]], np.float32)
    quantiles = np.array([[[-1, 2]] * 2, [[0, 1]] * 2, [[90, 101], [90, 99]]], np.float32)
    signal, width = np.array([1, 1, 0]), np.array([0.5, 9.0, 0.25])
    for batches in ([slice(0, 3)], [slice(0, 1), slice(1, 3)]):
        noticed = Noticed(SIGNALS)
        for rows in batches:
            noticed.add(context[rows], quantiles[rows], signal[rows], width[rows])
        assert noticed.facts() == {
            "spo2": Forecasts(steps=2, beyond_range=1, token_width=0.25, spread=float(np.std([90.0, 94.0, 92.0]))),
            "own": Forecasts(steps=4, beyond_range=0, token_width=0.5, spread=1.0),
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
