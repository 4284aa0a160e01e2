"""The command line's frame: the application, and the options that several commands share."""

import shlex
from pathlib import Path
from typing import Annotated

import click
import typer

import loracast
from loracast.cli.terminal import folder_out, json_out, table_out
from loracast.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Adapt pretrained time-series foundation models, and say honestly whether it was worth it.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
TableOut = Annotated[Path, typer.Option("--out", help="The .parquet file to write.", callback=table_out)]
JsonOut = Annotated[Path, typer.Option("--out", help="The .json file to write.", callback=json_out)]
FolderOut = Annotated[Path, typer.Option("--out", help="The folder to write.", callback=folder_out)]
ResultsOut = Annotated[
    Path | None, typer.Option("--out", help="Results folder; runs/NAME if not given.", callback=folder_out)
]
LongTable = Annotated[Path, typer.Argument(metavar="TABLE", help="A long table that `loracast data …` wrote.")]
BackboneName = Annotated[str, typer.Option("--backbone", help="Known name, name on the Hub, or folder.")]
MethodName = Annotated[str, typer.Option("--method", help="zero-shot, full, lora, …; `loracast methods` lists them.")]
Rank = Annotated[int | None, typer.Option(help="Rank of LoRA and its relatives; the method's default.")]
Alpha = Annotated[float, typer.Option(help="Alpha of LoRA and its relatives.")]
SitesName = Annotated[
    str | None,
    typer.Option("--sites", help="attention, qv, qkvo, feed-forward, all-linear, head, or a pattern of full names."),
]
Frequencies = Annotated[int | None, typer.Option(help="FourierFT: trained coefficients a matrix.")]
BlockSize = Annotated[int | None, typer.Option(help="OFT: side of the blocks.")]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate; the method's default.")]
Seed = Annotated[int, typer.Option(help="Seed.")]
Joint = Annotated[bool, typer.Option("--joint", help="Windows of a stay's signals together (MOIRAI, Chronos-2).")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue half-trained runs from their checkpoints.")]
Jobs = Annotated[int, typer.Option(help="Processes on this machine.")]
EngineName = Annotated[str, typer.Option("--engine", help="processes, or ray for a cluster.")]
Address = Annotated[str | None, typer.Option(help="Ray: address of the cluster; one made here if not given.")]
Cpus = Annotated[float, typer.Option(help="Ray: CPUs a run.")]
Gpus = Annotated[float, typer.Option(help="Ray: GPUs a run; parts of one are allowed.")]
MaxHours = Annotated[float | None, typer.Option(help="Begin nothing new after so many hours; --resume goes on.")]
Track = Annotated[list[str] | None, typer.Option(help="mlflow, tensorboard or wandb (repeat the option).")]


def names_in(text: str) -> tuple[str, ...]:
    """The names of a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


HOW = {"out", "resume", "jobs", "engine", "address", "cpus", "gpus", "max_hours", "track"}
"""Options that say where and how long, and change no number."""


def asked(context: typer.Context) -> str:
    """The command with what its caller has set otherwise than usual, for a report: paths by their last name only."""
    words = context.command_path.split()
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name in HOW or value in (None, False, [], ()) or value == parameter.get_default(context):
            continue
        flag: list[str] = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [*flag, *([] if one is True else [one.name if isinstance(one, Path) else str(one)])]
    return shlex.join(words)


def whole_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a comma-separated list; raises ConfigError where one is none."""
    try:
        return tuple(int(name) for name in names_in(text))
    except ValueError as error:
        raise ConfigError(f"{text!r} given; whole numbers with commas between are needed, e.g. 1,2,4.") from error


def _version(wanted: bool) -> None:
    if wanted:
        print(f"loracast {loracast.__version__}")
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
