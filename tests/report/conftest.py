"""A small results folder of typed facts, with numbers that look like those of a real experiment."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from loracast.files import write_json
from loracast.scoring.facts import Checked, Difference, Excluded, Finding, Scores
from loracast.study.summary import (
    ArmFacts,
    ArmSummary,
    Claim,
    Costs,
    DataFacts,
    Example,
    Learning,
    RunResult,
    SignalFacts,
    Summary,
    WindowFacts,
    write_facts,
)

PATIENT = "10006-secret"
"""A patient's identifier that stands in files the report must not quote."""

SIGNALS = {
    "heart_rate": ("heart rate", "1/min", 84.0, 6.2),
    "map": ("mean arterial pressure", "mmHg", 76.0, 7.4),
    "resp_rate": ("respiratory rate", "1/min", 19.0, 3.1),
}
BACKBONE = "chronos-t5-nano"
FULL = 3_452_160
ARMS = (
    # arm, model, kind, method, trained numbers, relative error
    ("last-value", "last-value", "naive", "as-is", 0, 1.12),
    ("seasonal-naive", "seasonal-naive", "naive", "as-is", 0, 1.41),
    ("context-mean", "context-mean", "naive", "as-is", 0, 1.18),
    (f"{BACKBONE} zero-shot", BACKBONE, "pretrained", "zero-shot", 0, 1.0),
    (f"{BACKBONE} lora r=2", BACKBONE, "pretrained", "lora", 12288, 0.94),
    (f"{BACKBONE} full", BACKBONE, "pretrained", "full", FULL, 0.97),
)
LORA = f"{BACKBONE} lora r=2"
HARDWARE = {"system": "Linux", "machine": "x86_64", "cores": 16, "torch_threads": 8, "gpu": "Example GPU"}
CONTEXT, HORIZON, STEP = 72, 36, 300
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
NORMAL = [-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816]


def scores(signal: str, factor: float, spread: float = 0.09) -> Scores:
    error = SIGNALS[signal][3] * factor
    growth = [0.55 + 0.75 * math.sqrt((step + 1) / HORIZON) for step in range(HORIZON)]
    mean = sum(growth) / HORIZON
    values = {
        "mae": error, "rmse": 1.34 * error, "bias": 0.11 * error * (1 if factor > 1 else -1), "mase": 0.91 * factor,
        "mse_scaled": (1.34 * error / 300) ** 2, "mape": 118 * error / SIGNALS[signal][2],
        "dtw_scaled": 0.71 * error / 300, "crps": 0.74 * error, "coverage_80": 0.80 - 0.11 * factor,
    }  # fmt: skip
    return Scores(
        **values,
        n_windows=412,
        n_cells=13914,
        n_patients=24,
        excluded=Excluded(mase_windows=0, mape_cells=0),
        ci95=dict.fromkeys(values)
        | {"mae": (error * (1 - spread), error * (1 + 1.2 * spread)), "rmse": (1.2 * error, 1.5 * error)},
        by_step={
            "mae": [error * value / mean for value in growth],
            "rmse": [1.34 * error * value / mean for value in growth],
            "bias": [0.02 * step - 0.3 for step in range(HORIZON)],
            "coverage_80": [0.84 - 0.004 * step for step in range(HORIZON)],
        },
    )


def difference(value: float, half: float, reference: str) -> Difference:
    verdict = "better" if value + half < 0 else "worse" if value - half > 0 else "no difference shown"
    return Difference(
        reference=reference, mae_difference=value, ci95=(value - half, value + half), verdict=verdict, patients=24
    )


def compared(factor: float, reference: str) -> dict[str, Difference]:
    return {
        signal: difference(SIGNALS[signal][3] * (factor - 1) * (1.3 - 0.5 * place), 0.14 + 0.05 * place, reference)
        for place, signal in enumerate(SIGNALS)
    }


def example(signal: str, kind: str, factor: float) -> Example:
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
    return Example(
        kind=kind, signal=signal, unit=unit, step_seconds=STEP, context=context, future=future, levels=LEVELS,
        quantiles=quantiles, last_value=[last] * HORIZON,
    )  # fmt: skip


def examples(signals: tuple[str, ...] = tuple(SIGNALS), factor: float = 0.95) -> list[dict[str, Any]]:
    kinds = ("best", "typical", "worst")
    return [example(signal, kind, factor).model_dump() for signal in signals for kind in kinds]


def learning(method: str, seed: int) -> Learning:
    chance = random.Random(seed)
    floor, speed, rise, fall = (2.62, 90, 0.00004, 0.0) if method == "lora" else (2.55, 40, 0.0007, 0.0002)

    def loss(step: int, slope: float, noise: float) -> float:
        return floor + slope * step + 0.4 * math.exp(-step / speed) + chance.gauss(0, noise)

    validation = [{"step": step, "loss": loss(step, rise, 0.006) + 0.06} for step in range(0, 401, 40)]
    return Learning(
        train=[{"step": step, "loss": loss(step, -fall, 0.03)} for step in range(10, 401, 10)],
        validation=validation,
        best_step=min(validation, key=lambda point: point["loss"])["step"],
        steps=400,
        micro_batch=None,
        accumulation=1,
    )


def attrition() -> list[dict[str, Any]]:
    rows = (
        ("CHARTEVENTS rows of the chosen items", 240, 262, 1_204_311, 0, 0, 0),
        ("adults (18 years or older)", 231, 252, 1_161_020, 43_291, 10, 9),
        ("a look that dropped nothing", 231, 252, 1_161_020, 0, 0, 0),
        ("outside the plausible range, or in a unit nobody could have meant", 231, 252, 1_121_990, 39_030, 0, 0),
        ("stays of at least 12 h", 219, 236, 1_099_850, 22_140, 16, 12),
    )
    keys = ("patients", "stays", "rows", "dropped_rows", "dropped_stays", "dropped_patients")
    return [
        {
            "step": row[0],
            **dict(zip(keys, row[1:], strict=True)),
            "signals": {"heart_rate": row[3] // 2, "map": row[3] // 4},
        }
        for row in rows
    ]


def arm_of(name: str, model: str, kind: Any, method: str, trained: int, factor: float, *, seeds: list[int]) -> Any:
    floor, learned = kind == "naive", bool(trained)
    zero_shot, full = f"{BACKBONE} zero-shot", f"{BACKBONE} full"
    return ArmSummary(
        arm=name,
        model=model,
        family="naive" if floor else "chronos-t5",
        kind=kind,
        method=method,
        settings={"model": model, "method": method} | ({"rank": 2, "alpha": 16.0} if method == "lora" else {}),
        licence=None if floor else "Apache-2.0",
        trainable_parameters=trained,
        total_parameters=0 if floor else FULL + (trained if method == "lora" else 0),
        seeds=seeds if learned else seeds[:1],
        best_step=[240 for _ in seeds] if learned else [None],
        hardware=[HARDWARE],
        costs=Costs(
            train_seconds={"lora": 72.4, "full": 131.0}.get(method, 0.0),
            forecast_seconds=0.03 if floor else 14.2,
            peak_memory_bytes=None if floor else 1_213_000_000,
        ),
        scores={signal: scores(signal, factor) for signal in SIGNALS},
        vs_zero_shot=compared(factor, zero_shot) if learned else {},
        vs_full=compared(factor / 0.97, full) if method == "lora" else {},
    )


CHECKS = [
    Checked(code="C01", outcome="passed"),
    Checked(code="C02", outcome="passed"),
    Checked(
        code="C03",
        outcome="warning",
        findings=(
            Finding(
                arm=LORA, signal="map", value=0.1, reference="last-value", verdict="no difference shown",
            ),
        ),
    ),
    Checked(code="C05", outcome="warning", findings=(Finding(arm=f"{BACKBONE} full", signal="map", value=0.693),)),
    Checked(code="C09", outcome="not applicable"),
]  # fmt: skip


def summary_of(*, simulated: bool = True, seeds: tuple[int, ...] = (0, 1)) -> Summary:
    return Summary(
        name="sepsis-demo",
        data=DataFacts(
            source="simulated MIMIC-III tables, seed 7" if simulated else "MIMIC-III v1.4",
            simulated=simulated,
            licence="CC0-1.0" if simulated else "PhysioNet Credentialed Health Data License 1.5.0",
            fingerprint="ab" * 32,
            grid_seconds=STEP,
            signals={name: SignalFacts(label=label, unit=unit) for name, (label, unit, _, _) in SIGNALS.items()},
            patients={"train": 174, "validation": 21, "test": 24},
            attrition=attrition(),
        ),
        windows=WindowFacts(
            context=CONTEXT, horizon=HORIZON, stride=12, season=288, step_seconds=STEP, joint=False,
            counts={"train": 7801, "validation": 902, "test": 1236}, split_fingerprint="cd" * 8,
            attrition={
                "series": 40, "series_too_short": 7, "windows": 900, "context_too_sparse": 200, "target_too_sparse": 60
            },
        ),
        seeds=list(seeds),
        arms=[arm_of(*arm, seeds=list(seeds)) for arm in ARMS],
        checks=CHECKS,
    )  # fmt: skip


def changed(summary: Summary, name: str, **fields: Any) -> Summary:
    """The summary with one arm's fields changed."""
    return summary.model_copy(
        update={"arms": [arm.model_copy(update=fields) if arm.arm == name else arm for arm in summary.arms]}
    )


def write_run(folder: Path, arm: ArmSummary, seed: int, signals: tuple[str, ...] = tuple(SIGNALS)) -> None:
    """One run of an arm with what a real one records; a patient stands in files that nobody may quote."""
    who = {name: getattr(arm, name) for name in ArmFacts.model_fields}
    result = RunResult(
        **who, costs=arm.costs, scores={},
        run_id=f"{PATIENT}-run", seed=seed, revision=None, base_sha256=None, best_step=None, forecast={},
        data={"fingerprint": "ab" * 32, "path": PATIENT}, windows={"split_fingerprint": "cd" * 8}, hardware=HARDWARE,
        versions={"python": "3.11.7", "loracast": "0.2.0", "torch": "2.13.0", "peft": "0.21.2"},
    )  # fmt: skip
    run = folder / "runs" / f"{arm.arm.replace(' ', '-').replace('=', '')}-s{seed}"
    run.mkdir(parents=True)
    write_facts(result, run / "result.json")
    if arm.trains:
        write_facts(learning(arm.method, seed), run / "learning.json")
    if arm.kind == "pretrained":
        write_json(run / "examples.json", examples(signals))
    (run / "cells.parquet").write_bytes(PATIENT.encode())


def results_folder(folder: Path, summary: Summary | None = None) -> Path:
    """Write a whole results folder and return it."""
    summary = summary_of() if summary is None else summary
    write_facts(summary, folder / "summary.json")
    spec = {"windows": {"context": CONTEXT, "horizon": HORIZON}, "training": {"steps": 400, "rate": 0.001}}
    claim = Claim(name="sepsis-demo", digest="0f3a9c51e2b47d68", spec=spec, runs=[])
    write_facts(claim, folder / "experiment.json")
    for arm in summary.arms:
        for seed in arm.seeds:
            write_run(folder, arm, seed)
    return folder


@pytest.fixture(scope="session")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder on simulated data, already reported; for reading only."""
    from loracast.report import write_report

    folder = results_folder(tmp_path_factory.mktemp("results"))
    write_report(folder)
    return folder
