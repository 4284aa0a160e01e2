"""A large study in the documented formats: many methods on several backbones, networks from scratch, a rank sweep."""

import math
import random
from pathlib import Path
from typing import Any

from tests.report.conftest import PATIENT, example, learning, scores, summary_of, write

BACKBONES = {"chronos-t5-nano": 3_452_160, "moirai-nano": 1_204_224, "lag-llama-nano": 812_544}
METHODS = {
    # method: trained share of the backbone, relative error
    "lora r=1": (0.002, 0.965), "lora r=2": (0.004, 0.955), "lora r=8": (0.015, 0.949), "rslora r=8": (0.015, 0.951),
    "dora r=2": (0.005, 0.953), "pissa r=2": (0.004, 0.962), "adalora r=2": (0.008, 0.958), "vera r=64": (0.001, 0.981),
    "fourierft n=100": (0.0008, 0.99), "oft b=16": (0.01, 0.969), "bitfit": (0.003, 0.985), "layernorm": (0.001, 0.995),
    "head": (0.06, 0.975), "full": (1.0, 0.947),
}  # fmt: skip
FLOOR = {"last-value": 1.09, "seasonal-naive": 1.55, "context-mean": 1.2, "ets": 1.06, "theta": 1.05}
SCRATCH = {"nbeats": (2_400_000, 1.01), "nhits": (1_900_000, 0.985), "tft": (900_000, 1.04)}
TWO = ("heart_rate", "map")
HARDWARE = {"system": "Linux", "machine": "x86_64", "cores": 16, "torch_threads": 8, "gpu": "Example GPU"}
REASON = "oft: block_size 16 does not divide the 12 columns of <attention>; choose a divisor"
RANKS = (1, 2, 4, 8, 16, 32, 64)


def versus(value: float, half: float, reference: str | None = None) -> dict[str, Any]:
    verdict = "better" if value + half < 0 else "worse" if value - half > 0 else "no difference shown"
    entry = {"mae_difference": value, "ci95": [value - half, value + half], "verdict": verdict, "sentence": ""}
    return entry | ({"reference": reference} if reference else {})


def arm(name: str, backbone: str | None, method: str, trained: int, factors: dict[str, float]) -> dict[str, Any]:
    size = BACKBONES.get(backbone or "", trained)
    learned = bool(trained)
    settings = {"backbone": backbone, "method": method, "rank": None, "alpha": 16.0, "patients": 1.0}
    if "r=" in name:
        settings["rank"] = int(name.rsplit("=", 1)[1])
    return {
        "arm": name, "backbone": backbone, "method": method, "settings": settings if backbone else {},
        "licence": "Apache-2.0" if backbone else None, "seeds": [0, 1, 2] if learned else [0],
        "trainable_parameters": trained, "total_parameters": size,
        "train_seconds": 20 + 9 * math.log10(trained) if learned else 0.0, "train_steps": 300 if learned else 0,
        "seconds_per_step": 0.08 + 0.03 * math.log10(trained) if learned else None,
        "forecast_seconds": 0.2 if backbone is None else 11.0,
        "forecast_milliseconds_per_window": 0.05 if backbone is None else 9.1,
        "peak_memory_bytes": 900_000_000, "peak_gpu_memory_bytes": 2_100_000_000 if learned else None,
        "adapter_bytes": 4 * trained + 900 if learned else None, "energy_joules": 1800.0 if learned else None,
        "best_step": [240, 0, 300] if learned else [], "hardware": HARDWARE,
        "scores": {signal: scores(signal, factors[signal], 0.09) for signal in TWO},
    }  # fmt: skip


def study_summary() -> dict[str, Any]:
    """Five baselines, three networks from scratch, and zero-shot and fourteen methods on each of three backbones."""
    chance = random.Random(5)

    def near(factor: float) -> dict[str, float]:
        return {signal: factor * (1 + chance.gauss(0, 0.012)) for signal in TWO}

    arms = [arm(name, None, "baseline", 0, near(factor)) for name, factor in FLOOR.items()]
    arms += [arm(name, None, "scratch", trained, near(factor)) for name, (trained, factor) in SCRATCH.items()]
    for place, (backbone, size) in enumerate(BACKBONES.items()):
        arms.append(arm(f"{backbone} zero-shot", backbone, "zero-shot", 0, near(1.0 + 0.02 * place)))
        for name, (share, factor) in METHODS.items():
            if (name, backbone) != ("oft b=16", "moirai-nano"):
                trained = max(1, round(share * size))
                arms.append(arm(f"{backbone} {name}", backbone, name.split()[0], trained, near(factor + 0.02 * place)))
    for entry in arms:
        _compare(entry, arms)
    missing = [
        {"arm": "moirai-nano oft b=16", "reason": REASON},
        {"arm": "lag-llama-nano head", "reason": "1 of 3 seeds"},
    ]
    summary = summary_of(simulated=True, seeds=[0, 1, 2])
    summary["data"]["signals"] = {name: summary["data"]["signals"][name] for name in TWO}
    names = "; ".join(
        f"{entry['arm']} on heart_rate (no difference shown, theta)" for entry in arms if entry["backbone"]
    )
    summary["checks"][0] |= {"outcome": "warning", "reason": f"Not shown better in MAE than the best naive: {names}."}
    return {**summary, "name": "study", "arms": arms, "missing": missing, "seeds": [0, 1, 2]}


def _compare(entry: dict[str, Any], arms: list[dict[str, Any]]) -> None:
    """The four comparisons of an arm, with intervals that are as wide as those of a real experiment."""

    def against(test: Any) -> dict[str, Any] | None:
        found = {}
        for signal in TWO:
            own = entry["scores"][signal]["mae"]
            others = [(other["scores"][signal]["mae"], other["arm"]) for other in arms if test(other)]
            if not others:
                return None
            value, name = min(others)
            found[signal] = versus(own - value, 0.0 if name == entry["arm"] else 0.03 * value, name)
        return found

    def same(method: str) -> Any:
        return lambda other: other["method"] == method and other["backbone"] == entry["backbone"] is not None

    entry["vs_zero_shot"] = against(same("zero-shot"))
    entry["vs_full"] = None if entry["method"] in ("full", "zero-shot") else against(same("full"))
    naive = list(FLOOR)[:3]
    entry["vs_naive"] = None if entry["method"] == "baseline" else against(lambda other: other["arm"] in naive)
    entry["vs_best"] = against(lambda other: True)


def sweep_of(ranks: tuple[int, ...] = RANKS) -> dict[str, Any]:
    """A rank sweep on two signals, whose error falls and then rises a little again."""

    def level(value: float) -> dict[str, Any]:
        return {"value": value, "ci95": [0.93 * value, 1.08 * value]}

    sizes = {"all": 0.9, "heart_rate": 6.0, "map": 7.1}
    rows, thresholds = [], {}
    for signal, size in sizes.items():
        error = {rank: size * (0.93 + 0.04 / rank + 0.0006 * rank) for rank in ranks}
        best = min(error, key=lambda rank: error[rank])
        for rank in ranks:
            away = error[rank] - error[best]
            rows.append({
                "signal": signal, "metric": "mase" if signal == "all" else "mae", "rank": rank,
                "trainable_parameters": 6144 * rank, "train_seconds": 30.0 + rank,
                "validation": level(error[rank]), "test": level(1.06 * error[rank]),
                "difference": {"value": away, "ci95": [away - 0.004, away + 0.004], "worse": away > 0.004},
                "overfit": {"flagged": rank == ranks[-1], "gap": 0.01 * rank, "seeds": 3},
            })  # fmt: skip
        thresholds[signal] = {
            "rank": ranks[2], "best_rank": best, "by_seed": [ranks[2], ranks[2], ranks[1]],
            "test_difference": {"value": 0.002, "ci95": [-0.004, 0.008]},
        }  # fmt: skip
    zero = {signal: {"validation": level(size), "test": level(1.05 * size)} for signal, size in sizes.items()}
    full = {signal: {"validation": level(0.94 * size), "test": level(size)} for signal, size in sizes.items()}
    facts = {"length": 71.0, "missing": 0.134, "noise": 0.42, "seasonality": 0.08, "scale_distance": 1.7}
    return {
        "format": 1, "backbone": "chronos-t5-nano", "method": "lora", "data": "study", "metric": "mase",
        "rule": "the smallest rank whose validation error is not shown worse than that of the best rank",
        "ranks": list(ranks), "seeds": [0, 1, 2], "patients": {"validation": 75, "test": 118},
        "windows": {"validation": 1021, "test": 1677}, "rows": rows, "thresholds": thresholds, "zero_shot": zero,
        "full": full, "notes": ["Heart rate: a note on <ranks>."],
        "series": dict.fromkeys(("heart_rate", "map"), facts),
    }  # fmt: skip


def study_folder(folder: Path, *, runs: bool = True) -> Path:
    """Write the study's folder, with learning curves and examples of every model where `runs`, and return it."""
    summary = study_summary()
    write(folder / "summary.json", summary)
    write(folder / "sweep.json", sweep_of())
    for entry in summary["arms"] if runs else ():
        if entry["method"] == "baseline":
            continue
        for seed in entry["seeds"]:
            run = folder / "runs" / f"{entry['arm'].replace(' ', '-').replace('=', '-')}-s{seed}"
            write(run / "result.json", {
                "arm": entry["arm"], "seed": seed, "patients": [PATIENT], "settings": entry["settings"],
                "hardware": HARDWARE,
            })  # fmt: skip
            if entry["trainable_parameters"]:
                write(run / "learning.json", learning("lora" if entry["method"] != "full" else "full", seed))
            shown = [example(s, kind, 0.95, seed) for s in TWO for kind in ("best", "typical", "worst")]
            write(run / "examples.json", shown)
    return folder
