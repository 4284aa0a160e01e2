"""The rule on errors whose answer is known, and curves that part or do not."""

from dataclasses import replace

import numpy as np
import pytest

from loracast.scoring.bootstrap import estimates
from loracast.study.ranks.analyse import by_seed, decide, is_enough, overfit_of, with_margin
from loracast.study.ranks.result import Measured, Overfit, RankRow, RankSweep, Threshold
from loracast.study.summary import Learning
from tests.scoring.arms import patient_sums

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
    return [patient_sums(one * counts, counts) for one in means]


def threshold(arms, **more):
    return RANKS[decide(arms, **more).threshold]


def test_a_clear_winner_is_the_threshold():
    decision = decide(errors_with([0.5, 0.3, 0.0, 0.2]))
    assert (RANKS[decision.threshold], RANKS[decision.best]) == (4, 4)
    assert decision.worse == [True, True, False, True]


def test_of_equal_ranks_the_smallest_is_the_threshold():
    decision = decide(errors_with([0.0]) * 4)
    assert (decision.threshold, decision.best) == (0, 0)
    assert all(one == (0.0, (0.0, 0.0)) for one in decision.differences)
    assert not any(decision.worse)


def test_differences_of_chance_alone_give_the_smallest_rank_but_for_the_chance_of_an_interval():
    # Errors are about 2.5, differences of chance about 0.05: a margin of 8 % is wide, one of 1 % cannot be shown.
    found = [threshold(errors_with([0] * 4, noise=0.2, seed=seed), margin=0.08, resamples=400) for seed in range(40)]
    assert found.count(1) >= 38


def test_where_patients_are_too_few_to_show_the_margin_the_best_rank_is_the_threshold():
    for seed in range(10):
        decision = decide(errors_with([0] * 4, noise=0.2, seed=seed, patients=8), resamples=400)
        assert not any(decision.worse[: decision.best])
        assert decision.threshold == decision.best


@pytest.mark.parametrize(("margin", "rank"), [(0.0199, 2), (0.0201, 1)])
def test_a_rank_suffices_where_the_whole_interval_lies_below_the_margin(margin, rank):
    # Rank 1 errs 2 % more than rank 2 in every patient, without chance.
    counts = np.full(10, 10)
    arms = [patient_sums([np.full(10, error) * counts], counts) for error in (2.04, 2.0, 2.5, 2.5)]
    decision = decide(arms, margin=margin)
    assert RANKS[decision.threshold] == rank
    assert decision.enough == [margin > 0.02, True, False, False]
    assert decision.worse[0]
    assert decide([replace(arm, sums=arm.sums * 100) for arm in arms], margin=margin).threshold == decision.threshold


def test_a_difference_that_is_just_the_margin_is_not_below_it():
    assert is_enough((-1.0, 0.0199), 2.0, 0.01)
    assert not is_enough((-1.0, 0.02), 2.0, 0.01)
    assert not is_enough(None, 2.0, 0.01)


def test_gains_that_end_at_a_rank_give_that_rank():
    assert threshold(errors_with([0.3, 0.0, -0.001, 0.001], noise=0.05)) == 2


def test_a_plateau_is_compared_with_the_best_and_not_with_the_neighbour():
    # Each rank is a little better than the one before; against the best the first two are shown worse.
    assert threshold(errors_with([0.09, 0.06, 0.01, 0.0], noise=0.1)) == 4


def test_the_difference_is_paired_so_that_patients_who_differ_hide_nothing():
    arms = errors_with([0.05, 0.0, 0.05, 0.05])
    intervals = [found["mae"].ci95 for found in estimates(arms)]
    assert intervals[0][0] < intervals[1][1]  # the levels overlap by far
    assert threshold(arms) == 2


def test_chance_in_training_counts():
    # Rank 1 is 0.1 worse on average, but one seed does it all: with seeds drawn again that is not shown.
    effects = np.zeros((4, 5))
    effects[0] = [0.5, 0, 0, 0, 0]
    arms = errors_with(effects, noise=0.001)
    seeded = ("sums", "step_sums", "worst")
    averaged = [{name: getattr(arm, name).mean(axis=1, keepdims=True) for name in seeded} for arm in arms]
    only_patients = [replace(arm, **means) for arm, means in zip(arms, averaged, strict=True)]
    assert decide(only_patients).worse[0]
    assert not decide(arms).worse[0]
    assert not decide(arms).enough[0]  # and it is not shown to be close either


def test_equal_ranks_whose_training_differs_by_chance_are_often_shown_apart_by_one_seed_and_seldom_by_five():
    def share(seeds):
        chances = [np.random.default_rng(seed).normal(size=(4, seeds)) * 0.05 for seed in range(50)]
        found = [decide(errors_with(effects, noise=0.1, patients=100), resamples=300) for effects in chances]
        return np.mean([decision.worse[0] for decision in found])

    assert share(5) < 0.2
    assert share(1) > 0.35  # and that is why one seed is noted


def test_each_seed_has_a_threshold_of_its_own():
    effects = np.full((4, 3), 0.5)
    effects[0, 0] = effects[1, 1] = effects[3, 2] = 0.0
    assert by_seed(errors_with(effects), RANKS) == [1, 2, 8]
    assert by_seed(errors_with([0.4, 0.0, 0.0, 0.0]), RANKS) == [2] * 5


def test_with_one_patient_there_is_no_interval_and_nothing_is_shown():
    decision = decide(errors_with([0.5, 0.3, 0.0, 0.2], patients=1))
    assert (decision.threshold, decision.best) == (2, 2)
    assert all(one.ci95 is None for one in decision.differences)


def test_the_unit_and_the_order_of_patients_change_no_decision():
    arms = errors_with([0.1, 0.0, 0.05, 0.2])
    order = np.random.default_rng(1).permutation(40)
    scaled = [replace(arm, sums=arm.sums * 18.0) for arm in arms]
    turned = [replace(arm, sums=arm.sums[..., order], counts=arm.counts[:, order]) for arm in arms]
    assert decide(arms).threshold == decide(scaled).threshold == decide(turned).threshold
    assert decide(arms).worse == decide(scaled).worse == decide(turned).worse


def curve(validation, train, *, every=50, logged=10):
    """Losses at evenly spaced steps; the best step is that of the lowest validation loss."""
    entries = [{"step": every * i, "loss": loss} for i, loss in enumerate(validation)]
    return Learning(
        validation=entries,
        train=[{"step": logged * (i + 1), "loss": loss} for i, loss in enumerate(train)],
        best_step=min(entries, key=lambda entry: entry["loss"])["step"],
        steps=entries[-1]["step"],
        micro_batch=None,
        accumulation=1,
    )


def falling(count=25, start=2.0, by=0.04):
    return [start - by * i for i in range(count)]


RISING = [2.0, 1.5, 1.4, 1.6, 1.8, 1.9]
SETTLED = [2.0, 1.5, 1.4, 1.39, 1.38, 1.385]


def test_validation_that_rises_while_training_falls_is_flagged():
    found = overfit_of([curve(RISING, falling())])
    assert (found.flagged, found.seeds) == (True, 1)
    # 0.5 of the 0.6 that validation won and the 0.3 that training won between the halves of its last 15 losses.
    assert found.gap == pytest.approx(0.5 / (0.6 + 0.04 * 7.5))


def test_a_settled_curve_is_not_flagged():
    found = overfit_of([curve(SETTLED, falling())])
    assert not found.flagged
    assert found.gap < 0.1


def test_a_curve_that_ends_at_its_best_has_no_gap():
    assert overfit_of([curve([2.0, 1.5, 1.4], falling(10))]) == Overfit(flagged=False, gap=0.0, seeds=0)


def test_validation_that_rises_with_training_is_divergence_and_not_overfitting():
    assert not overfit_of([curve(RISING, [1.0 + 0.04 * i for i in range(25)])]).flagged


@pytest.mark.parametrize("shift", [-1.4, -10.0, 7.0])
def test_what_is_added_to_a_loss_changes_nothing_also_where_it_becomes_negative(shift):
    def three(by):
        rising, settled = [[loss + by for loss in losses] for losses in (RISING, SETTLED)]
        train = [loss + by for loss in falling()]
        return overfit_of([curve(rising, train), curve(settled, train), curve(rising, train)])

    plain, moved = three(0.0), three(shift)
    assert (moved.flagged, moved.seeds, moved.gap) == (True, plain.seeds, pytest.approx(plain.gap))


def test_pretrained_weights_that_only_get_worse_while_training_falls_are_flagged():
    found = overfit_of([curve([1.0, 1.1, 1.3, 1.5], falling(15))])
    assert found.flagged
    assert found.gap > 0.5


def test_a_tremble_at_step_0_is_not_flagged():
    assert not overfit_of([curve([1.0, 1.0001, 1.0002, 1.0003], falling(15, by=0.01))]).flagged


def test_a_rank_is_flagged_where_most_seeds_are():
    bad, good = curve(RISING, falling()), curve(SETTLED, falling())
    found = overfit_of([bad, bad, good])
    assert (found.flagged, found.seeds) == (True, 2)
    assert found.gap == pytest.approx((2 * 0.5 / 0.9 + 0.005 / 0.72) / 3)
    assert not overfit_of([bad, good]).flagged
    assert overfit_of([bad, good, good]).seeds == 1


def level(value, ci95=None):
    return Measured(value=value, ci95=ci95)


def stored(threshold=1, upper=0.05):
    """A sweep of 0.2: ranks 1, 2 and 4, the best 4 with an error of 2, and rank 2 at most 0.015 worse."""
    away = {1: level(0.01, (-0.03, upper)), 2: level(0.005, (-0.01, 0.015)), 4: level(0.0, (0.0, 0.0))}
    rows = [
        RankRow(
            signal="map", metric="mae", rank=rank, trainable_parameters=rank, validation=level(2 + away[rank].value),
            test=level(3 + away[rank].value), difference=away[rank], worse=False,
            overfit=Overfit(flagged=False, gap=0, seeds=0), train_seconds=1.0,
        )
        for rank in (1, 2, 4)
    ]  # fmt: skip
    found = Threshold(
        rank=threshold, best_rank=4, by_seed=[1, 1], test_difference=level(0.01, (-1, 1)), vs_zero_shot=None
    )
    sides = {"validation": 30, "test": 30}
    return RankSweep(
        model="tiny", method="lora", data="made-up", metric="mase", ranks=[1, 2, 4], alphas=[16.0] * 3, seeds=[0, 1],
        patients=sides, windows=sides, rows=rows, thresholds={"map": found}, series={},
    )  # fmt: skip


def test_a_stored_sweep_is_judged_by_the_margin_and_forgets_what_only_its_runs_could_tell():
    found = with_margin(stored())
    assert found.margin == 0.01
    assert [row.enough for row in found.rows] == [False, True, True]
    moved = found.thresholds["map"]
    assert (moved.rank, moved.best_rank, moved.by_seed) == (2, 4, [])
    assert (moved.test_difference.value, moved.test_difference.ci95) == (pytest.approx(0.005), None)


def test_a_stored_threshold_that_stays_keeps_all_that_it_knew():
    old = stored(upper=0.019)
    assert with_margin(old).thresholds == old.thresholds
    assert with_margin(stored(), 0.03).thresholds == stored().thresholds


def test_where_only_the_best_rank_is_left_a_note_says_that_the_patients_cannot_tell():
    assert [(note.code, note.rank) for note in with_margin(stored(), 0.001).notes] == [
        ("largest-rank", 4), ("best-rank", 4),
    ]  # fmt: skip
