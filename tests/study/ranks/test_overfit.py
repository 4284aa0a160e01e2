"""Curves that part, and curves that do not."""

import pytest

from loracast.study.ranks.overfit import overfit_of


def curve(validation, train, *, every=50, logged=10):
    """Losses at evenly spaced steps; the best step is that of the lowest validation loss."""
    entries = [{"step": every * i, "loss": loss} for i, loss in enumerate(validation)]
    return {
        "validation": entries,
        "train": [{"step": logged * (i + 1), "loss": loss} for i, loss in enumerate(train)],
        "best_step": min(entries, key=lambda entry: entry["loss"])["step"],
    }


def falling(count=25, start=2.0, by=0.04):
    return [start - by * i for i in range(count)]


RISING = [2.0, 1.5, 1.4, 1.6, 1.8, 1.9]
SETTLED = [2.0, 1.5, 1.4, 1.39, 1.38, 1.385]


def test_validation_that_rises_while_training_falls_is_flagged():
    found = overfit_of([curve(RISING, falling())])
    assert (found["flagged"], found["seeds"]) == (True, 1)
    # 0.5 of the 0.6 that validation won and the 0.3 that training won between the halves of its last 15 losses.
    assert found["gap"] == pytest.approx(0.5 / (0.6 + 0.04 * 7.5))


def test_a_settled_curve_is_not_flagged():
    found = overfit_of([curve(SETTLED, falling())])
    assert not found["flagged"]
    assert found["gap"] < 0.1


def test_a_curve_that_ends_at_its_best_has_no_gap():
    assert overfit_of([curve([2.0, 1.5, 1.4], falling(10))]) == {"flagged": False, "gap": 0.0, "seeds": 0}


def test_validation_that_rises_with_training_is_divergence_and_not_overfitting():
    assert not overfit_of([curve(RISING, [1.0 + 0.04 * i for i in range(25)])])["flagged"]


@pytest.mark.parametrize("shift", [-1.4, -10.0, 7.0])
def test_what_is_added_to_a_loss_changes_nothing_also_where_it_becomes_negative(shift):
    plain = overfit_of([curve(RISING, falling()), curve(SETTLED, falling()), curve(RISING, falling())])
    moved = [loss + shift for loss in RISING], [loss + shift for loss in falling()]
    settled = [loss + shift for loss in SETTLED], [loss + shift for loss in falling()]
    found = overfit_of([curve(*moved), curve(*settled), curve(*moved)])
    assert found == {**plain, "gap": pytest.approx(plain["gap"])}
    assert found["flagged"]


def test_pretrained_weights_that_only_get_worse_while_training_falls_are_flagged():
    found = overfit_of([curve([1.0, 1.1, 1.3, 1.5], falling(15))])
    assert found["flagged"]
    assert found["gap"] > 0.5


def test_a_tremble_at_step_0_is_not_flagged():
    assert not overfit_of([curve([1.0, 1.0001, 1.0002, 1.0003], falling(15, by=0.01))])["flagged"]


def test_a_rank_is_flagged_where_most_seeds_are():
    bad, good = curve(RISING, falling()), curve(SETTLED, falling())
    assert overfit_of([bad, bad, good]) == {
        "flagged": True,
        "gap": pytest.approx((2 * 0.5 / 0.9 + 0.005 / 0.72) / 3),
        "seeds": 2,
    }
    assert not overfit_of([bad, good])["flagged"]
    assert overfit_of([bad, good, good])["seeds"] == 1
