"""What a bench is asked for, and what its file holds; several such files side by side."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loracast.errors import ConfigError
from loracast.files import read_json

FORMAT = 1
_LEAST = {"context": 4, "samples": 2}


@dataclass(frozen=True)
class Settings:
    """Times of two files can be laid side by side where these are equal. Lengths are in steps of the grid.

    Raises ConfigError for a number that is too small.
    """

    steps: int = 10
    batch_size: int = 32
    context: int = 72
    horizon: int = 36
    windows: int = 64
    samples: int = 100

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = _LEAST.get(name, 1)
            if value < least:
                raise ConfigError(f"{name.replace('_', ' ')} {value} given; a bench needs {least} or more.")


def read_bench(file: Path) -> dict[str, Any]:
    """What `bench` wrote; raises ConfigError for anything else."""
    again = "Give files that `loracast bench` wrote."
    content = read_json(file, ConfigError)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT or not {"hardware", "versions", "settings", "rows"} <= set(content):
        raise ConfigError(f"{file} is no bench of format {FORMAT}. {again}")
    return dict(content)


def read_benches(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Several machines' benches by letter, in the order in which they were given.

    Raises ConfigError for fewer than two files, for one that is no bench, and where settings differ: times of unlike
    work say nothing.
    """
    if not 2 <= len(files) <= len(string.ascii_uppercase):
        raise ConfigError(
            f"{len(files)} file{'s' * (len(files) != 1)} given. Give two or more that `loracast bench` wrote, the "
            "first to compare with."
        )
    found = [read_bench(file) for file in files]
    for file, one in zip(files, found, strict=True):
        _refuse_unlike(file, one["settings"], files[0], found[0]["settings"])
    return dict(zip(string.ascii_uppercase, found, strict=False))


def _refuse_unlike(file: Path, own: Mapping[str, Any], other: Path, first: Mapping[str, Any]) -> None:
    unlike = [name for name in {**first, **own} if first.get(name) != own.get(name)]
    if unlike:
        told = ", ".join(f"{name} {own.get(name)} against {first.get(name)}" for name in unlike)
        raise ConfigError(
            f"{file} and {other} were measured with other settings ({told}), so their times are not comparable. "
            "Measure both with the same."
        )
