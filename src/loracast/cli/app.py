"""The command line's frame: the application, and the options that several commands share."""

import functools
import inspect
import shlex
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperOption

import loracast
from loracast.cli.completion import BACKBONES, ENGINES, METHODS, TRACKERS
from loracast.cli.terminal import folder_out, json_out, table_out, temp_in
from loracast.errors import ConfigError
from loracast.spec import described
from loracast.tuning.methods import BUILT_IN

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Adapt pretrained time-series foundation models, and say honestly whether it was worth it.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
RowsAsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
TableOut = Annotated[Path, typer.Option("--out", help="The .parquet file to write.", callback=table_out)]
JsonOut = Annotated[Path, typer.Option("--out", help="The .json file to write.", callback=json_out)]
FolderOut = Annotated[Path, typer.Option("--out", help="The folder to write.", callback=folder_out)]
ResultsOut = Annotated[
    Path | None, typer.Option("--out", help="Results folder; runs/NAME if not given.", callback=folder_out)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", is_eager=True, help="Replace what stands at --out, once the new is whole.")
]
Temp = Annotated[
    Path | None,
    typer.Option("--temp", help="Folder for what is needed meanwhile; that of --out if not given.", callback=temp_in),
]
LongTable = Annotated[Path, typer.Argument(metavar="TABLE", help="A long table that `loracast data …` wrote.")]
BackboneName = Annotated[
    str,
    typer.Option("--backbone", help="Known name, name on the Hub, or folder.", autocompletion=BACKBONES),
]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        help="zero-shot, full, lora, peft:hra, …; `loracast methods` lists them.",
        autocompletion=METHODS,
    ),
]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate; the method's default.")]
Seed = Annotated[int, typer.Option(help="Seed.")]
PrecisionName = Annotated[
    str,
    typer.Option(
        "--precision",
        help="What a pretrained network multiplies in: float32, or bfloat16, which has numbers of its own.",
    ),
]
Joint = Annotated[bool, typer.Option("--joint", help="Windows of a stay's signals together (MOIRAI, Chronos-2).")]
Stride = Annotated[int | None, typer.Option(help="Steps between two windows; the horizon if not given.")]
MinContext = Annotated[
    float | None, typer.Option("--min-context-observed", help="Least share of a context that is measured; 0.5.")
]
MinTarget = Annotated[
    float | None, typer.Option("--min-target-observed", help="Least share of a horizon that is measured; 0.5.")
]
Shares = Annotated[
    str | None, typer.Option(help="Shares of training, validation and test patients; 0.8,0.1,0.1.", metavar="A,B,C")
]
Folds = Annotated[int | None, typer.Option(help="Split into so many folds instead of by shares.")]
Fold = Annotated[int | None, typer.Option(help="The fold that is tested, from 0; the next one validates.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue half-trained runs from their checkpoints.")]
Jobs = Annotated[int, typer.Option(help="Processes on this machine.")]
EngineName = Annotated[str, typer.Option("--engine", help="processes, or ray for a cluster.", autocompletion=ENGINES)]
Address = Annotated[str | None, typer.Option(help="Ray: address of the cluster; one made here if not given.")]
Cpus = Annotated[float, typer.Option(help="Ray: CPUs a run.")]
Gpus = Annotated[float, typer.Option(help="Ray: GPUs a run; parts of one are allowed.")]
MaxHours = Annotated[float | None, typer.Option(help="Begin nothing new after so many hours; --resume goes on.")]
Track = Annotated[
    list[str] | None,
    typer.Option(help="mlflow, tensorboard or wandb (repeat the option).", autocompletion=TRACKERS),
]


def _settings_of_methods() -> dict[str, tuple[Any, str]]:
    """The settings of all methods that come with loracast: the type of each, and its help with the methods it is of."""
    told: dict[str, dict[str, list[str]]] = {}
    types: dict[str, Any] = {}
    for kind in BUILT_IN:
        words = described(kind)
        for name, field in kind.model_fields.items():
            types[name] = field.annotation
            told.setdefault(name, {}).setdefault(words.get(name, ""), []).append(kind.name)
    return {
        name: (types[name], " ".join(f"{text} [{', '.join(takers)}]" for text, takers in texts.items()))
        for name, texts in told.items()
    }


SETTINGS = _settings_of_methods()
SitesName = Annotated[str | None, typer.Option("--sites", help=SETTINGS["sites"][1])]
Alpha = Annotated[float, typer.Option("--alpha", help=SETTINGS["alpha"][1])]
Others = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of a method that has no option here (repeat it)."),
]


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every setting of a method, and `--set` for the rest.

    They reach it as one mapping, `settings`, which holds those that its caller has given.
    """
    hints = get_type_hints(command, include_extras=True)
    own = {name: one.replace(annotation=hints[name]) for name, one in inspect.signature(command).parameters.items()}
    flags = {name: Annotated[kind | None, typer.Option(help=text)] for name, (kind, text) in SETTINGS.items()}
    added = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=a)
             for n, a in {**flags, "others": Others}.items()]  # fmt: skip
    place = list(own).index("settings")
    shown = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, one in own.items() if name != "settings"]

    @functools.wraps(command)
    def call(**given: Any) -> None:
        others = given.pop("others") or ()
        flagged = {name: value for name in flags if (value := given.pop(name)) is not None}
        command(**given, settings=_joined(flagged, others))

    call.__signature__ = inspect.Signature(shown[:place] + added + shown[place:])  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in shown + added} | {"return": None}
    del call.__wrapped__  # else typer would read the signature of the command itself
    return call


def _joined(flagged: Mapping[str, Any], others: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """The settings of flags and of `--set`; raises ConfigError for what is no setting, or is given twice."""
    found = dict(flagged)
    for text in others:
        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or not key.isidentifier():
            raise ConfigError(f"--set {text!r} given; KEY=VALUE is needed, e.g. --set r=4.")
        if key in (*ARM_KEYS, *found):
            why = (
                "given twice" if key in found else "no setting of a method, but of the arm: it has an option of its own"
            )
            raise ConfigError(f"--set {text!r}: {key} is {why}. Leave it out of --set.")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


ARM_KEYS = ("model", "method", "revision", "learning_rate", "patients", "context", "training")


def split_of(seed: int | None, shares: str | None, folds: int | None, fold: int | None) -> dict[str, Any] | None:
    """What a caller says of the split; None where nothing is said."""
    asked = {"seed": seed, "shares": numbers_in(shares) if shares else None, "folds": folds, "fold": fold}
    given = {key: value for key, value in asked.items() if value is not None}
    if "fold" in given and folds is None:
        raise ConfigError(f"--fold {fold} given without --folds. Say how many folds there are, e.g. --folds 5.")
    if folds is not None and shares:
        raise ConfigError(f"--shares {shares} and --folds {folds} given, of which a split is by one. Leave one out.")
    return given or None


def names_in(text: str) -> tuple[str, ...]:
    """The names of a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


HOW = {"out", "resume", "jobs", "engine", "address", "cpus", "gpus", "max_hours", "track", "form"}
"""Options that say where and how long, and change no number."""


def asked(context: typer.Context) -> str:
    """The command with what its caller has set otherwise than usual, for a report: paths by their last name only."""
    words = context.command_path.split()
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name in HOW or value in (None, False, [], ()) or value == parameter.get_default(context):
            continue
        flag: list[str] = [parameter.opts[0]] if isinstance(parameter, TyperOption) else []
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [*flag, *([] if one is True else [one.name if isinstance(one, Path) else str(one)])]
    return shlex.join(words)


Number = TypeVar("Number", int, float)


def whole_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a comma-separated list; raises ConfigError where one is none."""
    return _numbers(text, int, "whole numbers", "1,2,4")


def numbers_in(text: str) -> tuple[float, ...]:
    """The numbers of a comma-separated list; raises ConfigError where one is none."""
    return _numbers(text, float, "numbers", "0.1,0.5,0.9")


def _numbers(text: str, kind: type[Number], told: str, example: str) -> tuple[Number, ...]:
    try:
        return tuple(kind(name) for name in names_in(text))
    except ValueError as error:
        raise ConfigError(f"{text!r} given; {told} with commas between are needed, e.g. {example}.") from error


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
