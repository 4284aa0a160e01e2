"""Readers: each is a spec of one source of data, with the settings it has, and reads that source into a long table.

The built-in ones have a file each; a package of its own brings more by an entry point of the group `loracast.readers`.
Importing this, and the readers' files, loads neither DuckDB nor Arrow.
"""

from __future__ import annotations

import inspect
import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

from pydantic import BeforeValidator, SerializeAsAny, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from loracast.data.table import Table, with_signals
from loracast.errors import ConfigError
from loracast.files.private import PrivateFolder
from loracast.spec import Frozen, brought, parse
from loracast.types import Say

if TYPE_CHECKING:
    from loracast.data.attrition import Attrition

GROUP = "loracast.readers"
"""The group of entry points by which a package brings readers of its own."""
TABLE = "vitals.parquet"
"""What the long table that a reader has read is called in an experiment's folder."""


logger = logging.getLogger(__name__)


def quiet(_: str) -> None:
    """Tell nobody what is being done."""


class Reader(Frozen):
    """One source of data, with its settings: a spec that reads.

    The settings of a reader are its fields. What is written under a field is its help on the command line; a field
    `path` is the source itself there, and is what `loracast run --data` replaces. A field `signals` names the signals
    that are kept.
    """

    summary: ClassVar[str]
    """What it reads, in one line."""
    example: ClassVar[str]
    """A whole command line that reads with it."""
    required: ClassVar[frozenset[str]] = frozenset()
    """Fields that a command must be given although a TOML may leave them out."""

    source: str
    """Its name in a TOML and on the command line: each reader has `Literal["…"]` here, and that as the default."""

    @abstractmethod
    def read(
        self, out: Path | str, say: Say = quiet, *, overwrite: bool = False, temp: Path | None = None
    ) -> Attrition:
        """Write the long table at `out` with its attrition beside it; `say` is told what is being done.

        What stands there is replaced only with `overwrite`. What is needed meanwhile lies in a hidden folder beside
        `out`, or in the folder `temp`. Raises ConfigError where `out` may not be written or another process is at it,
        DataError where the source is not there or cannot be used, and where nobody is left.
        """

    def open(self, folder: Path, say: Say = quiet) -> Table:
        """The checked table of this source, with its signals alone: read into `folder`, unless that was done before."""
        out = folder / TABLE
        if out.is_file():
            say(f"{out} was read before; the source is not looked at again")
        else:
            for note in self.read(out, say).notes:
                say(f"Note: {note.text}")
        return with_signals(Table.open(out), getattr(self, "signals", None))

    def as_json(self) -> dict[str, Any]:
        """The settings for a result file, without paths: fingerprints of the data say more."""
        return self.model_dump(mode="json", exclude=set(self.paths()))

    @classmethod
    def source_name(cls) -> str:
        """The source that this class reads."""
        return str(cls.model_fields["source"].default)

    @classmethod
    def paths(cls) -> tuple[str, ...]:
        """The fields that name a file or a folder; in a TOML they are relative to it."""
        return tuple(
            name
            for name, field in cls.model_fields.items()
            if field.annotation is Path or Path in get_args(field.annotation)
        )


def readers() -> dict[str, type[Reader]]:
    """Every reader by its source: the built-in ones, then those that installed packages bring.

    Raises ConfigError for an entry point that cannot be loaded, is no reader, or takes a name that is taken.
    """
    from loracast.data.readers.cinc2019 import Cinc2019Reader
    from loracast.data.readers.mimic3 import Mimic3Reader
    from loracast.data.readers.simulate import SimulatedReader
    from loracast.data.readers.table import TableReader

    built_in: tuple[type[Reader], ...] = (Mimic3Reader, Cinc2019Reader, TableReader, SimulatedReader)
    found = {kind.source_name(): kind for kind in built_in}
    for one in brought(GROUP, "reader"):
        kind = one.found
        if not isinstance(kind, type) or not issubclass(kind, Reader):
            raise one.refused("is no class that inherits from loracast.data.readers.Reader")
        lacks = [name for name in ("summary", "example") if not isinstance(getattr(kind, name, None), str)]
        if not isinstance(kind.model_fields["source"].default, str):
            lacks.append("source")
        if lacks or kind.__abstractmethods__:
            raise one.refused(f"lacks {', '.join([*lacks, *sorted(kind.__abstractmethods__)])}")
        name = kind.source_name()
        if name in found:
            raise one.refused(f"reads source {name!r}, which {found[name].__module__} reads already")
        found[name] = kind
    return found


def reader_named(source: Any) -> type[Reader]:
    """The reader of a source; raises ConfigError with the known ones."""
    known = readers()
    if not isinstance(source, str) or source not in known:
        raise ConfigError(_unknown(source, known))
    return known[source]


def _unknown(source: Any, known: Mapping[str, type[Reader]]) -> str:
    given = "No source given" if source is None else f"Unknown source: {source!r}"
    return f"{given}. Give source = one of {', '.join(known)}"


def reader_of(content: Mapping[str, Any]) -> Reader:
    """The reader that `content` describes: its `source` and its settings; raises ConfigError, one line a mistake."""
    kind = reader_named(content.get("source"))
    return parse(kind, dict(content), f"Source {content['source']!r}")


def read(
    source: str,
    path: Path | str | None = None,
    out: Path | str | None = None,
    *,
    overwrite: bool = False,
    temp: Path | None = None,
    say: Say | None = None,
    **settings: Any,
) -> Table:
    """Read the source at `path` (None for one that has no path) into a long table at `out`; returns it, checked.

    `settings` are those of the reader: `loracast data SOURCE --help` lists them; `overwrite` and `temp`: see
    `Reader.read`. Without `out` the table lies in a temporary folder of this user and goes away with the object or the
    process (a finished long table stays where it is). What was dropped is in its `attrition`. `say` is told what is
    being done and what to notice; without it what to notice is a warning of `logging`. Raises ConfigError for an
    unknown source or setting, DataError where the source cannot be used.

    >>> read("simulate", patients=10, cohort="all", signals=["map"]).signals
    ('map',)
    """
    where = {} if path is None else {"path": path}
    reader = reader_of({"source": source, **where, **settings})
    asked: dict[str, Any] = {name: given for name, given in (("overwrite", overwrite), ("temp", temp)) if given}
    if asked.keys() - inspect.signature(reader.read).parameters:
        raise ConfigError(f"The reader of {source!r} takes no {' and no '.join(asked)}: it is of an older loracast.")
    if out is None and asked:
        raise ConfigError(f"{' and '.join(asked)} given without out. Say where the table is to be written.")
    if out is None:
        private = PrivateFolder(source)
        table = reader.open(private.path, say or quiet)
        if not table.path.is_relative_to(private.path):
            return table
        table = replace(table, _private=private)
    else:
        attrition = reader.read(out, say or quiet, **asked)
        table = Table.open(out)
        if say is not None:
            for note in attrition.notes:
                say(f"Note: {note.text}")
    if say is None and table.attrition is not None:
        for note in table.attrition.notes:
            logger.warning("Note: %s", note.text)
    return table


def _validated(given: Any) -> Reader:
    """A reader, or what describes one; mistakes keep their place below the field that holds it."""
    if isinstance(given, Reader):
        return given
    source = given.get("source") if isinstance(given, Mapping) else None
    known = readers()
    if not isinstance(source, str) or source not in known:
        raise PydanticCustomError("reader", _unknown(source, known))
    try:
        return known[source].model_validate(given)
    except ValidationError as error:
        mistakes = [_with_keys(mistake, known[source]) for mistake in error.errors()]
        raise ValidationError.from_exception_data(error.title, mistakes) from error


def _with_keys(mistake: ErrorDetails, kind: type[Reader]) -> InitErrorDetails:
    """The same mistake; where it is an unknown key it says which keys there are."""
    keys = f". Keys: {', '.join(kind.model_fields)}" if mistake["type"] == "extra_forbidden" else ""
    told = PydanticCustomError("reader", mistake["msg"] + keys)
    return InitErrorDetails(type=told, loc=mistake["loc"], input=mistake["input"])


AnyReader = Annotated[SerializeAsAny[Reader], BeforeValidator(_validated)]
"""A field that holds a reader: a pydantic model takes an instance, or a dictionary with its `source` and settings."""
