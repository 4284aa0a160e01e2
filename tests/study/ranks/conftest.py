"""A finished sweep without training: runs whose errors are made up, on windows that are real."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loracast.data.schema import signal_named
from loracast.data.split import split_patients
from loracast.data.table import Table, patients_of
from loracast.data.windows import Windows, WindowSet, cut_windows
from loracast.scoring.cells import score_cells
from loracast.scoring.sums import Sums
from loracast.spec import SplitSpec, WindowSpec
from loracast.study.summary import EXPERIMENT, Claim, Costs, Learning, RunResult, write_facts
from loracast.types import LEVELS, Forecast
from tests.conftest import cohort, write_long

Shifts = dict[str, float]
"""How far a forecast lies from the truth, a side of the split."""
CURVE = Learning(
    train=[{"step": 10 * i, "loss": 2 - 0.1 * i} for i in range(1, 11)],
    validation=[{"step": 50 * i, "loss": 1.5 - 0.3 * i} for i in range(3)],
    best_step=100,
    steps=100,
    micro_batch=None,
    accumulation=1,
)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Forty patients, enough for a threshold."""
    return write_long(tmp_path_factory.mktemp("many") / "many.parquet", cohort(40))


def sums_of(windows: WindowSet, shift: float, noise: float, seed: int) -> Sums:
    """Forecasts that miss by `shift`, a little more or less by chance."""
    found, rng = Sums(), np.random.default_rng(seed)
    signals = {name: signal_named(name, windows.units) for name in windows.signals}
    for rows in windows.batches(4096):
        context, future = windows.batch(rows)
        point = np.nan_to_num(future, nan=80) + shift + noise * np.abs(rng.normal(size=future.shape))
        forecast = Forecast(np.repeat(point[..., None], len(LEVELS), axis=-1))
        patient, signal = windows.patient[rows], windows.signal[rows]
        found.add(score_cells(future, forecast, context, patient=patient, signal=signal, signals=signals))
    return found


def write_run(folder: Path, windows: Windows, result: RunResult, shifts: Shifts, *, seed: int) -> None:
    """Write what a run keeps and a sweep reads."""
    folder.mkdir(parents=True)
    for side, file in (("validation", "validation.parquet"), ("test", "cells.parquet")):
        sums_of(windows.side(side), shifts[side], 0.3, seed).to_parquet(folder / file)
    write_facts(CURVE, folder / "learning.json")
    write_facts(result, folder / "result.json")


def result_of(method: str, seed: int, trained: int, **settings: Any) -> RunResult:
    """The result of a run of the model "tiny"."""
    rank = f" r={settings['rank']}" if "rank" in settings else ""
    return RunResult(
        arm=f"tiny {method}{rank}",
        model="tiny",
        family="chronos-t5",
        kind="pretrained",
        method=method,
        settings={"model": "tiny", "method": method, **settings},
        licence=None,
        trainable_parameters=trained,
        total_parameters=9000,
        run_id="made-up",
        seed=seed,
        revision=None,
        base_sha256=None,
        best_step=100 if trained else None,
        costs=Costs(train_seconds=2.0 if trained else None),
        data={},
        windows={},
        forecast={},
        hardware={},
        versions={},
        scores={},
    )


@pytest.fixture
def made_up(many: Table, tmp_path: Path) -> Callable[..., Path]:
    """Write a finished sweep: `ranks` maps a rank to its shifts, or to one for both sides."""

    def write(
        ranks: dict[int, float | Shifts],
        *,
        zero_shot: float = 9.0,
        seeds: int = 2,
        full: float | None = 3.0,
        chance: bool = False,
    ) -> Path:
        out = tmp_path / "sweep"
        sides = split_patients(patients_of(many), SplitSpec(shares=(0.5, 0.25, 0.25)))
        windows = cut_windows(many, sides, WindowSpec(context=24, horizon=6), out / "data" / "windows")
        planned = []
        for rank, shift in ranks.items():
            shifts = shift if isinstance(shift, dict) else {"validation": shift, "test": shift}
            for seed in range(seeds):
                result = result_of("lora", seed, 100 * rank, rank=rank, alpha=16.0)
                # Without `chance` ranks differ by their shifts alone.
                drawn = 100 * rank + seed if chance else seed
                write_run(out / "runs" / f"lora-r-{rank}-s{seed}", windows, result, shifts, seed=drawn)
                planned.append({"arm": result.arm, "seed": seed, "folder": f"lora-r-{rank}-s{seed}"})
        beside = {"zero-shot": (zero_shot, 1), **({} if full is None else {"full": (full, seeds)})}
        for method, (shift, count) in beside.items():
            for seed in range(count):
                result = result_of(method, seed, 0 if method == "zero-shot" else 5000)
                shifts = {"validation": shift, "test": shift}
                write_run(out / "runs" / f"{method}-s{seed}", windows, result, shifts, seed=seed)
        write_facts(Claim(name="made-up", digest="0" * 16, spec={}, runs=planned), out / EXPERIMENT)
        return out

    return write
