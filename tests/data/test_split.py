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


def test_where_shares_leave_no_one_to_train_on_all_but_two_train():
    sides = Counter(split_patients(names(4), SplitSpec(shares=(0.01, 0.495, 0.495))).values())
    assert sides == {"train": 2, "validation": 1, "test": 1}


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


def with_windows(sides: dict[str, str], having: set[str]) -> Counter:
    return Counter(side for patient, side in sides.items() if patient in having)


@given(st.sets(st.text(min_size=1, max_size=6), min_size=6, max_size=60), seeds, st.data())
def test_each_side_and_each_fold_has_patients_with_windows_where_there_are_enough(people, seed, data):
    having = data.draw(st.sets(st.sampled_from(sorted(people)), min_size=3))
    folds = data.draw(st.sampled_from([None, 3]))
    spec = SplitSpec(seed=seed, folds=folds)
    sides = split_patients(people, spec, having)
    assert set(sides) == people
    assert set(with_windows(sides, having)) == set(SIDES)
    assert sides == split_patients(sorted(people, reverse=True), spec, having)


@given(st.integers(3, 8), st.integers(0, 20), st.integers(0, 20), seeds)
def test_over_all_folds_every_patient_with_windows_is_tested_once(folds, more, others, seed):
    having = {f"w{i}" for i in range(folds + more)}
    people = having | {f"n{i}" for i in range(others)}
    tested = Counter()
    for fold in range(folds):
        sides = split_patients(people, SplitSpec(seed=seed, folds=folds, fold=fold), having)
        assert set(with_windows(sides, having)) == set(SIDES)
        tested.update(patient for patient, side in sides.items() if side == "test")
    assert tested == Counter(people)


def test_a_split_in_which_each_side_has_windows_stays_as_it_is():
    people, spec = names(10), SplitSpec(seed=0, shares=(0.5, 0.2, 0.3))
    one_each = {SHARED_OUT[side][0] for side in SIDES}
    assert split_patients(people, spec, one_each) == split_patients(people, spec)
    assert list(split_patients(people, spec, one_each)) == list(split_patients(people, spec))
    folds = SplitSpec(seed=0, folds=5, fold=1)
    assert split_patients(people, folds, set(people)) == split_patients(people, folds)


@pytest.mark.parametrize("fold", range(5))
def test_the_folds_are_shared_out_alike_whichever_is_tested(fold):
    # p6 and p9 are one fold: without them it has no windows, whichever fold is tested.
    having = set(names(10)) - {"p6", "p9"}
    sides = split_patients(names(10), SplitSpec(folds=5, fold=fold), having)
    others = [split_patients(names(10), SplitSpec(folds=5, fold=other), having) for other in range(5)]
    tested = [set(of_side(one, "test")) for one in others]
    assert all(one & having for one in tested)
    assert set(of_side(sides, "validation")) == tested[(fold + 1) % 5]


@pytest.mark.parametrize(("count", "sizes"), [(6, (4, 1, 1)), (20, (16, 2, 2)), (14, (12, 1, 1)), (15, (11, 2, 2))])
def test_the_shares_are_those_of_the_patients_with_windows(count, sizes):
    people, spec = names(40), SplitSpec(seed=0)
    old = split_patients(people, spec)
    # All of those that are to be tested have none, so that the sides must be shared out anew.
    having = set(sorted(patient for patient, side in old.items() if side != "test")[:count])
    sides = split_patients(people, spec, having)
    assert with_windows(sides, having) == dict(zip(SIDES, sizes, strict=True))
    assert all(sides[patient] == "train" for patient in set(people) - having)


def test_one_patient_short_leaves_the_split_as_it_is():
    people = names(10)
    for spec, least in ((SplitSpec(seed=0, shares=(0.5, 0.2, 0.3)), 3), (SplitSpec(seed=0, folds=5, fold=1), 5)):
        plain = split_patients(people, spec)
        crowded = of_side(plain, "train")[:least]
        assert len(crowded) == least
        assert split_patients(people, spec, set(crowded)) != plain
        assert split_patients(people, spec, set(crowded[:-1])) == plain
    assert split_patients(people, SplitSpec(), set()) == split_patients(people, SplitSpec())


def test_patients_of_another_table_are_no_patients_of_this_one():
    sides = split_patients(names(10), SplitSpec(), {"p1", "p2", "p3", "stranger"})
    assert set(sides) == set(names(10))
    assert with_windows(sides, {"p1", "p2", "p3"}) == {"train": 1, "validation": 1, "test": 1}
