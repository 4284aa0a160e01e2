"""From an experiment's TOML to what it asks for."""

import tomllib
from itertools import product
from pathlib import Path
from typing import Any

from loracast.errors import ConfigError
from loracast.spec import ExperimentSpec, parse


def read_experiment(path: Path, *, data: Path | None = None, backbones: str | None = None) -> ExperimentSpec:
    """Read an experiment's TOML; paths in it are relative to the file, `data` replaces the one it names.

    Instead of `[[arms]]` a file may list `[[methods]]` and named sets of `[backbones]`: every method on every backbone
    of the set `backbones`, the first set unless named; a method's `except` names backbones of the sets that do without
    it. A list in the place of a value (`rank = [1, 2, 4]`) stands for an arm a value, several lists for every
    combination. Raises ConfigError for a missing file, bad TOML, an unknown or mistyped key, an unknown set.
    """
    if not path.is_file():
        raise ConfigError(f"No experiment file {path}. Give a .toml, e.g. experiments/mimic3-demo.toml.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not valid TOML: {error}.") from error
    where = content.get("data")
    if isinstance(where, dict):
        if data is not None:
            where["path"] = str(data.resolve())
        elif isinstance(where.get("path"), str):
            where["path"] = str((path.parent / where["path"]).resolve())
    _expand(content, path.name, backbones)
    if isinstance(content.get("arms"), list):
        content["arms"] = [one for arm in content["arms"] for one in _every_combination(arm)]
    for arm in content["arms"] if isinstance(content.get("arms"), list) else []:
        name = arm.get("backbone") if isinstance(arm, dict) else None
        if isinstance(name, str) and (path.parent / name).is_dir():
            arm["backbone"] = str((path.parent / name).resolve())
    return parse(ExperimentSpec, content, path.name)


def _expand(content: dict[str, Any], file: str, chosen: str | None) -> None:
    """Put the arms of a set of backbones into `content`, in the place of its `backbones` and `methods`."""
    sets, methods = content.get("backbones"), content.get("methods")
    if sets is None and methods is None:
        if chosen is not None:
            raise ConfigError(f"{file} names its arms one by one; there is no set of backbones {chosen!r} to choose.")
        return
    named = isinstance(sets, dict) and sets and all(isinstance(names, list) for names in sets.values())
    if not isinstance(sets, dict) or not named or not isinstance(methods, list) or "arms" in content:
        raise ConfigError(
            f'{file}: give either [[arms]], or both [backbones] (NAME = ["chronos-t5-nano", …]) and [[methods]].'
        )
    default = next(iter(sets))
    if (chosen or default) not in sets:
        raise ConfigError(f"{file} has no set of backbones {chosen!r}. Sets: {', '.join(sets)}.")
    del content["backbones"], content["methods"]
    content["arms"] = [
        {"backbone": name, **{key: value for key, value in method.items() if key != "except"}}
        if isinstance(method, dict)
        else method
        for name in sets[chosen or default]
        for method in methods
        if name not in _excepted(method, {name for names in sets.values() for name in names}, file)
    ]
    if chosen not in (None, default):
        content["name"] = f"{content.get('name')}-{chosen}"


def _excepted(method: Any, known: set[str], file: str) -> list[str]:
    """The backbones that do without a method."""
    named = method.get("except", []) if isinstance(method, dict) else []
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
