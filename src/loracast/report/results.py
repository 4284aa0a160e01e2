"""A results folder, read: the summary, and of each run its learning curve and its example forecasts."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loracast.errors import ConfigError
from loracast.files import read_json

Summary = dict[str, Any]
Arm = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One arm with one seed, as far as the report needs it."""

    arm: str
    seed: int
    result: dict[str, Any]
    learning: dict[str, Any] | None
    examples: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Results:
    """Everything the report is made from; nothing else is read."""

    summary: Summary
    experiment: dict[str, Any]
    runs: tuple[Run, ...]
    attrition: tuple[dict[str, Any], ...]
    sweep: dict[str, Any] = field(default_factory=dict)
    """The rank sweep, empty where the folder holds none."""

    def runs_of(self, arm: str) -> tuple[Run, ...]:
        """The runs of one arm, by seed."""
        return tuple(run for run in self.runs if run.arm == arm)


def read_results(folder: Path) -> Results:
    """Read a results folder.

    Raises ConfigError where the folder is missing, holds no `summary.json`, or a file in it is not what it should be.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(
            f"there is no folder {str(folder)!r}. Give the folder an experiment wrote, or make one: "
            "`loracast run EXPERIMENT.toml --out FOLDER`, or `loracast demo --out FOLDER`."
        )
    if not (folder / "summary.json").is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))[:12])
        raise ConfigError(
            f"{str(folder)!r} holds no summary.json, so there is nothing to report; it holds: {found or 'nothing'}. "
            "An experiment writes it once its last run is done: finish it with "
            "`loracast run EXPERIMENT.toml --out FOLDER --resume`."
        )
    summary = _object(folder / "summary.json")
    if not isinstance(summary.get("arms"), list) or not summary["arms"]:
        raise ConfigError(
            f"{str(folder / 'summary.json')!r} lists no arms, so there is nothing to report. "
            "Write it anew with `loracast run EXPERIMENT.toml --out FOLDER --resume`."
        )
    experiment, sweep = folder / "experiment.json", folder / "sweep.json"
    names = [arm["arm"] for arm in summary["arms"]]
    runs = [_run(path.parent) for path in sorted(folder.glob("runs/*/result.json"))]
    runs.sort(key=lambda run: (names.index(run.arm) if run.arm in names else len(names), run.seed))
    return Results(
        summary=summary,
        experiment=_object(experiment) if experiment.is_file() else {},
        runs=tuple(runs),
        attrition=_attrition(summary, folder),
        sweep=_object(sweep) if sweep.is_file() else {},
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{str(path)!r} is not whole JSON ({error}). Remove it and run the experiment again."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{str(path)!r} holds a {type(content).__name__} where a JSON object is needed.")
    return content


def _run(folder: Path) -> Run:
    result = _object(folder / "result.json")
    learning, examples = folder / "learning.json", folder / "examples.json"
    return Run(
        arm=str(result.get("arm", folder.name)),
        seed=int(result.get("seed") or 0),
        result=result,
        learning=_object(learning) if learning.is_file() else None,
        examples=tuple(read_json(examples)) if examples.is_file() else (),
    )


def _attrition(summary: Summary, folder: Path) -> tuple[dict[str, Any], ...]:
    recorded = (summary.get("data") or {}).get("attrition")
    beside = folder / "data" / "vitals.attrition.json"
    if not recorded and beside.is_file():
        recorded = _object(beside)
    return (
        *((recorded or {}).get("steps") or ()),
        *_window_steps((summary.get("windows") or {}).get("attrition") or {}),
    )


def _window_steps(counts: dict[str, int]) -> list[dict[str, Any]]:
    """The cutting of windows as attrition steps, from the counts that the window store keeps."""
    if not counts.get("series") or "windows" not in counts:
        return []
    short, sparse = counts.get("series_too_short", 0), counts.get("context_too_sparse", 0)
    unseen = counts.get("target_too_sparse", 0)
    long_enough = {"series": counts["series"] - short, "dropped_series": short}
    context = {"windows": counts["windows"] - sparse, "dropped_windows": sparse}
    target = {"windows": counts["windows"] - sparse - unseen, "dropped_windows": unseen}
    return [
        {"step": "series at least as long as a window", **long_enough},
        {"step": "windows with enough observed in the context", **context},
        {"step": "windows with enough observed in the horizon", **target},
    ]


def signals_of(summary: Summary) -> tuple[str, ...]:
    """The signals of the data, in its order, and then any that only the scores know."""
    named = dict.fromkeys((summary.get("data") or {}).get("signals") or {})
    for arm in summary["arms"]:
        named.update(dict.fromkeys(arm.get("scores") or {}))
    return tuple(named)


def scored_signals(summary: Summary) -> tuple[str, ...]:
    """The signals for which at least one arm has an error to show."""
    arms = summary["arms"]
    return tuple(name for name in signals_of(summary) if any(score(arm, name, "mae") is not None for arm in arms))


def label_of(summary: Summary, signal: str) -> str:
    """What people call a signal: `heart rate`."""
    known = ((summary.get("data") or {}).get("signals") or {}).get(signal) or {}
    return str(known.get("label") or signal.replace("_", " "))


def unit_of(summary: Summary, signal: str) -> str:
    """The unit as people write it behind a number: `mmHg`, `/min`; empty where it is not known."""
    known = ((summary.get("data") or {}).get("signals") or {}).get(signal) or {}
    return shown_unit(str(known.get("unit") or ""))


def shown_unit(unit: str) -> str:
    """`1/min` reads as `/min` behind a number."""
    return unit.removeprefix("1") if unit.startswith("1/") else unit


def score(arm: Arm, signal: str, name: str) -> float | None:
    """One score of an arm, or None where it does not exist."""
    value = ((arm.get("scores") or {}).get(signal) or {}).get(name)
    return float(value) if value is not None and np.isfinite(value) else None


def interval_of(arm: Arm, signal: str, name: str) -> tuple[float, float] | None:
    """The 95 % interval of a score, or None."""
    return bounds_of((((arm.get("scores") or {}).get(signal) or {}).get("ci95") or {}).get(name))


def by_step(arm: Arm, signal: str, name: str) -> np.ndarray | None:
    """A score for each step of the horizon, shape (horizon,), NaN where a step has none; None where not recorded."""
    values = (((arm.get("scores") or {}).get(signal) or {}).get("by_step") or {}).get(name)
    return None if not values else floats(values)


@dataclass(frozen=True)
class Difference:
    """The paired difference in MAE to another arm, `reference` where it is named: negative is better."""

    value: float | None
    bounds: tuple[float, float] | None
    verdict: str
    sentence: str
    reference: str = ""


def difference_of(arm: Arm, signal: str, against: str = "vs_zero_shot") -> Difference | None:
    """The difference of an arm on a signal to what `against` names; None for an arm itself or where not compared."""
    recorded = (arm.get(against) or {}).get(signal)
    itself = {"vs_zero_shot": "zero-shot", "vs_full": "full"}.get(against)
    if not recorded or arm.get("method") == itself or recorded.get("reference") == arm["arm"]:
        return None
    value = recorded.get("mae_difference")
    return Difference(
        value=None if value is None else float(value),
        bounds=bounds_of(recorded.get("ci95")),
        verdict=str(recorded.get("verdict") or ""),
        sentence=str(recorded.get("sentence") or ""),
        reference=str(recorded.get("reference") or ""),
    )


def bounds_of(recorded: Any) -> tuple[float, float] | None:
    """An interval from JSON, None where a bound is missing."""
    if not recorded or recorded[0] is None or recorded[1] is None:
        return None
    return float(recorded[0]), float(recorded[1])


def floats(values: Any) -> np.ndarray:
    """A JSON list, nested or not, as float64 with null as NaN."""
    return np.array(values, dtype=float)


def is_baseline(arm: Arm) -> bool:
    """Whether an arm is a forecast for which nothing was trained: naive, or a statistical model of each context."""
    return arm.get("method") == "baseline"


def is_trained(arm: Arm) -> bool:
    """Whether anything was trained for an arm."""
    return bool(arm.get("trainable_parameters"))


def is_simulated(summary: Summary) -> bool:
    """Whether the data are simulated, and must be labelled so wherever they appear."""
    return bool((summary.get("data") or {}).get("simulated"))


def source_of(summary: Summary) -> str:
    """The data in a few words, simulated data named as such."""
    source = str((summary.get("data") or {}).get("source") or "unnamed data")
    return f"{source} (SIMULATED DATA)" if is_simulated(summary) else source


def seeds_of(summary: Summary) -> tuple[int, ...]:
    """All seeds that any arm was run with."""
    return tuple(sorted({int(seed) for arm in summary["arms"] for seed in arm.get("seeds") or ()}))
