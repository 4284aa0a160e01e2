"""What can be adapted and what a method would train on it: counted from built-in sizes, offline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from loracast.errors import LoracastError
from loracast.models.base import Backbone
from loracast.models.hub import is_cached
from loracast.models.registry import BACKBONES, Entry, load_backbone, skeleton
from loracast.spec import ArmSpec
from loracast.tuning.methods import METHODS, attach


def catalogue() -> list[dict[str, Any]]:
    """Every backbone by name: family, parameters, context and horizon in steps, licence, where its weights are."""
    return [_row(name, entry) for name, entry in BACKBONES.items()]


def _row(name: str, entry: Entry) -> dict[str, Any]:
    weights = _whereabouts(entry.location)
    # What is packaged is small, and knows its own context; of a release the published context is built in.
    card = (load_backbone if weights == "packaged" else skeleton)(name).card
    return {
        "family": card.family,
        "name": name,
        "parameters": card.parameters,
        "context": card.context,
        "horizon": card.horizon,
        "licence": card.licence,
        "hub": None if isinstance(entry.location, Path) else entry.location,
        "weights": weights,
    }


def _whereabouts(location: str | Path) -> str:
    if isinstance(location, Path):
        return "packaged" if location.is_dir() else "missing"
    return "cached" if is_cached(location) else "on the Hub"


def catalogue_table(rows: list[dict[str, Any]]) -> Table:
    """The catalogue for the terminal."""
    table = Table("family", "name", "licence", "weights")
    for column in ("parameters", "context", "horizon"):
        table.add_column(column, justify="right")
    for row in rows:
        words = [row[key] for key in ("family", "name", "licence", "weights")]
        table.add_row(*words, *(f"{row[key]:,}" for key in ("parameters", "context", "horizon")))
    return table


def trained_numbers(spec: ArmSpec) -> dict[str, Any]:
    """How many numbers the arm `spec` trains; raises as `attach` does where the method does not fit the backbone."""
    return _counted(spec, skeleton(spec.backbone))


def _counted(spec: ArmSpec, backbone: Backbone) -> dict[str, Any]:
    attached = attach(backbone, spec)
    return {
        "backbone": attached.backbone.card.name,
        "method": spec.method,
        "rank": spec.rank,
        **{key: value for key in ("frequencies", "block_size", "sites") if (value := getattr(spec, key)) is not None},
        "trainable_parameters": attached.trainable_parameters,
        "total_parameters": attached.backbone.card.parameters,
    }


def trained_table(row: dict[str, Any]) -> Table:
    """That count for the terminal."""
    table = Table("backbone", "method", "size", "sites", "trained numbers", "numbers in the backbone", "share")
    trained, total = row["trainable_parameters"], row["total_parameters"]
    words = [row["backbone"], row["method"], _size(row), row.get("sites") or ""]
    table.add_row(*words, f"{trained:,}", f"{total:,}", f"{trained / total:.3%}")
    return table


def _size(row: Mapping[str, Any]) -> str:
    """By what a method is sized: `rank 2`."""
    name = next((key for key in ("rank", "frequencies", "block_size") if row.get(key) is not None), None)
    return "" if name is None else f"{name.replace('_', ' ')} {row[name]}"


def methods_of(backbone: str | None = None) -> list[dict[str, Any]]:
    """Every method on `backbone`, or on the smallest release of each family: what it trains, or why it is refused.

    Counted without weights where the backbone is in the table; a folder is read. Raises BackboneError for a name that
    is neither.
    """
    names = _smallest() if backbone is None else [backbone]
    return [_method_row(name, method) for method in METHODS for name in names]


def _smallest() -> list[str]:
    """The smallest release of each family; the nanos that ship are stand-ins."""
    found: dict[str, tuple[int, str]] = {}
    for name, entry in BACKBONES.items():
        if not isinstance(entry.location, Path):
            size = skeleton(name).card.parameters, name
            found[entry.family] = min(found.get(entry.family, size), size)
    return [name for _, name in found.values()]


def _method_row(name: str, method: str) -> dict[str, Any]:
    spec = ArmSpec(backbone=name, method=method)
    listed = name in BACKBONES or not Path(name).exists()
    bare = skeleton(name) if listed else load_backbone(name)
    entry = METHODS[method]
    row: dict[str, Any] = {
        "method": method,
        "summary": entry.summary,
        "backbone": bare.card.name,
        "total_parameters": bare.card.parameters,
        "size": _size(spec.model_dump()),
        "sites": entry.at,
        "learning_rate": entry.learning_rate,
    }
    try:
        return {**row, "trainable_parameters": _counted(spec, bare)["trainable_parameters"], "refused": None}
    except LoracastError as error:
        return {**row, "trainable_parameters": None, "refused": str(error)}


def methods_table(rows: list[dict[str, Any]]) -> Table:
    """The methods for the terminal: a column a backbone, with trained numbers or a dash, the reasons below."""
    names = list(dict.fromkeys(row["backbone"] for row in rows))
    reasons = list(dict.fromkeys(f"{row['method']}: {row['refused']}" for row in rows if row["refused"]))
    table = Table(caption="\n".join(["Trained numbers at the method's default size and sites.", *reasons]))
    for column in ("method", "what it trains", "size", "rate"):
        table.add_column(column, overflow="fold")
    for name in names:
        table.add_column(name, justify="right")
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        counts = ["–" if row["refused"] else f"{row['trainable_parameters']:,}" for row in own]
        table.add_row(method, own[0]["summary"], own[0]["size"], f"{own[0]['learning_rate']:g}", *counts)
    return table
