"""A small results folder that is made as an experiment makes its own (`tests.report.invented`)."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from loracast.data.windows import Windows, open_windows
from loracast.scoring.facts import Difference
from loracast.study.summarise import whole
from loracast.study.summary import ArmFacts, ArmSummary, RunResult, Summary, read_facts, write_facts
from tests.conftest import vectors_alone
from tests.report.invented import LEVEL, PARAMETERS, PATIENT, Asked, Guess, Made, made

__all__ = ["PATIENT"]

BACKBONE = "chronos-t5-nano"
FULL = PARAMETERS[BACKBONE]
LORA = f"{BACKBONE} lora r=2"
ARMS = ("last-value", "seasonal-naive", "context-mean", f"{BACKBONE} zero-shot", LORA, f"{BACKBONE} full")
SIGNALS = tuple(LEVEL)
GUESSES = {LORA: Guess(12288 / FULL, 0.94), f"{BACKBONE} full": Guess(1.0, 0.97, narrow=0.6, rise=0.0007)}


@cache
def small(seeds: tuple[int, ...]) -> Made:
    """The naive floor, and zero-shot, LoRA and full fine-tuning of a backbone on three signals."""
    arms = ({"method": "zero-shot"}, {"method": "lora", "rank": 2, "alpha": 16.0}, {"method": "full"})
    return made(
        Asked(
            name="sepsis-demo",
            signals=SIGNALS,
            windows={"context": 72, "horizon": 36, "stride": 12},
            arms=[{"model": BACKBONE, **arm} for arm in arms],
            guesses=GUESSES,
            seeds=seeds,
            artefact=True,
        )
    )


@cache
def summary_of(*, simulated: bool = True, seeds: tuple[int, ...] = (0, 1)) -> Summary:
    """Its summary; of the same series as if patients had lived them where not `simulated`."""
    folder, _, summary = small(seeds)
    if simulated:
        return summary
    windows = open_windows(folder / "data" / "windows")
    lived = {
        "simulated": False,
        "source": "MIMIC-III v1.4",
        "licence": "PhysioNet Credentialed Health Data License 1.5.0",
    }
    kept = {name: getattr(summary, name) for name in ("seeds", "training", "choices")}
    return whole(summary.name, Windows(windows.folder, windows.meta | lived), folder / "data" / "vitals.parquet",
                 summary.arms, **kept)  # fmt: skip


def changed(summary: Summary, name: str, **fields: Any) -> Summary:
    """The summary with one arm's fields changed: for what is too rare to be made."""
    return summary.model_copy(
        update={"arms": [arm.model_copy(update=fields) if arm.arm == name else arm for arm in summary.arms]}
    )


def difference(value: float, half: float, reference: str) -> Difference:
    """A difference to set by `changed`."""
    verdict = "better" if value + half < 0 else "worse" if value - half > 0 else "no difference shown"
    return Difference(
        reference=reference, mae_difference=value, ci95=(value - half, value + half), verdict=verdict, patients=24
    )


def results_folder(folder: Path, summary: Summary | None = None) -> Path:
    """A copy of the whole results folder, or of what it were with another summary, and return it."""
    summary = summary_of() if summary is None else summary
    origin = small(tuple(summary.seeds))
    shutil.copytree(origin.folder, folder, dirs_exist_ok=True)
    write_facts(summary, folder / "summary.json", overwrite=True)
    for arm, before in zip(summary.arms, origin.summary.arms, strict=False):
        if (who := _who(arm)) != _who(before):
            for file in folder.glob("runs/*/result.json"):
                result = read_facts(RunResult, file)
                if result.arm == before.arm:
                    write_facts(result.model_copy(update=who), file, overwrite=True)
    return folder


def _who(arm: ArmSummary) -> dict[str, Any]:
    return {name: getattr(arm, name) for name in ArmFacts.model_fields}


@pytest.fixture(scope="session")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder on simulated data, already reported with vectors alone; for reading only."""
    from loracast.report import write_report

    folder = results_folder(tmp_path_factory.mktemp("results"))
    with vectors_alone():
        write_report(folder)
    return folder
