"""The report room: a results folder becomes a table, figures and one self-contained page."""

from pathlib import Path
from typing import Any


def write_report(folder: Path) -> Path:
    """Write `folder/report.html` and `folder/figures/*` from what the results folder holds; return the page's path.

    Raises ConfigError where `folder` is missing, holds no `summary.json`, or holds one that cannot be read.
    """
    from loracast.report.page import write_page

    return write_page(folder)


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a results folder, for `result_table` and `result_markdown`; ConfigError as in `write_report`."""
    from loracast.report.results import read_results

    return read_results(folder).summary
