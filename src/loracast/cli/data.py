"""Commands that read clinical data into one long table: one a reader, made from the reader's fields."""

import inspect
import json
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperGroup

from loracast.cli.app import AsJson, FolderOut, Overwrite, Seed, TableOut, Temp, app, names_in
from loracast.cli.completion import FIELDS
from loracast.cli.terminal import say
from loracast.errors import ConfigError
from loracast.spec import described


class ReaderCommands(TyperGroup):
    """The commands below `data`: those of the readers are made when one is asked for, so that no other pays for them.

    A reader that has a command of its own (`simulate`) keeps it.
    """

    _own: MutableMapping[str, Any]
    _made: MutableMapping[str, Any] | None

    @property
    def commands(self) -> MutableMapping[str, Any]:
        """Every command by its name, in the order of `readers()`."""
        from loracast.data.readers import readers

        if self._made is None:
            made = typer.Typer(rich_markup_mode=None)
            made.callback()(lambda: None)
            for name, kind in readers().items():
                made.command(name, help=f"{kind.summary}\n\nExample: {kind.example}")(_command_of(kind))
            self._made = {**typer.main.get_group(made).commands, **self._own}
        return self._made

    @commands.setter
    def commands(self, own: MutableMapping[str, Any]) -> None:
        self._own, self._made = own, None


data_app = typer.Typer(no_args_is_help=True, help="Read clinical data into one long table.", cls=ReaderCommands)
app.add_typer(data_app, name="data")


WAYS: dict[str, tuple[Any, Any]] = {"overwrite": (Overwrite, False), "temp": (Temp, None)}
"""What `read` of a reader may be told beside its fields, with option and default; a stranger's may know none."""


def _command_of(kind: Any) -> Callable[..., None]:
    """What the command of a class of readers does; its parameters are the fields of the class."""
    fields = {name: field for name, field in kind.model_fields.items() if name != "source"}

    ways = {name: way for name, way in WAYS.items() if name in inspect.signature(kind.read).parameters}

    def command(out: Path, as_json: bool, **settings: Any) -> None:
        from loracast.data.readers import reader_of

        how = {name: given for name in ways if (given := settings.pop(name))}
        for name, given in settings.items():
            if given is not None and _plain(fields[name].annotation) is tuple:
                settings[name] = names_in(given)
            elif given is not None and _is_keyed(fields[name].annotation):
                settings[name] = _keyed(name, given)
        attrition = reader_of({"source": kind.source_name(), **settings}).read(out, say, **how)
        if as_json:
            for note in attrition.notes:
                say(f"Note: {note.text}")
            print(json.dumps({"out": str(out), **attrition.as_json()}, indent=2))
        else:
            print(attrition.as_text())
            print(f"\nWrote {out}")

    words = described(kind)
    asked = [
        _parameter(name, field, words.get(name, ""), needed=name in kind.required) for name, field in fields.items()
    ]
    asked.sort(key=lambda one: one.name != "path")
    asked.insert("path" in fields, _named("out", TableOut))
    asked += [_named(name, *way) for name, way in ways.items()]
    asked.append(_named("as_json", AsJson, False))
    command.__signature__ = inspect.Signature(asked)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in asked}
    return command


def _parameter(name: str, field: Any, words: str, *, needed: bool) -> inspect.Parameter:
    """The argument or option of one field of a reader; a list is written with commas between."""
    plain = _plain(field.annotation)
    told = ("Comma-separated: " if plain is tuple else "") + words
    if name == "path":
        return _named(name, Annotated[Path, typer.Argument(metavar="SOURCE", help=told)])
    kind = plain if plain in (int, float, bool, Path) else str
    if _is_keyed(field.annotation):
        option = typer.Option(metavar="[KEY=]VALUE", help=f"{told} Repeatable.")
        return _named(name, Annotated[list[str] | None, option], None)
    option = typer.Option(help=told, autocompletion=FIELDS.get(name))
    if needed or field.is_required():
        return _named(name, Annotated[kind, option])
    if field.default is None:
        return _named(name, Annotated[kind | None, option], None)
    default = ",".join(map(str, field.default)) if plain is tuple else field.default
    return _named(name, Annotated[kind, option], default)


def _plain(annotation: Any) -> Any:
    """What a field holds where it is given: the type itself, the first of several, `tuple` for a list."""
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) is tuple or not inner:
        return get_origin(annotation) or annotation
    return _plain(inner[0])


def _is_keyed(annotation: Any) -> bool:
    """Whether a field takes a dictionary: an option for it is repeated, each time KEY=VALUE."""
    return any(get_origin(one) is dict for one in (annotation, *get_args(annotation)))


def _keyed(name: str, given: list[str]) -> str | dict[str, str]:
    """What a repeated option says: a dictionary, or one value without a key; raises ConfigError for both, or twice."""
    parts = [text.partition("=") for text in given]
    if len(given) == 1 and not parts[0][1]:
        return given[0]
    keys = [key.strip() for key, _, _ in parts]
    if not all(key and sign and value.strip() for key, sign, value in parts) or len(set(keys)) < len(keys):
        option = f"--{name.replace('_', '-')}"
        raise ConfigError(
            f"{', '.join(f'{option} {text}' for text in given)} given. Give one value, or KEY=VALUE for each key once."
        )
    return {key: value.strip() for key, (_, _, value) in zip(keys, parts, strict=True)}


def _named(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@data_app.command("simulate")
def data_simulate(
    out: FolderOut,
    overwrite: Overwrite = False,
    patients: Annotated[int, typer.Option(min=10, help="How many patients.")] = 120,
    seed: Seed = 0,
) -> None:
    """Simulate an ICU cohort as MIMIC-III tables. Seeded; no patient is real.

    Example: loracast data simulate --out simulated && loracast data mimic3 simulated --grid 5min --out v.parquet
    """
    from loracast.data.simulator import simulate

    print(f"Wrote simulated MIMIC-III tables to {simulate(out, patients=patients, seed=seed, overwrite=overwrite)}")
