"""What a caller may ask for: experiment, data, windows, split, training, arms. Frozen, validated, read from TOML."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from loracast.errors import ConfigError
from loracast.files import digest

Share = Annotated[float, Field(gt=0, le=1)]
AtLeastZero = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


Spec = TypeVar("Spec", bound=_Frozen)


class Mimic3Data(_Frozen):
    """The original MIMIC-III tables in a folder."""

    source: Literal["mimic3"]
    path: Path
    signals: tuple[str, ...] = ("heart_rate", "map", "resp_rate")
    cohort: str = "explicit"
    grid: str = "60min"
    min_age: AtLeastZero = 18
    min_hours: AtLeastZero = 12


class SimulatedData(_Frozen):
    """A seeded ICU cohort that no patient lived, written as MIMIC-III tables and read by the same reader."""

    source: Literal["simulate"]
    patients: int = Field(default=120, ge=10)
    seed: Seed = 0
    signals: tuple[str, ...] = ("heart_rate", "map", "resp_rate")
    cohort: str = "explicit"
    grid: str = "5min"
    min_age: AtLeastZero = 18
    min_hours: AtLeastZero = 12


class Cinc2019Data(_Frozen):
    """The PhysioNet/CinC Challenge 2019 files: a folder or an archive of .psv."""

    source: Literal["cinc2019"]
    path: Path
    signals: tuple[str, ...] = ("heart_rate", "map", "resp_rate")
    septic_only: bool = False
    min_hours: AtLeastZero = 12


class TableData(_Frozen):
    """A long table that already is in loracast's schema (`loracast data …` writes it)."""

    source: Literal["table"]
    path: Path
    signals: tuple[str, ...] | None = None


DataSpec = Annotated[Mimic3Data | SimulatedData | Cinc2019Data | TableData, Field(discriminator="source")]


class WindowSpec(_Frozen):
    """How windows are cut, in steps of the grid; what is left out follows from the grid (`resolved`)."""

    context: int | None = Field(default=None, ge=4)
    """Steps that the forecaster sees."""
    horizon: int | None = Field(default=None, ge=1)
    """Steps that it must forecast."""
    stride: int | None = Field(default=None, ge=1)
    """Steps between the starts of two windows; the horizon if not given, so that targets do not overlap."""
    season: int | None = Field(default=None, ge=1)
    """Period of the seasonal naive floor."""
    min_context_observed: Share = 0.5
    """Least share of the context that must be measured."""
    min_target_observed: Share = 0.5
    """Least share of the horizon that must be measured."""
    joint: bool = False
    """Start windows at the same times in all signals of a stay, so that a backbone that can reads them together."""

    def resolved(self, step_seconds: int) -> "WindowSpec":
        """The same windows with every length filled in for a grid of `step_seconds`.

        Up to ten minutes a step: 6 h and 3 h (72 and 36 steps at 5 minutes, as in arXiv 2311.04770). Up to an hour:
        24 h and 6 h. Coarser: 24 and 6 steps. The season is a day where the context holds one, else an hour, else a
        single step (then the seasonal naive is the last value).
        """
        seconds = (6 * 3600, 3 * 3600) if step_seconds <= 600 else (24 * 3600, 6 * 3600)
        context, horizon = (s // step_seconds for s in seconds) if step_seconds <= 3600 else (24, 6)
        context, horizon = self.context or context, self.horizon or horizon
        seasons = [s // step_seconds for s in (86_400, 3600) if 1 < s // step_seconds <= context]
        filled = {
            "context": context,
            "horizon": horizon,
            "stride": self.stride or horizon,
            "season": self.season or (seasons[0] if seasons else 1),
        }
        return self.model_copy(update=filled)


class SplitSpec(_Frozen):
    """Who is on which side: patients, seeded; by shares, or fold `fold` of `folds`."""

    seed: Seed = 0
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of training, validation and test patients."""
    folds: int | None = Field(default=None, ge=3)
    fold: int = Field(default=0, ge=0)
    """Fold `fold` is the test side, the next one validation, the rest training."""

    @model_validator(mode="after")
    def _adds_up(self) -> "SplitSpec":
        if not abs(sum(self.shares) - 1) <= 1e-9 or min(self.shares) <= 0:
            raise ValueError(f"shares {self.shares} must be positive and add up to 1, e.g. [0.8, 0.1, 0.1]")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} does not exist: {self.folds} folds are numbered 0 to {self.folds - 1}")
        return self


class TrainSpec(_Frozen):
    """The training loop; the learning rate left out is the method's own default."""

    steps: int = Field(default=500, ge=1)
    """Most optimizer steps; early stopping may end sooner."""
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from 0; then it falls linearly to 0."""
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    evaluate_every: int = Field(default=50, ge=1)
    """Steps between two validation scores; a checkpoint is written with each."""
    patience: int = Field(default=5, ge=1)
    """Validation scores without a new best before training stops."""
    validation_windows: int = Field(default=1024, ge=1)
    """Most windows that a validation score reads (a seeded choice where there are more)."""


class ForecastSpec(_Frozen):
    """How arms forecast."""

    samples: int = Field(default=20, ge=2)
    """Sample paths a window."""
    batch_size: int = Field(default=64, ge=1)
    seed: Seed = 0


class ScratchSpec(_Frozen):
    """How networks are trained from scratch (N-BEATS, N-HiTS, TFT); the words are those of `TrainSpec`."""

    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    evaluate_every: int = Field(default=50, ge=1)
    patience: int = Field(default=5, ge=1)
    validation_windows: int = Field(default=1024, ge=1)


class ArmSpec(_Frozen):
    """One backbone with one method; what is left out is the method's own default (`loracast methods` lists them)."""

    backbone: str
    method: str
    revision: str | None = None
    """Commit, tag or branch on the Hub; pinned in the adapter's card."""
    rank: int | None = Field(default=None, ge=1)
    """Rank of the update, for the methods that have one."""
    alpha: float = Field(default=16, gt=0)
    """The update of LoRA and its relatives is scaled by alpha / rank (rsLoRA: alpha / √rank)."""
    sites: str | None = Field(default=None, min_length=1)
    """Which matrices: attention, qv, qkvo, feed-forward, all-linear, head, or a regular expression of full names."""
    frequencies: int | None = Field(default=None, ge=1)
    """FourierFT: trained coefficients a matrix."""
    block_size: int | None = Field(default=None, ge=2)
    """OFT: side of the orthogonal blocks."""
    learning_rate: float | None = Field(default=None, gt=0)
    patients: Share = 1.0
    """Share of the training patients that this arm learns from; a smaller share is part of a larger one."""
    context: int | None = Field(default=None, ge=4)
    """The last steps of the window's context that this arm sees; all of them if not given."""

    @model_validator(mode="after")
    def _filled(self) -> "ArmSpec":
        """Fill in the size that the method has, so that two spellings of an arm are one; leave the others empty."""
        size, default = SIZES.get(self.method, (None, 0))
        strange = [name for name in _SIZE_NAMES if name != size and getattr(self, name) is not None]
        if strange:
            told = f"it is sized by {size}" if size else "it has no size to set"
            raise ValueError(f"method {self.method!r} takes no {strange[0]}: {told}")
        idle = [name for name in _IDLE.get(self.method, ()) if self._is_set(name)]
        if self.method not in SCALED and self._is_set("alpha"):
            idle.append("alpha")
        if idle:
            raise ValueError(f"method {self.method!r} has no use for {', '.join(idle)}; leave it out")
        if size is not None and getattr(self, size) is None:
            object.__setattr__(self, size, default)
        return self

    @property
    def name(self) -> str:
        """What tables and folders call this arm: backbone, method, its size, and what was set otherwise than usual."""
        size, _ = SIZES.get(self.method, (None, 0))
        parts = [f"{self.label} {self.method}"]
        if size is not None:
            parts.append(f"{_SIZE_NAMES[size]}={getattr(self, size)}")
        parts += [f"{name}={getattr(self, name):g}" for name in ("alpha", "patients") if self._is_set(name)]
        parts += [f"lr={self.learning_rate:g}"] if self.learning_rate else []
        parts += [f"{name}={getattr(self, name)}" for name in ("sites", "context") if self._is_set(name)]
        return " ".join(parts)

    def _is_set(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @property
    def label(self) -> str:
        """The backbone without the folders, or the owner on the Hub, before its name."""
        return self.backbone.rstrip("/").rsplit("/", 1)[-1]

    def as_json(self) -> dict[str, Any]:
        """The arm for a result file, without the place of its backbone on this machine."""
        return self.model_dump(mode="json") | {"backbone": self.label}


SCALED = ("lora", "rslora", "dora", "pissa", "adalora")
"""Methods whose update is scaled by alpha."""
SIZES: dict[str, tuple[str, int]] = {
    # Rank 2 is that of arXiv 2405.10216, 100 frequencies that of arXiv 2409.11302.
    **dict.fromkeys(SCALED, ("rank", 2)),
    "vera": ("rank", 64),
    "fourierft": ("frequencies", 100),
    "oft": ("block_size", 16),
}
"""By what each method is sized, and its default; methods without a size are not here."""
_IDLE = {"zero-shot": ("learning_rate", "patients")}
_SIZE_NAMES = {"rank": "r", "frequencies": "n", "block_size": "b"}


FITTED = {"ets": "ETS", "theta": "Theta"}
"""Baselines that are fitted to each window alone, with what people call them; the others are networks."""


class ExperimentSpec(_Frozen):
    """A whole comparison: data × arms × seeds, on the same windows."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    data: DataSpec
    windows: WindowSpec = WindowSpec()
    split: SplitSpec = SplitSpec()
    training: TrainSpec = TrainSpec()
    forecast: ForecastSpec = ForecastSpec()
    scratch: ScratchSpec = ScratchSpec()
    arms: tuple[ArmSpec, ...] = Field(min_length=1)
    baselines: tuple[Literal["ets", "theta", "nbeats", "nhits", "tft"], ...] = ()
    """What runs besides the naive floor: fitted to each window (ets, theta), or trained from scratch."""
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    validation_scores: bool = False
    """Score the validation windows too: a rank sweep decides on them."""

    @model_validator(mode="after")
    def _distinct(self) -> "ExperimentSpec":
        names = [arm.name for arm in self.arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"these arms stand twice: {', '.join(twice)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} repeat")
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(f"baselines {self.baselines} repeat")
        wanted = {(arm.backbone, arm.context) for arm in self.arms}
        missing = wanted - {(a.backbone, a.context) for a in self.arms if a.method == "zero-shot"}
        if missing:
            backbone, context = min(missing, key=str)
            seen = "" if context is None else f", context = {context}"
            raise ValueError(
                f"no zero-shot arm for {', '.join(sorted({name for name, _ in missing}))}: every comparison is against "
                f'it; add {{ backbone = "{backbone}", method = "zero-shot"{seen} }}'
            )
        return self

    @property
    def digest(self) -> str:
        """What tells this experiment from another, wherever its files lie."""
        return digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The spec for a result file, without paths: fingerprints of data and weights say more."""
        content = self.model_dump(mode="json", exclude={"data": {"path"}})
        return content | {"arms": [arm.as_json() for arm in self.arms]}


def parse(kind: type[Spec], content: dict[str, Any], what: str) -> Spec:
    """Validate `content` as `kind`; raises ConfigError with one line a mistake, named by its place in `what`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = "\n".join(f"  {_told(kind, mistake)}" for mistake in error.errors())
        raise ConfigError(f"{what} asks for what cannot be done:\n{lines}") from error


_PARTS: dict[str, type[_Frozen]] = {
    **{"mimic3": Mimic3Data, "simulate": SimulatedData, "cinc2019": Cinc2019Data, "table": TableData},
    **{"windows": WindowSpec, "split": SplitSpec, "training": TrainSpec, "forecast": ForecastSpec, "arms": ArmSpec},
    "scratch": ScratchSpec,
}


def _told(kind: type[_Frozen], mistake: Any) -> str:
    """One mistake: its place, what is wrong, and what was given or which keys there are."""
    place = [str(part) for part in mistake["loc"]]
    line = f"{'.'.join(place) or kind.__name__}: {mistake['msg'].removeprefix('Value error, ')}"
    if mistake["type"] == "extra_forbidden":
        part = next((_PARTS[name] for name in reversed(place[:-1]) if name in _PARTS), kind)
        return f"{line}. Keys: {', '.join(part.model_fields)}"
    if mistake["type"] == "union_tag_not_found":
        return f"{line}. Give source = one of mimic3, simulate, cinc2019, table"
    scalar = isinstance(mistake["input"], str | int | float)
    return f"{line} ({mistake['input']!r} given)" if scalar else line
