"""The experiments that come with loracast: TOML files in `experiments/` beside this one, found by their names."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loracast.errors import ConfigError
from loracast.files import read_toml

PACKAGED = Path(__file__).parent / "experiments"


def packaged() -> dict[str, Path]:
    """Every experiment that comes with loracast, by its name: its file, without its ending, below `experiments/`.

    >>> packaged()["mimic3-demo"].name
    'mimic3-demo.toml'
    """
    found = sorted(PACKAGED.rglob("*.toml"), key=lambda file: (len(file.relative_to(PACKAGED).parts), file))
    return {file.relative_to(PACKAGED).with_suffix("").as_posix(): file for file in found}


def find_experiment(name: Path | str) -> Path:
    """The file of an experiment: the one that stands at `name`, else the packaged one that is called so.

    Raises ConfigError for a name that is neither, with those there are and the nearest.
    """
    file = Path(name)
    if file.is_file():
        return file
    known = packaged()
    if file.as_posix() not in known:
        raise _unknown(str(name), known)
    return known[file.as_posix()]


def packaged_text(name: str) -> str:
    """The TOML of a packaged experiment; raises ConfigError for a name that is none."""
    known = packaged()
    if name not in known:
        raise _unknown(name, known)
    return known[name].read_text(encoding="utf-8")


def _unknown(asked: str, known: Mapping[str, Path]) -> ConfigError:
    near = _nearest(asked.removesuffix(".toml"), list(known))
    meant = f" Did you mean {near}?" if near else ""
    return ConfigError(
        f"No experiment file {asked}, and no experiment of that name comes with loracast.{meant} "
        f"Give a .toml, or one of: {', '.join(known)}."
    )


def _nearest(asked: str, known: list[str]) -> str | None:
    """The name that is most like the one asked for; the folders before it count less than what it ends with."""
    last = asked.rpartition("/")[2]
    ends = [name for name in known if name.rpartition("/")[2] == last]
    ends += [name for name in known if name.replace("/", "-") == last]  # the `name` that the file itself gives
    return next(iter([*ends, *difflib.get_close_matches(asked, known, n=1)]), None)


def listed_experiments() -> list[dict[str, Any]]:
    """A row an experiment: its name, what it asks (the first line of its file), source and path of its data, seeds."""
    rows = []
    for name, file in packaged().items():
        content = read_toml(file)
        title = file.read_text(encoding="utf-8").partition("\n")[0]
        rows.append(
            {
                "experiment": name,
                "asks": title.removeprefix("# "),
                "source": content["data"]["source"],
                "data": content["data"].get("path"),
                "seeds": len(content.get("seeds", [0])),
            }
        )
    return rows
