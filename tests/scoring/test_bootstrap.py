"""Intervals whose width is known, the same draws for every arm, and what has no interval."""

import tracemalloc

import numpy as np
import pytest

from loracast.scoring import bootstrap
from loracast.scoring.bootstrap import RESAMPLES, differences, draws, estimates, weights
from loracast.scoring.cells import METRICS
from loracast.scoring.sums import by_signal
from tests.scoring.arms import arm, patient_sums


def random_arm(seeds=1, patients=30, seed=0):
    """An arm of unequal patients, who differ far more than its seeds do."""
    counts = np.random.default_rng(9).integers(5, 60, patients)
    levels = np.random.default_rng(10).uniform(1, 4, patients)
    return patient_sums((levels + 0.1 * np.random.default_rng(seed).normal(size=(seeds, patients))) * counts, counts)


def test_a_score_is_the_sum_over_the_count_with_seeds_averaged():
    assert patient_sums([[2, 6], [4, 8]], [1, 4]).values() == pytest.approx([(8 / 5 + 12 / 5) / 2])
    assert patient_sums([[2, 6], [4, 8]], [1, 4], "rmse").values() == pytest.approx([np.sqrt((8 / 5 + 12 / 5) / 2)])


PUBLISHED = {3: (2.436832566093918, 3.0699965735923156), 2: (2.425467693951687, 3.0670385901719706)}
"""The interval of `random_arm` by its number of seeds, as version 0.2 gave it."""


def half_width(found):
    low, high = found["mae"].ci95
    return (high - low) / 2


@pytest.mark.parametrize("patients", [400, 40])
def test_the_interval_of_one_seed_is_that_of_the_mean_over_patients(patients):
    # Equal counts: the standard error of a mean is known. At 90 or 99 % the half-width would be 16 % less or 31 % more.
    values = np.random.default_rng(3).normal(size=patients)
    (found,) = estimates([patient_sums(values[None] * 7, np.full(patients, 7))], resamples=20_000)
    assert found["mae"].value == pytest.approx(values.mean())
    assert half_width(found) == pytest.approx(1.96 * values.std() / np.sqrt(patients), rel=0.05)
    assert np.mean(found["mae"].ci95) == pytest.approx(values.mean(), abs=0.05 * half_width(found))


@pytest.mark.parametrize("seeds", [12, 30])
def test_the_interval_of_many_seeds_is_that_of_the_mean_over_seeds(seeds):
    # Patients who are all alike leave the chance in training alone, with the variance that is unbiased.
    shifts = np.random.default_rng(7).normal(size=seeds)
    (found,) = estimates([patient_sums(np.repeat(shifts[:, None], 5, axis=1), np.ones(5))], resamples=20_000)
    assert half_width(found) == pytest.approx(1.96 * shifts.std(ddof=1) / np.sqrt(seeds), rel=0.05)


def test_the_interval_of_a_difference_is_that_of_the_mean_of_the_paired_differences():
    ours, gain = np.random.default_rng(8).normal(3, 1, 300), np.random.default_rng(9).normal(0.1, 0.5, 300)
    one, other = (patient_sums(values[None], np.ones(300)) for values in (ours, ours - gain))
    (found,) = differences([one], other, resamples=20_000)
    assert found.value == pytest.approx(gain.mean())
    low, high = found.ci95
    assert (high - low) / 2 == pytest.approx(1.96 * gain.std() / np.sqrt(300), rel=0.05)


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_the_spread_of_the_draws_is_that_of_seeds_and_of_patients_together(seeds):
    # Seeds shift everybody: the variance of their mean joins that of the patients, unbiased however few there are.
    rng = np.random.default_rng(4)
    shifts, levels = rng.normal(size=seeds), rng.normal(size=300)
    (found,) = draws([patient_sums((shifts[:, None] + levels) * 3, np.full(300, 3))], resamples=8000)
    assert found.std() == pytest.approx(np.sqrt(shifts.var(ddof=1) / seeds + levels.var() / 300), rel=0.05)


def test_the_intervals_that_were_published_come_out_again():
    # The streams of random numbers are part of a result: whoever repeats it with its seed must see its numbers.
    one, two = random_arm(seeds=3), random_arm(seeds=2)
    assert estimates([one])[0]["mae"].ci95 == pytest.approx(PUBLISHED[3], rel=1e-9)
    assert estimates([two])[0]["mae"].ci95 == pytest.approx(PUBLISHED[2], rel=1e-9)


def test_seed_and_number_of_draws_are_those_that_are_asked_for():
    one, other = random_arm(seeds=3), random_arm(seeds=3, seed=5)
    usual = {"seed": 0, "resamples": RESAMPLES}
    assert estimates([one]) == estimates([one], **usual)
    assert differences([one], other) == differences([one], other, **usual)
    for changed in ({"seed": 1}, {"resamples": 500}):
        assert estimates([one]) != estimates([one], **changed)
        assert differences([one], other) != differences([one], other, **changed)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    def holds(seed):
        values = np.random.default_rng(seed).normal(size=60)
        low, high = estimates([patient_sums(values[None], np.ones(60))], resamples=300)[0]["mae"].ci95
        return low < 0 < high

    assert np.mean([holds(seed) for seed in range(300)]) == pytest.approx(0.94, abs=0.035)


def test_the_root_is_taken_of_every_draw():
    squares = np.random.default_rng(5).uniform(1, 9, (2, 50))
    mean, root = (draws([patient_sums(squares, np.ones(50), name)])[0] for name in ("mae", "rmse"))
    np.testing.assert_array_equal(root, np.sqrt(mean))


def test_arms_with_one_seed_and_with_three_are_drawn_on_the_same_patients():
    one = random_arm()
    three = patient_sums(np.repeat(one.sums[0], 3, axis=0), one.counts[0])
    np.testing.assert_allclose(draws([one])[0], draws([three])[0], rtol=1e-12)
    assert differences([three], one)[0] == differences([one], three)[0] == (0.0, (0.0, 0.0))


def test_arms_with_as_many_seeds_share_the_drawn_seeds():
    # What a seed does to everybody in both arms cancels; what the patients do cancels too.
    lucky = np.array([0.0, 1.0, -2.0])[:, None]
    first = random_arm()
    ours, theirs = (patient_sums(first.sums[0] + (lucky + gain) * first.counts, first.counts[0]) for gain in (0, 0.25))
    (found,) = differences([ours], theirs)
    assert found.value == pytest.approx(-0.25)
    assert found.ci95 == pytest.approx((-0.25, -0.25))


def test_seeds_and_patients_are_drawn_independently():
    # Were the streams one, an arm's seeds would move with its patients.
    patients, seeds = 40, 4
    values = np.random.default_rng(2).normal(size=patients)
    by_patients = draws([patient_sums(values[None], np.ones(patients))])[0][0]
    by_seeds = draws([patient_sums(np.repeat(np.arange(seeds)[:, None], patients, axis=1), np.ones(patients))])[0][0]
    assert abs(np.corrcoef(by_patients, by_seeds)[0, 1]) < 0.06


def test_what_else_is_drawn_changes_no_interval():
    arms = [random_arm(seeds=3, seed=k) for k in range(4)] + [random_arm(seeds=2)]
    together = estimates(arms)
    assert together == [estimates([one])[0] for one in arms]
    # Nor does it which other scores are looked at: the same to the last bit.
    runs = [arm(noise_seed=seed) for seed in (1, 2, 3)]
    (every,), (alone,) = (estimates([by_signal(runs, names)["heart_rate"]]) for names in (tuple(METRICS), ["mae"]))
    assert every["mae"] == alone["mae"]


def test_pairing_finds_what_the_intervals_of_the_two_arms_hide():
    ours = random_arm(seeds=2)
    theirs = patient_sums(ours.sums[0] + 0.01 * ours.counts, ours.counts[0])
    intervals = [found["mae"].ci95 for found in estimates([ours, theirs])]
    assert intervals[0][1] > intervals[1][0]
    assert differences([ours], theirs)[0].ci95[1] < 0


def test_rounding_alone_is_no_difference():
    one = random_arm(seeds=5)
    order = patient_sums(one.sums[0] * (1 + 3e-16), one.counts[0])
    assert differences([order], one)[0] == (0.0, (0.0, 0.0))


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_difference_is_one_in_whatever_unit(unit):
    one = random_arm()
    other = patient_sums(one.sums[0] * unit * (1 + 1e-9), one.counts[0])
    found = differences([other], patient_sums(one.sums[0] * unit, one.counts[0]))[0]
    assert 0 < found.ci95[0] < found.value < found.ci95[1]


def test_the_same_seed_draws_the_same_and_another_does_not():
    one = random_arm(seeds=3)
    assert np.array_equal(draws([one], seed=1), draws([one], seed=1))
    assert not np.array_equal(draws([one], seed=1), draws([one], seed=2))


def test_the_unit_scales_intervals_and_the_order_of_patients_changes_them_by_chance_only():
    one, order = random_arm(seeds=3), np.random.default_rng(1).permutation(30)
    base = estimates([one])[0]["mae"]
    scaled = estimates([patient_sums(one.sums[0] * 18.0, one.counts[0])])[0]["mae"]
    assert np.multiply(base.ci95, 18) == pytest.approx(scaled.ci95)
    turned = estimates([patient_sums(one.sums[0][:, order], one.counts[0][order])])[0]["mae"]
    assert turned.value == pytest.approx(base.value)
    assert turned.ci95 == pytest.approx(base.ci95, abs=0.1 * (base.ci95[1] - base.ci95[0]))


@pytest.mark.parametrize("together", [30 * 7, 30 * 500, 1])
def test_many_patients_are_drawn_piece_by_piece_to_the_same_draws(monkeypatch, together):
    one = random_arm(seeds=3)
    whole = draws([one], resamples=500)[0]
    for name in ("_IN_CACHE", "_MOST_WEIGHTS"):
        monkeypatch.setattr(bootstrap, name, together)
    monkeypatch.setattr(bootstrap, "_MOST_KEPT", 0)
    np.testing.assert_allclose(draws([one], resamples=500)[0], whole, rtol=1e-12)


def test_patients_are_drawn_as_often_as_there_are_patients_and_by_the_published_stream():
    drawn = np.concatenate([people for _, people in weights(50, seed=4, resamples=90)])
    assert (drawn.sum(axis=1) == 50).all()
    rng = np.random.default_rng(np.random.SeedSequence(4, spawn_key=(0,)))
    expected = [np.bincount(rng.integers(50, size=50), minlength=50) for _ in range(90)]
    np.testing.assert_array_equal(drawn, expected)


def test_weights_that_are_kept_are_those_of_their_own_patients_seed_and_number_of_draws():
    def all_of(patients, seed, resamples):
        return np.concatenate([people for _, people in weights(patients, seed=seed, resamples=resamples)])

    first = all_of(40, 0, 200)
    assert not np.array_equal(all_of(40, 1, 200), first)
    assert all_of(41, 0, 200).shape == (200, 41)
    np.testing.assert_array_equal(all_of(40, 0, 300)[:200], first)
    first[:] = 0  # whoever has weights may do with them what he likes
    assert all_of(40, 0, 200).sum() == 200 * 40


def test_memory_is_that_of_some_weights_and_not_of_all():
    def peak_of(patients):
        one = random_arm(patients=patients)
        tracemalloc.start()
        draws([one], resamples=400)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    # All weights of 80,000 patients at once would be 256 MB.
    assert peak_of(80_000) < 80_000_000


@pytest.mark.parametrize("patients", [0, 1])
def test_fewer_than_two_patients_have_no_interval(patients):
    one = patient_sums(np.ones((2, patients)), np.ones(patients))
    (found,) = estimates([one])
    assert found["mae"] == ((None, None) if patients == 0 else (1.0, None))
    assert differences([one], one)[0].ci95 is None


def test_a_score_that_is_undefined_on_some_draw_has_a_value_and_no_interval():
    one = patient_sums([[3.0, 0.0, 0.0]], [2, 0, 0])
    assert estimates([one])[0]["mae"] == (1.5, None)
