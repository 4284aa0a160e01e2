"""What one patient decides: a difference, and its verdict, with each patient left out in turn.

To leave a patient out of a drawn sample is to take that patient's draws away from it: what is left are as many draws
of the others as a sample without the patient would have on average. So no patient needs draws of its own (compare
Efron 1992, "Jackknife-after-bootstrap", who uses the samples that miss the patient by chance), and because all share
the draws, a verdict changes by the patient and not by the chance of another drawing.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from loracast.scoring.bootstrap import RESAMPLES, bounds_of, less, seed_weights, weights
from loracast.scoring.facts import Bounds
from loracast.scoring.sums import PatientSums

MOST_JUDGED = 500
"""Of more patients only those without whom the difference changes most are judged: the others move it less."""


class Influence(NamedTuple):
    """The range of a difference without any one patient, and its interval without each that was judged."""

    left_out: Bounds
    intervals: list[Bounds | None]


def influence(ours: PatientSums, theirs: PatientSums, *, seed: int = 0, resamples: int = RESAMPLES) -> Influence | None:
    """How the difference in the first score (ours less theirs, a mean) depends on single patients.

    Both have scored the same windows. None with fewer than two patients.
    """
    patients = len(ours.patients)
    if patients < 2:
        return None
    left = less(_without_each(ours), _without_each(theirs))
    whole = less(ours.values()[:1], theirs.values()[:1])
    judged = np.argsort(-np.abs(left - whole), kind="stable")[:MOST_JUDGED]
    return Influence(
        (float(left.min()), float(left.max())), _intervals(ours, theirs, judged, seed=seed, resamples=resamples)
    )


def _without_each(arm: PatientSums) -> Float[np.ndarray, " patient"]:
    """The first score of an arm without each patient, the runs averaged."""
    errors, counts = arm.sums[0].mean(axis=0), arm.counts[0]
    return np.asarray((errors.sum() - errors) / (counts.sum() - counts))


def _intervals(
    ours: PatientSums, theirs: PatientSums, judged: Int[np.ndarray, " judged"], *, seed: int, resamples: int
) -> list[Bounds | None]:
    """The interval of the difference without each of the judged patients, from the draws of all of them."""
    seeds = {arm.seeds: seed_weights(arm.seeds, seed=seed, resamples=resamples) for arm in (ours, theirs)}
    shape = (resamples, len(judged))
    kept, errors = np.empty(shape), (np.empty(shape), np.empty(shape))
    for rows, people in weights(len(ours.patients), seed=seed, resamples=resamples):
        drawn = people[:, judged]
        kept[rows] = (people @ ours.counts[0])[:, None] - drawn * ours.counts[0, judged]
        for arm, error in zip((ours, theirs), errors, strict=True):
            trained = seeds[arm.seeds][rows]
            whole = ((people @ arm.sums[0].T) * trained).sum(axis=1)
            error[rows] = whole[:, None] - drawn * (trained @ arm.sums[0][:, judged])
    return [_interval(*(one[:, place] for one in (*errors, kept))) for place in range(len(judged))]


def _interval(
    own: Float[np.ndarray, " draw"], other: Float[np.ndarray, " draw"], kept: Float[np.ndarray, " draw"]
) -> Bounds | None:
    some = kept > 0  # a draw of the left-out patient alone is a draw of nobody
    return bounds_of(less(own[some] / kept[some], other[some] / kept[some]))
