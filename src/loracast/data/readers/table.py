"""A table of one's own: a long one that is finished, or measurements in columns of one's own, put on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from loracast.data.attrition import Attrition, Note
from loracast.data.converted import convert
from loracast.data.frames import Given, table_of_array
from loracast.data.given import Columns, listed, load, refuse_kinds
from loracast.data.gridding import Reason, fate, grid_and_write, grid_seconds, grid_text, out_of_range, regular_step
from loracast.data.readers import Reader, quiet
from loracast.data.roles import Reading, assigned
from loracast.data.schema import TableInfo
from loracast.data.suspicions import clock_went_back
from loracast.data.table import Table, with_signals
from loracast.data.times import Clock
from loracast.data.workspace import columns_of, one, source_of, workspace
from loracast.errors import ConfigError, DataError
from loracast.files.private import PrivateFolder
from loracast.files.texts import quoted
from loracast.spec import parse
from loracast.types import Say

if TYPE_CHECKING:
    import duckdb
    import numpy as np


class TableReader(Reading, Reader):
    """A long table that `loracast data …` wrote, used where it lies; or, with a `grid`, measurements to put on it.

    >>> TableReader(path="cgm.csv.gz", grid="15min", value="cgm_mgdl", signal="glucose").source
    'table'
    """

    summary: ClassVar[str] = "Put your own long table on a regular grid."
    example: ClassVar[str] = (
        "loracast data table cgm.csv.gz --grid 15min --value cgm_mgdl --signal glucose --out cgm.parquet"
    )
    required: ClassVar[frozenset[str]] = frozenset({"grid"})

    source: Literal["table"] = "table"
    path: Path
    """Your own long table: .csv, .csv.gz or .parquet."""
    delimiter: str = ","
    """What stands between the columns of a CSV file; \\t for a tab."""
    encoding: str = "utf-8"
    """Encoding of a CSV file: utf-8 or latin-1."""
    skip_rows: int = Field(default=0, ge=0)
    """Lines of a CSV file before the names of its columns."""

    @model_validator(mode="after")
    def _nothing_idle(self) -> TableReader:
        """A finished table has its columns, units and licence: to state others would change nothing."""
        idle = sorted(self.model_fields_set - {"source", "path", "grid", "signals"})
        told = [name for name in idle if getattr(self, name) != type(self).model_fields[name].default]
        if self.grid is None and told:
            raise ValueError(
                f'{", ".join(told)} given without a grid: a finished long table states it itself. Give grid = "15min", '
                "say, to put measurements of your own on one"
            )
        return self

    def read(
        self, out: Path | str, say: Say = quiet, *, overwrite: bool = False, temp: Path | None = None
    ) -> Attrition:
        """Put the measurements on the grid and write them at `out`, with what was dropped beside it.

        Raises ConfigError without a `grid`, DataError as `write_table` does. `overwrite` and `temp`: see
        `Reader.read`.
        """
        if self.grid is None:
            raise ConfigError(
                f"{self.path} is to be read without a grid. Give one, e.g. 15min; a finished long table is "
                "used where it lies."
            )
        settings = {name: getattr(self, name) for name in Reading.model_fields}
        form = {
            "delimiter": self.delimiter.replace("\\t", "\t"),
            "encoding": self.encoding,
            "skip_rows": self.skip_rows,
        }
        return write_table(self.path, out, csv_form=form, say=say, overwrite=overwrite, temp=temp, **settings)

    def open(self, folder: Path, say: Say = quiet) -> Table:
        """The checked table: a finished one where it lies, else as it is put on the grid in `folder`."""
        if self.grid is not None:
            return super().open(folder, say)
        return with_signals(Table.open(self.path), self.signals)


def write_table(
    frame: Any,
    out: Path | str,
    *,
    csv_form: Mapping[str, Any] | None = None,
    start: datetime | str | None = None,
    source: str = "table",
    say: Say = quiet,
    overwrite: bool = False,
    temp: Path | None = None,
    **settings: Any,
) -> Attrition:
    """Put measurements of any step and order on a regular grid and write them as a long table at `out`.

    `frame` is a frame of pandas, polars, Arrow or another library that narwhals knows, an array of shape (step,) or
    (series, step) whose first step is at `start`, or the path of a .csv, .csv.gz or .parquet file. The `settings` are
    those of `Reading`: which column holds what, and how it is written. Without a `grid` it is the step of the times,
    where they are regular. Of several signals `signals` are kept, or all. Without a column of the stay a patient is one
    stay; the same name with two patients is two stays. `source` is what the table says that it is from; `overwrite` and
    `temp`: see `Reader.read`.

    `unit` is one unit or a unit a signal, needed for signals loracast does not know; values of a known signal in
    another unit are converted where it is known how, row by row with a `unit_column`. `zone` (an IANA name) is the
    clock that times with a zone or an offset are put on; `csv_form` is how a CSV file is written (delimiter, encoding,
    skip_rows).

    Rows without a value, values outside the plausible range of a known signal and measurements at the same time are
    counted in the attrition, and what looks wrong is in its notes. Raises DataError for missing columns, patients,
    signals or units, times that do not parse, bear a time zone without `zone` or lie before 1800, values that are text
    or infinite, or lie for most patients where another unit would put them; ConfigError for an unknown setting, and a
    zone or format that does not exist.

    >>> frame = {"patient": "p1", "time": pd.date_range("2150-03-01", periods=3, freq="h"), "heart_rate": [80, 82, 81]}
    >>> attrition = write_table(pd.DataFrame(frame), folder / "own.parquet", grid="60min")
    >>> attrition.steps[-1].rows
    3
    """
    reading = parse(Reading, settings, "The table")
    out = Path(out)
    seconds = None if reading.grid is None else grid_seconds(reading.grid)
    sources = (Path(frame),) if isinstance(frame, str | Path) else ()
    with workspace(out, *sources, overwrite=overwrite, temp=temp) as con:
        Clock(reading.zone, reading.time_format).check(con)
        given = _source(con, frame, reading, csv_form or {}, start)
        columns, found = given.columns, columns_of(con, given.origin)
        refuse_kinds(columns, found)
        load(con, given.origin, columns, found)
        names = _names(con, columns, reading.signals)
        seconds, inferred = (seconds, None) if seconds is not None else regular_step(con)
        attrition = Attrition(reading={**given.again, "grid": reading.grid or grid_text(seconds)})
        back = None if reading.zone else clock_went_back(con)
        stated = _stated(names, reading.unit)
        units, attrition.notes = convert(con, names, columns, stated)
        attrition.notes += [back] if back else []
        attrition.notes[:0] = [Note(text) for text in (given.told, inferred) if text]
        info = TableInfo(source, False, seconds, units, reading.licence, zone=reading.zone)
        reasons = _fates(con, names, attrition, reading.zone, chosen=reading.signals is not None)
        grid_and_write(con, out, info, attrition, reasons, say, stated=stated, overwrite=overwrite)
    return attrition


def table_from(frame: Any, out: Path | str | None, *, say: Say, **settings: Any) -> Table:
    """The table of a frame or an array, as `Table.from_frame` takes it; in a folder that goes away without `out`."""
    private = PrivateFolder("frame") if out is None else None
    place = private.path / "frame.parquet" if private else Path(str(out))
    for note in write_table(frame, place, say=quiet, **settings).notes:
        say(f"Note: {note.text}")
    return replace(Table.open(place), _private=private)


def _names(con: duckdb.DuckDBPyConnection, columns: Columns, wanted: Sequence[str] | None) -> list[str]:
    """The signals to keep; raises DataError where one that is asked for is not in the table given."""
    distinct = con.execute("SELECT DISTINCT signal FROM given ORDER BY signal").fetchall()
    there = sorted(columns.constants) or [row[0] for row in distinct]
    missing = [name for name in wanted or () if name not in there]
    if missing:
        raise DataError(f"The table given has no signal {', '.join(missing)}. It has: {listed(there)}.")
    return there if wanted is None else list(wanted)


@dataclass(frozen=True)
class _Source:
    """A SQL source of the rows given: its columns, what to say of them, and the settings that find them again."""

    origin: str
    columns: Columns
    told: str | None
    again: dict[str, Any]


def _source(
    con: duckdb.DuckDBPyConnection, frame: Any, reading: Reading, csv_form: Mapping[str, Any], start: Any
) -> _Source:
    import numpy as np

    if isinstance(frame, np.ndarray):
        return _array(con, frame, reading, start)
    if start is not None:
        raise ConfigError(f"start={start!r} is for an array; a frame has times of its own. Leave it.")
    if isinstance(frame, str | Path):
        path = Path(frame)
        if not path.is_file():
            raise DataError(f"No file {path}. Give a .csv, .csv.gz or .parquet file.")
        origin = source_of(path, **csv_form)
        columns, told = assigned(reading, list(columns_of(con, origin)))
    else:
        origin, given = "frame", Given(frame)
        columns, told = assigned(reading, given.names)
        con.register(origin, given.arrow([name for _, name in columns.named()]))
    return _Source(origin, columns, told, reading.resolved(columns))


def _array(con: duckdb.DuckDBPyConnection, array: np.ndarray, reading: Reading, start: Any) -> _Source:
    """An array; raises ConfigError without its signal and grid, and for settings that it has no use for."""
    asked = reading.model_dump(mode="json", exclude_defaults=True, exclude={"licence"})
    idle = sorted(asked.keys() - {"grid", "signal", "unit"})
    if reading.grid is None or reading.signal is None or idle:
        unused = f", so that {', '.join(idle)} would change nothing" if idle else ""
        raise ConfigError(
            f"An array given, which has no columns{unused}. Give the signal of its values and the grid of its steps: "
            "signal='heart_rate', grid='60min', and of a signal of your own the unit. More can be told of a frame."
        )
    table, told = table_of_array(array, grid_seconds(reading.grid), start)
    con.register("frame", table)
    columns = Columns("patient", "time", ("value",), None, (reading.signal,))
    return _Source("frame", columns, told, asked if start is None else {**asked, "start": str(start)})


def _stated(names: list[str], unit: str | Mapping[str, str] | None) -> dict[str, str]:
    """The unit that the caller states of each signal; raises DataError for one unit of several, or of none there is."""
    if unit is None:
        return {}
    if isinstance(unit, str):
        if len(names) > 1:
            raise DataError(
                f"One unit, {unit!r}, is given for {len(names)} signals ({listed(names)}). Give a unit for each: "
                "unit={signal: unit}, --unit SIGNAL=UNIT."
            )
        return {names[0]: unit}
    unknown = [name for name in unit if name not in names]
    if unknown:
        raise DataError(f"A unit is given for {', '.join(unknown)}, which is not read. Signals: {listed(names)}.")
    return dict(unit)


def _fates(
    con: duckdb.DuckDBPyConnection, names: list[str], attrition: Attrition, zone: str | None, *, chosen: bool
) -> list[Reason]:
    """Make the table `events` from `given`; return the reasons its fates refer to."""
    reasons = [
        Reason("with a value", "value IS NULL"),
        Reason("within the plausible range", out_of_range(names)),
    ]
    if zone is not None:
        reasons.insert(0, Reason(f"at a time that the clock of {zone} showed once", "unsure"))
    if chosen:
        kept = ", ".join(quoted(name) for name in names)
        reasons.insert(0, Reason("of a signal asked for", f"signal NOT IN ({kept})"))
    patients, stays, rows = one(
        con, "SELECT count(DISTINCT patient), count(DISTINCT (patient, stay)), count(*) FROM given"
    )
    counts = dict(con.execute("SELECT signal, count(*) FROM given GROUP BY signal ORDER BY signal").fetchall())
    attrition.add("rows given", patients=patients, stays=stays, rows=rows, signals=counts)
    con.execute(f"CREATE TABLE events AS SELECT *, {fate(reasons)} AS fate FROM given")
    return reasons
