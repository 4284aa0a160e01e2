"""Which backbones are on this machine."""

from pathlib import Path

from loracast.models.hub import is_cached
from loracast.models.registry import BACKBONES, Entry


def backbones_here() -> list[str]:
    """Names of those whose weights are packaged, or in the Hub's cache; nothing is downloaded to find out."""
    return [name for name, entry in BACKBONES.items() if _holds(entry)]


def is_listed(name: str) -> bool:
    """Whether a backbone is in the table, by its short name or its name on the Hub."""
    return any(name in (short, entry.location) for short, entry in BACKBONES.items())


def is_here(name: str) -> bool:
    """Whether loading a backbone would download nothing."""
    entries = [entry for short, entry in BACKBONES.items() if name in (short, entry.location)]
    return all(_holds(entry) for entry in entries)


def _holds(entry: Entry) -> bool:
    return entry.location.is_dir() if isinstance(entry.location, Path) else is_cached(entry.location)
