"""A finished sweep without training: runs whose errors are made up, on windows that are real."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loracast.data.split import split_patients
from loracast.data.table import patients_of
from loracast.data.windows import Windows, WindowSet, cut_windows
from loracast.scoring.sums import Statistics, score_cells
from loracast.spec import SplitSpec, WindowSpec
from loracast.study.run import signals_of
from loracast.types import LEVELS, Forecast, Table
from tests.conftest import cohort, write_long

Shifts = dict[str, float]
"""How far a forecast lies from the truth, a side of the split."""
CURVE = {
    "train": [{"step": 10 * i, "loss": 2 - 0.1 * i} for i in range(1, 11)],
    "validation": [{"step": 50 * i, "loss": 1.5 - 0.3 * i} for i in range(3)],
    "best_step": 100,
}


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Forty patients, enough for a threshold."""
    return write_long(tmp_path_factory.mktemp("many") / "many.parquet", cohort(40))


def statistics(windows: WindowSet, shift: float, noise: float, seed: int) -> Statistics:
    """Forecasts that miss by `shift`, a little more or less by chance."""
    found, rng = Statistics(), np.random.default_rng(seed)
    for rows in windows.batches(4096):
        context, future = windows.batch(rows)
        point = np.nan_to_num(future, nan=80) + shift + noise * np.abs(rng.normal(size=future.shape))
        quantiles = np.repeat(point[..., None], len(LEVELS), axis=-1)
        patient, signal = windows.patient[rows], windows.signal[rows]
        found.add(
            score_cells(
                future, Forecast(quantiles), context, patient=patient, signal=signal, signals=signals_of(windows)
            )
        )
    return found


def write_run(
    folder: Path, windows: Windows, facts: dict[str, Any], shifts: Shifts, *, noise: float = 0.3, seed: int
) -> None:
    """Write what a run keeps and a sweep reads."""
    folder.mkdir(parents=True)
    for side, file in (("validation", "validation.parquet"), ("test", "cells.parquet")):
        statistics(windows.side(side), shifts[side], noise, seed).to_parquet(folder / file)
    (folder / "learning.json").write_text(json.dumps(CURVE))
    (folder / "result.json").write_text(json.dumps({"train_seconds": 2.0, "backbone": "tiny", **facts}))


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
                facts = {
                    "arm": f"tiny lora r={rank}",
                    "method": "lora",
                    "settings": {"rank": rank, "alpha": 16.0},
                    "trainable_parameters": 100 * rank,
                    "seed": seed,
                }
                # Without `chance` ranks differ by their shifts alone.
                drawn = 100 * rank + seed if chance else seed
                write_run(out / "runs" / f"lora-r-{rank}-s{seed}", windows, facts, shifts, seed=drawn)
                planned.append({"arm": facts["arm"], "seed": seed, "folder": f"lora-r-{rank}-s{seed}"})
        beside = {"zero-shot": (zero_shot, 1), **({} if full is None else {"full": (full, seeds)})}
        for method, (shift, count) in beside.items():
            for seed in range(count):
                facts = {"arm": f"tiny {method}", "method": method, "settings": {"rank": None}, "seed": seed}
                facts["trainable_parameters"] = 0 if method == "zero-shot" else 5000
                shifts = {"validation": shift, "test": shift}
                write_run(out / "runs" / f"{method}-s{seed}", windows, facts, shifts, seed=seed)
        (out / "experiment.json").write_text(json.dumps({"name": "made-up", "runs": planned}))
        return out

    return write
