"""Patients first: who trains, who validates, who tests."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from loracast.errors import DataError
from loracast.spec import SplitSpec

SIDES = ("train", "validation", "test")


def split_patients(patients: Iterable[str], spec: SplitSpec, having: Collection[str] | None = None) -> dict[str, str]:
    """Return the side of every patient: `train`, `validation` or `test`.

    Depends on the set of patients and the seed alone, not on their order. Every side gets at least one patient.
    `having` are the patients that have a window: where a side, or a fold, would get none of them though there are
    enough, they are shared out first and alone, by the same rule, and the others after them. A split in which each
    part has one of them stays as it is without `having`. Raises DataError where there are fewer than three patients
    (or fewer than folds).
    """
    ordered = sorted(set(patients))
    least = spec.folds or len(SIDES)
    if len(ordered) < least:
        raise DataError(
            f"{len(ordered)} patients cannot be split into {least} parts without sharing one. Read more patients, "
            "loosen the cohort (--cohort all, --min-hours, --min-age)"
            + (" or ask for fewer folds." if spec.folds else ".")
        )
    shuffled = [ordered[i] for i in np.random.default_rng(spec.seed).permutation(len(ordered))]
    parts = _parts(shuffled, spec)
    known = set(shuffled if having is None else having)
    first = [patient for patient in shuffled if patient in known]
    if len(first) >= least and not all(known & set(part) for part in parts):
        rest = [patient for patient in shuffled if patient not in known]
        if spec.folds is None:
            train, validation, test = _parts(first, spec)
            parts = [[*train, *rest], validation, test]
        else:
            parts = _parts(first + rest, spec)
    sides = {patient: _side(place, spec) for place, part in enumerate(parts) for patient in part}
    return {patient: sides[patient] for patient in shuffled}


def _parts(shuffled: Sequence[str], spec: SplitSpec) -> list[Sequence[str]]:
    """The patients of each fold; by shares those of each side."""
    if spec.folds is not None:
        return [shuffled[fold :: spec.folds] for fold in range(spec.folds)]
    test = max(1, round(spec.shares[2] * len(shuffled)))
    validation = max(1, round(spec.shares[1] * len(shuffled)))
    train = len(shuffled) - test - validation
    if train < 1:
        test = validation = 1
        train = len(shuffled) - 2
    return [shuffled[:train], shuffled[train : train + validation], shuffled[train + validation :]]


def _side(part: int, spec: SplitSpec) -> str:
    if spec.folds is None:
        return SIDES[part]
    if part == spec.fold:
        return "test"
    return "validation" if part == (spec.fold + 1) % spec.folds else "train"
