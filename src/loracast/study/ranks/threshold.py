"""The smallest rank that suffices: one rule, decided on validation patients.

The pigeonhole bootstrap (Owen & Eckles 2012, "Bootstrapping data arrays of arbitrary order") draws patients and
training seeds, each with replacement and independently, so that an interval holds the chance in who was validated
and the chance in training. Of S seeds S - 1 are drawn (McCarthy & Snowden 1985): S draws would understate the variance
of a mean by the factor (S - 1) / S, which is much for few seeds. All ranks are compared on the same draws, so that
hard patients and lucky seeds cancel.

The rank with the lowest error is chosen on the same patients, and so is the step at which training stopped. The first
favours the best rank, and nothing corrects for comparing several ranks with it, so that the rule errs towards a larger
threshold. Of simulated sweeps over seven ranks that are equally good (150 patients, chance in training large beside
the patients'), it rules out the smallest in one of nine with five seeds, and in two of three with one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from loracast.study.ranks.sums import Errors

RULE = (
    "The threshold is the smallest rank whose validation error is not shown worse than that of the rank with the "
    "lowest validation error: the 95 % interval of their paired difference, from a bootstrap that draws patients and "
    "training seeds, does not lie above 0."
)
RESAMPLES = 2000
_MOST_WEIGHTS = 4_000_000
"""Weights of patients in memory at a time."""


@dataclass(frozen=True)
class Decision:
    """What the rule found: positions of the threshold and of the best among the ranks, and every rank's difference."""

    threshold: int
    best: int
    differences: list[dict[str, Any]]


def draws_of(errors: Errors, *, seed: int = 0, resamples: int = RESAMPLES) -> Float[np.ndarray, "arm draw"]:
    """The score of each arm on patients and seeds drawn again; the same draws for all arms.

    A single seed is always drawn: the chance in training is then not in the draws.
    Equal `seed` and shape give equal draws. Memory is that of a few million weights, however many patients there are.
    """
    arms, seeds, patients = errors.sums.shape
    rng = np.random.default_rng(seed)
    stacked = errors.sums.reshape(arms * seeds, patients).T
    found = np.empty((arms, resamples))
    size, drawn = max(1, _MOST_WEIGHTS // patients), max(1, seeds - 1)
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        people = rng.multinomial(patients, np.full(patients, 1 / patients), size=count).astype(np.float64)
        trained = rng.multinomial(drawn, np.full(seeds, 1 / seeds), size=count) / drawn
        sums = (people @ stacked).reshape(count, arms, seeds)
        scores = np.einsum("das,ds->ad", sums, trained) / (people @ errors.counts)
        found[:, start : start + count] = scores
    return found


def scored(errors: Errors, *, seed: int = 0, resamples: int = RESAMPLES) -> list[dict[str, Any]]:
    """`value` and `ci95` of each arm, for JSON; the interval is None with a single patient."""
    values = errors.values
    if len(errors.counts) < 2:
        return [{"value": float(value), "ci95": None} for value in values]
    bounds = np.quantile(draws_of(errors, seed=seed, resamples=resamples), [0.025, 0.975], axis=1)
    return [
        {"value": float(v), "ci95": [float(low), float(high)]} for v, low, high in zip(values, *bounds, strict=True)
    ]


def differences(errors: Errors, reference: int, *, seed: int = 0, resamples: int = RESAMPLES) -> list[dict[str, Any]]:
    """`value` and `ci95` of each arm minus the arm `reference`, paired; above 0 is worse."""
    # Differences are taken before they are drawn: an arm that equals the reference then differs by exactly 0.
    return scored(Errors(errors.sums - errors.sums[reference], errors.counts), seed=seed, resamples=resamples)


def decide(errors: Errors, *, seed: int = 0, resamples: int = RESAMPLES) -> Decision:
    """Apply `RULE` to validation errors whose arms are the ranks in ascending order."""
    best = int(np.argmin(errors.values))
    found = [
        {**entry, "worse": is_above_zero(entry)} for entry in differences(errors, best, seed=seed, resamples=resamples)
    ]
    threshold = next(i for i, entry in enumerate(found) if i == best or not entry["worse"])
    return Decision(threshold, best, found)


def is_above_zero(difference: dict[str, Any]) -> bool:
    """Whether the interval of a difference lies above 0; never without an interval."""
    return difference["ci95"] is not None and difference["ci95"][0] > 0


def by_seed(errors: Errors, ranks: Sequence[int], *, seed: int = 0, resamples: int = RESAMPLES) -> list[int]:
    """The threshold rank that each training seed alone would give: only patients are drawn."""
    seeds = range(errors.sums.shape[1])
    return [ranks[decide(errors.seed(one), seed=seed, resamples=resamples).threshold] for one in seeds]
