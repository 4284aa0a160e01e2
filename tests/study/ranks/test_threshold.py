"""The rule on errors whose answer is known, and the bootstrap behind it."""

import numpy as np
import pytest

from loracast.study.ranks.sums import Errors
from loracast.study.ranks.threshold import by_seed, decide, differences, draws_of, scored

RANKS = [1, 2, 4, 8]


def errors_with(effects, *, seeds=5, patients=40, noise=0.02, seed=0):
    """Ranks whose mean errors lie `effects` above that of the patient, who differ far more than ranks do.

    `effects` is a number a rank, or an array (rank, seed). `noise` is what a rank does to a patient by chance.
    """
    rng = np.random.default_rng(seed)
    effects = np.asarray(effects, dtype=float)
    if effects.ndim == 1:
        effects = np.repeat(effects[:, None], seeds, axis=1)
    counts = rng.integers(5, 60, patients)
    level = rng.uniform(1, 4, patients)
    means = level + effects[:, :, None] + noise * rng.normal(size=(*effects.shape, patients))
    return Errors(means * counts, counts)


def threshold(errors, **more):
    return RANKS[decide(errors, **more).threshold]


def test_a_clear_winner_is_the_threshold():
    decision = decide(errors_with([0.5, 0.3, 0.0, 0.2]))
    assert (RANKS[decision.threshold], RANKS[decision.best]) == (4, 4)
    assert [entry["worse"] for entry in decision.differences] == [True, True, False, True]


def test_of_equal_ranks_the_smallest_is_the_threshold():
    one = errors_with([0.0])
    decision = decide(Errors(np.repeat(one.sums, 4, axis=0), one.counts))
    assert (decision.threshold, decision.best) == (0, 0)
    assert all(entry == {"value": 0, "ci95": [0, 0], "worse": False} for entry in decision.differences)


def test_differences_of_chance_alone_give_the_smallest_rank_but_for_the_chance_of_an_interval():
    # The best is chosen among four on the same patients, so that 1 is ruled out somewhat more often than in 2.5 %.
    found = [threshold(errors_with([0] * 4, noise=0.2, seed=seed), resamples=400) for seed in range(40)]
    assert found.count(1) >= 34


def test_gains_that_end_at_a_rank_give_that_rank():
    assert threshold(errors_with([0.3, 0.0, -0.001, 0.001], noise=0.05)) == 2


def test_a_plateau_is_compared_with_the_best_and_not_with_the_neighbour():
    # Each rank is a little better than the one before; against the best the first two are shown worse.
    assert threshold(errors_with([0.09, 0.06, 0.01, 0.0], noise=0.1)) == 4


def test_the_difference_is_paired_so_that_patients_who_differ_hide_nothing():
    errors = errors_with([0.05, 0.0, 0.05, 0.05])
    intervals = [entry["ci95"] for entry in scored(errors)]
    assert intervals[0][0] < intervals[1][1]  # the levels overlap by far
    assert threshold(errors) == 2


def test_chance_in_training_counts():
    # Rank 1 is 0.1 worse on average, but one seed does it all: with seeds drawn again that is not shown.
    effects = np.zeros((4, 5))
    effects[0] = [0.5, 0, 0, 0, 0]
    effects[1:] = 0.0
    errors = errors_with(effects, noise=0.001)
    only_patients = Errors(errors.sums.mean(axis=1, keepdims=True), errors.counts)
    assert decide(only_patients).differences[0]["worse"]
    assert not decide(errors).differences[0]["worse"]
    assert threshold(errors) == 1


def test_equal_ranks_whose_training_differs_by_chance_seldom_rule_out_the_smallest():
    def share(seeds):
        chances = [np.random.default_rng(seed).normal(size=(4, seeds)) * 0.05 for seed in range(50)]
        found = [threshold(errors_with(effects, noise=0.1, patients=100), resamples=300) for effects in chances]
        return np.mean([rank > 1 for rank in found])

    assert share(5) < 0.2
    assert share(1) > 0.35  # and that is why one seed is noted


def test_each_seed_has_a_threshold_of_its_own():
    effects = np.full((4, 3), 0.5)
    effects[0, 0] = effects[1, 1] = effects[3, 2] = 0.0
    assert by_seed(errors_with(effects), RANKS) == [1, 2, 8]


def test_seeds_that_agree_give_one_threshold():
    assert by_seed(errors_with([0.4, 0.0, 0.0, 0.0]), RANKS) == [2] * 5


def test_with_one_patient_there_is_no_interval_and_nothing_is_shown():
    decision = decide(errors_with([0.5, 0.3, 0.0, 0.2], patients=1))
    assert (decision.threshold, decision.best) == (0, 2)
    assert all(entry["ci95"] is None for entry in decision.differences)


def test_a_score_is_the_sum_over_the_count_with_seeds_averaged():
    errors = Errors(np.array([[[2.0, 6.0], [4.0, 8.0]]]), np.array([1, 4]))
    assert errors.values == pytest.approx([(8 / 5 + 12 / 5) / 2])


def test_the_interval_of_one_seed_is_that_of_the_mean_over_patients():
    # Equal counts: the standard error of a mean is known.
    rng = np.random.default_rng(3)
    values = rng.normal(size=200)
    errors = Errors(values[None, None] * 7, np.full(200, 7))
    (found,) = scored(errors)
    half = 1.96 * values.std() / np.sqrt(200)
    assert found["value"] == pytest.approx(values.mean())
    assert found["ci95"] == pytest.approx([values.mean() - half, values.mean() + half], abs=half / 8)


def test_the_spread_of_the_draws_is_that_of_seeds_and_of_patients_together():
    # Seeds shift everybody: the variance of their mean joins that of the patients, unbiased however few there are.
    rng = np.random.default_rng(4)
    shifts, levels = rng.normal(size=3), rng.normal(size=300)
    errors = Errors((shifts[:, None] + levels)[None] * 3, np.full(300, 3))
    spread = draws_of(errors, resamples=8000).std()
    assert spread == pytest.approx(np.sqrt(shifts.var(ddof=1) / 3 + levels.var() / 300), rel=0.05)


def test_the_order_of_patients_changes_an_interval_by_its_chance_only():
    errors = errors_with([0.1, 0.0, 0.05, 0.2])
    order = np.random.default_rng(1).permutation(40)
    turned = Errors(errors.sums[..., order], errors.counts[order])
    for one, other in zip(scored(errors), scored(turned), strict=True):
        width = one["ci95"][1] - one["ci95"][0]
        assert one["value"] == pytest.approx(other["value"])
        assert one["ci95"] == pytest.approx(other["ci95"], abs=0.1 * width)
    assert decide(errors).threshold == decide(turned).threshold


def test_the_unit_scales_intervals_and_changes_no_decision():
    errors = errors_with([0.1, 0.0, 0.0, 0.2])
    scaled = Errors(errors.sums * 18.0, errors.counts)
    for one, other in zip(differences(errors, 1), differences(scaled, 1), strict=True):
        assert np.multiply(one["ci95"], 18) == pytest.approx(other["ci95"])
    assert decide(errors).threshold == decide(scaled).threshold


def test_the_same_seed_draws_the_same_and_another_does_not():
    errors = errors_with([0.1, 0.0])
    assert np.array_equal(draws_of(errors, seed=1), draws_of(errors, seed=1))
    assert not np.array_equal(draws_of(errors, seed=1), draws_of(errors, seed=2))


def test_many_patients_are_drawn_piece_by_piece_to_the_same_scores(monkeypatch):
    errors = errors_with([0.1, 0.0])
    whole = draws_of(errors, resamples=500).std()
    monkeypatch.setattr("loracast.study.ranks.threshold._MOST_WEIGHTS", 40 * 7)
    pieces = draws_of(errors, resamples=500)
    assert pieces.shape == (2, 500)
    assert pieces.std() == pytest.approx(whole, rel=0.15)
