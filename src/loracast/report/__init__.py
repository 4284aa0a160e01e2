"""The report room: a results folder becomes a table, figures and one self-contained page."""

from pathlib import Path


def write_report(folder: Path) -> Path:
    """Write `folder/report.html` and `folder/figures/*` from what the results folder holds; return the page's path.

    Raises ConfigError where `folder` is missing, holds no `summary.json`, or holds one that cannot be read.
    """
    from loracast.report.page import write_page  # imports matplotlib; the tables do without it

    return write_page(folder)
