"""What one patient, and one window, decides."""

import numpy as np
import pytest

from loracast.scoring import influence as module
from loracast.scoring.bootstrap import differences
from loracast.scoring.compare import compare, summarise, verdict_of
from loracast.scoring.influence import influence
from loracast.scoring.sums import Sums, by_signal
from tests.scoring.arms import NAN, C, arm, forecast_of, frame_of, patient_sums, sums_of

COUNTS = [10] * 12


def errors(*, outlier=0.0, patients=12, seed=0):
    """Absolute errors of patients on 10 targets each: 20 on average, and `outlier` more for the first patient."""
    found = np.random.default_rng(seed).normal(20, 1, patients)
    found[0] += outlier
    return found


def test_the_range_is_that_of_the_differences_without_each_patient():
    ours, theirs = errors(seed=1, outlier=300), errors(seed=2)
    found = influence(patient_sums([ours], COUNTS), patient_sums([theirs], COUNTS))
    by_hand = [(np.delete(ours, i).sum() - np.delete(theirs, i).sum()) / 110 for i in range(12)]
    assert found.left_out == pytest.approx((min(by_hand), max(by_hand)))
    assert found.left_out[0] < 0.2 < 2 < found.left_out[1]


def test_the_interval_without_a_patient_is_that_of_the_others_alone():
    ours, theirs = errors(seed=1, outlier=300), errors(seed=2)
    found = influence(patient_sums([ours], COUNTS), patient_sums([theirs], COUNTS), resamples=8000)
    one, other = (patient_sums([errors[1:]], COUNTS[1:]) for errors in (ours, theirs))
    (alone,) = differences([one], other, resamples=8000)
    low, high = found.intervals[0]  # the first judged is the one who moves the difference most
    assert (low, high) == pytest.approx(alone.ci95, abs=0.01)
    assert high - low < 0.2 < min(b - a for a, b in found.intervals[1:])


def test_an_improvement_that_one_patient_hides_flips_without_that_patient():
    # Eleven patients gain 1 each time; one loses 30: the difference is not shown, and better without that one.
    truth = np.full((12, 4), 80.0)
    better, worse = truth + 1.0, truth + 2.0
    better[0] += 30
    runs = [
        sums_of(truth, forecast_of(point), np.full((12, C), 80.0), np.arange(12), np.zeros(12, int))
        for point in (better, worse)
    ]
    found = compare(runs[:1], runs[1:], reference_name="zero-shot")["heart_rate"]
    assert (found.verdict, found.flips) == ("no difference shown", 1)
    assert found.left_out == pytest.approx((-1.0, (30 - 1 - 10) / 11))


def test_a_verdict_that_all_patients_share_is_nobodys():
    found = compare([arm()], [arm(shift=0.5)], reference_name="zero-shot")["heart_rate"]
    assert (found.verdict, found.flips) == ("better", 0)
    assert found.left_out == pytest.approx((-0.5, -0.5))


@pytest.mark.parametrize(("patients", "flips"), [(5, None), (6, 0)])
def test_six_patients_are_the_fewest_whose_verdict_can_flip(patients, flips):
    runs = [arm(patients=patients)], [arm(shift=0.5, patients=patients)]
    found = compare(*runs, reference_name="other")["heart_rate"]
    assert (found.flips, found.left_out) == (flips, pytest.approx((-0.5, -0.5)))


def test_of_two_patients_each_alone_decides():
    found = influence(patient_sums([[10.0, 40.0]], [10, 10]), patient_sums([[20.0, 20.0]], [10, 10]), resamples=200)
    assert found.left_out == pytest.approx((-1.0, 2.0))  # the one who is left has 10 targets
    # Without a patient only draws of the other are left, who alone has no spread.
    assert found.intervals == [pytest.approx((2.0, 2.0)), pytest.approx((-1.0, -1.0))]


def test_a_draw_in_which_one_target_is_left_counts():
    ours, theirs = patient_sums([[1.0, 5.0]], [1, 1]), patient_sums([[3.0, 4.0]], [1, 1])
    found = influence(ours, theirs, resamples=3, seed=4)
    # None of these three draws has a patient twice: without either, one target is left.
    assert found.intervals == [pytest.approx((1.0, 1.0)), pytest.approx((-2.0, -2.0))]


def test_one_patient_is_under_nobodys_influence():
    found = compare([arm(patients=1)], [arm(shift=0.5, patients=1)], reference_name="other")["heart_rate"]
    assert (found.left_out, found.flips) == (None, None)


def test_of_many_patients_those_are_judged_who_move_the_difference_most(monkeypatch):
    monkeypatch.setattr(module, "MOST_JUDGED", 3)
    ours, theirs = errors(seed=1, outlier=300), errors(seed=2)
    found = influence(patient_sums([ours], COUNTS), patient_sums([theirs], COUNTS))
    assert len(found.intervals) == 3
    assert verdict_of(found.intervals[0], 12) == "no difference shown"


def test_chance_in_training_is_in_the_intervals_without_a_patient():
    ours = [errors(seed=1) + shift for shift in (0, 5, 10)]
    theirs = [errors(seed=2)] * 3
    wide, narrow = (
        influence(patient_sums(one, COUNTS), patient_sums(theirs[: len(one)], COUNTS)) for one in (ours, ours[:1])
    )
    assert all(b - a > 0.3 for a, b in wide.intervals)
    assert all(b - a < 0.3 for a, b in narrow.intervals)


def windows_of(*errors_of):
    """A run whose windows, of two patients in turn, have these absolute errors at their four steps."""
    truth = np.full((len(errors_of), 4), 80.0)
    point = truth + np.array(errors_of, dtype=float)[:, None]
    truth[0, 3] = NAN
    return truth, point, np.full((len(errors_of), C), 80.0), np.arange(len(errors_of)) % 2


def scored(*errors_of, parts=1):
    truth, point, context, patient = windows_of(*errors_of)
    sums = Sums()
    for rows in np.array_split(np.arange(len(truth)), parts):
        some = sums_of(truth[rows], forecast_of(point[rows]), context[rows], patient[rows], np.zeros(len(rows), int))
        for cells in some.parts():
            sums.add(cells)
    return sums


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_the_worst_window_is_found_whatever_the_batches(parts):
    # 1 + 1 + 9 + 1 + 1 at four steps, one target of the first not observed: 51 in all, 36 in the third window.
    worst = summarise([scored(1, 1, 9, 1, 1, parts=parts)])["heart_rate"].worst_window
    assert worst.share == pytest.approx(36 / 51)
    assert worst.mae_without == pytest.approx(1.0)


def test_the_worst_window_of_several_runs_is_worst_on_average():
    runs = [scored(1, 1, 9, 1, 1), scored(1, 1, 5, 1, 1)]
    worst = summarise(runs)["heart_rate"].worst_window
    assert worst.share == pytest.approx(28 / 43)
    assert worst.mae_without == pytest.approx(1.0)


def test_the_worst_window_may_be_any_patients_and_only_on_average():
    # Patient 0 has the worst window of the first run (7 against 6), patient 1 of the second, and of both together.
    runs = [scored(1, 6, 7, 1, 1), scored(1, 8, 1, 1, 1)]
    worst = summarise(runs)["heart_rate"].worst_window
    assert worst.share == pytest.approx((24 + 32) / (63 + 47))
    assert worst.mae_without == pytest.approx((39 / 15 + 15 / 15) / 2)


def test_a_single_window_carries_everything_and_leaves_nothing():
    worst = summarise([scored(2)])["heart_rate"].worst_window
    assert (worst.share, worst.mae_without) == (1.0, None)


def test_sums_of_an_older_version_are_read_and_know_no_worst_window(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    sums = arm()
    sums.to_parquet(tmp_path / "cells.parquet")
    assert summarise([Sums.from_parquet(tmp_path / "cells.parquet")]) == summarise([sums])
    old = frame_of(sums).drop(columns=["worst_sum", "worst_n"])
    pq.write_table(pa.Table.from_pandas(old, preserve_index=False), tmp_path / "old.parquet")
    found = summarise([Sums.from_parquet(tmp_path / "old.parquet")])["heart_rate"]
    assert found.worst_window is None
    assert found.mae == summarise([sums])["heart_rate"].mae


def test_a_layer_keeps_the_worst_window_of_each_patient():
    layer = by_signal([scored(1, 1, 9, 4, 1)])["heart_rate"]
    assert layer.worst[:, 0].tolist() == [[36.0, 16.0], [4.0, 4.0]]
