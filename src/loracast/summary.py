"""All runs of an experiment, laid side by side: `summary.json` and the examples that the report draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loracast.baselines.naive import BASELINES
from loracast.checks import run_checks
from loracast.config import ExperimentSpec
from loracast.data.attrition import attrition_path
from loracast.data.prepare import TABLE
from loracast.data.windows import Windows, WindowSet
from loracast.errors import ConfigError
from loracast.evaluate import Statistics, compare, compare_to_best, summarise
from loracast.files import read_json, write_json
from loracast.run import CELLS, QUANTILES, signals_of
from loracast.series import LEVELS

if TYPE_CHECKING:
    from loracast.grid import Run

KINDS = {"best": 0.05, "typical": 0.5, "worst": 0.95}  # the quantile of the windows' errors that stands for each


def summarise_experiment(spec: ExperimentSpec, out: Path, windows: Windows, runs: Sequence["Run"]) -> dict[str, Any]:
    """The summary of an experiment whose runs are all done, with patient-bootstrap intervals and verdicts.

    Also writes each run's `examples.json`: the same windows for every arm.
    """
    arms = arms_of([(run.name, run.folder) for run in runs])
    _write_examples(windows.test, [run.folder for run in runs], _reference(runs))
    table = spec.data.path if spec.data.source == "table" else out / "data" / TABLE
    summary = {"name": spec.name, **facts_of(windows, table), "training": spec.training.model_dump(mode="json")}
    summary |= {"seeds": list(spec.seeds), "arms": arms}
    summary["checks"] = run_checks(summary, splits=windows.patients())
    return summary


def facts_of(windows: Windows, table: Path) -> dict[str, Any]:
    """What a summary says of the data and the windows; attrition is read from beside the table, if there."""
    meta = windows.meta
    attrition = attrition_path(table)
    return {
        "data": {
            "source": meta["source"],
            "simulated": meta["simulated"],
            "licence": meta["licence"],
            "fingerprint": meta["table_fingerprint"],
            "signals": {n: {"unit": s.unit, "label": s.label} for n, s in signals_of(windows.test).items()},
            "patients": windows.count_patients(),
            "grid_seconds": meta["step_seconds"],
            "attrition": read_json(attrition) if attrition.is_file() else {"steps": []},
        },
        "windows": {
            key: meta[key]
            for key in (
                "context",
                "horizon",
                "stride",
                "season",
                "step_seconds",
                "joint",
                "counts",
                "split_fingerprint",
            )
        }
        | {"attrition": meta["attrition"]},
    }


def arms_of(runs: Sequence[tuple[str, Path]]) -> list[dict[str, Any]]:
    """One entry an arm: its seeds together, its scores, and its difference to the zero-shot arm of its backbone."""
    folders: dict[str, list[Path]] = {}
    for name, folder in runs:
        folders.setdefault(name, []).append(folder)
    results = {name: [read_json(folder / "result.json") for folder in paths] for name, paths in folders.items()}
    _refuse_changed_weights([result for found in results.values() for result in found])
    statistics = {name: [Statistics.from_parquet(path / CELLS) for path in paths] for name, paths in folders.items()}
    zero_shot = {found[0]["backbone"]: n for n, found in results.items() if found[0]["method"] == "zero-shot"}
    return [arm_entry(name, results[name], statistics, zero_shot.get(results[name][0]["backbone"])) for name in folders]


def _refuse_changed_weights(results: Sequence[dict[str, Any]]) -> None:
    """Raise ConfigError where runs started from other weights of the same backbone: they cannot be compared."""
    bases = {(result["backbone"], result["base_sha256"]) for result in results if result["backbone"] is not None}
    names = [name for name, _ in bases]
    changed = sorted({name for name in names if names.count(name) > 1})
    if changed:
        raise ConfigError(
            f"The weights of {', '.join(changed)} have changed between the runs of this folder, so its arms cannot be "
            "compared. Run the experiment again with another --out."
        )


def arm_entry(
    name: str, results: Sequence[dict[str, Any]], statistics: dict[str, list[Statistics]], zero_shot: str | None
) -> dict[str, Any]:
    """An arm's place in the summary; times are means and memory is the most over its seeds."""
    first = results[0]
    return {
        "arm": name,
        "backbone": first["backbone"],
        "method": first["method"],
        "licence": first["licence"],
        "seeds": [result["seed"] for result in results],
        "trainable_parameters": first["trainable_parameters"],
        "total_parameters": first["total_parameters"],
        "train_seconds": float(np.mean([result["train_seconds"] for result in results])),
        "forecast_seconds": float(np.mean([result["forecast_seconds"] for result in results])),
        "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
        "best_step": [result["best_step"] for result in results],
        "scores": summarise(statistics[name]),
        "vs_zero_shot": None if zero_shot is None else compare(statistics[name], statistics[zero_shot]),
        "vs_naive": None
        if first["method"] == "baseline"
        else compare_to_best(statistics[name], {floor: statistics[floor] for floor in BASELINES}),
    }


def _reference(runs: Sequence["Run"]) -> Path:
    """The run whose errors choose the examples: the first adapted arm, else the first arm."""
    arms = [run for run in runs if run.arm is not None]
    adapted = [run for run in arms if run.arm is not None and run.arm.method != "zero-shot"]
    return (adapted or arms)[0].folder


def _write_examples(windows: WindowSet, folders: Sequence[Path], reference: Path) -> None:
    """Choose a best, a typical and a worst window of each signal by the reference run, and write them for every run."""
    chosen = choose_examples(windows, np.load(reference / QUANTILES, mmap_mode="r"))
    for folder in folders:
        quantiles = np.load(folder / QUANTILES, mmap_mode="r")
        last_value = np.load(folder.parent / next(iter(BASELINES)) / QUANTILES, mmap_mode="r")
        write_json(
            folder / "examples.json",
            [_example(windows, kind, row, quantiles[row], last_value[row]) for kind, row in chosen],
        )


def choose_examples(windows: WindowSet, quantiles: np.ndarray) -> list[tuple[str, int]]:
    """Kind and position of the example windows: per signal, patients at a low, middle and high mean absolute error."""
    errors = np.empty(len(windows))
    for rows in windows.batches(1024):
        future = windows.batch(rows)[1]
        errors[rows] = np.nanmean(np.abs(quantiles[rows, :, LEVELS.index(0.5)] - future), axis=1)
    chosen = []
    for code in range(len(windows.signals)):
        own = np.flatnonzero(windows.signal == code)
        ordered = own[np.argsort(errors[own], kind="stable")]
        for kind, quantile in KINDS.items():
            if len(ordered):
                chosen.append((kind, int(ordered[round(quantile * (len(ordered) - 1))])))
    return chosen


def _example(windows: WindowSet, kind: str, row: int, quantiles: np.ndarray, last_value: np.ndarray) -> dict[str, Any]:
    window, signal = windows[row], windows.signals[int(windows.signal[row])]
    return {
        "kind": kind,
        "signal": signal,
        "unit": signals_of(windows)[signal].unit,
        "step_seconds": windows.step_seconds,
        "context": _numbers(window["context"]),
        "future": _numbers(window["future"]),
        "levels": list(LEVELS),
        "quantiles": np.asarray(quantiles, dtype=float).tolist(),
        "last_value": _numbers(last_value[:, LEVELS.index(0.5)]),
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]
