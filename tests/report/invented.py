"""Results folders whose series, forecasts and costs are invented, and all that follows from these is not.

The table, the windows, the sums, the summary with its checks and choices, the examples and the rank sweep are made by
the code that makes those of an experiment. What a backbone would have forecast is a way from the last value to where a
series goes on average, moved away from there by as much as its error is to be larger; where a context ends in a value
that cannot be, it goes astray, as real ones do.
"""

import atexit
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from loracast.data.attrition import Attrition, Note, write_attrition
from loracast.data.schema import SIGNALS as KNOWN
from loracast.data.schema import TableInfo, signal_named
from loracast.data.split import split_patients
from loracast.data.table import Table, patients_of
from loracast.data.windows import Windows, WindowSet, cut_windows
from loracast.models.registry import models
from loracast.scoring.cells import score_cells
from loracast.scoring.facts import Validated
from loracast.scoring.noticed import Noticed
from loracast.scoring.sums import Sums
from loracast.spec import SplitSpec, parse
from loracast.study.experiment import ExperimentSpec
from loracast.study.runs import Run, claim_of, facts_of_runs, runs_of
from loracast.study.summarise import summarise_experiment
from loracast.study.summary import (
    CELLS,
    EXPERIMENT,
    FAILED,
    LEARNING,
    QUANTILES,
    RESULT,
    SUMMARY,
    VALIDATION,
    Costs,
    Failure,
    Learning,
    Missing,
    RunResult,
    Summary,
    write_facts,
)
from loracast.types import Forecast
from tests.conftest import write_long

PATIENT = "10006-secret"
"""How the identifiers of patients begin, in files that the report must not quote."""
HARDWARE = {"system": "Linux", "machine": "x86_64", "cores": 16, "torch_threads": 8, "gpu": "Example GPU"}
VERSIONS = {"python": "3.11.7", "loracast": "0.3.0", "torch": "2.13.0", "peft": "0.21.2"}
STEP = 300
LEVEL = {"heart_rate": 84.0, "map": 76.0, "resp_rate": 19.0}
SPREAD = {"heart_rate": 6.2, "map": 7.4, "resp_rate": 3.1}
"""Standard deviation of a series about its level."""
MEMORY = 0.9
"""What part of a step's distance from the level is left at the next one."""
FAR = 8
"""By how many standard deviations a context's last value must be off for a backbone to go astray."""
NORMAL = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816])
SIDES = SplitSpec(shares=(0.4, 0.2, 0.4))
PATIENTS = 60
PARAMETERS = {"chronos-t5-nano": 3_452_160, "moirai-nano": 1_204_224, "lag-llama-nano": 812_544}
DRAWING = ("chronos-t5", "lag-llama")


class Guess(NamedTuple):
    """What is invented of an arm: the share of all numbers that it trains, and how its forecasts miss."""

    trained: float
    error: float
    """Its error over that of zero-shot."""
    narrow: float = 1.0
    """By what its intervals are too narrow."""
    rise: float = 0.00004
    """By how much its validation loss rises a step."""


@dataclass(frozen=True)
class Asked:
    """An experiment to invent."""

    name: str
    signals: tuple[str, ...]
    windows: Mapping[str, int]
    arms: Sequence[Mapping[str, Any]]
    guesses: Mapping[str, Guess]
    """By the name of the arm."""
    seeds: tuple[int, ...]
    simulated: bool = True
    baselines: tuple[str, ...] = ()
    samples: int = 100
    artefact: bool = False
    """Whether one test patient has a value that cannot be where a context ends, and the series of another patient."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Arms whose first run failed, and why."""
    waiting: frozenset[str] = frozenset()
    """Arms whose last run was not begun."""
    validation_scores: bool = False


class Made(NamedTuple):
    """An experiment as it stands in `folder`."""

    folder: Path
    spec: ExperimentSpec
    summary: Summary


_ROOM = Path(tempfile.mkdtemp(prefix="loracast-report-"))
atexit.register(shutil.rmtree, _ROOM, ignore_errors=True)


def made(asked: Asked) -> Made:
    """Invent the experiment, and sum it up as a real one."""
    out = Path(tempfile.mkdtemp(dir=_ROOM))
    table = _table(asked, out / "data" / "vitals.parquet")
    content = {
        "name": asked.name,
        "seeds": asked.seeds,
        "data": {"source": "table", "path": str(table.path)},
        "windows": dict(asked.windows),
        "split": SIDES.model_dump(),
        "training": {"steps": 400, "learning_rate": 0.001},
        "forecast": {"samples": asked.samples},
        "arms": [dict(arm) for arm in asked.arms],
        "baselines": asked.baselines,
        "validation_scores": asked.validation_scores,
    }
    spec = parse(ExperimentSpec, content, "The experiment")
    windows = cut_windows(table, split_patients(patients_of(table), spec.split), spec.windows, out / "data" / "windows")
    runs = runs_of(spec, out)
    write_facts(claim_of(spec, out), out / EXPERIMENT)
    for run in runs:
        if run.name in asked.failed and run.seed == asked.seeds[0]:
            write_facts(Failure(error=asked.failed[run.name]), _begun(run) / FAILED)
        elif run.name not in asked.waiting or run.seed != asked.seeds[-1]:
            _perform(run, spec, windows, asked)
    missing = [run for run in runs if run.state() != "done"]
    left_out = {run.name for run in missing}
    summary = summarise_experiment(
        spec,
        table,
        windows,
        [run for run in runs if run.name not in left_out],
        command=None,
        missing=[
            Missing(arm=fact["arm"], seed=fact["seed"], state=fact["state"], reason=fact["reason"])
            for fact in facts_of_runs(missing)
        ],
    )
    write_facts(summary, out / SUMMARY)
    return Made(out, spec, summary)


def _begun(run: Run) -> Path:
    run.folder.mkdir(parents=True)
    return run.folder


def _table(asked: Asked, path: Path) -> Table:
    """Series that wander about a level of their patient's own, with gaps, some short; and what was dropped before."""
    chance = np.random.default_rng(7)
    length = asked.windows["context"] + asked.windows["horizon"]
    named = [f"{PATIENT}{number:02d}" for number in range(PATIENTS)]
    rows = {
        (patient, f"stay-{patient}", signal): _series(chance, signal, length, short=number == 17)
        for number, patient in enumerate(named)
        for signal in asked.signals
    }
    if asked.artefact:
        sides = split_patients(named, SIDES)
        train, other, odd = (next(p for p in named if sides[p] == side and p != named[17]) for side in
                             ("train", "validation", "test"))  # fmt: skip
        for signal in asked.signals:
            rows[other, f"stay-{other}", signal] = list(rows[train, f"stay-{train}", signal])
        rows[odd, f"stay-{odd}", asked.signals[-1]][asked.windows["context"] - 1] = KNOWN[asked.signals[-1]].high
    info = TableInfo(
        source="simulated MIMIC-III tables, seed 7" if asked.simulated else "MIMIC-III v1.4",
        simulated=asked.simulated,
        grid_seconds=STEP,
        units={signal: KNOWN[signal].unit for signal in asked.signals},
        licence="CC0-1.0" if asked.simulated else "PhysioNet Credentialed Health Data License 1.5.0",
    )
    table = write_long(path, rows, step=STEP, info=info)
    write_attrition(_attrition(asked.signals), path)
    return table


def _series(chance: np.random.Generator, signal: str, length: int, *, short: bool) -> list[float | None]:
    steps = length // 2 if short else int(chance.integers(length + length // 2, 2 * length))
    level, spread = LEVEL[signal] * chance.uniform(0.9, 1.1), SPREAD[signal] * chance.uniform(0.7, 1.3)
    drift = np.sin(np.arange(steps) * 2 * np.pi / 240 + chance.uniform(0, 6))
    values = [chance.normal()]
    for noise in chance.normal(size=steps - 1) * math.sqrt(1 - MEMORY**2):
        values.append(MEMORY * values[-1] + noise)
    holes = chance.random(steps) < 0.08
    if steps > 60 and chance.random() < 0.3:  # a part where nothing was measured, longer than half a horizon
        first = int(chance.integers(steps // 2, steps - 30))
        holes[first : first + 24] = True
    holes[[0, -1]] = False
    return [
        None if hole else round(value, 2) for hole, value in zip(holes, level + spread * (values + drift), strict=True)
    ]


def _attrition(signals: Sequence[str]) -> Attrition:
    found = Attrition()
    for name, patients, stays, rows in (
        ("CHARTEVENTS rows of the chosen items", 240, 262, 1_204_311),
        ("adults (18 years or older)", 231, 252, 1_161_020),
        ("a look that dropped nothing", 231, 252, 1_161_020),
        ("outside the plausible range, or in a unit nobody could have meant", 231, 252, 1_121_990),
        ("stays of at least 12 h", 219, 236, 1_099_850),
    ):
        shares = {signal: rows // (place + 2) for place, signal in enumerate(signals)}
        found.add(name, patients=patients, stays=stays, rows=rows, signals=shares)
    found.notes.append(Note("temperature of 1 of 3 patients looks like °F.", "temperature", patients=1, rows=5))
    return found


def _perform(run: Run, spec: ExperimentSpec, windows: Windows, asked: Asked) -> None:
    """Write what a run leaves: its learning curve, its forecasts, their sums, and its result."""
    folder, family = _begun(run), models()[run.arm.model][0]
    guess = asked.guesses.get(run.name, Guess(0.0, 1.0))
    size = PARAMETERS.get(run.arm.model, round(guess.trained))
    trained = max(1, round(guess.trained * (size if run.arm.model in PARAMETERS else 1))) if guess.trained else 0
    learning = learnt(run.arm.method.name, run.seed, guess.rise) if trained else None
    noticed = Noticed({name: signal_named(name, windows.test.units) for name in windows.test.signals})
    quantiles = forecast_of(run, windows.test, guess)
    sums = _sums(windows.test, quantiles)
    sums.to_parquet(folder / CELLS)
    np.save(folder / QUANTILES, quantiles)
    if spec.validation_scores:
        _sums(windows.validation, forecast_of(run, windows.validation, guess)).to_parquet(folder / VALIDATION)
    tokens = None
    if family.name == "chronos-t5":  # 4,094 bins from -15 to 15 times the mean of a context
        tokens = np.nanmean(np.abs(windows.test.batch(slice(None))[0]), axis=1) * 30 / 4094
    noticed.add(windows.test.batch(slice(None))[0], quantiles, windows.test.signal, tokens)
    if learning is not None:
        write_facts(learning, folder / LEARNING)
    known = {key: windows.meta[key] for key in ("source", "simulated", "table_fingerprint", "split_fingerprint")}
    result = RunResult(
        arm=run.name,
        model=run.arm.model,
        family=family.name,
        kind=family.kind,
        method=run.arm.method.name,
        settings=run.arm.as_json(),
        licence=models()[run.arm.model][1].licence,
        trainable_parameters=trained,
        total_parameters=size,
        train_patients=windows.count_patients()["train"] if trained else None,
        run_id=run.run_id(spec, windows),
        seed=run.seed,
        revision=None,
        base_sha256="ab" * 32 if family.kind == "pretrained" else None,
        best_step=None if learning is None else learning.best_step,
        validated=None if learning is None else Validated(
            patients=windows.count_patients()["validation"],
            windows=len(windows.validation),
            steps=[int(entry["step"]) for entry in learning.validation],
        ),
        micro_batch=None if learning is None else learning.micro_batch,
        accumulation=None if learning is None else learning.accumulation,
        costs=_costs(family.kind, trained, len(windows.test)),
        data=known | {"path": PATIENT},  # no run says this: that it is in no page shows that none quotes it
        windows={key: windows.meta[key] for key in ("context", "horizon", "stride", "season", "joint", "counts")},
        forecast=spec.forecast.model_dump(mode="json"),
        hardware=HARDWARE,
        versions=VERSIONS,
        scores={},  # a summary is made of the sums
        samples=spec.forecast.samples if family.name in DRAWING else None,
        forecasts=noticed.facts(),
    )  # fmt: skip
    write_facts(result, folder / RESULT)


def forecast_of(run: Run, windows: WindowSet, guess: Guess) -> np.ndarray:
    """Quantiles of shape (window, horizon, level): those of the naive floor from the context, the others invented."""
    context, future = windows.batch(slice(None))
    steps = np.arange(1, windows.horizon + 1)
    spread = np.array([SPREAD[name] for name in windows.signals])[windows.signal]
    last = _last(context)
    width = np.sqrt(1 - MEMORY ** (2 * steps))
    if run.arm.model == "last-value":
        point, wide = np.repeat(last[:, None], len(steps), axis=1), spread[:, None] * width * 1.2
    elif run.arm.model == "context-mean":
        point, wide = np.repeat(np.nanmean(context, axis=1)[:, None], len(steps), axis=1), spread[:, None] * width**0
    elif run.arm.model == "seasonal-naive":
        season = context[:, -windows.season :][:, (steps - 1) % windows.season]
        point, wide = np.where(np.isnan(season), last[:, None], season), spread[:, None] * width**0 * 1.3
    else:
        level = np.nanmean(future, axis=1)
        known = level[:, None] + (last - level)[:, None] * MEMORY**steps
        astray = (last - np.nanmedian(context, axis=1)) / spread > FAR
        # One distance a window, the same for all arms but for a little of their own, which seeds share in part.
        away = np.random.default_rng(1).normal(size=len(context))
        own = np.random.default_rng([*run.name.encode()]).normal(size=len(context))
        by_seed = np.random.default_rng([run.seed, *run.name.encode()]).normal(size=len(context))
        less = (guess.error - 1) * np.array([1.3, 0.8, 0.0])[windows.signal]
        miss = np.sqrt(np.maximum(0, 1.55 * (1 + less) ** 2 - 1)) * (away + 0.03 * own + 0.03 * by_seed)
        point = known + (0.9 * spread * miss)[:, None] * width
        if "pretrained" in run.arm.method.kinds:
            point[astray] = 6 * (1 + less[astray, None]) * last[astray, None]
        wide = 1.2 * spread[:, None] * width * guess.narrow
    quantiles = point[:, :, None] + wide[:, :, None] * NORMAL
    return quantiles.astype(np.float32)


def _last(context: np.ndarray) -> np.ndarray:
    """The last observed value of each context."""
    place = context.shape[1] - 1 - np.argmax(~np.isnan(context[:, ::-1]), axis=1)
    return np.asarray(context[np.arange(len(context)), place])


def _sums(windows: WindowSet, quantiles: np.ndarray) -> Sums:
    context, future = windows.batch(slice(None))
    facts = {name: signal_named(name, windows.units) for name in windows.signals}
    sums = Sums()
    sums.add(
        score_cells(future, Forecast(quantiles), context, patient=windows.patient, signal=windows.signal, signals=facts)
    )
    return sums


def _costs(kind: str, trained: int, windows: int) -> Costs:
    seconds = 0.03 if kind in ("naive", "statistical") else 14.2
    if not trained:
        return Costs(
            forecast_seconds=seconds,
            forecast_milliseconds_per_window=1000 * seconds / windows,
            peak_memory_bytes=1_213_000_000,
        )
    return Costs(
        train_seconds=20 + 9 * math.log10(trained),
        train_steps=400,
        seconds_per_step=0.08 + 0.03 * math.log10(trained),
        energy_joules=1800.0,
        forecast_seconds=seconds,
        forecast_milliseconds_per_window=1000 * seconds / windows,
        adapter_bytes=4 * trained + 900,
        peak_memory_bytes=1_213_000_000,
        peak_gpu_memory_bytes=2_100_000_000,
    )


def learnt(method: str, seed: int, rise: float) -> Learning:
    """A learning curve: training falls on, validation rises by `rise` a step once it has fallen."""
    chance = np.random.default_rng(seed)
    floor, speed = (2.62, 90) if method == "lora" else (2.55, 40)

    def loss(step: int, slope: float, noise: float) -> float:
        return floor + slope * step + 0.4 * math.exp(-step / speed) + float(chance.normal(0, noise))

    validation = [{"step": step, "loss": loss(step, rise, 0.006) + 0.06} for step in range(0, 401, 50)]
    return Learning(
        train=[{"step": step, "loss": loss(step, -0.0002, 0.005)} for step in range(10, 401, 10)],
        validation=validation,
        best_step=min(validation, key=lambda point: point["loss"])["step"],
        steps=400,
        micro_batch=None,
        accumulation=1,
    )
