"""The command line: parse, call one function, print. Heavy modules are imported inside the commands."""

from collections.abc import Sequence

import typer

from loracast.cli import data, experiments, steps, studies, sweeps  # noqa: F401  their commands, in the order of help
from loracast.cli.app import app
from loracast.cli.terminal import run_command

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a caller's mistake prints its message and exits with 2."""
    run_command(typer.main.get_command(app), arguments)
