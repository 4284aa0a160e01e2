"""Every model by name: what each family says of itself, read from its own file and from installed packages.

A family is one file of this room with a `FAMILY` at its end, and one line in `_FILES`. From outside it is a package
with an entry point of the group `loracast.models` that names a `Family`. Nothing here knows a family by name, and
listing loads neither torch nor any of their libraries.
"""

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

from loracast.errors import BackboneError
from loracast.spec import brought
from loracast.types import Kind

if TYPE_CHECKING:
    from loracast.models.base import Backbone, Model, Sites

PACKAGED = Path(__file__).parent / "weights"
GROUP = "loracast.models"
"""The group of entry points by which other packages bring a family."""

_FILES = ("naive", "statistical", "neural", "chronos_t5", "chronos_bolt", "chronos2", "moirai", "lag_llama")


@dataclass(frozen=True)
class Release:
    """One model of a family: where its weights are, who may use it, and what builds it without them.

    `location` is a repository of the Hub or a packaged folder, None for what has no weights.
    """

    location: str | Path | None
    licence: str
    sizes: Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """The model that a family is to load; a folder that a caller named is its `location`.

    `context` and `horizon` are in steps; they and the seed matter to what is built here from random numbers, and the
    `revision` to what lies on the Hub.
    """

    name: str
    location: str | Path | None
    licence: str
    revision: str | None = None
    context: int | None = None
    horizon: int | None = None
    seed: int = 0

    @property
    def weights(self) -> str | Path:
        """Where the weights are; raises BackboneError for a release that has none."""
        if self.location is None:
            raise BackboneError(f"{self.name} has no weights to load. Name a model on the Hub, or a folder.")
        return self.location


@dataclass(frozen=True)
class Family:
    """What a family of models says of itself.

    `releases` are its models by short name. `skeleton` takes a name, sizes and a licence, and builds a backbone without
    weights on torch's meta device. `owns` says whether a config.json is that of one of its saved models; `checkpoint`
    is the name of the file that its publisher has in place of one. `packages` are the distributions whose versions
    decide its numbers. `sites` say where its backbones may be tuned.
    """

    name: str
    kind: Kind
    summary: str
    releases: Mapping[str, Release]
    load: "Callable[[Wanted], Model]"
    skeleton: "Callable[[str, Mapping[str, Any], str], Backbone] | None" = None
    owns: Callable[[Mapping[str, Any]], bool] | None = None
    packages: tuple[str, ...] = ()
    sites: "Sites | None" = None
    checkpoint: str | None = None


class Listed(NamedTuple):
    """A model of the table: its short name, its family and its release."""

    name: str
    family: Family
    release: Release


@functools.cache
def families() -> dict[str, Family]:
    """Every family by name, loracast's own first; raises ConfigError, with its package, for one that is none."""
    own = [importlib.import_module(f"loracast.models.{file}").FAMILY for file in _FILES]
    found: dict[str, Family] = {family.name: family for family in own}
    taken = {name for family in own for name in family.releases}
    for one in brought(GROUP, "family of models"):
        family = one.found
        if not isinstance(family, Family):
            raise one.refused(f"is {family!r}, no Family of loracast.models.registry")
        if family.kind not in get_args(Kind):
            raise one.refused(f"is of kind {family.kind!r}, none of {', '.join(get_args(Kind))}")
        for clash in [family.name] if family.name in found else sorted(taken & set(family.releases)):
            raise one.refused(f"brings the name {clash!r}, which is taken")
        found[family.name] = family
        taken |= set(family.releases)
    return found


def models() -> dict[str, tuple[Family, Release]]:
    """Every known model by its short name."""
    return {name: (family, release) for family in families().values() for name, release in family.releases.items()}


def backbones() -> dict[str, tuple[Family, Release]]:
    """The pretrained ones among them."""
    return {name: found for name, found in models().items() if found[0].kind == "pretrained"}


def listed(name: str) -> Listed | None:
    """The model of the table that is called so, by its short name or its name on the Hub."""
    found = ((short, *entry) for short, entry in models().items() if name in (short, entry[1].location))
    return next((Listed(*one) for one in found), None)


def is_listed(name: str) -> bool:
    """Whether a model is in the table."""
    return listed(name) is not None


def kind_of(name: str) -> Kind:
    """What kind of model a name means; what is not in the table, a folder say, is taken for a pretrained one."""
    found = listed(name)
    return "pretrained" if found is None else found.family.kind


def is_here(name: str) -> bool:
    """Whether loading a model would download nothing; asks nobody."""
    found = listed(name)
    if found is None or found.release.location is None:
        return True
    location = found.release.location
    if isinstance(location, Path):
        return location.is_dir()
    from loracast.models.cached import is_cached

    return is_cached(location)


def backbones_here() -> list[str]:
    """Names of the backbones whose weights are packaged, or in the Hub's cache."""
    return [name for name in backbones() if is_here(name)]


def load_model(
    name: str,
    *,
    revision: str | None = None,
    context: int | None = None,
    horizon: int | None = None,
    seed: int = 0,
) -> "Model":
    """Load a model by its short name, its name on the Hub, or a folder that holds one.

    A network that is trained here is built for windows of `context` and `horizon` steps, from random numbers that
    `seed` decides; the other kinds have no use for the three. `revision` pins a commit, tag or branch of the Hub. With
    HF_HUB_OFFLINE=1 only the cache is read. Raises BackboneError where the name is unknown or the weights cannot be
    had, ConfigError where a length or a library is missing, with what to do next.
    """
    family, wanted = _found(name, revision, "model")
    return family.load(replace(wanted, context=context, horizon=horizon, seed=seed))


def load_backbone(name: str, *, revision: str | None = None) -> "Backbone":
    """Load a pretrained model as `load_model` does; raises BackboneError for one that was never pretrained."""
    family, wanted = _pretrained(name, revision)
    return cast("Backbone", family.load(wanted))


def check_backbone(name: str, *, revision: str | None = None) -> None:
    """Raise BackboneError where `load_backbone` would for the name alone. Nothing is loaded or asked for."""
    if listed(name) is not None or not Path(name).exists():
        _pretrained(name, revision)


def _pretrained(name: str, revision: str | None) -> tuple[Family, Wanted]:
    family, wanted = _found(name, revision, "backbone")
    if family.kind != "pretrained":
        raise BackboneError(
            f"{wanted.name} is no backbone but a {family.kind} model: there is nothing pretrained to adapt. Load it "
            f"with load_model. Backbones: {', '.join(backbones())}."
        )
    return family, wanted


def skeleton(name: str) -> "Backbone":
    """A released architecture without its weights, on torch's meta device: for counting, offline and at no cost.

    Raises BackboneError for a name that is not in the table, and for a model that has no architecture.
    """
    found = listed(name)
    if found is None or found.family.skeleton is None:
        built = {family.name for family in families().values() if family.skeleton is not None}
        known = [short for short, (family, _) in models().items() if family.name in built]
        raise BackboneError(f"No built-in sizes for {name!r}. Known: {', '.join(known)}.")
    return found.family.skeleton(found.name, found.release.sizes, found.release.licence)


def _found(name: str, revision: str | None, what: str) -> tuple[Family, Wanted]:
    """Whose model a name or a folder is, and what is to be loaded; `what` the caller asks for, in a word."""
    found = listed(name)
    if found is not None:
        short, family, release = found
        if revision is not None and not isinstance(release.location, str):
            raise BackboneError(f"{short} ships with loracast and has no revisions; leave {revision!r} out.")
        return family, Wanted(short, release.location, release.licence, revision)
    folder = Path(name)
    if folder.is_dir() or (folder.is_file() and folder.suffix in _checkpoints()):
        if revision is not None:
            raise BackboneError(f"{name} is a folder of yours and has no revisions; leave {revision!r} out.")
        return _family_of(folder), Wanted(folder.name, folder, licence_of(folder))
    known = [
        f"{kind}: {', '.join(names)}"
        for kind in (get_args(Kind) if what == "model" else ("pretrained",))
        if (names := [name for name, (family, _) in models().items() if family.kind == kind])
    ]
    raise BackboneError(
        f"No {what} {name!r}: it is neither a known name nor a folder. Known: {'; '.join(known)} (or their names on "
        "the Hub, such as amazon/chronos-t5-tiny)."
    )


def _checkpoints() -> dict[str, Family]:
    """The families that publish a checkpoint of their own, by the ending of its name."""
    return {Path(f.checkpoint).suffix: f for f in families().values() if f.checkpoint is not None}


def _family_of(folder: Path) -> Family:
    """Whose model a folder, or a checkpoint, is."""
    from loracast.models.foreign import architectures_of
    from loracast.models.hub import read_config

    if folder.is_file():
        return _checkpoints()[folder.suffix]
    if not (folder / "config.json").is_file():
        for family in _checkpoints().values():
            if (folder / str(family.checkpoint)).is_file():
                return family
    content = read_config(folder)
    for family in families().values():
        if family.owns is not None and family.owns(content):
            return family
    raise BackboneError(
        f"{folder} holds a {', '.join(architectures_of(content)) or 'model of unknown architecture'}, which no family "
        f"of loracast reads. Families: {', '.join(f.name for f in families().values() if f.owns is not None)}."
    )


def licence_of(folder: Path) -> str:
    """The licence that a model card beside the weights states in its head, spelt as in the table if it stands there."""
    card = (folder if folder.is_dir() else folder.parent) / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head = text.split("\n---", 1)[0] if text.startswith("---\n") else ""
    keys: dict[str, str] = dict(re.findall(r"^(license|license_name):[ \t]*['\"]?([\w.+-]+)", head, re.MULTILINE))
    if "license" not in keys:
        return "not stated in its folder"
    stated = keys.get("license_name", "other") if keys["license"] == "other" else keys["license"]
    known = {release.licence.lower(): release.licence for _, release in models().values()}
    return known.get(stated.lower(), stated)
