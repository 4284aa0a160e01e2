"""Sums to facts: the scores of an arm with their intervals, and what may be said of it against another arm."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from loracast.errors import ConfigError
from loracast.scoring.bootstrap import RESAMPLES, differences, estimates
from loracast.scoring.facts import Bounds, Difference, Excluded, Scores, Verdict, WorstWindow
from loracast.scoring.influence import influence
from loracast.scoring.sums import PatientSums, Sums, by_signal, check_same

BY_STEP = ("mae", "rmse", "bias", "coverage_80")
FEWEST_PATIENTS = 6
"""Below, even patients who all agree could do so by chance: two-sided sign test, 2 / 2^5 = 6 % for five of them."""

Runs = Sequence[Sums]
"""The sums of an arm's runs, a training seed each, on the same windows."""


def summarise(runs: Runs, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Scores]:
    """Every score of one arm per signal, with 95 % intervals over patients and training seeds (`bootstrap`).

    Runs are averaged. Cell scores are pooled over all observed targets, `dtw_scaled` and `mase` over all windows.
    Raises ConfigError without a run, DataError if the runs did not score the same windows.
    """
    return {name: _scores(sums, seed=seed, resamples=resamples) for name, sums in by_signal(runs).items()}


def compare(
    arm: Runs, reference: Runs, *, reference_name: str, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Difference]:
    """The paired difference in MAE to a reference per signal: arm minus reference, below 0 is better.

    Raises DataError if the two did not score the same windows.
    """
    return compare_to_best(arm, {reference_name: reference}, seed=seed, resamples=resamples)


def compare_to_best(
    arm: Runs, references: Mapping[str, Runs], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Difference]:
    """The paired difference per signal to whichever of `references` has the lowest MAE on it, the first of equals.

    The best is chosen on the same windows, which favours the reference: an arm that is still better is so by right.
    Raises ConfigError without a reference, DataError if one did not score the same windows.
    """
    if not references:
        raise ConfigError("There is nothing to compare with: give at least one reference, e.g. the last value.")
    ours = by_signal(arm, ["mae"])
    theirs = {name: by_signal(runs, ["mae"]) for name, runs in references.items()}
    for name, sums in theirs.items():
        check_same(ours, sums, f"The arm and {name}")

    def best(signal: str) -> str:
        errors = {name: float(sums[signal].values()[0]) for name, sums in theirs.items()}
        return min(errors, key=lambda name: np.inf if np.isnan(errors[name]) else errors[name])

    return {
        signal: _difference(sums, theirs[name][signal], name, seed=seed, resamples=resamples)
        for signal, sums in ours.items()
        for name in [best(signal)]
    }


def _scores(sums: PatientSums, *, seed: int, resamples: int) -> Scores:
    (found,) = estimates([sums], seed=seed, resamples=resamples)
    counted = {name: int(count) for name, count in zip(sums.scores, sums.counts.sum(axis=1), strict=True)}
    steps = dict(zip(sums.scores, sums.by_step(), strict=True))
    return Scores(
        **{name: estimate.value for name, estimate in found.items()},
        n_windows=sums.windows,
        n_cells=counted["mae"],
        n_patients=len(sums.patients),
        excluded=Excluded(
            mase_windows=sums.windows - counted["mase"], mape_cells=counted["mse_scaled"] - counted["mape"]
        ),
        ci95={name: estimate.ci95 for name, estimate in found.items()},
        by_step={name: [None if np.isnan(value) else float(value) for value in steps[name]] for name in BY_STEP},
        worst_window=_worst_window(sums),
    )


def _worst_window(sums: PatientSums) -> WorstWindow | None:
    """The patient's window that carries most of the absolute error, the runs averaged; None where it is not known."""
    whole, (errors, targets) = sums.sums[0].mean(axis=0).sum(), sums.worst
    if not len(sums.patients) or np.isnan(errors).any() or not whole:
        return None
    worst = int(np.argmax(errors.mean(axis=0)))
    rest = sums.counts[0].sum() - targets[:, worst]
    without = (sums.sums[0].sum(axis=1) - errors[:, worst]) / np.where(rest, rest, np.nan)
    return WorstWindow(
        share=float(errors[:, worst].mean() / whole),
        mae_without=None if np.isnan(without).any() else float(without.mean()),
    )


def _difference(ours: PatientSums, theirs: PatientSums, reference: str, *, seed: int, resamples: int) -> Difference:
    found = _paired(ours, theirs, seed=seed, resamples=resamples)
    return Difference(
        reference=reference,
        mae_difference=found.difference,
        ci95=found.ci95,
        verdict=found.verdict,
        patients=found.patients,
        left_out=found.left_out,
        flips=found.flips,
    )


class Paired(NamedTuple):
    """The paired difference in one score, ours less theirs; see `facts.Difference` for the parts."""

    difference: float | None
    ci95: Bounds | None
    verdict: Verdict
    patients: int
    windows: int
    left_out: Bounds | None
    flips: int | None


PAIRED = ("mae", "crps", "mase")
"""Scores of which the lower is the better and which are means, so that patients can be left out one by one."""


def paired(
    arm: Runs, reference: Runs, metric: str = "mae", *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Paired]:
    """The paired difference in a score of `PAIRED` per signal: arm minus reference, below 0 is better.

    Raises ConfigError for another score, DataError if the two did not score the same windows.
    """
    if metric not in PAIRED:
        raise ConfigError(f"No comparison by {metric!r}. Compare by one of: {', '.join(PAIRED)}.")
    ours, theirs = by_signal(arm, [metric]), by_signal(reference, [metric])
    check_same(ours, theirs, "The arm and the reference")
    return {
        signal: _paired(sums, theirs[signal], seed=seed, resamples=resamples)
        for signal, sums in ours.items()
        if len(sums.patients)
    }


def _paired(ours: PatientSums, theirs: PatientSums, *, seed: int, resamples: int) -> Paired:
    (found,) = differences([ours], theirs, seed=seed, resamples=resamples)
    patients = len(ours.patients)
    single = influence(ours, theirs, seed=seed, resamples=resamples)
    verdict = verdict_of(found.ci95, patients)
    flips = None
    if single is not None and found.ci95 is not None and patients >= FEWEST_PATIENTS:
        # By the interval alone: that there is one patient fewer than the rule asks for is no influence of anyone.
        flips = sum(verdict_of(without, patients) != verdict for without in single.intervals)
    left_out = None if single is None else single.left_out
    return Paired(found.value, found.ci95, verdict, patients, ours.windows, left_out, flips)


def verdict_of(ci95: Bounds | None, patients: int) -> Verdict:
    """ "better" or "worse" if the interval excludes 0 and there are at least `FEWEST_PATIENTS` patients."""
    if ci95 is None or patients < FEWEST_PATIENTS:
        return "no difference shown"
    return "better" if ci95[1] < 0 else "worse" if ci95[0] > 0 else "no difference shown"
