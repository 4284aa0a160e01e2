"""A large study as typed facts: many methods on several backbones, networks from scratch, a rank sweep."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loracast.scoring.facts import Checked, Difference, Finding
from loracast.study.ranks.result import Beside, Measured, Note, Overfit, RankRow, RankSweep, Threshold
from loracast.study.summary import ArmSummary, Costs, Missing, Summary, write_facts
from tests.report.conftest import HARDWARE, difference, scores, summary_of, write_run

BACKBONES = {"chronos-t5-nano": 3_452_160, "moirai-nano": 1_204_224, "lag-llama-nano": 812_544}
METHODS = {
    # method: trained share of the backbone, relative error
    "lora r=1": (0.002, 0.965), "lora r=2": (0.004, 0.955), "lora r=8": (0.015, 0.949), "rslora r=8": (0.015, 0.951),
    "dora r=2": (0.005, 0.953), "pissa r=2": (0.004, 0.962), "adalora r=2": (0.008, 0.958), "vera r=64": (0.001, 0.981),
    "fourierft n=100": (0.0008, 0.99), "oft b=16": (0.01, 0.969), "bitfit": (0.003, 0.985), "layernorm": (0.001, 0.995),
    "head": (0.06, 0.975), "full": (1.0, 0.947),
}  # fmt: skip
NAIVE = {"last-value": 1.09, "seasonal-naive": 1.55, "context-mean": 1.2}
STATISTICAL = {"ets": 1.06, "theta": 1.05}
SCRATCH = {"nbeats": (2_400_000, 1.01), "nhits": (1_900_000, 0.985), "tft": (900_000, 1.04)}
TWO = ("heart_rate", "map")
REASON = "oft: block_size 16 does not divide the 12 columns of <attention>; choose a divisor"
RANKS = (1, 2, 4, 8, 16, 32, 64)


def arm(name: str, model: str, kind: Any, method: str, trained: int, factors: dict[str, float]) -> ArmSummary:
    learned, pretrained = bool(trained), kind == "pretrained"
    settings: dict[str, Any] = {"model": model, "method": method}
    if "r=" in name:
        settings |= {"rank": int(name.rsplit("=", 1)[1]), "alpha": 16.0}
    return ArmSummary(
        arm=name, model=model, family=model, kind=kind, method=method, settings=settings,
        licence="Apache-2.0" if pretrained else None, seeds=[0, 1, 2] if learned else [0],
        trainable_parameters=trained, total_parameters=BACKBONES.get(model, trained), hardware=[HARDWARE],
        best_step=[240, 0, 300] if learned else [None],
        costs=Costs(
            train_seconds=20 + 9 * math.log10(trained) if learned else 0.0, train_steps=300 if learned else 0,
            seconds_per_step=0.08 + 0.03 * math.log10(trained) if learned else None,
            forecast_seconds=11.0 if pretrained else 0.2,
            forecast_milliseconds_per_window=9.1 if pretrained else 0.05,
            peak_memory_bytes=900_000_000, peak_gpu_memory_bytes=2_100_000_000 if learned else None,
            adapter_bytes=4 * trained + 900 if learned else None, energy_joules=1800.0 if learned else None,
        ),
        scores={signal: scores(signal, factors[signal]) for signal in TWO},
    )  # fmt: skip


def study_summary() -> Summary:
    """Five baselines, three networks from scratch, and zero-shot and fourteen methods on each of three backbones."""
    chance = random.Random(5)

    def near(factor: float) -> dict[str, float]:
        return {signal: factor * (1 + chance.gauss(0, 0.012)) for signal in TWO}

    arms = [arm(name, name, "naive", "as-is", 0, near(factor)) for name, factor in NAIVE.items()]
    arms += [arm(name, name, "statistical", "as-is", 0, near(factor)) for name, factor in STATISTICAL.items()]
    arms += [arm(name, name, "network", "scratch", size, near(factor)) for name, (size, factor) in SCRATCH.items()]
    for place, (model, size) in enumerate(BACKBONES.items()):
        arms.append(arm(f"{model} zero-shot", model, "pretrained", "zero-shot", 0, near(1.0 + 0.02 * place)))
        for name, (share, factor) in METHODS.items():
            if (name, model) != ("oft b=16", "moirai-nano"):
                trained, errors = max(1, round(share * size)), near(factor + 0.02 * place)
                arms.append(arm(f"{model} {name}", model, "pretrained", name.split()[0], trained, errors))
    arms = [_compared(entry, arms) for entry in arms]
    lost = [
        Finding(arm=entry.arm, signal="heart_rate", value=0.1, reference="theta", verdict="no difference shown")
        for entry in arms
        if entry.kind == "pretrained"
    ]
    small = summary_of(seeds=(0, 1, 2))
    two = {name: small.data.signals[name] for name in TWO}
    return small.model_copy(
        update={
            "name": "study",
            "arms": arms,
            "data": small.data.model_copy(update={"signals": two}),
            "checks": [Checked(code="C03", outcome="warning", findings=tuple(lost)), *small.checks[:2]],
            "missing": [
                Missing(arm="moirai-nano oft b=16", seed=0, state="failed", reason=REASON),
                Missing(arm="lag-llama-nano head", seed=2, state="waiting", reason=None),
            ],
        }
    )


def _compared(entry: ArmSummary, arms: list[ArmSummary]) -> ArmSummary:
    """The arm with its four comparisons, with intervals that are as wide as those of a real experiment."""

    def against(belongs: Callable[[ArmSummary], bool]) -> dict[str, Difference]:
        found = {}
        for signal in TWO:
            errors = [(other.scores[signal].mae, other.arm) for other in arms if belongs(other)]
            if errors and (best := min(errors))[1] != entry.arm:
                found[signal] = difference(entry.scores[signal].mae - best[0], 0.03 * best[0], best[1])
        return found

    def same(method: str) -> Callable[[ArmSummary], bool]:
        return lambda other: (other.method, other.model) == (method, entry.model)

    return entry.model_copy(
        update={
            "vs_zero_shot": against(same("zero-shot")),
            "vs_full": against(same("full")),
            "vs_naive": {} if entry.kind == "naive" else against(lambda other: other.kind == "naive"),
            "vs_best": against(lambda other: True),
        }
    )


def sweep_of(ranks: tuple[int, ...] = RANKS) -> RankSweep:
    """A rank sweep on two signals, whose error falls and then rises a little again."""

    def level(value: float) -> Measured:
        return Measured(value=value, ci95=(0.93 * value, 1.08 * value))

    sizes = {"all": 0.9, "heart_rate": 6.0, "map": 7.1}
    rows, thresholds = [], {}
    for signal, size in sizes.items():
        error = {rank: size * (0.93 + 0.04 / rank + 0.0006 * rank) for rank in ranks}
        best = min(error, key=lambda rank: error[rank])
        for rank in ranks:
            away = error[rank] - error[best]
            rows.append(RankRow(
                signal=signal, metric="mase" if signal == "all" else "mae", rank=rank,
                trainable_parameters=6144 * rank, train_seconds=30.0 + rank, validation=level(error[rank]),
                test=level(1.06 * error[rank]), worse=away > 0.004,
                difference=Measured(value=away, ci95=(away - 0.004, away + 0.004)),
                overfit=Overfit(flagged=rank == ranks[-1], gap=0.01 * rank, seeds=3),
            ))  # fmt: skip
        thresholds[signal] = Threshold(
            rank=ranks[2], best_rank=best, by_seed=[ranks[2], ranks[2], ranks[1]], vs_zero_shot=None,
            test_difference=Measured(value=0.002, ci95=(-0.004, 0.008)),
        )  # fmt: skip

    def beside(trained: int, factor: float) -> dict[str, Beside]:
        return {
            signal: Beside(
                trainable_parameters=trained, train_seconds=0.0, validation=level(factor * size), test=level(size)
            )
            for signal, size in sizes.items()
        }

    facts = {"length": 71.0, "missing": 0.134, "noise": 0.42, "seasonality": 0.08, "scale_distance": None}
    return RankSweep(
        model="chronos-t5-nano", method="lora", data="study", metric="mase", ranks=list(ranks), alphas=[16.0],
        seeds=[0, 1, 2], patients={"validation": 75, "test": 118}, windows={"validation": 1021, "test": 1677},
        rows=rows, thresholds=thresholds, zero_shot=beside(0, 1.0), full=beside(3_452_160, 0.94),
        notes=[Note(code="largest-rank", signal="heart_rate"), Note(code="runs-not-done", names=["<ranks> (seed 1)"])],
        series=dict.fromkeys(TWO, facts),
    )  # fmt: skip


def study_folder(folder: Path, summary: Summary | None = None, *, runs: bool = False) -> Path:
    """Write the study's folder, with learning curves and examples of every model where `runs`, and return it."""
    summary = study_summary() if summary is None else summary
    write_facts(summary, folder / "summary.json")
    write_facts(sweep_of(), folder / "sweep.json")
    for entry in summary.arms if runs else ():
        if entry.kind in ("network", "pretrained"):
            for seed in entry.seeds:
                write_run(folder, entry, seed, TWO)
    return folder
