"""Sums to scores: intervals by drawing patients again, and what may be said against another arm.

Windows of one patient are not independent, so the patient is what the bootstrap draws (Field & Welsh 2007, the
cluster bootstrap). Two arms are compared on the same draws, so that hard patients cancel.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from loracast.errors import ConfigError, DataError
from loracast.scoring.sums import KEYS, METRICS, Statistics, score_cells

__all__ = ["Statistics", "compare", "compare_to_best", "score_cells", "summarise"]

NAMES = tuple(METRICS)
BY_STEP = ("mae", "rmse", "bias", "coverage_80")
FEWEST_PATIENTS = 6
"""Below, even patients who all agree could do so by chance: two-sided sign test, 2 / 2^5 = 6 % for five of them."""

Rows = Int[np.ndarray, "... patient"]


def summarise(seeds: Sequence[Statistics], *, seed: int = 0, resamples: int = 2000) -> dict[str, dict[str, Any]]:
    """Every score of one arm per signal, with 95 % intervals: a dict fit for JSON, None where a score is undefined.

    `seeds` are the arm's runs on the same windows; their sums are averaged per patient, so an interval speaks of
    patients, not of training seeds. Cell scores are pooled over all observed targets, `dtw_scaled` and `mase` over
    all windows. `excluded` counts what two scores had to leave out: windows whose context has no scale for MASE, and
    targets that are 0 for MAPE. `ci95` is the percentile bootstrap over patients; None with a single patient.
    Raises DataError if the runs did not score the same windows.
    """
    cells = _pooled(seeds)
    return {str(name): _scores(part, seed=seed, resamples=resamples) for name, part in cells.groupby("signal")}


def compare(
    arm: Sequence[Statistics],
    reference: Sequence[Statistics],
    *,
    against: str = "zero-shot",
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, dict[str, Any]]:
    """The paired difference in MAE to a reference per signal: arm minus reference, below 0 is better.

    Each entry has `mae_difference`, `ci95` (both arms on the same drawn patients), `verdict` ("better" or "worse" if
    the interval excludes 0 and there are at least `FEWEST_PATIENTS` patients, else "no difference shown") and a plain
    `sentence`. Raises DataError if the two did not score the same windows.
    """
    ours, theirs = _pooled(arm), _pooled(reference)
    _check_same(ours, theirs, f"The arm and {against}")
    reference_of = dict(iter(theirs.groupby("signal")))
    return {
        str(name): _difference(part, reference_of[name], against=against, seed=seed, resamples=resamples)
        for name, part in ours.groupby("signal")
    }


def compare_to_best(
    arm: Sequence[Statistics], references: Mapping[str, Sequence[Statistics]], *, seed: int = 0, resamples: int = 2000
) -> dict[str, dict[str, Any]]:
    """`compare` to whichever of `references` has the lowest MAE on a signal; its name is the entry's `reference`.

    The best is chosen on the same windows, which favours the reference: an arm that is still better is so by right.
    """
    if not references:
        raise ConfigError("There is nothing to compare with: give at least one reference, e.g. the last value.")
    found = {
        name: compare(arm, runs, against=name, seed=seed, resamples=resamples) for name, runs in references.items()
    }

    def hardest(signal: str) -> str:
        differences = {name: entry[signal]["mae_difference"] for name, entry in found.items()}
        return max(differences, key=lambda name: -np.inf if differences[name] is None else differences[name])

    signals = next(iter(found.values()))
    return {signal: {"reference": best, **found[best][signal]} for signal in signals for best in [hardest(signal)]}


def _pooled(seeds: Sequence[Statistics]) -> pd.DataFrame:
    """The sums of several runs on the same windows, averaged."""
    if not seeds:
        raise ConfigError("No run to score: give the statistics of at least one.")
    first, *others = (statistics.cells for statistics in seeds)
    sums = [f"sum_{name}" for name in NAMES]
    for other in others:
        _check_same(first, other, "Two runs of an arm")
    return first.assign(**{name: np.mean([cells[name] for cells in (first, *others)], axis=0) for name in sums})


def _check_same(one: pd.DataFrame, other: pd.DataFrame, who: str) -> None:
    """Refuse sums over other windows: the same patients, signals, steps, counts and sum of targets are required."""
    exact = [*KEYS, "windows", *(f"n_{name}" for name in NAMES)]
    same = len(one) == len(other) and bool((one[exact].to_numpy() == other[exact].to_numpy()).all())
    if not same or not np.allclose(one["targets"], other["targets"], rtol=1e-6):
        windows, targets = ([int(cells[name].sum()) for cells in (one, other)] for name in ("windows", "n_mae"))
        raise DataError(
            f"{who} did not score the same windows ({windows[0]} and {windows[1]} windows, {targets[0]} and "
            f"{targets[1]} observed targets): their scores cannot be compared. Score both on the same test windows."
        )


class _Patients:
    """One signal's sums and counts as arrays of shape (metric, patient, 1 + horizon), scored patients only."""

    def __init__(self, cells: pd.DataFrame) -> None:
        steps = int(cells["step"].max()) + 1
        self.sums = self._array(cells, "sum", steps)
        self.counts = self._array(cells, "n", steps)
        scored = self.counts[NAMES.index("mae")].sum(axis=-1) > 0
        self.sums, self.counts = self.sums[:, scored], self.counts[:, scored]

    def __len__(self) -> int:
        return int(self.sums.shape[1])

    @staticmethod
    def _array(cells: pd.DataFrame, kind: str, steps: int) -> Float[np.ndarray, "metric patient step"]:
        columns = cells[[f"{kind}_{name}" for name in NAMES]].to_numpy(dtype=np.float64)
        return np.ascontiguousarray(columns.reshape(-1, steps, len(NAMES)).transpose(2, 0, 1))

    def scores(self, rows: Rows, names: Sequence[str] = NAMES) -> Float[np.ndarray, "metric ..."]:
        """Every score over the patients `rows`, a patient as often as he is drawn."""
        wanted = [NAMES.index(name) for name in names]
        sums, counts = (array[wanted].sum(axis=-1)[:, rows].sum(axis=-1) for array in (self.sums, self.counts))
        return _ratio(sums, counts, names)

    def by_step(self, names: Sequence[str]) -> Float[np.ndarray, "metric horizon"]:
        """Scores of each step, over all patients."""
        wanted = [NAMES.index(name) for name in names]
        return _ratio(self.sums[wanted].sum(axis=1)[:, 1:], self.counts[wanted].sum(axis=1)[:, 1:], names)


def _ratio(sums: np.ndarray, counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Sum over count, NaN where the count is 0, with the root for the scores that are one; metrics on axis 0."""
    means: np.ndarray = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    for position, name in enumerate(names):
        if METRICS[name].root:
            means[position] = np.sqrt(means[position])
    return means


def _bootstrap(
    statistic: Callable[[Rows], np.ndarray], patients: int, *, seed: int, resamples: int
) -> list[list[float] | None]:
    """95 % percentile intervals of `statistic` (drawn rows to (score, draw)) over patients; None where undefined.

    The same `seed` and number of patients draw the same patients, whatever the arm.
    """
    if patients < 2:
        return [None] * len(statistic(np.arange(patients)[None]))
    with warnings.catch_warnings():
        # A score that is undefined on some draws (say, MASE defined for one patient only) has no interval: None below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (np.arange(patients),),
            lambda rows, axis: statistic(rows),
            n_resamples=resamples,
            batch=max(1, 200_000 // patients),
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    bounds = np.stack([interval.low, interval.high], axis=-1)
    return [None if np.isnan(pair).any() else [float(pair[0]), float(pair[1])] for pair in bounds]


def _scores(cells: pd.DataFrame, *, seed: int, resamples: int) -> dict[str, Any]:
    patients = _Patients(cells)
    overall = patients.scores(np.arange(len(patients)))
    intervals = _bootstrap(patients.scores, len(patients), seed=seed, resamples=resamples)
    windows = int(cells["windows"].sum())
    return {
        **dict(zip(NAMES, _numbers(overall), strict=True)),
        "n_windows": windows,
        "n_cells": int(cells["n_mae"].sum()),
        "n_patients": len(patients),
        "excluded": {
            "mase_windows": windows - int(cells["n_mase"].sum()),
            "mape_cells": int(cells["n_mse_scaled"].sum() - cells["n_mape"].sum()),
        },
        "ci95": dict(zip(NAMES, intervals, strict=True)),
        "by_step": dict(zip(BY_STEP, map(_numbers, patients.by_step(BY_STEP)), strict=True)),
    }


def _difference(ours: pd.DataFrame, theirs: pd.DataFrame, *, against: str, seed: int, resamples: int) -> dict[str, Any]:
    arm, reference = _Patients(ours), _Patients(theirs)

    def difference(rows: Rows) -> Float[np.ndarray, "1 ..."]:
        return np.asarray(arm.scores(rows, ["mae"]) - reference.scores(rows, ["mae"]))

    value = _numbers(difference(np.arange(len(arm))))[0]
    bounds = _bootstrap(difference, len(arm), seed=seed, resamples=resamples)[0]
    verdict = "no difference shown"
    if bounds is not None and len(arm) >= FEWEST_PATIENTS:
        verdict = "better" if bounds[1] < 0 else "worse" if bounds[0] > 0 else verdict
    label, unit = str(ours["label"].iloc[0]), str(ours["unit"].iloc[0])
    sentence = _sentence(verdict, value, bounds, against=against, unit=unit, patients=len(arm))
    return {
        "mae_difference": value,
        "ci95": bounds,
        "verdict": verdict,
        "sentence": f"{label[:1].upper()}{label[1:]}: {sentence}",
    }


def _sentence(
    verdict: str, value: float | None, bounds: list[float] | None, *, against: str, unit: str, patients: int
) -> str:
    """The verdict with its numbers, for people."""
    if value is None:
        return f"no target was observed, so nothing can be said against {against}."
    who = "1 patient" if patients == 1 else f"{patients} patients"
    beside = unit.removeprefix("1") if unit.startswith("1/") else f" {unit}"

    def side(difference: float) -> str:
        return "0" if difference == 0 else f"{abs(difference):.3g} {'lower' if difference < 0 else 'higher'}"

    said = "the same" if value == 0 else f"{abs(value):.3g}{beside} {'lower' if value < 0 else 'higher'}"
    error = f"The mean absolute error is {said}"
    if bounds is None:
        return f"no difference to {against} shown, {who} cannot give an interval. {error}."
    interval = f"95 % interval {side(bounds[0])} to {side(bounds[1])}; {who}"
    if verdict != "no difference shown":
        return f"{verdict} than {against}. {error} ({interval})."
    if patients < FEWEST_PATIENTS:
        return f"no difference to {against} shown, {who} are too few to tell. {error} ({interval})."
    return f"no difference to {against} shown. {error} ({interval})."


def _numbers(values: Float[np.ndarray, " number"]) -> list[float | None]:
    """For JSON: floats, with None for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]
