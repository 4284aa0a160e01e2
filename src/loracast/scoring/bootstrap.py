"""Sums to intervals: patients and training seeds are drawn again, and every score is taken of what was drawn.

Windows of one patient are not independent, so the patient is what is drawn (Field & Welsh 2007, the cluster
bootstrap), and so is the training seed. The pigeonhole bootstrap (Owen & Eckles 2012, "Bootstrapping data arrays of
arbitrary order") draws the two independently, each with replacement, so that an interval holds the chance in who was
tested and the chance in training. Of S seeds S - 1 are drawn (McCarthy & Snowden 1985): S draws would understate the
variance of a mean by the factor (S - 1) / S, which is much for few seeds. A single seed is always drawn: chance in
training is then not in the interval.

Arms are compared on the same draws, so that hard patients (and, of arms with as many seeds, lucky seeds) cancel.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from loracast.scoring.facts import Bounds
from loracast.scoring.sums import PatientSums, ratios

RESAMPLES = 2000
_MOST_WEIGHTS = 2_000_000
"""Weights of patients in memory at a time."""
_ROUNDING = 1e-12
"""Scores that differ by no larger share of themselves differ by the order in which equal numbers were added up."""


class Estimate(NamedTuple):
    """A number with its 95 % interval; None where it is undefined, or has none."""

    value: float | None
    ci95: Bounds | None


def estimates(arms: Sequence[PatientSums], *, seed: int = 0, resamples: int = RESAMPLES) -> list[dict[str, Estimate]]:
    """Every score of each arm by its name, over the same patients. What else is in `arms` does not change an arm's.

    An interval is None with a single patient, and where a score is undefined on some draw (say, MASE that is defined
    for one patient only).
    """
    drawn = draws(arms, seed=seed, resamples=resamples)
    return [
        {name: _estimate(value, scores) for name, value, scores in zip(arm.scores, arm.values(), found, strict=True)}
        for arm, found in zip(arms, drawn, strict=True)
    ]


def differences(
    arms: Sequence[PatientSums], reference: PatientSums, *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Estimate]:
    """The first score of each arm less that of `reference`, paired; all have scored the same windows."""
    *drawn, theirs = draws([*arms, reference], seed=seed, resamples=resamples)
    return [
        _estimate(float(less(arm.values()[:1], reference.values()[:1])[0]), less(ours[0], theirs[0]))
        for arm, ours in zip(arms, drawn, strict=True)
    ]


def draws(
    arms: Sequence[PatientSums], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Float[np.ndarray, "score draw"]]:
    """Every score of each arm on patients and seeds drawn again; NaN where undefined. All have the same patients.

    Equal `seed` and number of patients draw the same patients, whatever the arm and its number of seeds; arms with as
    many seeds share the drawn seeds too. Memory is that of some million weights, however many patients there are.
    With fewer than two patients there is nothing to draw: no draw at all.
    """
    patients = len(arms[0].patients)
    if patients < 2:
        return [np.empty((len(arm.scores), 0)) for arm in arms]
    found = [np.empty((len(arm.scores), resamples)) for arm in arms]
    trained = {arm.seeds: seed_weights(arm.seeds, seed=seed, resamples=resamples) for arm in arms}
    for rows, people in weights(patients, seed=seed, resamples=resamples):
        for arm, scores in zip(arms, found, strict=True):
            # Score by score: equal sums then give equal draws to the last bit, whatever other scores are with them.
            sums = np.stack([((people @ one.T) * trained[arm.seeds][rows]).sum(axis=1) for one in arm.sums])
            scores[:, rows] = ratios(sums, arm.counts @ people.T, arm.scores)
    return found


def weights(
    patients: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> Iterator[tuple[slice, Float[np.ndarray, "draw patient"]]]:
    """How often each patient is drawn, some draws at a time: which draws they are, and their weights."""
    rng = _generator(seed, 0)
    size = max(1, _MOST_WEIGHTS // patients)
    for start in range(0, resamples, size):
        rows = slice(start, min(start + size, resamples))
        yield rows, _patients_drawn(rng, rows.stop - start, patients)


def _generator(seed: int, *which: int) -> np.random.Generator:
    """A stream of its own for each of `which`, all from one seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=which))


def _patients_drawn(rng: np.random.Generator, count: int, patients: int) -> Float[np.ndarray, "draw patient"]:
    """How often each patient is drawn."""
    # One count of all draws at once: each draw's patients are numbered on from the last draw's.
    rows = rng.integers(patients, size=(count, patients)) + patients * np.arange(count)[:, None]
    return np.bincount(rows.ravel(), minlength=count * patients).reshape(count, patients).astype(np.float64)


def seed_weights(seeds: int, *, seed: int = 0, resamples: int = RESAMPLES) -> Float[np.ndarray, "draw seed"]:
    """The weight of each training seed; those of a draw add up to 1."""
    drawn = max(1, seeds - 1)
    return _generator(seed, 1, seeds).multinomial(drawn, np.full(seeds, 1 / seeds), size=resamples) / drawn


def less(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The difference, exactly 0 where it is rounding alone: equal arms are neither better nor worse."""
    difference = ours - theirs
    return np.where(np.abs(difference) <= _ROUNDING * np.abs(theirs), 0.0, difference)


def _estimate(value: float, drawn: Float[np.ndarray, " draw"]) -> Estimate:
    if np.isnan(value):
        return Estimate(None, None)
    return Estimate(float(value), bounds_of(drawn))


def bounds_of(drawn: Float[np.ndarray, " draw"]) -> Bounds | None:
    """The 95 % percentile interval of what was drawn; None without a draw, or where one is undefined."""
    if not len(drawn) or np.isnan(drawn).any():
        return None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
