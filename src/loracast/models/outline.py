"""A backbone without its network: names and shapes of its modules, so that what a method trains is counted at once.

Building an architecture, even without weights, loads torch and the libraries of its family, which takes longer than
any count. The shapes of the releases that loracast knows stand in `outlines.json`; `python docs/make_outlines.py` makes
it from the architectures themselves, and a test holds one against the other.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from loracast.files import digest
from loracast.models.base import ModelCard, Sites
from loracast.models.registry import Family, Listed, Release, listed

FILE = Path(__file__).parent / "outlines.json"
LINEAR, LEAF, WHOLE = "linear", "leaf", "whole"
"""What a module is: a linear layer, another without parts, or one that has parts."""


@dataclass(frozen=True)
class Part:
    """A module: what it is, and the shapes of the parameters that are its own by their names."""

    kind: str
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def in_features(self) -> int | None:
        """Numbers into a linear layer; None of another module."""
        return self.shapes["weight"][1] if self.kind == LINEAR else None

    @property
    def out_features(self) -> int | None:
        """Numbers out of a linear layer; None of another module."""
        return self.shapes["weight"][0] if self.kind == LINEAR else None

    @property
    def numbers(self) -> int:
        """How many numbers are its own."""
        return sum(prod(shape) for shape in self.shapes.values())


@dataclass(frozen=True)
class Outlined:
    """The modules of a network by their full names."""

    parts: Mapping[str, Part]

    def named_modules(self) -> Iterator[tuple[str, Part]]:
        """As of a network."""
        return iter(self.parts.items())

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Every parameter by its full name, with how many numbers it has; tied ones once for each name."""
        for name, part in self.parts.items():
            for own, shape in part.shapes.items():
                yield f"{name}.{own}", prod(shape)


class Outline(NamedTuple):
    """What can be known of a backbone without building it."""

    card: ModelCard
    sites: Sites
    net: Outlined


def outline(name: str) -> Outline | None:
    """The outline of a model of the table; None for a folder, and for a model whose shapes are not known beforehand."""
    found = listed(name)
    if found is None or found.family.sites is None:
        return None
    known = _known().get(key_of(found.family, found.release))
    return None if known is None else _of(found, found.family.sites, known)


def _of(found: Listed, sites: Sites, known: Mapping[str, Any]) -> Outline:
    card = ModelCard(
        name=found.name,
        family=found.family.name,
        kind=found.family.kind,
        licence=found.release.licence,
        **{key: known[key] for key in ("parameters", "context", "horizon")},
    )
    return Outline(card, sites, Outlined(unfolded(known["modules"])))


def key_of(family: Family, release: Release) -> str:
    """What an outline is found by: the family and its sizes, so that other sizes are never taken for them."""
    return digest({"family": family.name, "sizes": dict(release.sizes), "ships": isinstance(release.location, Path)})


@functools.cache
def _known() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def folded(parts: Mapping[str, Part]) -> dict[str, list[Any]]:
    """The parts with one entry for those that differ in the number of their block alone: `[kind, shapes, numbers]`."""
    entries: dict[str, dict[str, Any]] = {}
    for name, part in parts.items():
        pattern, number = _numbered(name)
        shapes = {own: list(shape) for own, shape in part.shapes.items()}
        key = json.dumps([pattern, part.kind, shapes])
        entries.setdefault(key, {"entry": [pattern, part.kind, shapes], "numbers": []})["numbers"].append(number)
    found: dict[str, list[Any]] = {}
    for one in entries.values():
        pattern, *rest = one["entry"]
        found.setdefault(pattern, []).append([*rest, [number for number in one["numbers"] if number is not None]])
    return found


def unfolded(entries: Mapping[str, list[Any]]) -> dict[str, Part]:
    """What `folded` has folded."""
    found = {}
    for pattern, variants in entries.items():
        for kind, shapes, numbers in variants:
            part = Part(kind, {own: tuple(shape) for own, shape in shapes.items()})
            for name in [pattern.replace("#", str(number)) for number in numbers] or [pattern]:
                found[name] = part
    return found


def _numbered(name: str) -> tuple[str, int | None]:
    """A name with its first number as `#`, and the number."""
    found = re.search(r"(?<=\.)\d+(?=\.|$)", name)
    return (name, None) if found is None else (f"{name[: found.start()]}#{name[found.end() :]}", int(found[0]))
