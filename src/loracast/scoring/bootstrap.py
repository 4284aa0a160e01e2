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
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from loracast.scoring.cells import METRICS
from loracast.scoring.facts import Bounds
from loracast.scoring.sums import PatientSums, ratios

RESAMPLES = 2000
_IN_CACHE = 65_536
"""Weights of patients that are made together: they are counted and multiplied while the processor has them at hand."""
_FEWEST_DRAWS, _MOST_WEIGHTS = 16, 2_000_000
"""At least so many draws together, for whose product a machine is quick, but never more weights in memory than that."""
_MOST_KEPT = 4_000_000
"""Weights that are kept for the next arm, in two bytes each, if there are no more than that."""
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
    laid = [_laid(arm) for arm in arms]
    trained = {arm.seeds: seed_weights(arm.seeds, seed=seed, resamples=resamples) for arm in arms}
    for rows, people in weights(patients, seed=seed, resamples=resamples):
        for arm, (places, columns), scores in zip(arms, laid, found, strict=True):
            drawn = (people @ columns).reshape(len(people), len(METRICS), arm.seeds + 1)[:, places]
            means = (drawn[:, :, :-1] * trained[arm.seeds][rows, None]).sum(axis=2)
            scores[:, rows] = ratios(means.T, drawn[:, :, -1].T, arm.scores)
    return found


def _laid(arm: PatientSums) -> tuple[list[int], Float[np.ndarray, "patient column"]]:
    """The sums of each score and seed, and the counts, as columns for one product; and which of all scores are there.

    Every score has its columns, 0 where the arm has it not: the last bits of a product of matrices depend on its shape,
    and equal sums are to give equal draws whatever other scores are looked at.
    """
    places = [list(METRICS).index(name) for name in arm.scores]
    columns = np.zeros((len(arm.patients), len(METRICS), arm.seeds + 1))
    columns[:, places, :-1] = arm.sums.transpose(2, 0, 1)
    columns[:, places, -1] = arm.counts.T
    return places, columns.reshape(len(arm.patients), -1)


def weights(
    patients: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> Iterator[tuple[slice, Float[np.ndarray, "draw patient"]]]:
    """How often each patient is drawn, some draws at a time: which draws they are, and their weights."""
    if patients * resamples <= _MOST_KEPT and patients < 2**16:
        kept = _kept(patients, seed, resamples)
        parts: Iterator[tuple[slice, np.ndarray]] = ((rows, kept[rows]) for rows in _slices(patients, resamples))
    else:
        parts = _drawn(patients, seed, resamples)
    for rows, counts in parts:
        yield rows, counts.astype(np.float64)


@lru_cache(maxsize=4)
def _kept(patients: int, seed: int, resamples: int) -> np.ndarray:
    """How often each patient is drawn, all at once: the arms of a study ask for the same draws again and again."""
    return np.concatenate([counts.astype(np.uint16) for _, counts in _drawn(patients, seed, resamples)])


def _drawn(patients: int, seed: int, resamples: int) -> Iterator[tuple[slice, Int[np.ndarray, "draw patient"]]]:
    """How often each patient is drawn, some draws at a time; the same draws however many at a time."""
    rng = _generator(seed, 0)
    for rows in _slices(patients, resamples):
        count = rows.stop - rows.start
        # One count of all draws at once: each draw's patients are numbered on from the last draw's. Numbers of half the
        # bytes where that will do; the stream gives the same patients in either.
        width = np.int32 if count * patients < 2**31 else np.int64
        drawn = rng.integers(patients, size=(count, patients), dtype=width)
        drawn += np.arange(0, count * patients, patients, dtype=width)[:, None]
        yield rows, np.bincount(drawn.ravel(), minlength=count * patients).reshape(count, patients)


def _slices(patients: int, resamples: int) -> Iterator[slice]:
    """Draws of so many patients that are made together."""
    size = max(_IN_CACHE // patients, min(_FEWEST_DRAWS, _MOST_WEIGHTS // patients), 1)
    return (slice(start, min(start + size, resamples)) for start in range(0, resamples, size))


def _generator(seed: int, *which: int) -> np.random.Generator:
    """A stream of its own for each of `which`, all from one seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=which))


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
