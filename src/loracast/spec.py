"""What a caller may ask for: windows, split, training, forecasts. Frozen and validated; mistakes are told in words.

Also what may stand in the tables that are asked from: the models, methods and readers that other packages bring.
"""

import ast
import functools
import inspect
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator

from loracast.errors import ConfigError

Share = Annotated[float, Field(gt=0, le=1)]
AtLeastZero = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Precision = Literal["float32", "bfloat16"]
"""What a network multiplies in; its weights are float32 in either."""


class Frozen(BaseModel):
    """Settings or facts that do not change once they stand; unknown keys, NaN and infinity are refused."""

    # A class is built when its first object is: a command has use for few of those that its files define.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema of pydantic with the words of each field."""
        schema = handler(core_schema)
        told, properties = described(cls), handler.resolve_ref_schema(schema).get("properties", {})
        for name in told.keys() & properties.keys():
            properties[name].setdefault("description", told[name])
        return schema


class Asked(Frozen):
    """Settings that a caller may make by name; facts about data, which never quote what they hold, are none.

    >>> issubclass(TrainSpec, Asked)
    True
    """

    if not TYPE_CHECKING:  # a checker reads the arguments from the fields

        def __init__(self, **given: Any) -> None:
            """Raises ConfigError for what cannot be, as `parse` does."""
            try:
                super().__init__(**given)
            except ValidationError as error:
                raise ConfigError(_refused(type(self), error, type(self).__name__)) from error

        # Pydantic calls it for an object that is made by name alone, and not for one within another.
        __init__.__pydantic_base_init__ = True


def described(kind: type[Frozen]) -> dict[str, str]:
    """What each field of a class is, in words: its description, else the docstring below it.

    Read from the source when somebody asks. pydantic would do so whenever a class is made, which takes longer than most
    commands.

    >>> described(ForecastSpec)["batch_size"]
    'Windows that are in memory at a time; changes no number.'
    """
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if issubclass(one, Frozen):
            found |= _docstrings(one.__module__).get(one.__qualname__, {})
    given = {name: field.description for name, field in kind.model_fields.items()}
    return {name: told for name in given if (told := given[name] or found.get(name))}


@functools.cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """The docstrings below the fields of every class in a module, by the name of the class; none without a source."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    kinds = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {kind.name: dict(_below(kind.body)) for kind in kinds}


def _below(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Each annotated name in the body of a class that has a docstring below it, and the docstring."""
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            told = getattr(after.value, "value", None)
            if isinstance(told, str):
                yield field.target.id, inspect.cleandoc(told)


Spec = TypeVar("Spec", bound=Frozen)


class WindowSpec(Asked):
    """How windows are cut, in steps of the grid; what is left out follows from the grid (`resolved`).

    >>> WindowSpec(context=48, horizon=12).horizon
    12
    """

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

        >>> hourly = WindowSpec().resolved(step_seconds=3600)
        >>> hourly.context, hourly.horizon, hourly.stride, hourly.season
        (24, 6, 6, 24)
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


class SplitSpec(Asked):
    """Who is on which side: patients, seeded; by shares, or fold `fold` of `folds`.

    >>> SplitSpec(seed=1, shares=(0.6, 0.2, 0.2)).shares
    (0.6, 0.2, 0.2)
    """

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


class TrainSpec(Asked):
    """The training loop; the learning rate left out is the method's own default.

    >>> TrainSpec(steps=200, learning_rate=0.001).batch_size
    32
    """

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
    decay: Literal["linear", "halving"] = "linear"
    """How the learning rate falls after the warm-up: linearly to 0, or halved three times over all steps."""
    log_every: int = Field(default=10, ge=1)
    """Most steps over which a training loss is averaged before it is noted."""
    validation_windows: int = Field(default=1024, ge=1)
    """Most windows that a validation score reads (a seeded choice where there are more)."""
    base_dropout: bool = False
    """Whether the dropout of the pretrained network's own config (0.1 in Chronos, 0 in MOIRAI and Lag-Llama) acts in
    training, for every method alike; that of a method's own settings always does."""


class ForecastSpec(Asked):
    """How arms forecast.

    >>> ForecastSpec(samples=20).batch_size
    64
    """

    samples: int = Field(default=100, ge=2)
    """Sample paths a window, of models that draw them; some at a time, so that more need no more memory."""
    batch_size: int = Field(default=64, ge=1)
    """Windows that are in memory at a time; changes no number."""
    seed: Seed = 0
    precision: Precision = "float32"
    """What pretrained networks multiply in. bfloat16 has numbers of its own, and is quicker where the processor or GPU
    has it: AMX, AVX512_BF16, CUDA. Which of the two is never chosen by the machine."""


def parse(kind: type[Spec], content: dict[str, Any], what: str) -> Spec:
    """Validate `content` as `kind`; raises ConfigError with one line a mistake, named by its place in `what`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_refused(kind, error, what)) from error


def _refused(kind: type["Frozen"], error: ValidationError, what: str) -> str:
    """What pydantic has found, one line a mistake."""
    lines = "\n".join(f"  {_told(kind, mistake)}" for mistake in error.errors())
    return f"{what} asks for what cannot be done:\n{lines}"


def _told(kind: type[Frozen], mistake: Any) -> str:
    """One mistake: its place, what is wrong, and what was given or which keys there are."""
    place = [str(part) for part in mistake["loc"]]
    said = mistake["msg"].removeprefix("Value error, ")
    line = f"{'.'.join(place)}: {said}" if place else said
    if mistake["type"] == "extra_forbidden":
        return f"{line}. Keys: {', '.join(_part(kind, place[:-1]).model_fields)}"
    scalar = isinstance(mistake["input"], str | int | float)
    return f"{line} ({mistake['input']!r} given)" if scalar else line


def _part(kind: type[Frozen], place: list[str]) -> type[Frozen]:
    """The class of the part of `kind` at this place; the innermost that is one."""
    for name in place:
        inner = kind.model_fields[name].annotation if name in kind.model_fields else None
        if isinstance(inner, type) and issubclass(inner, Frozen):
            kind = inner
    return kind


class Brought(NamedTuple):
    """What the entry point of an installed package names, and what messages call it."""

    found: Any
    told: str

    def refused(self, why: str) -> ConfigError:
        """The error that says why it cannot be used."""
        return ConfigError(f"{self.told} {why}. Mend the package, or uninstall it.")


@functools.lru_cache(maxsize=1)
def _installed(places: tuple[str, ...]) -> Any:
    """All entry points of the packages in these places: to look through all packages takes as long as a group does."""
    del places
    return entry_points()


def brought(group: str, kind: str) -> Iterator[Brought]:
    """What installed packages bring by entry points of `group`; `kind` is what messages call one, such as "reader".

    Raises ConfigError for one that cannot be loaded.
    """
    for entry in _installed(tuple(sys.path)).select(group=group):
        one = Brought(
            None, f"The {kind} {entry.value} of the package {entry.dist.name if entry.dist else entry.module}"
        )
        try:
            found = entry.load()
        except Exception as error:  # whatever a package of others does when it is imported
            raise one.refused(f"cannot be loaded ({type(error).__name__}: {error})") from error
        yield one._replace(found=found)
