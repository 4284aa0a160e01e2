"""A table, as its reader asks for it: for the terminal, as CSV, as JSON, as Markdown."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from loracast.cli.completion import FORMATS, FORMS
from loracast.cli.terminal import say, show
from loracast.errors import ConfigError
from loracast.training import distributed

if TYPE_CHECKING:
    import pandas as pd

    from loracast.report.render import Rows, Table
    from loracast.study.ranks.result import RankSweep
    from loracast.study.summary import Summary

TABLE = FORMS[0]


def _known(form: str) -> str:
    if form not in FORMS:
        raise ConfigError(f"--format {form} given. Choose one of: {', '.join(FORMS)}.")
    return form


Form = Annotated[
    str,
    typer.Option(
        "--format",
        help="table, or the same rows as csv or json (raw numbers under plain names) or markdown.",
        callback=_known,
        autocompletion=FORMATS,
    ),
]


def put(form: str, table: "Callable[[], Table]", rows: "Callable[[], pd.DataFrame | Rows]") -> None:
    """Print a table in a form: made for people by `table`, for a script by `rows`."""
    if form == TABLE:
        show(table())
    elif distributed.is_main():
        from loracast.report.render import as_json, csv, markdown

        made = markdown(table()) if form == "markdown" else (csv if form == "csv" else as_json)(rows())
        sys.stdout.write(made)


def put_result(summary: "Summary", form: str) -> None:
    """Print what came of an experiment: to people all that is to be said of it, to a script its results."""
    from loracast.report import frames
    from loracast.report.tables import plain_table
    from loracast.report.terminal import told_of_result

    if form == TABLE:
        for part in told_of_result(summary):
            show(part)
            print()
    else:
        put(form, lambda: plain_table(summary), lambda: frames.results(summary))


def put_sweep(sweep: "RankSweep", form: str = TABLE) -> None:
    """Print what came of a rank sweep: to people with its notes."""
    from loracast.report import frames
    from loracast.report.doubts import note_of
    from loracast.report.terminal import threshold_table

    put(form, lambda: threshold_table(sweep), lambda: frames.ranks(sweep))
    for note in sweep.notes if form == TABLE else ():
        print(note_of(note))


def told(form: str, line: str) -> None:
    """Say where something lies: beside a table for people, and out of the way of one for a script."""
    (print if form == TABLE else say)(line)
