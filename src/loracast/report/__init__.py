"""The report room: a results folder becomes tables, figures and one self-contained page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loracast.study.summary import Summary


def write_report(folder: Path) -> Path:
    """Write `report.html`, `arms/`, `figures/` and `tables/` from what the results folder holds; the page's path.

    Raises ConfigError where `folder` is missing, holds no `summary.json`, or holds one that cannot be read.
    """
    from loracast.report.page import write_page

    return write_page(folder)


def write_comparison(sources: Sequence[Path], out: Path, *, overwrite: bool = False) -> Path:
    """Write one page `out` that compares results folders, or files of `loracast bench`; its path.

    Raises ConfigError for fewer than two sources, for one that cannot be read, for studies without an arm in common,
    and where `out` exists and `overwrite` is not given.
    """
    from loracast.report.beside import write_comparison

    return write_comparison(sources, out, overwrite=overwrite)


def read_summary(folder: Path) -> "Summary":
    """The summary of a results folder; ConfigError as in `write_report`."""
    from loracast.report.results import summary_in

    return summary_in(folder)
