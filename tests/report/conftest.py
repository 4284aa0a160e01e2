"""A small results folder in the documented formats, with numbers that look like those of a real experiment."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

PATIENT = "10006-secret"
"""A patient's identifier that stands in files the report must not quote."""

SIGNALS = {
    "heart_rate": ("heart rate", "1/min", 84.0, 6.2),
    "map": ("mean arterial pressure", "mmHg", 76.0, 7.4),
    "resp_rate": ("respiratory rate", "1/min", 19.0, 3.1),
}
BACKBONE = "chronos-t5-nano"
ARMS = (
    # arm, method, trained numbers, relative error
    ("last-value", "baseline", 0, 1.12),
    ("seasonal-naive", "baseline", 0, 1.41),
    ("context-mean", "baseline", 0, 1.18),
    (f"{BACKBONE} zero-shot", "zero-shot", 0, 1.0),
    (f"{BACKBONE} lora r=2", "lora", 12288, 0.94),
    (f"{BACKBONE} full", "full", 3_452_160, 0.97),
)
CONTEXT, HORIZON, STEP = 72, 36, 300
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
NORMAL = [-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def scores(signal: str, factor: float, spread: float) -> dict[str, Any]:
    error = SIGNALS[signal][3] * factor
    growth = [0.55 + 0.75 * math.sqrt((step + 1) / HORIZON) for step in range(HORIZON)]
    mean = sum(growth) / HORIZON
    return {
        "mae": error,
        "rmse": 1.34 * error,
        "bias": 0.11 * error * (1 if factor > 1 else -1),
        "mse_scaled": (1.34 * error / 300) ** 2,
        "mape": 118 * error / SIGNALS[signal][2],
        "dtw_scaled": 0.71 * error / 300,
        "mase": 0.91 * factor,
        "crps": 0.74 * error,
        "coverage_80": 0.80 - 0.11 * factor,
        "n_windows": 412,
        "n_cells": 13914,
        "n_patients": 24,
        "ci95": {"mae": [error * (1 - spread), error * (1 + 1.2 * spread)], "rmse": [1.2 * error, 1.5 * error]},
        "by_step": {
            "mae": [error * value / mean for value in growth],
            "rmse": [1.34 * error * value / mean for value in growth],
            "bias": [0.02 * step - 0.3 for step in range(HORIZON)],
            "coverage_80": [0.84 - 0.004 * step for step in range(HORIZON)],
        },
    }


def compared(signal: str, factor: float, place: int) -> dict[str, Any]:
    difference = SIGNALS[signal][3] * (factor - 1) * (1.3 - 0.5 * place)
    half = 0.14 + 0.05 * place
    verdict = "better" if difference + half < 0 else "worse" if difference - half > 0 else "no difference shown"
    return {
        "mae_difference": difference,
        "ci95": [difference - half, difference + half],
        "verdict": verdict,
        "sentence": f"{SIGNALS[signal][0]}: {verdict} ({difference:+.2f}, 95 % interval from {half:.2f} around it).",
    }


def example(signal: str, kind: str, factor: float, seed: int) -> dict[str, Any]:
    chance = random.Random(f"{signal}{kind}")
    _, unit, level, error = SIGNALS[signal]
    size = error * {"best": 0.4, "typical": 0.8, "worst": 1.6}[kind]
    values = [level]
    for _ in range(CONTEXT + HORIZON - 1):
        values.append(level + 0.95 * (values[-1] - level) + chance.gauss(0, 0.5 * size))
    context: list[float | None] = list(values[:CONTEXT])
    future: list[float | None] = list(values[CONTEXT:])
    for hole in chance.sample(range(8, CONTEXT - 8), 4):
        context[hole : hole + 3] = [None] * 3
    context[40:46] = [None, None, None, level, None, None]
    future[9:12] = [None] * 3
    last = values[CONTEXT - 1]
    quantiles = []
    for step in range(HORIZON):
        middle = (
            level + (last - level) * math.exp(-step / 30) + chance.gauss(0, 0.05 * error) + 6 * (factor - 0.94) * size
        )
        width = factor * size * (0.5 + 0.9 * math.sqrt((step + 1) / HORIZON)) * 1.1
        quantiles.append([middle + width * place for place in NORMAL])
    return {
        "kind": kind, "signal": signal, "unit": unit, "step_seconds": STEP, "context": context, "future": future,
        "levels": LEVELS, "quantiles": quantiles, "last_value": [last] * HORIZON,
    }  # fmt: skip


def learning(method: str, seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    floor, speed, rise, fall = (2.62, 90, 0.00004, 0.0) if method == "lora" else (2.55, 40, 0.0007, 0.0002)

    def loss(step: int, slope: float, noise: float) -> float:
        return floor + slope * step + 0.4 * math.exp(-step / speed) + chance.gauss(0, noise)

    train = [{"step": step, "loss": loss(step, -fall, 0.03)} for step in range(10, 401, 10)]
    validation = [{"step": step, "loss": loss(step, rise, 0.006) + 0.06} for step in range(0, 401, 40)]
    return {
        "train": train,
        "validation": validation,
        "best_step": min(validation, key=lambda point: point["loss"])["step"],
    }


def attrition() -> dict[str, Any]:
    rows = (
        ("CHARTEVENTS rows of the chosen items", 240, 262, 1_204_311, 0, 0, 0),
        ("adults (18 years or older)", 231, 252, 1_161_020, 43_291, 10, 9),
        ("explicit sepsis codes (995.91, 995.92, 785.52)", 226, 246, 1_140_777, 20_243, 6, 5),
        ("flagged as an error by the nurse, or without a number", 226, 246, 1_128_301, 12_476, 0, 0),
        (
            "outside the plausible range of the signal, or in a unit that nobody could have meant",
            226,
            246,
            1_121_990,
            6_311,
            0,
            0,
        ),
        ("stays of at least 12 h", 219, 236, 1_099_850, 22_140, 10, 7),
    )
    keys = ("patients", "stays", "rows", "dropped_rows", "dropped_stays", "dropped_patients")
    steps: list[dict[str, Any]] = [
        {
            "step": row[0],
            **dict(zip(keys, row[1:], strict=True)),
            "signals": {"heart_rate": row[3] // 2, "map": row[3] // 4},
        }
        for row in rows
    ]
    steps.append(
        {"step": "regular grid of 5 min", "patients": 219, "stays": 236, "rows": 810_222, "dropped_rows": None}
    )
    steps.append(
        {"step": "windows with enough observed cells", "patients": 217, "windows": 9_880, "dropped_windows": 1_412}
    )
    return {"steps": steps}


def arm_of(name: str, method: str, trained: int, factor: float, *, seeds: list[int]) -> dict[str, Any]:
    floor = method == "baseline"
    return {
        "arm": name,
        "backbone": None if floor else BACKBONE,
        "method": method,
        "seeds": seeds if trained else seeds[:1],
        "trainable_parameters": trained,
        "total_parameters": 0 if floor else 3_452_160 + (trained if method == "lora" else 0),
        "train_seconds": {"lora": 72.4, "full": 131.0}.get(method, 0.0),
        "forecast_seconds": 0.03 if floor else 14.2,
        "peak_memory_bytes": None if floor else 1_213_000_000,
        "best_step": [240 for _ in seeds] if trained else [],
        "scores": {signal: scores(signal, factor, 0.09) for signal in SIGNALS},
        "vs_zero_shot": {signal: compared(signal, factor, place) for place, signal in enumerate(SIGNALS)}
        if method != "zero-shot"
        else {},
    }


def summary_of(*, simulated: bool, seeds: list[int]) -> dict[str, Any]:
    return {
        "name": "sepsis-demo",
        "data": {
            "source": "simulated MIMIC-III tables, seed 7" if simulated else "MIMIC-III v1.4",
            "simulated": simulated,
            "signals": {name: {"unit": unit, "label": label} for name, (label, unit, _, _) in SIGNALS.items()},
            "licence": "CC0-1.0" if simulated else "PhysioNet Credentialed Health Data License 1.5.0",
            "patients": {"train": 174, "validation": 21, "test": 24},
            "grid_seconds": STEP,
            "attrition": attrition(),
        },
        "windows": {
            "context": CONTEXT, "horizon": HORIZON, "stride": 12, "step_seconds": STEP, "season": 288,
            "counts": {"train": 7801, "validation": 902, "test": 1236},
        },
        "checks": [
            {"code": "C01", "title": "no better than the naive forecast", "outcome": "passed", "reason": None},
            {"code": "C02", "title": "a patient on both sides of the split", "outcome": "passed", "reason": None},
            {"code": "C03", "title": "intervals that do not cover", "outcome": "warning",
             "reason": "the 80 % interval of chronos-t5-nano full covers 69.3 % of the observed heart rates."},
            {"code": "C04", "title": "the backbone has seen the test patients", "outcome": "not applicable",
             "reason": "the backbone was trained on synthetic series only."},
        ],
        "arms": [arm_of(*arm, seeds=seeds) for arm in ARMS],
    }  # fmt: skip


def results_folder(folder: Path, *, simulated: bool = True, seeds: tuple[int, ...] = (0, 1)) -> Path:
    """Write a whole results folder and return it."""
    summary = summary_of(simulated=simulated, seeds=list(seeds))
    write(folder / "summary.json", summary)
    write(folder / "experiment.json", {
        "name": "sepsis-demo", "digest": "0f3a9c51e2b47d68",
        "spec": {"windows": {"context": CONTEXT, "horizon": HORIZON}, "training": {"steps": 400, "rate": 0.001}},
    })  # fmt: skip
    write(folder / "data" / "vitals.attrition.json", attrition())
    for name, method, _, factor in ARMS:
        for seed in seeds if method in ("lora", "full") else seeds[:1]:
            run = folder / "runs" / f"{name.replace(' ', '-').replace('=', '')}-s{seed}"
            write(run / "result.json", {
                "run_id": f"{PATIENT}-run", "arm": name, "method": method, "seed": seed, "patients": [PATIENT],
                "data": {"fingerprint": "ab" * 32, "split_fingerprint": "cd" * 8},
                "versions": {"python": "3.11.7", "loracast": "0.1.0", "torch": "2.13.0", "peft": "0.21.2"},
                "hardware": {"device": "cpu", "processors": 2},
            })  # fmt: skip
            if method in ("lora", "full"):
                write(run / "learning.json", learning(method, seed))
            if method != "baseline":
                write(
                    run / "examples.json",
                    [example(s, kind, factor, seed) for s in SIGNALS for kind in ("best", "typical", "worst")],
                )
            (run / "cells.parquet").write_bytes(PATIENT.encode())
    return folder


@pytest.fixture(scope="session")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder on simulated data, already reported; for reading only."""
    from loracast.report import write_report

    folder = results_folder(tmp_path_factory.mktemp("results"))
    write_report(folder)
    return folder
