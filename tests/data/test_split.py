"""Patients first: nobody stands on two sides, whatever the order, the seed or the shares."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loracast.data.split import SIDES, split_patients
from loracast.errors import DataError
from loracast.spec import SplitSpec

patients = st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=80)
seeds = st.integers(0, 2**31)


def names(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


@given(patients, seeds)
def test_every_patient_has_exactly_one_side_and_no_side_is_empty(given_patients, seed):
    sides = split_patients(given_patients, SplitSpec(seed=seed))
    assert set(sides) == given_patients
    assert set(sides.values()) == set(SIDES)


@given(patients, seeds, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(given_patients, seed, random):
    shuffled = [*given_patients, *given_patients]
    random.shuffle(shuffled)
    spec = SplitSpec(seed=seed)
    assert split_patients(shuffled, spec) == split_patients(sorted(given_patients), spec)


def test_another_seed_is_another_split():
    one, other = (split_patients(names(50), SplitSpec(seed=seed)) for seed in (0, 1))
    assert one != other
    assert split_patients(names(50), SplitSpec(seed=0)) == one


@given(st.integers(10, 400), seeds)
def test_the_default_is_eighty_ten_ten_to_the_nearest_patient(count, seed):
    sides = Counter(split_patients(names(count), SplitSpec(seed=seed)).values())
    assert abs(sides["test"] - 0.1 * count) <= 0.5
    assert abs(sides["validation"] - 0.1 * count) <= 0.5
    assert sides["train"] == count - sides["test"] - sides["validation"]


@given(st.integers(3, 12))
def test_shares_that_leave_no_one_to_train_on_still_leave_one(count):
    sides = Counter(split_patients(names(count), SplitSpec(shares=(0.01, 0.495, 0.495))).values())
    assert min(sides[side] for side in SIDES) >= 1


@given(st.integers(3, 8), st.integers(0, 40), seeds)
def test_over_all_folds_every_patient_is_tested_once_and_validates_once(folds, more, seed):
    people = names(folds + more)
    splits = [split_patients(people, SplitSpec(seed=seed, folds=folds, fold=fold)) for fold in range(folds)]
    for side in ("test", "validation"):
        on_it = [patient for sides in splits for patient, where in sides.items() if where == side]
        assert sorted(on_it) == sorted(people)
    sizes = [Counter(sides.values())["test"] for sides in splits]
    assert max(sizes) - min(sizes) <= 1


def test_the_fold_that_is_named_tests_and_the_next_one_validates():
    people = names(10)
    folds = [split_patients(people, SplitSpec(folds=5, fold=fold)) for fold in range(5)]
    for fold, sides in enumerate(folds):
        assert set(sides.values()) == set(SIDES)
        validates = {patient for patient, side in sides.items() if side == "validation"}
        assert validates == {patient for patient, side in folds[(fold + 1) % 5].items() if side == "test"}


SHARED_OUT = {"train": ["p2", "p3", "p4", "p6", "p7"], "validation": ["p5", "p9"], "test": ["p0", "p1", "p8"]}
FOLDED = {"train": ["p1", "p3", "p4", "p5", "p7", "p8"], "validation": ["p0", "p2"], "test": ["p6", "p9"]}


def of_side(sides: dict[str, str], side: str) -> list[str]:
    return sorted(patient for patient, where in sides.items() if where == side)


def test_who_is_on_which_side_is_what_it_always_was():
    # A side that changed hands would let an adapter be scored on those that it was trained on before.
    shares = split_patients(names(10), SplitSpec(seed=0, shares=(0.5, 0.2, 0.3)))
    assert {side: of_side(shares, side) for side in SIDES} == SHARED_OUT
    folds = split_patients(names(10), SplitSpec(seed=0, folds=5, fold=1))
    assert {side: of_side(folds, side) for side in SIDES} == FOLDED


def test_each_share_goes_to_its_own_side():
    sides = Counter(split_patients(names(100), SplitSpec(shares=(0.6, 0.3, 0.1))).values())
    assert sides == {"train": 60, "validation": 30, "test": 10}


def test_shares_that_leave_one_to_train_on_are_kept():
    sides = Counter(split_patients(names(10), SplitSpec(shares=(0.1, 0.4, 0.5))).values())
    assert sides == {"train": 1, "validation": 4, "test": 5}


@pytest.mark.parametrize("spec", [SplitSpec(), SplitSpec(folds=3)])
def test_three_patients_are_enough_for_three_sides(spec):
    assert Counter(split_patients(names(3), spec).values()) == {"train": 1, "validation": 1, "test": 1}


@pytest.mark.parametrize(("count", "spec"), [(2, SplitSpec()), (0, SplitSpec()), (4, SplitSpec(folds=5))])
def test_too_few_patients_are_refused(count, spec):
    with pytest.raises(DataError, match=rf"{count} patients cannot be split into {spec.folds or 3} parts"):
        split_patients(names(count), spec)
