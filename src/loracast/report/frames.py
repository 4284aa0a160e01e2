"""The tables as DataFrames: raw numbers under plain names, a function a table; nothing is rounded or worded here.

Scores are in the unit of the signal, times in seconds, sizes in bytes. What does not exist is missing (None or NA),
and counts stay whole numbers.
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from loracast.errors import ConfigError
from loracast.report.results import comparisons_of, scored_signals
from loracast.scoring.compare import Paired
from loracast.scoring.facts import Bounds, Difference, Scores
from loracast.study.ranks.result import ALL, Beside, Measured, RankRow, RankSweep, Relation
from loracast.study.summary import ArmSummary, Costs, Summary

SCORES = ("mae", "rmse", "bias", "mase", "crps", "coverage_80", "mse_scaled", "mape", "dtw_scaled")
SIZES = ("n_windows", "n_cells", "n_patients")
STEP_SCORES = ("mae", "rmse", "bias", "coverage_80")
COSTS = tuple(Costs.model_fields)
LEFT = ("patients", "stays", "series", "rows", "windows")
"""What an attrition step may count."""


def results(summary: Summary) -> pd.DataFrame:
    """A row a signal and arm: who, every score with its interval, every comparison, every cost."""
    rows = [_result(summary, arm, signal) for signal in summary.data.signals for arm in summary.arms]
    compared = (f"{name}_{key}" for name in COMPARED for key in ("patients", "flips"))
    return _whole(pd.DataFrame(rows), *SIZES, "trainable_parameters", "total_parameters", *_BYTES, *compared)


LEADING = ("mae", "rmse", "crps", "mase", "mse_scaled", "mape", "dtw_scaled")
"""Scores by which arms can be ordered: the lower the better."""


def leaderboard(summary: Summary, signal: str | None = None, metric: str = "mae") -> pd.DataFrame:
    """A row a signal and arm, the lowest score first within each signal: errors of different units have no mean.

    The score with its 95 % interval, the difference in MAE to zero-shot (to the best naive forecast) with its verdict,
    what was trained, and the patients and windows behind it. `signal` keeps one signal. Raises ConfigError for a
    signal that is not there, and for a score that has no better end.
    """
    if metric not in LEADING:
        raise ConfigError(f"No order by {metric!r}. Order by one of: {', '.join(LEADING)}.")
    signals = scored_signals(summary)
    if signal is not None and signal not in signals:
        raise ConfigError(f"No signal {signal!r} was scored. Signals: {', '.join(signals)}.")
    frame = results(summary)
    parts = [
        frame[frame["signal"] == name].sort_values(metric, kind="stable", na_position="last")
        for name in (signals if signal is None else (signal,))
    ]
    names = {
        **dict.fromkeys(("signal", "unit", "arm", metric, f"{metric}_low", f"{metric}_high")),
        **dict.fromkeys(f"vs_{against}_{key}" for against in ("zero_shot", "naive") for key in SHOWN),
        **dict.fromkeys(("trainable_parameters", "n_patients", "n_windows")),
    }
    measured = {name: float for name in names if name.endswith((metric, "_low", "_high", "_difference"))}
    shown = pd.concat(parts, ignore_index=True)[list(names)].astype(measured)
    return shown.rename(columns={"n_patients": "patients", "n_windows": "windows"})


SHOWN = ("difference", "low", "high", "verdict")


def pairs(summary: Summary, found: Mapping[str, Paired], *, arm: str, reference: str, metric: str) -> pd.DataFrame:
    """A row a signal: how one arm differs from another in a score, with verdict, influence, patients and windows."""
    rows = []
    for signal in (name for name in summary.data.signals if name in found):
        one = found[signal]
        alone = one.patients < FEWEST_COMPARED  # one patient says nothing of others: there is no comparison
        low, high = _ends(one.ci95)
        left_low, left_high = _ends(one.left_out)
        rows.append({
            "signal": signal, "unit": summary.data.signals[signal].unit, "arm": arm, "reference": reference,
            "metric": metric, "difference": None if alone else one.difference, "low": low, "high": high,
            "verdict": None if alone else one.verdict, "flips": one.flips,
            "left_out_low": left_low, "left_out_high": left_high, "patients": one.patients, "windows": one.windows,
        })  # fmt: skip
    measured = dict.fromkeys(("difference", "low", "high", "left_out_low", "left_out_high"), float)
    return _whole(pd.DataFrame(rows).astype(measured), "flips", "patients", "windows")


COMPARED = ("vs_zero_shot", "vs_naive", "vs_full", "vs_best")
_BYTES = ("peak_memory_bytes", "peak_gpu_memory_bytes")


def _result(summary: Summary, arm: ArmSummary, signal: str) -> dict[str, Any]:
    row = {"signal": signal, "unit": summary.data.signals[signal].unit, **_who(arm)}
    row |= {"settings": json.dumps(arm.settings, sort_keys=True), "seeds": " ".join(map(str, arm.seeds))}
    row |= _scores(arm.scores.get(signal))
    worst = arm.scores[signal].worst_window if signal in arm.scores else None
    row["worst_window_share"] = worst.share if worst else None
    row["mae_without_worst_window"] = worst.mae_without if worst else None
    for name, entries in comparisons_of(arm).items():
        row |= {f"{name}_{key}": value for key, value in _difference(entries.get(signal)).items()}
    row["best_step"] = " ".join(str(step) for step in arm.best_step if step is not None)
    return row | _sizes(arm) | dict(arm.costs)


def _who(arm: ArmSummary) -> dict[str, Any]:
    return {"arm": arm.arm, "model": arm.model, "family": arm.family, "kind": arm.kind, "method": arm.method}


def _sizes(arm: ArmSummary) -> dict[str, Any]:
    return {"trainable_parameters": arm.trainable_parameters, "total_parameters": arm.total_parameters}


def _scores(scores: Scores | None) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in SCORES:
        low, high = _ends(scores.ci95.get(name) if scores else None)
        row |= {name: getattr(scores, name, None), f"{name}_low": low, f"{name}_high": high}
    return row | {name: getattr(scores, name, None) for name in SIZES}


def _ends(bounds: Bounds | None) -> tuple[float | None, float | None]:
    return (None, None) if bounds is None else bounds


DIFFERENCE = (
    "reference", "difference", "low", "high", "verdict", "patients", "left_out_low", "left_out_high", "flips",
)  # fmt: skip
FEWEST_COMPARED = 2


def _difference(found: Difference | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(DIFFERENCE)
    if found.patients < FEWEST_COMPARED:  # one patient says nothing of others: there is no comparison
        return dict.fromkeys(DIFFERENCE) | {"reference": found.reference, "patients": found.patients}
    low, high = _ends(found.ci95)
    left_low, left_high = _ends(found.left_out)
    values = (
        found.reference, found.mae_difference, low, high, found.verdict, found.patients, left_low, left_high,
        found.flips,
    )  # fmt: skip
    return dict(zip(DIFFERENCE, values, strict=True))


def costs(summary: Summary) -> pd.DataFrame:
    """A row an arm: what was trained, on how many seeds, and what it cost."""
    rows = [
        {
            **_who(arm), "trains": arm.trains, "seeds": len(arm.seeds),
            "best_step": ", ".join(f"{step:,}" for step in arm.best_step if step is not None),
            "precision": arm.precision, **_sizes(arm), **dict(arm.costs),
        }
        for arm in summary.arms
    ]  # fmt: skip
    return _whole(pd.DataFrame(rows), "trainable_parameters", "total_parameters", *_BYTES)


def comparisons(summary: Summary) -> pd.DataFrame:
    """A row an arm, signal and comparison that has a difference; `reference_parameters` is what the other trains."""
    trained = {arm.arm: arm.trainable_parameters for arm in summary.arms}
    rows = [
        {
            **_who(arm), "signal": signal, "against": name, **_difference(found),
            "windows": arm.scores[signal].n_windows,
            "trainable_parameters": arm.trainable_parameters, "reference_parameters": trained.get(found.reference),
        }
        for signal in scored_signals(summary)
        for arm in summary.arms
        for name, entries in comparisons_of(arm).items()
        if (found := entries.get(signal)) is not None and found.mae_difference is not None
    ]  # fmt: skip
    columns = (
        "arm", "model", "family", "kind", "method", "signal", "against", *DIFFERENCE, "windows",
        "trainable_parameters", "reference_parameters",
    )  # fmt: skip
    return _whole(pd.DataFrame(rows, columns=columns), "reference_parameters", "patients", "windows", "flips")


def missing(summary: Summary) -> pd.DataFrame:
    """A row a run that is not done: arm, seed, state, reason."""
    return pd.DataFrame([dict(run) for run in summary.missing], columns=("arm", "seed", "state", "reason"))


def attrition(summary: Summary) -> pd.DataFrame:
    """A row a step from the source to the windows: what is left, what it dropped, and the rows left of each signal."""
    signals = tuple(summary.data.signals)
    columns = ["step", *LEFT, *(f"dropped_{name}" for name in LEFT), *(f"rows_{name}" for name in signals)]
    rows = []
    for step in (*summary.data.attrition, *_window_steps(summary.windows.attrition)):
        left = step.get("signals")
        rows.append(step | {f"rows_{name}": left.get(name) if left else None for name in signals})
    return _whole(pd.DataFrame(rows).reindex(columns=columns), *columns[1:])


def _window_steps(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """The cutting of windows as attrition steps, from the counts that the window store keeps."""
    if not counts:
        return []
    short, sparse, unseen = (counts[key] for key in ("series_too_short", "context_too_sparse", "target_too_sparse"))
    long_enough, begun = counts["series"] - short, counts["windows"] - sparse
    return [
        {"step": "series at least as long as a window", "series": long_enough, "dropped_series": short},
        {"step": "windows with enough observed in the context", "windows": begun, "dropped_windows": sparse},
        {"step": "windows with enough observed in the horizon", "windows": begun - unseen, "dropped_windows": unseen},
    ]


def steps(summary: Summary) -> pd.DataFrame:
    """A row a signal, arm and step of the horizon: how far ahead, and the scores there."""
    rows = [
        {
            "signal": signal, "arm": arm.arm, "step": place + 1,
            "seconds_ahead": (place + 1) * summary.windows.step_seconds,
            **{name: values[place] for name, values in scores.by_step.items() if name in STEP_SCORES},
        }
        for signal in scored_signals(summary)
        for arm in summary.arms
        if (scores := arm.scores.get(signal)) is not None and scores.by_step
        for place in range(len(scores.by_step["mae"]))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=("signal", "arm", "step", "seconds_ahead", *STEP_SCORES))


def checks(summary: Summary) -> pd.DataFrame:
    """A row a finding of a check; a check that found nothing has one row of its own."""
    columns = ("code", "outcome", "arm", "signal", "value", "of", "reference", "verdict")
    rows = [
        {"code": check.code, "outcome": check.outcome, **found}
        for check in summary.checks
        for found in [dict(finding) for finding in check.findings] or [{}]
    ]
    return pd.DataFrame(rows, columns=columns)


def ranks(sweep: RankSweep) -> pd.DataFrame:
    """A row a signal and rank, ascending; zero-shot before them and full fine-tuning behind, without a rank."""
    rows = []
    for signal in signals_in(sweep):
        own = sorted((row for row in sweep.rows if row.signal == signal), key=lambda row: row.rank)
        before, behind = ({"zero-shot": sweep.zero_shot.get(signal)}, {"full": sweep.full.get(signal)})
        for method, row in (*before.items(), *((sweep.method, row) for row in own), *behind.items()):
            if row is not None:
                rows.append(_rank(sweep, method, signal, own[0].metric, row))
    return _whole(pd.DataFrame(rows), "rank", "trainable_parameters", "overfit_seeds", "threshold", "best_rank")


def _rank(sweep: RankSweep, method: str, signal: str, metric: str, row: RankRow | Beside) -> dict[str, Any]:
    ranked = row if isinstance(row, RankRow) else None
    threshold = sweep.thresholds.get(signal)
    return {
        "model": sweep.model, "method": method, "signal": signal, "metric": metric,
        "rank": ranked.rank if ranked else None, "trainable_parameters": row.trainable_parameters,
        **_measured("validation", row.validation), **_measured("test", row.test),
        **_measured("difference", ranked.difference if ranked else Measured()),
        "worse_than_best_rank": ranked.worse if ranked else None,
        "within_margin": ranked.enough if ranked else None,
        "overfit": ranked.overfit.flagged if ranked else None, "overfit_gap": ranked.overfit.gap if ranked else None,
        "overfit_seeds": ranked.overfit.seeds if ranked else None, "train_seconds": row.train_seconds,
        "threshold": threshold.rank if threshold else None, "best_rank": threshold.best_rank if threshold else None,
    }  # fmt: skip


def _measured(name: str, found: Measured) -> dict[str, Any]:
    low, high = _ends(found.ci95)
    return {name: found.value, f"{name}_low": low, f"{name}_high": high}


def signals_in(sweep: RankSweep) -> list[str]:
    """The signals of a sweep, all of them together first."""
    return sorted(dict.fromkeys(row.signal for row in sweep.rows), key=lambda name: name != ALL)


def thresholds(sweep: RankSweep) -> pd.DataFrame:
    """A row a signal: the smallest rank that suffices, by all seeds and by each, and its error on the test patients."""
    tests = {(row.signal, row.rank): (row.metric, row.test) for row in sweep.rows}
    rows = []
    for signal, found in sweep.thresholds.items():
        metric, test = tests[signal, found.rank]
        rows.append({
            "signal": signal, "metric": metric, "best_rank": found.best_rank, "rank": found.rank,
            "by_seed": ", ".join(map(str, found.by_seed)), **_measured("test", test),
            **_measured("test_difference", found.test_difference),
            **_measured("vs_zero_shot", found.vs_zero_shot or Measured()),
        })  # fmt: skip
    return pd.DataFrame(rows)


def series(sweep: RankSweep) -> pd.DataFrame:
    """A row a signal: what its training series are like, beside its threshold."""
    rows = []
    for signal, properties in sweep.series.items():
        threshold = sweep.thresholds.get(signal)
        rows.append({"signal": signal, **properties, "threshold": threshold.rank if threshold else None})
    return _whole(pd.DataFrame(rows), "threshold")


def relation(found: Relation) -> pd.DataFrame:
    """A row a signal of a sweep: its threshold beside the properties of its series."""
    rows = [{**dict(row), **row.properties} for row in found.rows]
    return pd.DataFrame(rows).drop(columns="properties", errors="ignore")


def bench(result: Mapping[str, Any]) -> pd.DataFrame:
    """A row a model and method of a bench: a training step, a window's forecast, memory, bytes, energy."""
    rows = []
    for row in result["rows"]:
        done = row["status"] == "done"
        step = row["step_seconds"] if done else None  # zero-shot has no step
        rows.append({
            "model": row["backbone"], "method": row["method"], "status": row["status"],
            "reason": None if done else row["reason"],
            "trainable_parameters": row["trainable_parameters"] if done else None,
            **{f"step_seconds{ending}": step[key] if step else None for key, ending in _STEP.items()},
            "forecast_seconds_per_window": row["forecast_milliseconds_per_window"] / 1000 if done else None,
            **{key: row[key] if done else None for key in (*_BYTES, "adapter_bytes", "energy_joules_per_step")},
        })  # fmt: skip
    return _whole(pd.DataFrame(rows), "trainable_parameters", *_BYTES)


_STEP = {"median": "", "low": "_low", "high": "_high"}
TIMES = ("step_seconds", "forecast_seconds_per_window")


def benches(results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The benches of several machines by letter: a row a model and method, times of each and their ratio to the first.

    Memory is that of the GPU where there is one, because that is what runs out first.
    """
    letters = list(results)
    tables = {letter: bench(result).set_index(["model", "method"]) for letter, result in results.items()}
    keys = list(dict.fromkeys(key for table in tables.values() for key in table.index))
    wide = pd.DataFrame(keys, columns=["model", "method"])
    for letter, table in tables.items():
        own = table.reindex(pd.MultiIndex.from_tuples(keys)).reset_index(drop=True)
        wide[f"status_{letter}"] = own["status"]
        for name in TIMES:
            wide[f"{name}_{letter}"] = own[name]
            if letter != letters[0]:
                wide[f"{name}_{letter}/{letters[0]}"] = own[name] / wide[f"{name}_{letters[0]}"]
        wide[f"memory_bytes_{letter}"] = own[_BYTES[1]].fillna(own[_BYTES[0]])
    return wide


def _whole(frame: pd.DataFrame, *counts: str) -> pd.DataFrame:
    """The frame with its counts as whole numbers, missing ones too, and not as floats."""
    return frame.astype({name: "Int64" for name in counts if name in frame.columns})
