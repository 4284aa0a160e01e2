"""What can be adapted and what a method would train on it: counted from built-in sizes, offline."""

from pathlib import Path
from typing import Any

from rich.table import Table

from loracast.backbones import BACKBONES, Entry, load_backbone, skeleton
from loracast.backbones.hub import is_cached
from loracast.config import ArmSpec
from loracast.methods import attach


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
    attached = attach(skeleton(spec.backbone), spec)
    return {
        "backbone": attached.backbone.card.name,
        "method": spec.method,
        "rank": spec.rank if spec.method == "lora" else None,
        "trainable_parameters": attached.trainable_parameters,
        "total_parameters": attached.backbone.card.parameters,
    }


def trained_table(row: dict[str, Any]) -> Table:
    """That count for the terminal."""
    table = Table("backbone", "method", "rank", "trained numbers", "numbers in the backbone", "share")
    trained, total = row["trainable_parameters"], row["total_parameters"]
    rank = "" if row["rank"] is None else str(row["rank"])
    table.add_row(row["backbone"], row["method"], rank, f"{trained:,}", f"{total:,}", f"{trained / total:.3%}")
    return table
