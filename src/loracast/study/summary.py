"""What a results folder says, typed: what it is for, the summary, the result of each run. Validated when read.

Facts only: the words of the report, the terminal and the documentation are made of them in `loracast.report`.
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from loracast.errors import ConfigError
from loracast.files import read_json, write_json
from loracast.scoring.facts import Checked, Difference, Forecasts, Scores, Validated
from loracast.spec import Frozen, Precision
from loracast.types import Kind

FORMAT = 3
"""Of a results folder; one of another format is refused."""
SUMMARY = "summary.json"
RESULT = "result.json"
EXPERIMENT = "experiment.json"
FAILED = "failed.json"
LEARNING = "learning.json"
EXAMPLES = "examples.json"
CELLS = "cells.parquet"
VALIDATION = "validation.parquet"
QUANTILES = "quantiles.npy"

Sides = dict[str, int]
"""A count for each of train, validation and test."""


class SignalFacts(Frozen):
    """What people call a signal, and the unit of its values."""

    label: str
    unit: str


class DataFacts(Frozen):
    """The data behind the numbers."""

    source: str
    simulated: bool
    licence: str
    fingerprint: str
    grid_seconds: int
    signals: dict[str, SignalFacts]
    patients: Sides
    attrition: list[dict[str, Any]]
    """Steps from the source to the long table, as `data.attrition.Step.as_json` has them."""
    notes: list[dict[str, Any]] | None = None
    """What a reader had noticed, as `data.attrition.Note` has it; None where that is not known."""


class WindowFacts(Frozen):
    """The windows that were scored."""

    context: int
    horizon: int
    stride: int
    season: int
    step_seconds: int
    joint: bool
    counts: Sides
    split_fingerprint: str
    split_by_windows: bool = False
    """Whether the patients with windows were shared out by themselves, because a side would have got none of them."""
    attrition: dict[str, int]


class Costs(Frozen):
    """What a run cost; of an arm the mean over its seeds, and the most memory. None where it was not measured."""

    train_seconds: float | None = None
    train_steps: float | None = None
    seconds_per_step: float | None = None
    energy_joules: float | None = None
    forecast_seconds: float | None = None
    forecast_milliseconds_per_window: float | None = None
    adapter_bytes: float | None = None
    peak_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None


class ArmFacts(Frozen):
    """Who an arm is: a model with a method."""

    arm: str
    """What tables call it."""
    model: str
    family: str
    kind: Kind
    method: str
    settings: dict[str, Any]
    """The arm's entry in an experiment, every setting filled in: it makes this arm again."""
    licence: str | None
    """That of the model."""
    trainable_parameters: int
    total_parameters: int
    train_patients: int | None = None


class ArmSummary(ArmFacts):
    """One arm: its seeds together, its scores, and its differences to others on the same windows.

    A comparison is empty where there is nothing to compare with, or the arm is that itself.
    """

    seeds: list[int]
    best_step: list[int | None]
    accumulation: int | None = None
    hardware: list[dict[str, Any]]
    """The machines that its runs ran on, each once."""
    costs: Costs
    scores: dict[str, Scores]
    samples: int | None = None
    """Sample paths a window; None where none are drawn, or it is not known (results of 0.2 and before)."""
    precision: Precision | None = None
    """What its network multiplied in for its forecasts; None for what has none, and where it is not known."""
    forecasts: dict[str, Forecasts] = Field(default_factory=dict)
    """What was noticed of the forecasts by signal, all seeds together; empty where it is not known."""
    vs_zero_shot: dict[str, Difference] = Field(default_factory=dict)
    vs_full: dict[str, Difference] = Field(default_factory=dict)
    vs_naive: dict[str, Difference] = Field(default_factory=dict)
    vs_best: dict[str, Difference] = Field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether anything was trained for it."""
        return self.trainable_parameters > 0


class Choice(Frozen):
    """Something that was tried in several ways: what was tried, what was kept, and on whom that was decided."""

    what: str
    """`step`, `naive forecast`, or a setting in which arms differ (`learning_rate`, `rank`)."""
    arms: list[str]
    """The arms that it is about."""
    tried: list[str | float | None]
    """What was tried; None is the default of the method."""
    kept: list[str | float | None] = Field(default_factory=list)
    """What was kept, one a seed or a signal; empty where all stand in the result, and its reader is who chooses."""
    side: Literal["validation", "test"]
    """Whose errors are looked at to choose."""
    patients: int
    windows: int
    """How many of that side were looked at."""


class Missing(Frozen):
    """A run that is not done, and why."""

    arm: str
    seed: int
    state: str
    reason: str | None


class Summary(Frozen):
    """All runs of an experiment, laid side by side: `summary.json`."""

    format: Literal[3] = 3
    name: str
    data: DataFacts
    windows: WindowFacts
    training: dict[str, Any] | None = None
    seeds: list[int]
    arms: list[ArmSummary]
    checks: list[Checked]
    command: str | None = None
    missing: list[Missing] = Field(default_factory=list)
    adapters_of_other_tables: bool | None = None
    """Whether an adapter was trained on another table than it is scored on; None where arms were trained here."""
    twins: Sides | None = None
    """Patients of one side whose series stand on another under another id, by the two sides (`data.twins`); None where
    nobody looked (results before 0.3)."""
    choices: list[Choice] | None = None
    """What was searched, and on whom; None where it is not known (results before 0.3)."""

    def arm(self, name: str) -> ArmSummary:
        """The arm of that name; raises KeyError."""
        found = next((arm for arm in self.arms if arm.arm == name), None)
        if found is None:
            raise KeyError(name)
        return found


class RunResult(ArmFacts):
    """One run: `result.json`."""

    format: Literal[3] = 3
    run_id: str
    seed: int
    revision: str | None
    base_sha256: str | None
    best_step: int | None
    validated: Validated | None = None
    """On whom the best step was chosen; None where nothing was trained, and in results of 0.2."""
    micro_batch: int | None = None
    accumulation: int | None = None
    costs: Costs
    data: dict[str, Any]
    windows: dict[str, Any]
    forecast: dict[str, Any]
    hardware: dict[str, Any]
    versions: dict[str, str]
    scores: dict[str, Scores]
    samples: int | None = None
    """Sample paths a window; None where none are drawn, or it is not known."""
    precision: Precision | None = None
    """What the network multiplied in for the forecasts; None for what has none, and where it is not known."""
    forecasts: dict[str, Forecasts] = Field(default_factory=dict)
    """What was noticed of the forecasts by signal; empty where it is not known."""


class ForecastFacts(Frozen):
    """What there is to say of a table of forecasts."""

    series: int
    """Series of the table, each with its rows."""
    too_sparse: int
    """Of these, series of whose context too little was observed: null in place of numbers."""
    least_observed: float
    """The share of a context that must be observed."""
    context: int
    samples: int | None
    """Sample paths a series; None where the model draws none."""
    precision: Precision | None
    """What the network multiplied in; None for a model without one."""
    clipped: bool
    """Whether quantiles were set to the bounds of what a signal can be; `signals` counts them before."""
    keyed: bool
    """Whether patients and stays stand in it by pseudonyms."""
    signals: dict[str, Forecasts]


class PlannedRun(Frozen):
    """A run of an experiment, and the name of its folder under `runs/`."""

    arm: str
    seed: int
    folder: str


class Claim(Frozen):
    """What a results folder is for: `experiment.json`."""

    format: Literal[3] = 3
    name: str
    digest: str
    spec: dict[str, Any]
    """The experiment as JSON, without paths."""
    runs: list[PlannedRun]


class Failure(Frozen):
    """Why a run failed: `failed.json`."""

    error: str
    traceback: str | None = None


class Learning(Frozen):
    """The learning curve of a run: `learning.json`. Losses are `{"step": …, "loss": …}`."""

    train: list[dict[str, float]]
    validation: list[dict[str, float]]
    best_step: int
    steps: int
    micro_batch: int | None
    accumulation: int


class Example(Frozen):
    """One test window of a run with its forecast: an entry of `examples.json`. None stands for "not observed"."""

    kind: str
    """Where the window stands among the errors of the reference run: best, typical or worst."""
    signal: str
    unit: str
    step_seconds: int
    context: list[float | None]
    future: list[float | None]
    levels: list[float]
    quantiles: list[list[float]]
    last_value: list[float | None]


Fact = TypeVar("Fact", bound=Frozen)


def read_facts(kind: type[Fact], file: Path) -> Fact:
    """Read a JSON file as `kind`; raises ConfigError where it is missing, no JSON, or says something else."""
    content = read_json(file, ConfigError)
    if isinstance(content, dict):
        refuse_other_format(file, content, kind)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ConfigError(
            f"{str(file)!r} is no {kind.__name__} of loracast: {place}: {first['msg']} ({error.error_count()} faults). "
            "It was changed or is of another version; run the experiment again."
        ) from error


def refuse_other_format(file: Path, content: dict[str, Any], kind: type[Frozen]) -> None:
    """Raise ConfigError where `content` is of a version of loracast that wrote another format."""
    if "format" in kind.model_fields and content.get("format") != FORMAT:
        raise ConfigError(
            f"{str(file)!r} was written by another version of loracast (format {content.get('format', 1)}, this one "
            f"reads {FORMAT}). Run the experiment again with another --out."
        )


def write_facts(fact: Frozen, file: Path, *, overwrite: bool = False) -> None:
    """Write facts as JSON, whole or not at all; raises ConfigError where `file` exists and `overwrite` is not given."""
    write_json(file, fact.model_dump(mode="json"), overwrite=overwrite)
