"""A finished rank sweep to its table: errors by rank, thresholds, overfitting, and what the series are like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loracast.data.windows import open_windows
from loracast.errors import ConfigError, DataError
from loracast.files import read_json
from loracast.scoring.compare import FEWEST_PATIENTS
from loracast.study.ranks.finished import Done, Finished, Side, read_finished, read_side
from loracast.study.ranks.overfit import overfit_of
from loracast.study.ranks.properties import describe
from loracast.study.ranks.sums import ALL, Errors, metric_of
from loracast.study.ranks.threshold import RULE, Decision, by_seed, decide, differences, scored

SWEEP = "sweep.json"
FORMAT = 1
_UNKNOWN: dict[str, Any] = {"value": None, "ci95": None}


def analyse(out: Path | str, *, data: str | None = None, resamples: int = 2000) -> dict[str, Any]:
    """The content of `sweep.json`, from the runs and windows under `out`; `data` names the data set.

    Intervals are 95 % percentile intervals over patients and training seeds (`threshold`); the same call gives the
    same numbers. A signal with too few validation patients for a threshold is left out and noted.
    """
    out = Path(out)
    finished = read_finished(out)
    windows = open_windows(out / "data" / "windows")
    validation, test = read_side(finished, "validation"), read_side(finished, "test")
    patients = windows.count_patients()
    refuse_few_patients(patients["validation"])
    notes = list(finished.notes)
    if len(finished.seeds) == 1:
        notes.append("There is one training seed, so that chance in training is not in the intervals.")
    rows, thresholds = [], {}
    for signal, errors in validation.ranks.items():
        if len(errors.counts) < FEWEST_PATIENTS:
            notes.append(f"{signal}: {len(errors.counts)} validation patients are too few to decide a threshold.")
            continue
        decision = decide(errors, resamples=resamples)
        rows += _rows(signal, finished, decision, errors, test, resamples)
        thresholds[signal] = _threshold(decision, finished, errors, _at(test, signal), resamples)
        notes += _notes(signal, thresholds[signal], list(finished.ranks))
    beside = {"validation": validation, "test": test}
    return {
        "format": FORMAT,
        "backbone": finished.backbone,
        "method": finished.method,
        "data": data or read_json(out / "experiment.json")["name"],
        "metric": "mase",
        "rule": RULE,
        "ranks": list(finished.ranks),
        "alphas": [runs[0].result["settings"].get("alpha") for runs in finished.ranks.values()],
        "seeds": finished.seeds,
        "patients": {side: patients[side] for side in beside},
        "windows": {side: windows.meta["counts"][side] for side in beside},
        "rows": rows,
        "thresholds": thresholds,
        "zero_shot": _beside({side: found.zero_shot for side, found in beside.items()}, finished.zero_shot, resamples),
        "full": _beside({side: found.full for side, found in beside.items()}, finished.full, resamples),
        "series": describe(windows.train),
        "notes": notes,
    }


def read_sweep(out: Path | str) -> dict[str, Any]:
    """Read the `sweep.json` of a results folder; raises ConfigError where there is none."""
    file = Path(out) / SWEEP
    if not file.is_file():
        raise ConfigError(f"No {SWEEP} in {out}. Give the folder that `loracast sweep ranks` wrote.")
    found: dict[str, Any] = read_json(file)
    if found.get("format") != FORMAT:
        raise ConfigError(
            f"{file} is of another version of loracast (format {found.get('format')}, this one reads {FORMAT}). Write "
            "it anew: `loracast run` or `loracast sweep ranks` with the same arguments analyses what is done."
        )
    return found


def refuse_few_patients(validation: int) -> None:
    """Raise ConfigError where too few patients validate for any threshold to be decided."""
    if validation < FEWEST_PATIENTS:
        raise ConfigError(
            f"{validation} validation patients have a window; a threshold is decided on at least {FEWEST_PATIENTS}, "
            "because fewer could all agree by chance. Give validation a larger share of the split (the default of a "
            "sweep is 0.6, 0.2, 0.2), read more patients, or shorten the window."
        )


def _rows(
    signal: str, finished: Finished, decision: Decision, errors: Errors, test: Side, resamples: int
) -> list[dict[str, Any]]:
    validated = scored(errors, resamples=resamples)
    tested = scored(test.ranks[signal], resamples=resamples) if signal in test.ranks else [_UNKNOWN] * len(validated)
    return [
        {
            "signal": signal,
            "metric": metric_of(signal),
            "rank": rank,
            "trainable_parameters": runs[0].result["trainable_parameters"],
            "validation": validated[i],
            "test": tested[i],
            "difference": decision.differences[i],
            "overfit": overfit_of([read_json(run.folder / "learning.json") for run in runs]),
            "train_seconds": float(np.mean([run.result["train_seconds"] for run in runs])),
        }
        for i, (rank, runs) in enumerate(finished.ranks.items())
    ]


def _at(side: Side, signal: str) -> tuple[Errors | None, Errors | None]:
    return side.ranks.get(signal), side.zero_shot.get(signal)


def _threshold(
    decision: Decision,
    finished: Finished,
    errors: Errors,
    test: tuple[Errors | None, Errors | None],
    resamples: int,
) -> dict[str, Any]:
    """The threshold of one signal, and what the test patients say of it, who had no part in the decision."""
    ranks = list(finished.ranks)
    tested, zero_shot = test
    to_best, to_zero_shot = _UNKNOWN, None
    if tested is not None:
        to_best = differences(tested, decision.best, resamples=resamples)[decision.threshold]
    if tested is not None and zero_shot is not None:
        to_zero_shot = _to_zero_shot(tested.arms([decision.threshold]), zero_shot, resamples)
    return {
        "rank": ranks[decision.threshold],
        "best_rank": ranks[decision.best],
        "by_seed": by_seed(errors, ranks, resamples=resamples),
        "test_difference": to_best,
        "vs_zero_shot": to_zero_shot,
    }


def _to_zero_shot(arm: Errors, zero_shot: Errors, resamples: int) -> dict[str, Any]:
    """Test error of the threshold minus that of zero-shot, paired by patient."""
    if not np.array_equal(arm.counts, zero_shot.counts):
        raise DataError(
            "Zero-shot and the ranks did not score the same windows. Run the sweep again with another --out."
        )
    return scored(Errors(arm.sums - zero_shot.sums, arm.counts), resamples=resamples)[0]


def _beside(sides: Mapping[str, Mapping[str, Errors]], runs: Sequence[Done], resamples: int) -> dict[str, Any] | None:
    """The errors and costs of an arm beside the ranks: per signal, on each side; None where it has not run."""
    signals = dict.fromkeys(signal for found in sides.values() for signal in found)
    if not runs:
        return None
    cost = {
        "trainable_parameters": runs[0].result["trainable_parameters"],
        "train_seconds": float(np.mean([run.result["train_seconds"] for run in runs])),
    }
    entries = {
        signal: cost
        | {
            side: scored(found[signal], resamples=resamples)[0] if signal in found else _UNKNOWN
            for side, found in sides.items()
        }
        for signal in signals
    }
    return entries or None


def _notes(signal: str, threshold: Mapping[str, Any], ranks: list[int]) -> list[str]:
    """What a reader must know before taking a threshold at its word."""
    where = "All signals" if signal == ALL else signal
    notes = []
    if threshold["rank"] == ranks[-1]:
        notes.append(f"{where}: the threshold is the largest rank that was tried; a larger one may be needed.")
    gain = threshold["vs_zero_shot"]
    if gain is not None and (gain["ci95"] is None or gain["ci95"][1] >= 0):
        notes.append(
            f"{where}: rank {threshold['rank']} is not shown better than zero-shot on the test patients, so that its "
            "threshold says little about ranks."
        )
    return notes
