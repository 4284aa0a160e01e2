"""Where training and validation part: the loss curves of a rank's runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PARTED = 0.1
"""A run is flagged where validation gives back more than this share of what was won."""


def overfit_of(curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether a rank overfits, from the `learning.json` of each of its seeds.

    `flagged` where most seeds are, `gap` the mean share given back, `seeds` how many are flagged.
    """
    found = [_parting(curve) for curve in curves]
    flags = sum(flagged for flagged, _ in found)
    return {"flagged": 2 * flags > len(found), "gap": float(np.mean([gap for _, gap in found])), "seeds": flags}


def _parting(curve: Mapping[str, Any]) -> tuple[bool, float]:
    """Whether one run's curves part after the best step, and by how much.

    The gap is the rise of the validation loss from its lowest to its last score, as a share of all that was won: the
    fall of validation until the best step, and the fall of training after it. A log-likelihood may be negative and
    moves up or down with the unit of the series, so that a percentage of its value says nothing; shares of falls are
    the same whatever is added to the loss. Early stopping ends a run `patience` scores after the best one, which is
    where the rise is seen; a run whose last score is the best has no gap. Training falls if the mean of its losses
    is lower in the second half of the steps after the best one than in the first.
    """
    validation = sorted(curve["validation"], key=lambda entry: entry["step"])
    start, last = validation[0]["loss"], validation[-1]["loss"]
    best = next(entry["loss"] for entry in validation if entry["step"] == curve["best_step"])
    rise = max(0.0, last - best)
    after = [
        entry["loss"] for entry in sorted(curve["train"], key=lambda e: e["step"]) if entry["step"] > curve["best_step"]
    ]
    half = len(after) // 2
    fall = float(np.mean(after[:half]) - np.mean(after[half:])) if half else 0.0
    won = (start - best) + max(0.0, fall)
    gap = rise / won if won > 0 else 0.0
    return fall > 0 and gap > PARTED, float(gap)
