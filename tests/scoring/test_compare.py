"""Scores, intervals and verdicts."""

import json

import numpy as np
import pytest

from loracast.errors import ConfigError, DataError
from loracast.scoring.bootstrap import RESAMPLES
from loracast.scoring.cells import METRICS, score_cells
from loracast.scoring.compare import FEWEST_PATIENTS, compare, compare_to_best, paired, summarise, verdict_of
from loracast.scoring.facts import Excluded
from loracast.scoring.sums import Sums
from loracast.types import LEVELS
from tests.scoring.arms import NAN, SIGNALS, C, H, arm, cohort, forecast_of, sums_of


def test_scores_by_hand():
    # Heart rate, patient 1, two windows of two steps; errors 1, 3 | -2 and one target not observed.
    truth = np.array([[100.0, 100.0], [50.0, NAN]])
    point = np.array([[101.0, 103.0], [48.0, 60.0]])
    context = np.array([[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]])
    cells = score_cells(
        truth, forecast_of(point, 2.0), context, patient=np.array([1, 1]), signal=np.array([0, 0]), signals=SIGNALS
    )
    sums = Sums()
    sums.add(cells)
    scores = summarise([sums])["heart_rate"]
    assert scores.mae == pytest.approx((1 + 3 + 2) / 3)
    assert scores.rmse == pytest.approx(np.sqrt((1 + 9 + 4) / 3))
    assert scores.bias == pytest.approx((1 + 3 - 2) / 3)
    assert scores.mse_scaled == pytest.approx((1 + 9 + 4) / 3 / 300**2)
    assert scores.mape == pytest.approx((1 + 3 + 4) / 3)  # 1 of 100, 3 of 100, 2 of 50, in percent
    # Window 1: |100-101| + |100-103| = 4 over the 2 cells of the diagonal; window 2: 2 over 1 cell.
    assert scores.dtw_scaled == pytest.approx((2 + 2) / 2 / 300)
    assert scores.mase == pytest.approx(2.0)  # window 1: MAE 2, scale 1; window 2: the context does not change
    assert scores.excluded == Excluded(mase_windows=1, mape_cells=0)
    assert scores.coverage_80 == pytest.approx(2 / 3)  # the bounds are 2 away: 1 and 2 inside, 3 not
    # Quantiles at point + {-2, -1.5, …, 2}. At error e the truth lies e below the point. Twice the pinball losses:
    # e = 1: levels .1-.3 over by (1, .5, 0) -> .1*1 + .2*.5; above: .6*.5, .5*1, .4*1.5, .3*2, .2*2.5, .1*3
    below, above = 0.1 * 1 + 0.2 * 0.5, 0.6 * 0.5 + 0.5 * 1 + 0.4 * 1.5 + 0.3 * 2 + 0.2 * 2.5 + 0.1 * 3
    first = 2 * (below + above) / 9
    # e = 3: every quantile is above the truth, by 1, 1.5, …, 5.
    second = 2 * sum((1 - level) * (1 + 0.5 * k) for k, level in enumerate(LEVELS)) / 9
    # e = -2: every quantile is at or below the truth, by 4, 3.5, …, 0.
    third = 2 * sum(level * (4 - 0.5 * k) for k, level in enumerate(LEVELS)) / 9
    assert scores.crps == pytest.approx((first + second + third) / 3)
    assert (scores.n_windows, scores.n_cells, scores.n_patients) == (2, 3, 1)
    assert scores.by_step["mae"] == pytest.approx([1.5, 3.0])
    assert scores.by_step["bias"] == pytest.approx([-0.5, 3.0])
    assert scores.by_step["rmse"] == pytest.approx([np.sqrt(2.5), 3.0])
    assert scores.by_step["coverage_80"] == pytest.approx([1.0, 0.0])


def test_one_patient_has_scores_but_no_interval():
    truth, context, _, signal = cohort(windows=6)
    scores = summarise([sums_of(truth, forecast_of(truth * 0 + 80), context, np.zeros(6, int), signal)])
    assert all(interval is None for interval in scores["heart_rate"].ci95.values())
    json.dumps(scores["heart_rate"].model_dump(mode="json"), allow_nan=False)


def test_what_is_undefined_is_null():
    scores = summarise([arm()])["spo2"]
    assert [getattr(scores, name) for name in ("mse_scaled", "mape", "dtw_scaled")] == [None] * 3
    assert [scores.ci95[name] for name in ("mse_scaled", "mape", "dtw_scaled")] == [None] * 3
    truth = np.full((2, H), NAN)
    nothing = sums_of(truth, forecast_of(truth), np.ones((2, C)), np.arange(2), np.zeros(2, int))
    scores = summarise([nothing])["heart_rate"]
    assert (scores.mae, scores.n_cells, scores.n_patients) == (None, 0, 0)
    assert compare([nothing], [nothing], reference_name="other")["heart_rate"].mae_difference is None


def test_a_target_of_zero_has_no_percentage_and_is_counted():
    truth = np.array([[0.0, 50.0]])
    cells = sums_of(truth, forecast_of(truth + 1), np.array([[1.0, 2.0]]), np.zeros(1, int), np.zeros(1, int))
    scores = summarise([cells])["heart_rate"]
    assert scores.mape == pytest.approx(2.0)
    assert scores.excluded.mape_cells == 1


def test_intervals_follow_the_seed_and_hold_the_estimate():
    sums = arm()
    scores = summarise([sums], seed=1)["heart_rate"]
    assert scores == summarise([sums], seed=1)["heart_rate"]
    assert scores.ci95 != summarise([sums], seed=2)["heart_rate"].ci95
    for name in METRICS:
        low, high = scores.ci95[name]
        assert low < getattr(scores, name) < high, name


def test_training_seeds_are_averaged():
    scores = [summarise([arm(noise_seed=seed)])["heart_rate"] for seed in (1, 2)]
    both = summarise([arm(noise_seed=seed) for seed in (1, 2)])["heart_rate"]
    assert both.mae == pytest.approx((scores[0].mae + scores[1].mae) / 2)
    assert both.rmse == pytest.approx(np.sqrt((scores[0].rmse ** 2 + scores[1].rmse ** 2) / 2))
    assert both.n_cells == scores[0].n_cells


def test_a_planted_constant_improvement_is_found_better_and_its_mirror_worse():
    found = compare([arm()], [arm(shift=0.5)], reference_name="tiny zero-shot")["heart_rate"]
    assert found.mae_difference == pytest.approx(-0.5)
    assert found.ci95 == pytest.approx((-0.5, -0.5))
    assert (found.reference, found.verdict, found.patients) == ("tiny zero-shot", "better", 15)
    mirrored = compare([arm(shift=0.5)], [arm()], reference_name="last-value")["spo2"]
    assert (mirrored.reference, mirrored.verdict) == ("last-value", "worse")


@pytest.mark.parametrize("seeds", [1, 2, 5, 6])
def test_an_arm_that_is_its_reference_shows_no_difference_however_many_seeds_it_has(seeds):
    found = compare([arm()] * seeds, [arm()], reference_name="zero-shot")["heart_rate"]
    assert (found.mae_difference, found.ci95, found.verdict) == (0.0, (0.0, 0.0), "no difference shown")


def test_noise_shows_no_difference_more_often_than_not():
    verdicts = [
        compare([arm(noise_seed=10 + k)], [arm(noise_seed=50 + k)], reference_name="other")["heart_rate"].verdict
        for k in range(20)
    ]
    assert verdicts.count("no difference shown") >= 16


@pytest.mark.parametrize("patients", [1, 5])
def test_a_handful_of_patients_never_makes_a_verdict(patients):
    found = compare([arm(patients=patients)], [arm(shift=0.5, patients=patients)], reference_name="other")["heart_rate"]
    assert (found.verdict, found.patients) == ("no difference shown", patients)
    assert found.mae_difference == pytest.approx(-0.5)
    assert (found.ci95 is None) == (patients == 1)


def test_six_patients_who_agree_make_a_verdict():
    # Two-sided sign test: 2 / 2^6 = 3 % for six who agree, 6 % for five.
    assert FEWEST_PATIENTS == 6
    found = compare([arm(patients=6)], [arm(shift=0.5, patients=6)], reference_name="other")["heart_rate"]
    assert (found.verdict, found.patients) == ("better", 6)


@pytest.mark.parametrize(
    ("ci95", "verdict"),
    [
        ((-2.0, -1e-9), "better"),
        ((-2.0, 0.0), "no difference shown"),
        ((0.0, 2.0), "no difference shown"),
        ((1e-9, 2.0), "worse"),
        ((-1.0, 1.0), "no difference shown"),
        (None, "no difference shown"),
    ],
)
def test_an_interval_that_touches_zero_shows_nothing(ci95, verdict):
    assert verdict_of(ci95, 20) == verdict


def test_seed_and_number_of_draws_are_those_that_are_asked_for():
    one, other = [arm()], [arm(noise_seed=2)]

    def found(**asked):
        to_best = compare_to_best(one, {"other": other}, **asked)
        assert compare(one, other, reference_name="other", **asked) == to_best
        return summarise(one, **asked), to_best

    usual = found()
    assert usual == found(seed=0, resamples=RESAMPLES)
    for asked in ({"seed": 1}, {"resamples": 500}):
        assert [a != b for a, b in zip(usual, found(**asked), strict=True)] == [True, True]


def test_the_best_reference_is_the_one_with_the_lowest_error_whatever_its_place():
    floor = {"best": [arm(shift=1.0)], "middle": [arm(shift=2.0)], "worst": [arm(shift=3.0)]}
    for order in (sorted(floor), sorted(floor, reverse=True)):
        found = compare_to_best([arm()], {name: floor[name] for name in order})
        assert {entry.reference for entry in found.values()} == {"best"}
    equals = compare_to_best([arm()], {"second": [arm(shift=1.0)], "first": [arm(shift=1.0)]})
    assert {entry.reference for entry in equals.values()} == {"second"}, "the first of equals"


def test_a_pair_is_compared_on_each_signal_with_the_draws_that_are_asked_for():
    ours, theirs = [arm()], [arm(shift=0.5)]
    found = paired(ours, theirs)
    assert set(found) == set(SIGNALS)
    assert [one.verdict for one in found.values()] == ["better", "better"]
    scored = summarise([ours[0]])
    assert {name: one.windows for name, one in found.items()} == {name: scored[name].n_windows for name in SIGNALS}
    noisy = [arm(noise_seed=2)]
    usual = paired(ours, noisy)
    assert usual == paired(ours, noisy, seed=0, resamples=RESAMPLES)
    assert usual != paired(ours, noisy, seed=1)
    assert usual != paired(ours, noisy, resamples=500)


def test_a_pair_that_scored_other_windows_is_named():
    with pytest.raises(DataError, match=r"^The arm and the reference did not score the same windows"):
        paired([arm()], [arm(windows=119)])


def test_chance_in_training_is_in_the_interval_of_several_seeds():
    seeds = [arm(shift=shift, noise=0.1) for shift in (0.0, 0.6, 1.2)]
    (low, high), (single_low, single_high) = (summarise(runs)["heart_rate"].ci95["mae"] for runs in (seeds, seeds[1:2]))
    assert high - low > 3 * (single_high - single_low)


@pytest.mark.parametrize("other", [{"windows": 119}, {"seed": 3}, {"patients": 14}])
def test_other_windows_are_not_compared(other):
    with pytest.raises(DataError, match="did not score the same windows"):
        compare([arm()], [arm(**other)], reference_name="other")
    with pytest.raises(DataError, match="The arm and last-value did not score the same windows"):
        compare_to_best([arm()], {"context-mean": [arm()], "last-value": [arm(**other)]})


def test_the_same_counts_over_other_targets_are_not_compared():
    truth, context, patient, signal = cohort()
    one, other = (
        sums_of(t, forecast_of(np.nan_to_num(t, nan=80)), context, patient, signal) for t in (truth, truth + 1)
    )
    with pytest.raises(DataError, match="did not score the same windows"):
        compare([one], [other], reference_name="other")


def test_the_best_reference_is_chosen_for_each_signal():
    floor = {"last-value": [arm(shift=2.0)], "context-mean": [arm(shift=1.0)]}
    found = compare_to_best([arm()], floor)
    assert {entry.reference for entry in found.values()} == {"context-mean"}
    assert found["heart_rate"].mae_difference == pytest.approx(-1.0)
    assert found["heart_rate"].verdict == "better"
    assert found == compare([arm()], floor["context-mean"], reference_name="context-mean")


def test_nothing_to_score_is_said():
    with pytest.raises(ConfigError, match="No run to score"):
        summarise([])
    with pytest.raises(ConfigError, match="nothing to compare with"):
        compare_to_best([arm()], {})
    assert summarise([Sums()]) == {}
