"""A finished rank sweep to its thresholds: errors by rank, the smallest rank that suffices, overfitting.

The threshold is the smallest rank whose validation error is shown to be at most a margin above that of the rank with
the lowest validation error: the 95 % interval of their paired difference ends below that share of the lowest error
(`scoring.bootstrap` draws patients and training seeds; all ranks are compared on the same draws). That a rank is "not
shown worse" would not do: with few patients nothing is shown worse, and every small rank would suffice.

The rank with the lowest error is chosen on the same patients, and so is the step at which training stopped. That
favours the best rank, so that the rule errs towards a larger threshold, and so does having few patients: where no
smaller rank is shown to be close, the threshold is the best rank itself, and a note says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loracast.data.windows import open_windows
from loracast.errors import ConfigError
from loracast.scoring.bootstrap import RESAMPLES, Estimate, differences, estimates
from loracast.scoring.compare import FEWEST_PATIENTS
from loracast.scoring.facts import Bounds
from loracast.scoring.sums import PatientSums
from loracast.study.experiment import MARGIN
from loracast.study.ranks.finished import Finished, Run, Side, read_finished, read_side
from loracast.study.ranks.properties import describe
from loracast.study.ranks.result import (
    ALL,
    SWEEP,
    Beside,
    Measured,
    Note,
    Overfit,
    RankRow,
    RankSweep,
    Threshold,
)
from loracast.study.runs import read_claim
from loracast.study.summary import Learning, read_facts, write_facts

PARTED = 0.1
"""A run is flagged as overfitting where validation gives back more than this share of what was won."""


def analyse(out: Path | str, *, data: str | None = None, resamples: int = RESAMPLES) -> RankSweep:
    """What the runs and windows under `out` say of ranks; `data` names the data set.

    The same call gives the same numbers, and a rank's test error has the interval that its arm has in the summary. A
    signal with too few validation patients for a threshold is left out and noted. Raises ConfigError where `out` holds
    no sweep or too few patients validate, DataError where runs have not scored the same windows.
    """
    out = Path(out)
    finished = read_finished(out)
    margin = float(read_claim(out).spec.get("margin", MARGIN))
    windows = open_windows(out / "data" / "windows")
    patients = windows.count_patients()
    refuse_few_patients(patients["validation"])
    validation, test = read_side(finished, "validation"), read_side(finished, "test")
    notes = [*finished.notes, *([Note(code="one-seed")] if len(finished.seeds) == 1 else [])]
    rows, thresholds = [], {}
    for signal, arms in validation.ranks.items():
        if len(arms[0].patients) < FEWEST_PATIENTS:
            notes.append(Note(code="too-few-patients", signal=signal, count=len(arms[0].patients)))
            continue
        decision = decide(arms, margin=margin, resamples=resamples)
        rows += _rows(signal, finished, decision, (validation, test), resamples)
        thresholds[signal] = _threshold(signal, finished, decision, (validation, test), resamples)
        notes += _notes(signal, thresholds[signal], list(finished.ranks), decision.worse)
    return RankSweep(
        model=finished.model,
        method=finished.method,
        data=data or read_claim(out).name,
        metric="mase",
        ranks=list(finished.ranks),
        alphas=[runs[0].result.settings.get("alpha") for runs in finished.ranks.values()],
        seeds=finished.seeds,
        margin=margin,
        patients={side: patients[side] for side in ("validation", "test")},
        windows={side: windows.meta["counts"][side] for side in ("validation", "test")},
        rows=rows,
        thresholds=thresholds,
        zero_shot=_beside(finished.zero_shot, validation.zero_shot, test.zero_shot, resamples),
        full=_beside(finished.full, validation.full, test.full, resamples),
        series=describe(windows.train),
        notes=notes,
    )


def write_sweep(out: Path, data: str | None = None) -> RankSweep:
    """Analyse a finished sweep, write `OUT/sweep.json`, and return it."""
    sweep = analyse(out, data=data)
    write_facts(sweep, out / SWEEP, overwrite=True)
    return sweep


def refuse_few_patients(validation: int) -> None:
    """Raise ConfigError where too few patients validate for any threshold to be decided."""
    if validation < FEWEST_PATIENTS:
        raise ConfigError(
            f"{validation} validation patients have a window; a threshold is decided on at least {FEWEST_PATIENTS}, "
            "because fewer could all agree by chance. Give validation a larger share of the split (the default of a "
            "sweep is 0.6, 0.2, 0.2), read more patients, or shorten the window."
        )


@dataclass(frozen=True)
class Decision:
    """What the rule found: positions of the threshold and of the best among the ranks, and the margin in the error.

    `differences` are those of every rank to the best, `worse` says which are shown to be above 0, `enough` which are
    shown to lie below the margin.
    """

    threshold: int
    best: int
    differences: list[Estimate]
    worse: list[bool]
    enough: list[bool]
    margin: float


def decide(
    arms: Sequence[PatientSums], *, margin: float = MARGIN, seed: int = 0, resamples: int = RESAMPLES
) -> Decision:
    """Apply the rule to validation errors whose arms are the ranks in ascending order."""
    errors = [float(arm.values()[0]) for arm in arms]
    best = int(np.argmin(errors))
    found = differences(arms, arms[best], seed=seed, resamples=resamples)
    worse = [one.ci95 is not None and one.ci95[0] > 0 for one in found]
    enough = [i == best or is_enough(one.ci95, errors[best], margin) for i, one in enumerate(found)]
    return Decision(enough.index(True), best, found, worse, enough, margin)


def is_enough(ci95: Bounds | None, lowest: float, margin: float) -> bool:
    """Whether a difference to the lowest error is shown to be less than `margin` times that error."""
    return ci95 is not None and ci95[1] < margin * lowest


def by_seed(
    arms: Sequence[PatientSums],
    ranks: Sequence[int],
    *,
    margin: float = MARGIN,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[int]:
    """The threshold rank that each training seed alone would give: only patients are drawn."""
    alone = [[arm.seed(number) for arm in arms] for number in range(arms[0].seeds)]
    return [ranks[decide(one, margin=margin, seed=seed, resamples=resamples).threshold] for one in alone]


def with_margin(sweep: RankSweep, margin: float = MARGIN) -> RankSweep:
    """A stored sweep judged anew by the rule, from the differences that it holds: its runs are not needed.

    What only the runs could tell is not known any more where the threshold moves: the thresholds of single seeds, and
    the intervals of the threshold's test error to that of the best rank and to zero-shot.
    """
    rows, thresholds, notes = [], {}, [note for note in sweep.notes if note.signal is None]
    for signal, old in sweep.thresholds.items():
        own = sorted((row for row in sweep.rows if row.signal == signal), key=lambda row: row.rank)
        best = next(row for row in own if row.rank == old.best_rank)
        lowest = best.validation.value or 0.0
        own = [
            row.model_copy(update={"enough": row is best or is_enough(row.difference.ci95, lowest, margin)})
            for row in own
        ]
        chosen = next(row for row in own if row.enough)
        rows += own
        thresholds[signal] = old if chosen.rank == old.rank else _moved(chosen, best, sweep.zero_shot.get(signal))
        notes += _notes(signal, thresholds[signal], sweep.ranks, [row.worse for row in own])
    kept = [row for row in sweep.rows if row.signal not in sweep.thresholds]
    return sweep.model_copy(update={"margin": margin, "rows": [*rows, *kept], "thresholds": thresholds, "notes": notes})


def _moved(chosen: RankRow, best: RankRow, zero_shot: Beside | None) -> Threshold:
    """Another threshold than the runs were asked about: differences of test errors without an interval."""

    def less(other: RankRow | Beside) -> Measured:
        ours, theirs = chosen.test.value, other.test.value
        return Measured(value=None if ours is None or theirs is None else ours - theirs)

    same = Measured(value=0.0, ci95=(0.0, 0.0))
    return Threshold(
        rank=chosen.rank,
        best_rank=best.rank,
        by_seed=[],
        test_difference=same if chosen.rank == best.rank else less(best),
        vs_zero_shot=None if zero_shot is None else less(zero_shot),
    )


def overfit_of(curves: Sequence[Learning]) -> Overfit:
    """Whether a rank overfits, by the curve of each of its seeds: flagged where most seeds are."""
    found = [_parting(curve) for curve in curves]
    flags = sum(flagged for flagged, _ in found)
    return Overfit(flagged=2 * flags > len(found), gap=float(np.mean([gap for _, gap in found])), seeds=flags)


def _parting(curve: Learning) -> tuple[bool, float]:
    """Whether one run's curves part after the best step, and by how much.

    The gap is the rise of the validation loss from its lowest to its last score, as a share of all that was won: the
    fall of validation until the best step, and the fall of training after it. A log-likelihood may be negative and
    moves up or down with the unit of the series, so that a percentage of its value says nothing; shares of falls are
    the same whatever is added to the loss. Early stopping ends a run `patience` scores after the best one, which is
    where the rise is seen; a run whose last score is the best has no gap. Training falls if the mean of its losses
    is lower in the second half of the steps after the best one than in the first.
    """
    validation = sorted(curve.validation, key=lambda entry: entry["step"])
    start, last = validation[0]["loss"], validation[-1]["loss"]
    best = next(entry["loss"] for entry in validation if entry["step"] == curve.best_step)
    rise = max(0.0, last - best)
    train = sorted(curve.train, key=lambda entry: entry["step"])
    after = [entry["loss"] for entry in train if entry["step"] > curve.best_step]
    half = len(after) // 2
    fall = float(np.mean(after[:half]) - np.mean(after[half:])) if half else 0.0
    won = (start - best) + max(0.0, fall)
    gap = rise / won if won > 0 else 0.0
    return fall > 0 and gap > PARTED, float(gap)


def _rows(
    signal: str, finished: Finished, decision: Decision, sides: tuple[Side, Side], resamples: int
) -> list[RankRow]:
    validated, tested = (_measured(side.ranks.get(signal), resamples, len(finished.ranks)) for side in sides)
    return [
        RankRow(
            signal=signal,
            metric="mase" if signal == ALL else "mae",
            rank=rank,
            trainable_parameters=runs[0].result.trainable_parameters,
            validation=validated[i],
            test=tested[i],
            difference=_as_measured(decision.differences[i]),
            worse=decision.worse[i],
            enough=decision.enough[i],
            overfit=overfit_of([read_facts(Learning, run.folder / "learning.json") for run in runs]),
            train_seconds=_train_seconds(runs),
        )
        for i, (rank, runs) in enumerate(finished.ranks.items())
    ]


def _as_measured(found: Estimate) -> Measured:
    return Measured(value=found.value, ci95=found.ci95)


def _measured(arms: Sequence[PatientSums] | None, resamples: int, count: int = 1) -> list[Measured]:
    """The error of each arm, unknown for each of `count` where there is no arm."""
    if arms is None:
        return [Measured()] * count
    return [_as_measured(found[arms[0].scores[0]]) for found in estimates(arms, resamples=resamples)]


def _threshold(
    signal: str, finished: Finished, decision: Decision, sides: tuple[Side, Side], resamples: int
) -> Threshold:
    """The threshold of one signal, and what the test patients say of it, who had no part in the decision."""
    ranks = list(finished.ranks)
    validation, test = sides
    to_best, to_zero_shot = Measured(), None
    tested, zero_shot = test.ranks.get(signal), test.zero_shot.get(signal)
    if tested is not None:
        chosen, best = tested[decision.threshold], tested[decision.best]
        to_best = _as_measured(differences([chosen], best, resamples=resamples)[0])
        if zero_shot is not None:
            to_zero_shot = _as_measured(differences([chosen], zero_shot, resamples=resamples)[0])
    return Threshold(
        rank=ranks[decision.threshold],
        best_rank=ranks[decision.best],
        by_seed=by_seed(validation.ranks[signal], ranks, margin=decision.margin, resamples=resamples),
        test_difference=to_best,
        vs_zero_shot=to_zero_shot,
    )


def _beside(
    runs: Sequence[Run], validation: Mapping[str, PatientSums], test: Mapping[str, PatientSums], resamples: int
) -> dict[str, Beside]:
    """The errors and costs of an arm beside the ranks, per signal; empty where it has not run."""

    def error(side: Mapping[str, PatientSums], signal: str) -> Measured:
        return _measured([side[signal]] if signal in side else None, resamples)[0]

    return {
        signal: Beside(
            trainable_parameters=runs[0].result.trainable_parameters,
            train_seconds=_train_seconds(runs),
            validation=error(validation, signal),
            test=error(test, signal),
        )
        for signal in dict.fromkeys([*validation, *test])
    }


def _train_seconds(runs: Sequence[Run]) -> float | None:
    known = [seconds for run in runs if (seconds := run.result.costs.train_seconds) is not None]
    return float(np.mean(known)) if known else None


def _notes(signal: str, threshold: Threshold, ranks: Sequence[int], worse: Sequence[bool]) -> list[Note]:
    """What a reader must know before taking a threshold at its word; `worse` says which ranks are shown to be."""
    notes = []
    if threshold.rank == ranks[-1]:
        notes.append(Note(code="largest-rank", signal=signal, rank=threshold.rank))
    if threshold.rank == threshold.best_rank and not all(worse[: ranks.index(threshold.rank)]):
        notes.append(Note(code="best-rank", signal=signal, rank=threshold.rank))
    gain = threshold.vs_zero_shot
    if gain is not None and gain.ci95 is not None and gain.ci95[1] >= 0:
        notes.append(Note(code="not-better-than-zero-shot", signal=signal, rank=threshold.rank))
    return notes
