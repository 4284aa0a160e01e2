"""What an experiment asks for: data × arms × seeds on the same windows; and its TOML."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from loracast.data.readers import TABLE, AnyReader, readers
from loracast.errors import ConfigError, DataError
from loracast.files import digest, read_toml
from loracast.models.registry import kind_of, models
from loracast.spec import Asked, ForecastSpec, Seed, SplitSpec, TrainSpec, WindowSpec, parse
from loracast.study.packaged import PACKAGED, find_experiment
from loracast.tuning.arm import ArmSpec
from loracast.types import FLOOR

MARGIN = 0.01
"""By how much worse than the best a rank may be and still suffice, as a share of the best's error: set beforehand."""


class ExperimentSpec(Asked):
    """A whole comparison: data × arms × seeds, on the same windows.

    >>> data, arms = {"source": "table", "path": "vitals.parquet"}, [{"model": "theta"}]
    >>> ExperimentSpec(name="small", data=data, arms=arms).windows.min_context_observed
    0.5
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    data: AnyReader
    windows: WindowSpec = WindowSpec()
    split: SplitSpec = SplitSpec()
    training: TrainSpec = TrainSpec()
    forecast: ForecastSpec = ForecastSpec()
    arms: tuple[ArmSpec, ...] = Field(min_length=1)
    baselines: tuple[str, ...] = ()
    """Models without pretrained weights, by name: short for arms of them as they come. The naive ones always run."""
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    validation_scores: bool = False
    """Score the validation windows too: a rank sweep decides on them."""
    margin: float = Field(default=MARGIN, gt=0, lt=1)
    """A rank suffices where it is shown to be worse than the best by less than this share of the best's error."""

    @model_validator(mode="after")
    def _distinct(self) -> "ExperimentSpec":
        known = [name for name, (family, _) in models().items() if family.kind != "pretrained"]
        strange = [name for name in self.baselines if name not in known]
        if strange:
            raise ValueError(f"baselines {', '.join(strange)} are none. Baselines: {', '.join(known)}")
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(f"baselines {self.baselines} repeat")
        names = [arm.name for arm in self.competitors]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"these arms stand twice: {', '.join(twice)} (arms that differ in revision or training alone bear one "
                "name: compare them in two experiments)"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} repeat")
        return self._with_zero_shot()

    def _with_zero_shot(self) -> "ExperimentSpec":
        wanted = {arm.terms for arm in self.arms if kind_of(arm.model) == "pretrained"}
        missing = wanted - {arm.terms for arm in self.arms if arm.method.name == "zero-shot"}
        if missing:
            model, revision, context = min(missing, key=str)
            seen = "" if revision is None else f', revision = "{revision}"'
            seen += "" if context is None else f", context = {context}"
            raise ValueError(
                f"no zero-shot arm for {', '.join(sorted({terms[0] for terms in missing}))}: every comparison is "
                f'against it; add {{ model = "{model}", method = "zero-shot"{seen} }}'
            )
        return self

    @property
    def competitors(self) -> tuple[ArmSpec, ...]:
        """Every arm: the naive floor, the baselines, then those that were given.

        >>> data = {"source": "table", "path": "vitals.parquet"}
        >>> spec = ExperimentSpec(name="small", data=data, arms=[{"model": "theta"}], baselines=["ets"])
        >>> [arm.name for arm in spec.competitors]
        ['last-value', 'seasonal-naive', 'context-mean', 'ets', 'theta']
        """
        given = {arm.name for arm in self.arms}
        short = [name for name in dict.fromkeys((*FLOOR, *self.baselines)) if name not in given]
        return (*(ArmSpec.model_validate({"model": name}) for name in short), *self.arms)

    def seeds_of(self, arm: ArmSpec) -> tuple[int, ...]:
        """The seeds that an arm runs with; what trains nothing runs once, with the first.

        >>> data = {"source": "table", "path": "vitals.parquet"}
        >>> spec = ExperimentSpec(name="small", data=data, arms=[{"model": "theta"}], seeds=[0, 1])
        >>> spec.seeds_of(spec.arms[0])
        (0,)
        """
        return self.seeds if arm.method.trains else self.seeds[:1]

    @property
    def digest(self) -> str:
        """What tells this experiment from another, wherever its files lie.

        >>> data = {"source": "table", "path": "vitals.parquet"}
        >>> len(ExperimentSpec(name="small", data=data, arms=[{"model": "theta"}]).digest)
        16
        """
        return digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The spec for a result file, without paths: fingerprints of data and weights say more.

        >>> data = {"source": "table", "path": "vitals.parquet"}
        >>> ExperimentSpec(name="small", data=data, arms=[{"model": "theta"}]).as_json()["arms"][0]["model"]
        'theta'
        """
        content = self.model_dump(mode="json", exclude={"data"})
        return content | {"data": self.data.as_json(), "arms": [arm.as_json() for arm in self.arms]}


def read_experiment(path: Path | str, *, data: Path | None = None, backbones: str | None = None) -> ExperimentSpec:
    """Read an experiment's TOML, or by its name one that comes with loracast (`packaged`).

    Paths in it are relative to the file, those of a packaged one to the working directory; `data` replaces the one it
    reads.

    Instead of `[[arms]]` a file may list `[[methods]]` and named sets of `[backbones]`: every method on every backbone
    of the set `backbones`, the first set unless named; a method's `except` names backbones of the sets that do without
    it. A list in the place of a value (`rank = [1, 2, 4]`) stands for an arm a value, several lists for every
    combination. Raises ConfigError for a missing file, an unknown name, bad TOML, an unknown or mistyped key, an
    unknown set.

    >>> [arm.name for arm in read_experiment("mimic3-demo").arms]
    ['chronos-t5-nano zero-shot', 'chronos-t5-nano lora r=2', 'chronos-t5-nano full']
    """
    path = find_experiment(path)
    here = Path() if path.resolve().is_relative_to(PACKAGED.resolve()) else path.parent
    content = read_toml(path)
    if isinstance(content.get("data"), dict):
        _place_data(content["data"], here, data)
    _expand(content, path.name, backbones)
    if isinstance(content.get("arms"), list):
        content["arms"] = [one for arm in content["arms"] for one in _every_combination(arm)]
    for arm in content["arms"] if isinstance(content.get("arms"), list) else []:
        name = arm.get("model") if isinstance(arm, dict) else None
        if isinstance(name, str) and (path.parent / name).is_dir():
            arm["model"] = str((path.parent / name).resolve())
    return parse(ExperimentSpec, content, path.name)


def refuse_absent(spec: ExperimentSpec, out: Path) -> None:
    """Raise DataError where the data of an experiment are not where it looks for them, and were not read before."""
    if (out / "data" / TABLE).is_file():
        return
    place = getattr(spec.data, "path", None)
    if isinstance(place, Path) and not place.exists():
        raise DataError(
            f"{spec.name} reads {place}, where nothing is. Give the place of its data with --data. "
            "(`loracast experiments NAME` prints a packaged experiment, with where its data are to be had.)"
        )


def _place_data(asked: dict[str, Any], folder: Path, instead: Path | None) -> None:
    """Make the paths of `[data]` whole, and put `instead` in the place of the one it reads."""
    reader = readers().get(str(asked.get("source")))
    for name in reader.paths() if reader else ():
        if isinstance(asked.get(name), str):
            asked[name] = str((folder / asked[name]).resolve())
    if instead is not None:
        asked["path"] = str(instead.resolve())


def _expand(content: dict[str, Any], file: str, chosen: str | None) -> None:
    """Put the arms of a set of backbones into `content`, in the place of its `backbones` and `methods`."""
    sets, methods = content.get("backbones"), content.get("methods")
    if sets is None and methods is None:
        if chosen is not None:
            raise ConfigError(f"{file} names its arms one by one; there is no set of backbones {chosen!r} to choose.")
        return
    named = isinstance(sets, dict) and sets and all(isinstance(names, list) for names in sets.values())
    if not isinstance(sets, dict) or not named or not isinstance(methods, list):
        raise ConfigError(
            f'{file}: give either [[arms]], or both [backbones] (NAME = ["chronos-t5-nano", …]) and [[methods]].'
        )
    default = next(iter(sets))
    if (chosen or default) not in sets:
        raise ConfigError(f"{file} has no set of backbones {chosen!r}. Sets: {', '.join(sets)}.")
    del content["backbones"], content["methods"]
    known = {name for names in sets.values() for name in names}
    content["arms"] = [
        {"model": name, **{key: value for key, value in method.items() if key != "except"}}
        if isinstance(method, dict)
        else method
        for name in sets[chosen or default]
        for method in methods
        if name not in _excepted(method, known, file)
    ] + _listed(content.get("arms"))
    if chosen not in (None, default):
        content["name"] = f"{content.get('name')}-{chosen}"


def _listed(arms: Any) -> list[Any]:
    return arms if isinstance(arms, list) else []


def _excepted(method: Any, known: set[str], file: str) -> list[str]:
    """The backbones that do without a method."""
    named = method.get("except", []) if isinstance(method, Mapping) else []
    strange = [name for name in named if name not in known] if isinstance(named, list) else [named]
    if strange:
        raise ConfigError(f"{file}: except = {named!r} must list backbones of its sets: {', '.join(sorted(known))}.")
    return list(named)


def _every_combination(arm: Any) -> list[Any]:
    """An entry whose values may be lists, as the entries that it stands for."""
    lists = {key: value for key, value in arm.items() if isinstance(value, list)} if isinstance(arm, dict) else {}
    empty = [key for key, values in lists.items() if not values]
    if empty:
        raise ConfigError(f"{empty[0]} = [] stands for no arm at all. Give values, or leave the entry out.")
    return [{**arm, **dict(zip(lists, chosen, strict=True))} for chosen in product(*lists.values())] if lists else [arm]
