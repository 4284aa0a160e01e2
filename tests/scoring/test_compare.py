"""Sums, intervals and verdicts."""

import json
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loracast.errors import ConfigError, DataError
from loracast.scoring.compare import Statistics, compare, compare_to_best, score_cells, summarise
from loracast.scoring.sums import COLUMNS, METRICS
from loracast.types import LEVELS, Forecast

NAN = np.nan
C, H = 8, 4


@dataclass(frozen=True)
class Known:
    label: str
    unit: str
    scaled: tuple[float, float] | None = None


SIGNALS = {"heart_rate": Known("heart rate", "1/min", (0, 300)), "spo2": Known("oxygen saturation", "%")}


def forecast_of(point, width=0.0):
    """Quantiles at equal distances around `point`, the outermost ones `width` away."""
    return Forecast(np.asarray(point)[..., None] + width * (np.array(LEVELS) - 0.5) / 0.4)


def statistics_of(truth, forecast, context, patient, signal, batch=1000):
    statistics = Statistics()
    for start in range(0, len(truth), batch):
        rows = slice(start, start + batch)
        part = Forecast(forecast.quantiles[rows])
        cells = score_cells(
            truth[rows], part, context[rows], patient=patient[rows], signal=signal[rows], signals=SIGNALS
        )
        statistics.add(cells)
    return statistics


def cohort(windows=120, patients=15, seed=0):
    """Truth with gaps, context, patient and signal codes."""
    rng = np.random.default_rng(seed)
    series = 80 + rng.normal(size=(windows, C + H)).cumsum(axis=1)
    series[rng.random(series.shape) < 0.15] = NAN
    series[:, -1] = 80
    patient, signal = np.arange(windows) % patients, rng.integers(0, 2, windows)
    return series[:, C:], series[:, :C], patient, signal


def arm(shift=0.0, seed=0, noise=2.0, noise_seed=1, **sizes):
    """An arm whose absolute error is that of noise, plus `shift`."""
    truth, context, patient, signal = cohort(seed=seed, **sizes)
    noises = np.random.default_rng(noise_seed).normal(size=truth.shape) * noise
    point = np.nan_to_num(truth, nan=80) + noises + shift * np.sign(noises)
    return statistics_of(truth, forecast_of(point, 3.0), context, patient, signal)


def test_scores_by_hand():
    # Heart rate, patient 1, two windows of two steps; errors 1, 3 | -2 and one target not observed.
    truth = np.array([[100.0, 100.0], [50.0, NAN]])
    point = np.array([[101.0, 103.0], [48.0, 60.0]])
    context = np.array([[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]])
    cells = score_cells(
        truth, forecast_of(point, 2.0), context, patient=np.array([1, 1]), signal=np.array([0, 0]), signals=SIGNALS
    )
    statistics = Statistics()
    statistics.add(cells)
    scores = summarise([statistics])["heart_rate"]
    assert scores["mae"] == pytest.approx((1 + 3 + 2) / 3)
    assert scores["rmse"] == pytest.approx(np.sqrt((1 + 9 + 4) / 3))
    assert scores["bias"] == pytest.approx((1 + 3 - 2) / 3)
    assert scores["mse_scaled"] == pytest.approx((1 + 9 + 4) / 3 / 300**2)
    assert scores["mape"] == pytest.approx((1 + 3 + 4) / 3)  # 1 of 100, 3 of 100, 2 of 50, in percent
    # Window 1: |100-101| + |100-103| = 4 over the 2 cells of the diagonal; window 2: 2 over 1 cell.
    assert scores["dtw_scaled"] == pytest.approx((2 + 2) / 2 / 300)
    assert scores["mase"] == pytest.approx(2.0)  # window 1: MAE 2, scale 1; window 2: the context does not change
    assert scores["excluded"] == {"mase_windows": 1, "mape_cells": 0}
    assert scores["coverage_80"] == pytest.approx(2 / 3)  # the bounds are 2 away: 1 and 2 inside, 3 not
    # Quantiles at point + {-2, -1.5, …, 2}. At error e the truth lies e below the point. Twice the pinball losses:
    # e = 1: levels .1-.3 over by (1, .5, 0) -> .1*1 + .2*.5; above: .6*.5, .5*1, .4*1.5, .3*2, .2*2.5, .1*3
    below, above = 0.1 * 1 + 0.2 * 0.5, 0.6 * 0.5 + 0.5 * 1 + 0.4 * 1.5 + 0.3 * 2 + 0.2 * 2.5 + 0.1 * 3
    first = 2 * (below + above) / 9
    # e = 3: every quantile is above the truth, by 1, 1.5, …, 5.
    second = 2 * sum((1 - level) * (1 + 0.5 * k) for k, level in enumerate(LEVELS)) / 9
    # e = -2: every quantile is at or below the truth, by 4, 3.5, …, 0.
    third = 2 * sum(level * (4 - 0.5 * k) for k, level in enumerate(LEVELS)) / 9
    assert scores["crps"] == pytest.approx((first + second + third) / 3)
    assert (scores["n_windows"], scores["n_cells"], scores["n_patients"]) == (2, 3, 1)
    assert scores["by_step"]["mae"] == pytest.approx([1.5, 3.0])
    assert scores["by_step"]["bias"] == pytest.approx([-0.5, 3.0])
    assert scores["by_step"]["rmse"] == pytest.approx([np.sqrt(2.5), 3.0])
    assert scores["by_step"]["coverage_80"] == pytest.approx([1.0, 0.0])


def test_one_patient_has_scores_but_no_interval():
    truth, context, _, signal = cohort(windows=6)
    scores = summarise([statistics_of(truth, forecast_of(truth * 0 + 80), context, np.zeros(6, int), signal)])
    assert all(interval is None for interval in scores["heart_rate"]["ci95"].values())
    json.dumps(scores, allow_nan=False)


def test_what_is_undefined_is_null():
    scores = summarise([arm()])["spo2"]
    assert [scores[name] for name in ("mse_scaled", "mape", "dtw_scaled")] == [None] * 3
    assert [scores["ci95"][name] for name in ("mse_scaled", "mape", "dtw_scaled")] == [None] * 3
    truth = np.full((2, H), NAN)
    nothing = statistics_of(truth, forecast_of(truth), np.ones((2, C)), np.arange(2), np.zeros(2, int))
    scores = summarise([nothing])["heart_rate"]
    assert (scores["mae"], scores["n_cells"], scores["n_patients"]) == (None, 0, 0)
    assert compare([nothing], [nothing])["heart_rate"]["mae_difference"] is None


def test_a_target_of_zero_has_no_percentage_and_is_counted():
    truth = np.array([[0.0, 50.0]])
    cells = statistics_of(truth, forecast_of(truth + 1), np.array([[1.0, 2.0]]), np.zeros(1, int), np.zeros(1, int))
    scores = summarise([cells])["heart_rate"]
    assert scores["mape"] == pytest.approx(2.0)
    assert scores["excluded"]["mape_cells"] == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 130), st.permutations(range(120)))
def test_the_size_of_batches_and_the_order_of_windows_change_nothing(batch, order):
    truth, context, patient, signal = cohort()
    point = np.nan_to_num(truth, nan=0) + np.linspace(-3, 5, truth.size).reshape(truth.shape)
    whole = statistics_of(truth, forecast_of(point, 2), context, patient, signal).cells
    order = list(order)
    shuffled = (truth[order], forecast_of(point[order], 2), context[order], patient[order], signal[order])
    pd.testing.assert_frame_equal(statistics_of(*shuffled, batch=batch).cells, whole, rtol=1e-12)


def test_sums_survive_the_way_to_disk(tmp_path):
    statistics = arm()
    path = tmp_path / "cells.parquet"
    statistics.to_parquet(path)
    assert pq.read_schema(path).names == COLUMNS
    assert summarise([Statistics.from_parquet(path)]) == summarise([statistics])
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    path = tmp_path / "cells.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        Statistics.from_parquet(path)
    pd.DataFrame({"patient": [1]}).to_parquet(path)
    with pytest.raises(DataError, match="not the sums"):
        Statistics.from_parquet(path)


def test_horizons_are_not_mixed():
    statistics = arm()
    longer, code = np.ones((1, H + 1)), np.zeros(1, int)
    cells = score_cells(longer, forecast_of(longer), longer, patient=code, signal=code, signals=SIGNALS)
    with pytest.raises(DataError, match="Score one horizon at a time"):
        statistics.add(cells)


def test_a_batch_whose_arrays_do_not_belong_together_is_refused():
    truth = np.ones((2, H))
    for patient, signal in (([0], [0, 0]), ([0, 0], [0, 2])):
        with pytest.raises(DataError, match="give one of each a window"):
            score_cells(
                truth, forecast_of(truth), truth, patient=np.array(patient), signal=np.array(signal), signals=SIGNALS
            )


def test_an_empty_batch_adds_nothing():
    truth, context, patient, signal = cohort()
    empty = score_cells(
        truth[:0], forecast_of(truth[:0]), context[:0], patient=patient[:0], signal=signal[:0], signals=SIGNALS
    )
    assert len(empty) == 0
    statistics = arm()
    before = statistics.cells
    statistics.add(empty)
    pd.testing.assert_frame_equal(statistics.cells, before)
    assert summarise([Statistics()]) == {}


def test_intervals_follow_the_seed_and_hold_the_estimate():
    statistics = arm()
    scores = summarise([statistics], seed=1)["heart_rate"]
    assert scores == summarise([statistics], seed=1)["heart_rate"]
    assert scores["ci95"] != summarise([statistics], seed=2)["heart_rate"]["ci95"]
    for name in METRICS:
        low, high = scores["ci95"][name]
        assert low < scores[name] < high, name


def test_the_interval_of_a_mean_is_that_of_the_textbook():
    # 200 patients with one window each and errors of one size a patient: the MAE is a plain mean over patients.
    sizes = np.random.default_rng(5).uniform(1, 9, 200)
    truth = np.full((200, H), 80.0)
    point = truth + sizes[:, None]
    context = np.tile([1.0, 2.0], (200, 1))
    one = statistics_of(truth, forecast_of(point), context, np.arange(200), np.zeros(200, int))
    low, high = summarise([one], resamples=5000)["heart_rate"]["ci95"]["mae"]
    half = 1.96 * sizes.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((sizes.mean() - half, sizes.mean() + half), rel=0.02)


def test_training_seeds_are_averaged():
    scores = [summarise([arm(noise_seed=seed)])["heart_rate"] for seed in (1, 2)]
    both = summarise([arm(noise_seed=seed) for seed in (1, 2)])["heart_rate"]
    assert both["mae"] == pytest.approx((scores[0]["mae"] + scores[1]["mae"]) / 2)
    assert both["rmse"] == pytest.approx(np.sqrt((scores[0]["rmse"] ** 2 + scores[1]["rmse"] ** 2) / 2))
    assert both["n_cells"] == scores[0]["n_cells"]


def test_a_planted_constant_improvement_is_found_better_and_its_mirror_worse():
    found = compare([arm()], [arm(shift=0.5)])["heart_rate"]
    assert found["mae_difference"] == pytest.approx(-0.5)
    assert found["ci95"] == pytest.approx([-0.5, -0.5])
    assert found["verdict"] == "better"
    assert found["sentence"] == (
        "Heart rate: better than zero-shot. The mean absolute error is 0.5/min lower "
        "(95 % interval 0.5 lower to 0.5 lower; 15 patients)."
    )
    mirrored = compare([arm(shift=0.5)], [arm()], against="last-value")["spo2"]
    assert mirrored["verdict"] == "worse"
    assert mirrored["sentence"].startswith("Oxygen saturation: worse than last-value. The mean absolute error is 0.5 %")


def test_pairing_finds_what_the_intervals_of_the_two_arms_hide():
    better, reference = arm(noise=20.0), arm(shift=0.5, noise=20.0)
    ours, theirs = (summarise([one])["heart_rate"]["ci95"]["mae"] for one in (better, reference))
    assert ours[1] > theirs[0]
    assert compare([better], [reference])["heart_rate"]["verdict"] == "better"


def test_an_arm_against_itself_shows_no_difference():
    found = compare([arm()], [arm()])["heart_rate"]
    assert (found["mae_difference"], found["ci95"], found["verdict"]) == (0.0, [0.0, 0.0], "no difference shown")
    assert "The mean absolute error is the same" in found["sentence"]


def test_noise_shows_no_difference_more_often_than_not():
    verdicts = [compare([arm(noise_seed=10 + k)], [arm(noise_seed=50 + k)])["heart_rate"]["verdict"] for k in range(20)]
    assert verdicts.count("no difference shown") >= 16


@pytest.mark.parametrize(("patients", "reason"), [(1, "1 patient cannot give"), (5, "5 patients are too few to tell")])
def test_a_handful_of_patients_never_makes_a_verdict(patients, reason):
    found = compare([arm(patients=patients)], [arm(shift=0.5, patients=patients)])["heart_rate"]
    assert found["verdict"] == "no difference shown"
    assert found["mae_difference"] == pytest.approx(-0.5)
    assert reason in found["sentence"]


@pytest.mark.parametrize("other", [{"windows": 119}, {"seed": 3}, {"patients": 14}])
def test_other_windows_are_not_compared(other):
    with pytest.raises(DataError, match="did not score the same windows"):
        compare([arm()], [arm(**other)])
    with pytest.raises(DataError, match="Two runs of an arm did not score the same windows"):
        summarise([arm(), arm(**other)])


def test_the_same_counts_over_other_targets_are_not_compared():
    truth, context, patient, signal = cohort()
    one, other = (
        statistics_of(t, forecast_of(np.nan_to_num(t, nan=80)), context, patient, signal) for t in (truth, truth + 1)
    )
    with pytest.raises(DataError, match="did not score the same windows"):
        compare([one], [other])


def test_the_best_reference_is_chosen_for_each_signal():
    floor = {"last-value": [arm(shift=2.0)], "context-mean": [arm(shift=1.0)]}
    found = compare_to_best([arm()], floor)
    assert {entry["reference"] for entry in found.values()} == {"context-mean"}
    assert found["heart_rate"]["mae_difference"] == pytest.approx(-1.0)
    assert "better than context-mean" in found["heart_rate"]["sentence"]


def test_nothing_to_score_is_said():
    with pytest.raises(ConfigError, match="No run to score"):
        summarise([])
    with pytest.raises(ConfigError, match="nothing to compare with"):
        compare_to_best([arm()], {})


def test_five_hundred_patients_take_seconds_at_most():
    statistics = arm(windows=3000, patients=500)
    started = time.perf_counter()
    summarise([statistics])
    assert time.perf_counter() - started < 5
