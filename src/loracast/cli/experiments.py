"""The experiments that come with the package: their list, and how one is named on the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from loracast.cli.app import RowsAsJson, app
from loracast.cli.tables import TABLE, Form, put


@app.command()
def experiments(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print the TOML of this one, e.g. as a start of your own.")
    ] = None,
    form: Form = TABLE,
    as_json: RowsAsJson = False,
) -> None:
    """List the experiments that come with loracast. `loracast run NAME` runs one; NAME here prints its TOML.

    Example: loracast experiments

    Example: loracast experiments mimic3-demo > mine.toml
    """
    from loracast.study.packaged import listed_experiments, packaged_text

    if name is not None:
        print(packaged_text(name), end="")
        return
    from loracast.report.lists import experiments_table

    rows = listed_experiments()
    put("json" if as_json else form, lambda: experiments_table(rows), lambda: rows)


def _named(given: str) -> Any:
    """An experiment as it is asked for: a file by its path, whose folders are nobody's business, else a name."""
    return Path(given) if Path(given).is_file() else given


def _completed(begun: str) -> list[str]:
    """What the name of an experiment may be completed to: those that come with loracast, and TOML files here."""
    from loracast.study.packaged import packaged

    files = [str(file) for file in Path().glob("*.toml")]
    return [name for name in (*packaged(), *files) if name.startswith(begun)]


ExperimentName = Annotated[
    str,
    typer.Argument(
        metavar="EXPERIMENT",
        help="A .toml, or a name that `loracast experiments` lists, e.g. mimic3-demo.",
        callback=_named,
        autocompletion=_completed,
    ),
]
