"""Patients first: who trains, who validates, who tests."""

from collections.abc import Iterable

import numpy as np

from loracast.errors import DataError
from loracast.spec import SplitSpec

SIDES = ("train", "validation", "test")


def split_patients(patients: Iterable[str], spec: SplitSpec) -> dict[str, str]:
    """Return the side of every patient: `train`, `validation` or `test`.

    Depends on the set of patients and the seed alone, not on their order. Every side gets at least one patient.
    Raises DataError where there are fewer than three patients (or fewer than folds).
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
    if spec.folds is not None:
        return {patient: _side_of_fold(i % spec.folds, spec) for i, patient in enumerate(shuffled)}
    test = max(1, round(spec.shares[2] * len(ordered)))
    validation = max(1, round(spec.shares[1] * len(ordered)))
    train = len(ordered) - test - validation
    if train < 1:
        test = validation = 1
        train = len(ordered) - 2
    sides = ["train"] * train + ["validation"] * validation + ["test"] * test
    return dict(zip(shuffled, sides, strict=True))


def _side_of_fold(fold: int, spec: SplitSpec) -> str:
    assert spec.folds is not None
    if fold == spec.fold:
        return "test"
    return "validation" if fold == (spec.fold + 1) % spec.folds else "train"
