"""A large study, with many methods on several backbones and networks from scratch, and a rank sweep: made alike."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from loracast.study.ranks.analyse import analyse
from loracast.study.ranks.result import SWEEP, RankSweep
from loracast.study.summary import Summary, write_facts
from tests.report.invented import PARAMETERS, Asked, Guess, Made, made

BACKBONES = tuple(PARAMETERS)
METHODS = {
    # method: trained share of the backbone, relative error
    "lora r=1": (0.002, 0.965), "lora r=2": (0.004, 0.955), "lora r=8": (0.015, 0.949), "dora r=2": (0.005, 0.953),
    "pissa r=2": (0.004, 0.962), "vera r=64": (0.001, 0.981), "fourierft n=100": (0.0008, 0.99),
    "oft b=16": (0.01, 0.969), "bitfit": (0.003, 0.985), "head": (0.06, 0.975), "full": (1.0, 0.947),
}  # fmt: skip
SIZES = {"r": "rank", "n": "frequencies", "b": "block_size"}
STATISTICAL = {"ets": Guess(0, 1.06), "theta": Guess(0, 1.05)}
SCRATCH = {"nbeats": Guess(2_400_000, 1.01), "nhits": Guess(1_900_000, 0.985), "tft": Guess(900_000, 1.04)}
TWO = ("heart_rate", "map")
REASON = "oft: block_size 16 does not divide the 12 columns of <attention>; choose a divisor"
FAILED, WAITING = "moirai-nano oft b=16", "lag-llama-nano head"
RANKS = (1, 2, 4, 8, 16)
RANKED = BACKBONES[0]
WINDOWS = {"context": 24, "horizon": 12, "stride": 12}


def entry(model: str, name: str) -> dict[str, Any]:
    """An arm as an experiment lists it, from its name."""
    method, *words = name.split()
    sizes = (word.split("=") for word in words)
    return {"model": model, "method": method} | {SIZES[size]: int(value) for size, value in sizes}


@cache
def made_study() -> Made:
    """Five baselines, three networks from scratch, and zero-shot and many methods on each of three backbones."""
    arms: list[dict[str, Any]] = []
    guesses = STATISTICAL | SCRATCH
    for place, model in enumerate(BACKBONES):
        for name, (share, error) in {"zero-shot": (0.0, 1.0), **METHODS}.items():
            arms.append(entry(model, name))
            guesses[f"{model} {name}"] = Guess(share, error + 0.18 + 0.02 * place)  # some lose to the last value
    return made(
        Asked(
            name="study", signals=TWO, windows=WINDOWS, arms=arms, guesses=guesses, seeds=(0, 1),
            baselines=(*STATISTICAL, *SCRATCH), failed={FAILED: REASON}, waiting=frozenset({WAITING}),
        )
    )  # fmt: skip


def study_summary() -> Summary:
    """Its summary."""
    return made_study().summary


@cache
def sweep() -> tuple[Made, RankSweep]:
    """The ranks of LoRA on a backbone, and what they say; one run of full fine-tuning is not done."""
    errors = {rank: 0.93 + 0.05 / rank + 0.0006 * rank for rank in RANKS}
    guesses = {
        f"{RANKED} lora r={rank}": Guess(0.002 * rank, error, rise=0.0004 if rank == RANKS[-1] else 0.00001)
        for rank, error in errors.items()
    }
    full = f"{RANKED} full"
    found = made(
        Asked(
            name="ranks", signals=TWO, windows=WINDOWS, seeds=(0, 1), validation_scores=True,
            arms=[entry(RANKED, name) for name in ("zero-shot", "full", *(f"lora r={rank}" for rank in RANKS))],
            guesses={full: Guess(1.0, 0.94), **guesses}, waiting=frozenset({full}),
        )
    )  # fmt: skip
    ranked = analyse(found.folder, data="vitals")
    write_facts(ranked, found.folder / SWEEP)
    return found, ranked


def sweep_of() -> RankSweep:
    """What the sweep says."""
    return sweep()[1]


def bare(made: Made, folder: Path) -> Path:
    """A copy of what a folder says without its runs, and return it: a page an arm is drawn sooner without them."""
    for file in made.folder.glob("*.json"):
        shutil.copy(file, folder)
    return folder
