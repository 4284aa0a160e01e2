"""All runs of an experiment, laid side by side: `summary.json` and the examples that the report draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loracast.data.attrition import attrition_path
from loracast.data.readers.prepare import TABLE
from loracast.data.windows import Windows, WindowSet
from loracast.errors import ConfigError
from loracast.files import read_json, write_json
from loracast.models.naive import BASELINES
from loracast.scoring.checks import run_checks
from loracast.scoring.compare import Statistics, compare, compare_to_best, summarise
from loracast.spec import ExperimentSpec
from loracast.study.run import CELLS, QUANTILES, signals_of
from loracast.types import LEVELS

if TYPE_CHECKING:
    from loracast.study.runs import Run

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
    entries = [arm_entry(name, results[name], statistics, references_of(results[name][0], results)) for name in folders]
    return with_best(entries, statistics)


def references_of(first: Mapping[str, Any], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """The arms that an arm is held against: zero-shot and full fine-tuning of the same backbone on the same terms.

    Full fine-tuning at its usual learning rate: of several others none is more the reference than another.
    """
    found: dict[str, str] = {}
    if first["backbone"] is None:
        return found
    for name, others in results.items():
        for method, terms in (("zero-shot", ("context",)), ("full", ("context", "patients"))):
            asked = [{key: one["settings"].get(key) for key in terms} for one in (first, others[0])]
            same = others[0]["backbone"] == first["backbone"] and asked[0] == asked[1]
            same = same and others[0]["settings"].get("learning_rate") is None
            if same and others[0]["method"] == method:
                found.setdefault(method, name)
    return found


def with_best(
    entries: Sequence[dict[str, Any]], statistics: Mapping[str, Sequence[Statistics]]
) -> list[dict[str, Any]]:
    """The entries, each with its paired difference to the arm that errs least on a signal.

    The best is chosen on the same windows, which favours it: an arm that is not shown worse is so by right.
    """
    best: dict[str, str] = {}
    for signal in entries[0]["scores"]:
        scored = {e["arm"]: e["scores"][signal]["mae"] for e in entries if e["scores"][signal]["mae"] is not None}
        if scored:
            best[signal] = min(scored, key=lambda name: scored[name])
    compared = []
    for entry in entries:
        against = {
            name: compare(statistics[entry["arm"]], statistics[name], against=name) for name in set(best.values())
        }
        compared.append({**entry, "vs_best": {s: {"reference": name, **against[name][s]} for s, name in best.items()}})
    return compared


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
    name: str,
    results: Sequence[dict[str, Any]],
    statistics: Mapping[str, Sequence[Statistics]],
    references: Mapping[str, str],
) -> dict[str, Any]:
    """An arm's place in the summary; times are means and memory is the most over its seeds.

    `references` names its zero-shot and its full fine-tuning, where there are any.
    """
    first = results[0]

    def against(method: str) -> dict[str, Any] | None:
        other = references.get(method)
        # An arm is compared with its zero-shot even if it is that: the report tells it by the method.
        if other is None or (method == "full" and other == name):
            return None
        return compare(statistics[name], statistics[other], against=method.replace("full", "full fine-tuning"))

    return {
        "arm": name,
        **{key: first.get(key) for key in ("backbone", "method", "settings", "licence")},
        "hardware": _machines(results),
        "seeds": [result["seed"] for result in results],
        **{key: first.get(key) for key in ("trainable_parameters", "total_parameters", "train_patients")},
        **{key: _mean(results, key) for key in MEANS},
        **{key: max((r[key] for r in results if r.get(key) is not None), default=None) for key in MOST},
        "best_step": [result["best_step"] for result in results],
        "accumulation": first.get("accumulation"),
        "scores": summarise(statistics[name]),
        "vs_zero_shot": against("zero-shot"),
        "vs_full": against("full"),
        "vs_naive": None
        if name in BASELINES
        else compare_to_best(statistics[name], {floor: statistics[floor] for floor in BASELINES}),
    }


def _machines(results: Sequence[Mapping[str, Any]]) -> Any:
    """The machine that the runs ran on; a list where they ran on several."""
    found: list[Any] = []
    for result in results:
        if result.get("hardware") not in found:
            found.append(result.get("hardware"))
    return found[0] if len(found) == 1 else found


MEANS = (
    "train_seconds",
    "train_steps",
    "seconds_per_step",
    "energy_joules",
    "forecast_seconds",
    "forecast_milliseconds_per_window",
    "adapter_bytes",
)
MOST = ("peak_memory_bytes", "peak_gpu_memory_bytes")


def _mean(results: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The mean over the runs that know the number; None where none does."""
    known = [float(result[key]) for result in results if result.get(key) is not None]
    return float(np.mean(known)) if known else None


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
