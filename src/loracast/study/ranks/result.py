"""What a rank sweep found, typed: `sweep.json`, and `thresholds.json` over several of them. Validated when read."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from loracast.errors import ConfigError
from loracast.scoring.facts import Bounds
from loracast.spec import Frozen
from loracast.study.summary import read_facts

SWEEP = "sweep.json"
RELATION = "thresholds.json"
ALL = "all"
"""What stands for all signals together, where an error must be free of units: MASE. A signal has its MAE."""


class Measured(Frozen):
    """An error, or a difference of errors, with its 95 % interval over patients and training seeds."""

    value: float | None = None
    ci95: Bounds | None = None


class Overfit(Frozen):
    """Whether training and validation part: `gap` is the share of what was won that validation gives back."""

    flagged: bool
    gap: float
    seeds: int


class RankRow(Frozen):
    """One rank on one signal."""

    signal: str
    metric: str
    rank: int
    trainable_parameters: int
    validation: Measured
    test: Measured
    difference: Measured
    """Validation error less that of the best rank."""
    worse: bool
    """Whether that difference is shown to be above 0."""
    enough: bool | None = None
    """Whether it is shown to lie below the margin: the rank suffices. None in sweeps of 0.2, which had none."""
    overfit: Overfit
    train_seconds: float | None


class Threshold(Frozen):
    """The smallest rank that suffices on one signal."""

    rank: int
    best_rank: int
    by_seed: list[int]
    """What each training seed alone would give; empty where that is not known."""
    test_difference: Measured
    vs_zero_shot: Measured | None


class Beside(Frozen):
    """An arm beside the ranks (zero-shot, full fine-tuning) on one signal."""

    trainable_parameters: int
    train_seconds: float | None
    validation: Measured
    test: Measured


class Note(Frozen):
    """What a reader must know before taking a threshold at its word: a code, and what it is about."""

    code: Literal[
        "one-seed",
        "too-few-patients",
        "largest-rank",
        "not-better-than-zero-shot",
        "seeds-left-out",
        "runs-not-done",
        "best-rank",
    ]
    signal: str | None = None
    rank: int | None = None
    count: int | None = None
    names: list[str] = Field(default_factory=list)


class RankSweep(Frozen):
    """`sweep.json`: errors by rank, thresholds, and what the series are like."""

    format: Literal[3] = 3
    model: str
    method: str
    data: str
    metric: str
    ranks: list[int]
    alphas: list[float | None]
    seeds: list[int]
    margin: float | None = None
    """The share of the lowest error by which a rank that suffices may be worse at most; None in sweeps of 0.2, whose
    threshold was the smallest rank not shown worse."""
    patients: dict[str, int]
    windows: dict[str, int]
    rows: list[RankRow]
    thresholds: dict[str, Threshold]
    zero_shot: dict[str, Beside] = Field(default_factory=dict)
    full: dict[str, Beside] = Field(default_factory=dict)
    series: dict[str, dict[str, float | None]]
    """Properties of the training series by signal; `study.ranks.properties.PROPERTIES` says what they are."""
    notes: list[Note] = Field(default_factory=list)


class RelationRow(Frozen):
    """The threshold of one signal of one sweep, beside what its series are like."""

    data: str
    signal: str
    model: str
    method: str
    rank: int
    trainable_parameters: int
    beats_zero_shot: bool | None
    properties: dict[str, float | None]


class Correlation(Frozen):
    """Spearman's coefficient between threshold and a property, and over how many rows."""

    spearman: float | None
    rows: int


class Relation(Frozen):
    """`thresholds.json`: description, not proof."""

    format: Literal[3] = 3
    rows: list[RelationRow]
    correlations: dict[str, Correlation]
    flat: int
    """Rows whose threshold is not shown better than zero-shot on the test patients."""


def read_sweep(out: Path | str) -> RankSweep:
    """Read the `sweep.json` of a results folder; raises ConfigError where there is none, or one of another version."""
    file = Path(out) / SWEEP
    if not file.is_file():
        raise ConfigError(f"No {SWEEP} in {out}. Give the folder that `loracast sweep ranks` wrote.")
    return read_facts(RankSweep, file)
