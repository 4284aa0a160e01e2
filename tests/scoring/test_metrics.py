"""Every score against numbers computed by hand, against utilsforecast, and (DTW) against darts 0.48.1."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from utilsforecast import losses

from loracast.errors import ConfigError, DataError
from loracast.scoring import metrics

NAN = np.nan
TRUTH = np.array([[80.0, NAN, 90.0, 100.0]])
POINT = np.array([[82.0, 50.0, 84.0, 100.0]])
LEVELS = (0.1, 0.5, 0.9)
values = st.floats(-200, 200, allow_nan=False, width=32)
windows = arrays(np.float64, (5, 7), elements=values)


def test_the_error_is_forecast_minus_truth_and_unobserved_targets_are_not_scored():
    # 82 - 80 = 2; not observed; 84 - 90 = -6; 100 - 100 = 0
    np.testing.assert_array_equal(metrics.error(TRUTH, POINT), [[2, NAN, -6, 0]])
    np.testing.assert_array_equal(metrics.absolute_error(TRUTH, POINT), [[2, NAN, 6, 0]])
    np.testing.assert_array_equal(metrics.squared_error(TRUTH, POINT), [[4, NAN, 36, 0]])


def test_the_percentage_error_is_in_percent_of_the_truth_and_undefined_at_zero():
    # 100 * |1 - 4| / 4 = 75; 100 * |-3 + 2| / 2 = 50 (the size of the truth, not its sign); 5 / 0 is undefined
    truth, point = np.array([[4.0, -2.0, 0.0, NAN]]), np.array([[1.0, -3.0, 5.0, 1.0]])
    np.testing.assert_allclose(metrics.percentage_error(truth, point), [[75, 50, NAN, NAN]])


def test_crps_is_twice_the_mean_pinball_loss():
    # truth 10, quantiles 6, 9, 12: pinball .1 * 4 = .4; .5 * 1 = .5; (1 - .9) * 2 = .2; 2 * (.4 + .5 + .2) / 3
    score = metrics.crps(np.array([[10.0]]), np.array([[[6.0, 9.0, 12.0]]]), LEVELS)
    np.testing.assert_allclose(score, [[2 * 1.1 / 3]])


def test_crps_of_many_quantiles_comes_near_the_exact_crps_of_a_normal_forecast():
    # Gneiting & Raftery 2007, section 4.2: CRPS(N(0, 1), y) = y (2 Phi(y) - 1) + 2 phi(y) - 1 / sqrt(pi)
    from scipy.stats import norm

    levels = (np.arange(2000) + 0.5) / 2000
    exact = 0.7 * (2 * norm.cdf(0.7) - 1) + 2 * norm.pdf(0.7) - 1 / np.sqrt(np.pi)
    score = metrics.crps(np.array([[0.7]]), norm.ppf(levels)[None, None], levels)
    np.testing.assert_allclose(score, [[exact]], rtol=1e-3)


def test_the_bounds_of_the_interval_belong_to_it():
    quantiles = np.tile([1.0, 2.0, 3.0], (1, 5, 1))
    truth = np.array([[1.0, 3.0, 0.99, 3.01, NAN]])
    np.testing.assert_array_equal(metrics.inside(truth, quantiles, LEVELS), [[1, 1, 0, 0, NAN]])


def test_a_forecast_without_the_bounds_of_the_interval_is_refused():
    with pytest.raises(ConfigError, match=r"without \[0.1, 0.9\]"):
        metrics.inside(np.zeros((1, 1)), np.zeros((1, 1, 1)), (0.5,))


def test_scaling_maps_the_fixed_range_of_each_signal_to_zero_and_one():
    # map 0-190: 95 is 0.5; heart rate 0-300: 75 is 0.25; no range: undefined
    scaled = metrics.scaled(np.array([[95.0], [75.0], [37.0]]), np.array([0, 0, NAN]), np.array([190, 300, NAN]))
    np.testing.assert_array_equal(scaled, [[0.5], [0.25], [NAN]])
    np.testing.assert_array_equal(metrics.scaled(np.array([[30.0]]), np.array([20.0]), np.array([60.0])), [[0.25]])


# Computed once with darts 0.48.1: dtw_metric(TimeSeries.from_values(truth), TimeSeries.from_values(forecast)).
DARTS = [
    ([0, 1, 2, 1, 0, 0], [0, 0, 1, 2, 1, 0], 0.0),
    ([1, 1, 2, 2, 0, 1], [2, 1, 1, 0, 0, 2], 0.5714285714285714),
    ([3, 3, 3, 3], [1, 2, 3, 4], 1.0),
    ([0.31, 0.34, 0.29, 0.4], [0.3, 0.33, 0.35, 0.3], 0.028000000000000004),
    ([0, 2, 1, 2, 0, 2, 1, 1], [1, 0, 2, 2, 1, 0, 1, 2], 0.4),
    ([0, 1, 0, 1, 1, 0, 0, 1], [1, 1, 0, 0, 1, 0, 1, 0], 0.2),
    ([1, 2, 3], [1, 3, 3], 1 / 3),
]


@pytest.mark.parametrize(("truth", "point", "expected"), DARTS)
def test_dtw_is_that_of_darts_ties_included(truth, point, expected):
    score = metrics.dtw(np.array([truth], dtype=float), np.array([point], dtype=float))
    np.testing.assert_allclose(score, [expected], rtol=1e-12)


def test_dtw_by_hand():
    # truth 0 4, forecast 1 3: costs |0-1| = 1, |0-3| = 3, |4-1| = 3, |4-3| = 1; the diagonal costs 2 over 2 cells.
    # truth 0 5, forecast 5 5: |0-5| + |5-5| = 5 over 2 cells.
    truth, point = np.array([[0.0, 4.0], [0.0, 5.0]]), np.array([[1.0, 3.0], [5.0, 5.0]])
    np.testing.assert_array_equal(metrics.dtw(truth, point), [1.0, 2.5])


def test_dtw_sees_the_observed_steps_only():
    gappy, point = np.array([[NAN, 1, 1, NAN, 2, 2, 0, 1]]), np.array([[9.0, 2, 1, NAN, 1, 0, 0, 2]])
    np.testing.assert_allclose(metrics.dtw(gappy, point), [0.5714285714285714])
    np.testing.assert_array_equal(metrics.dtw(np.full((1, 3), NAN), np.zeros((1, 3))), [NAN])


def test_mase_divides_by_the_mean_one_step_change_of_the_observed_context():
    # Context 1 3 . 4 4 7: adjacent pairs |3-1| = 2, |4-4| = 0, |7-4| = 3, the gap is no pair: 5/3.
    # Targets 80 . 90 100, forecast 82 50 84 100: MAE (2 + 6 + 0) / 3 = 8/3. MASE 8/3 : 5/3 = 1.6.
    context = np.array([[1.0, 3.0, NAN, 4.0, 4.0, 7.0]])
    np.testing.assert_allclose(metrics.naive_scale(context), [5 / 3])
    np.testing.assert_allclose(metrics.mase(TRUTH, POINT, context), [1.6])
    one_pair = np.array([[NAN, 3.0, 5.0, NAN]])
    np.testing.assert_array_equal(metrics.naive_scale(np.vstack([one_pair, np.full((3, 4), NAN)])), [2, NAN, NAN, NAN])


@pytest.mark.parametrize("context", [[5, 5, 5, 5], [1, NAN, 3, NAN], [NAN, NAN, NAN, 2]])
def test_mase_is_undefined_where_the_context_has_no_scale(context):
    np.testing.assert_array_equal(metrics.mase(TRUTH, POINT, np.array([context], dtype=float)), [NAN])


def test_scores_agree_with_utilsforecast():
    rng = np.random.default_rng(3)
    truth, context = 50 + rng.normal(size=(8, 5)) * 9, 50 + rng.normal(size=(8, 20)) * 9
    quantiles = np.sort(50 + rng.normal(size=(8, 5, 3)) * 9, axis=-1)
    names = ["m-lo-80", "m", "m-hi-80"]
    frame = pd.DataFrame({"unique_id": np.repeat(np.arange(8), 5), "y": truth.ravel()})
    frame = frame.assign(**{name: quantiles[..., k].ravel() for k, name in enumerate(names)})
    past = pd.DataFrame(
        {"unique_id": np.repeat(np.arange(8), 20), "ds": np.tile(np.arange(20), 8), "y": context.ravel()}
    )
    point = quantiles[..., 1]

    def agree(ours, theirs):
        np.testing.assert_allclose(ours, theirs["m"].to_numpy(), rtol=1e-12)

    agree(metrics.absolute_error(truth, point).mean(axis=1), losses.mae(frame, ["m"]))
    agree(np.sqrt(metrics.squared_error(truth, point).mean(axis=1)), losses.rmse(frame, ["m"]))
    agree(metrics.error(truth, point).mean(axis=1), losses.bias(frame, ["m"]))
    agree(metrics.percentage_error(truth, point).mean(axis=1) / 100, losses.mape(frame, ["m"]))
    agree(metrics.mase(truth, point, context), losses.mase(frame, ["m"], seasonality=1, train_df=past))
    agree(metrics.inside(truth, quantiles, LEVELS).mean(axis=1), losses.coverage(frame, ["m"], level=80))
    pinball = losses.mqloss(frame, {"m": names}, quantiles=np.array(LEVELS))
    agree(metrics.crps(truth, quantiles, LEVELS).mean(axis=1) / 2, pinball)


@given(windows)
def test_a_perfect_forecast_has_no_error(truth):
    assert not metrics.absolute_error(truth, truth).any()
    assert not metrics.dtw(truth, truth).any()
    assert not metrics.crps(truth, np.repeat(truth[..., None], 3, axis=-1), LEVELS).any()


@given(windows, windows)
def test_warping_costs_no_more_than_the_steps_as_they_stand_and_lies_below_the_largest_error(truth, point):
    distance = metrics.absolute_error(truth, point)
    warped = metrics.dtw(truth, point)
    horizon = truth.shape[1]
    # The diagonal is one path, any best path is at least as long as it and at most 2 H - 1 cells: mean <= sum / H.
    assert (warped <= distance.mean(axis=1) * (1 + 1e-9)).all()
    # The first and the last steps are always aligned.
    assert (warped >= np.maximum(distance[:, 0], distance[:, -1]) / (2 * horizon - 1) * (1 - 1e-9)).all()


@given(windows, windows)
def test_turning_both_upside_down_does_not_change_their_distance(truth, point):
    np.testing.assert_array_equal(metrics.dtw(-truth, -point), metrics.dtw(truth, point))


def test_without_ties_the_distance_is_the_same_both_ways():
    truth, point = np.random.default_rng(1).normal(size=(2, 50, 9))
    np.testing.assert_allclose(metrics.dtw(truth, point), metrics.dtw(point, truth), rtol=1e-12)


@given(windows, windows, arrays(np.bool_, (5, 7)), st.permutations(range(5)))
def test_windows_are_scored_each_by_itself(truth, point, hidden, order):
    gappy, context, order = np.where(hidden, NAN, truth), point[:, ::-1], list(order)
    np.testing.assert_array_equal(metrics.dtw(gappy[order], point[order]), metrics.dtw(gappy, point)[order])
    swapped = metrics.mase(gappy[order], point[order], context[order])
    np.testing.assert_array_equal(swapped, metrics.mase(gappy, point, context)[order])


@pytest.mark.parametrize("score", [metrics.error, metrics.percentage_error, metrics.dtw])
def test_a_forecast_that_is_not_finite_on_an_observed_target_is_refused(score):
    with pytest.raises(DataError, match="not finite on 2 of 3 observed targets"):
        score(TRUTH, np.array([[NAN, NAN, np.inf, 1.0]]))


def test_a_forecast_may_be_anything_where_nothing_was_observed():
    assert np.isfinite(metrics.dtw(TRUTH, np.array([[82.0, NAN, 84.0, 100.0]]))).all()


def test_shapes_that_do_not_fit_and_infinite_truths_are_refused():
    with pytest.raises(DataError, match=r"shape \(1, 4\) and the forecast \(1, 3\)"):
        metrics.error.__wrapped__(TRUTH, POINT[:, :3])  # past the tests' own check of shapes
    with pytest.raises(DataError, match="infinities"):
        metrics.error(np.array([[np.inf]]), np.array([[1.0]]))


def test_more_windows_than_are_warped_together_are_each_scored():
    truth, point = np.random.default_rng(2).normal(size=(2, 2 * metrics._WARPED + 7, 5))
    truth[::3, 1] = NAN
    one_by_one = [metrics.dtw(truth[i : i + 1], point[i : i + 1])[0] for i in range(len(truth))]
    np.testing.assert_array_equal(metrics.dtw(truth, point), one_by_one)


def test_a_single_step_and_steps_of_a_hundred_moves_are_aligned():
    assert metrics.dtw(np.array([[3.0]]), np.array([[5.0]])) == [2.0]
    # A forecast that is the truth ten steps late: found again along the diagonal, 10 cells on both ends cost nothing.
    truth = np.r_[np.zeros(10), np.arange(100.0), np.full(10, 99.0)][None]
    late = np.r_[np.zeros(20), np.arange(100.0)][None]
    assert metrics.dtw(truth, late) == [0.0]
