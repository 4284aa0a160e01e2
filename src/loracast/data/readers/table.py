"""A table of one's own: a long one that is finished, or measurements in columns of one's own, put on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from loracast.data.attrition import Attrition
from loracast.data.given import Columns, convert, listed, load, refuse_columns
from loracast.data.gridding import Reason, fate, grid_and_write, grid_seconds, out_of_range
from loracast.data.readers import Reader, quiet
from loracast.data.schema import TableInfo
from loracast.data.suspicions import clock_went_back
from loracast.data.table import Table, with_signals
from loracast.data.times import Clock
from loracast.data.workspace import arrow_of, columns_of, one, source_of, workspace
from loracast.errors import ConfigError, DataError
from loracast.files.texts import quoted
from loracast.types import Say

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


class TableReader(Reader):
    """A long table that `loracast data …` wrote, used where it lies; or, with a `grid`, measurements to put on it."""

    summary: ClassVar[str] = "Put your own long table on a regular grid."
    example: ClassVar[str] = (
        "loracast data table cgm.csv.gz --grid 15min --value cgm_mgdl --signal glucose --out cgm.parquet"
    )
    required: ClassVar[frozenset[str]] = frozenset({"grid"})

    source: Literal["table"] = "table"
    path: Path
    """Your own long table: .csv, .csv.gz or .parquet."""
    grid: str | None = None
    """Step of the regular grid, e.g. 15min."""
    patient: str = "patient"
    """Column of the patient."""
    time: str = "time"
    """Column of the time."""
    value: str = "value"
    """Column of the value."""
    stay: str | None = None
    """Column of the stay or recording, if any."""
    signal: str = "signal"
    """Column of the signal, or the name of the one signal."""
    unit: str | dict[str, str] | None = None
    """Unit of the values, or of a signal: 'mmol/L', lactate=mmol/L. Needed for a signal of your own; a known signal in
    another unit is converted."""
    unit_column: str | None = None
    """Column of the unit of each row; values are converted to the unit that is kept."""
    zone: str | None = None
    """Whose clock it is where times bear a zone or an offset: an IANA name, e.g. Europe/Berlin."""
    time_format: str | None = None
    """How times are written, where not as 2021-07-30 16:43: '%d.%m.%Y %H:%M', '%m/%d/%Y %I:%M %p'."""
    missing: tuple[str, ...] = ()
    """texts that stand for no value, besides NA, NULL, \\N and nothing."""
    delimiter: str = ","
    """What stands between the columns of a CSV file; \\t for a tab."""
    decimal: str = "."
    """The decimal point of the values: . or a comma."""
    encoding: str = "utf-8"
    """Encoding of a CSV file: utf-8 or latin-1."""
    skip_rows: int = Field(default=0, ge=0)
    """Lines of a CSV file before the names of its columns."""
    licence: str = "not stated"
    """Licence of the data; adapters carry it."""
    signals: tuple[str, ...] | None = Field(default=None, min_length=1)
    """those to keep of several signals; all if not given."""

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
        return write_table(
            self.path,
            out,
            grid=self.grid,
            patient=self.patient,
            time=self.time,
            value=self.value,
            signal=self.signal,
            stay=self.stay,
            unit=self.unit,
            unit_column=self.unit_column,
            zone=self.zone,
            time_format=self.time_format,
            missing=self.missing,
            decimal=self.decimal,
            csv_form={
                "delimiter": self.delimiter.replace("\\t", "\t"),
                "encoding": self.encoding,
                "skip_rows": self.skip_rows,
            },
            licence=self.licence,
            signals=self.signals,
            say=say,
            overwrite=overwrite,
            temp=temp,
        )

    def open(self, folder: Path, say: Say = quiet) -> Table:
        """The checked table: a finished one where it lies, else as it is put on the grid in `folder`."""
        if self.grid is not None:
            return super().open(folder, say)
        return with_signals(Table.open(self.path), self.signals)


def write_table(
    frame: pd.DataFrame | str | Path,
    out: Path | str,
    *,
    grid: str,
    patient: str,
    time: str,
    value: str,
    signal: str,
    stay: str | None = None,
    unit: str | Mapping[str, str] | None = None,
    unit_column: str | None = None,
    zone: str | None = None,
    time_format: str | None = None,
    missing: Sequence[str] = (),
    decimal: str = ".",
    csv_form: Mapping[str, Any] | None = None,
    source: str = "table",
    licence: str = "not stated",
    signals: Sequence[str] | None = None,
    say: Say = quiet,
    overwrite: bool = False,
    temp: Path | None = None,
) -> Attrition:
    """Put measurements of any step and order on the regular `grid` and write them as a long table at `out`.

    `patient`, `time`, `value` and `stay` name columns of `frame` (a DataFrame, or a .csv, .csv.gz or .parquet file);
    `signal` names a column too, or, where there is none of that name or it is the value column itself, the one
    signal that is measured; of several, `signals` are kept, or all. Without `stay` a patient is one stay; the same name
    with two patients is two stays. `overwrite` and `temp`: see `Reader.read`.

    `unit` is one unit or a unit a signal, needed for signals loracast does not know; values of a known signal in
    another unit are converted where it is known how, row by row with a `unit_column`. `zone` (an IANA name) is the
    clock that times with a zone or an offset are put on; `time_format` is how times that are text are written, as
    strptime has it; `missing` are texts that stand for no value, `decimal` is the decimal point, and `csv_form` how a
    CSV file is written (delimiter, encoding, skip_rows).

    Rows without a value, values outside the plausible range of a known signal and measurements at the same time are
    counted in the attrition, and what looks wrong is in its notes. Raises DataError for missing columns, patients,
    signals or units, times that do not parse, bear a time zone without `zone` or lie before 1800, values that are text
    or infinite, or lie for most patients where another unit would put them; ConfigError for a zone or format that does
    not exist.
    """
    out = Path(out)
    seconds = grid_seconds(grid)
    sources = (Path(frame),) if isinstance(frame, str | Path) else ()
    with workspace(out, *sources, overwrite=overwrite, temp=temp) as con:
        clock = Clock(zone, time_format)
        clock.check(con)
        origin, found = _origin(con, frame, csv_form or {})
        by_column = signal if signal in found and signal != value else None
        columns = Columns(patient, time, value, by_column, signal, stay, unit_column, tuple(missing), decimal, clock)
        refuse_columns(columns, found)
        load(con, origin, columns, found)
        names = _names(con, None if by_column else signal, signals)
        attrition = Attrition()
        back = None if zone else clock_went_back(con)
        stated = _stated(names, unit)
        units, attrition.notes = convert(con, names, columns, stated)
        attrition.notes += [back] if back else []
        info = TableInfo(source, False, seconds, units, licence, zone=zone)
        reasons = _fates(con, names, attrition, zone, chosen=signals is not None)
        grid_and_write(con, out, info, attrition, reasons, say, stated=stated, overwrite=overwrite)
    return attrition


def _names(con: duckdb.DuckDBPyConnection, constant: str | None, wanted: Sequence[str] | None) -> list[str]:
    """The signals to keep; raises DataError where one that is asked for is not in the table given."""
    distinct = con.execute("SELECT DISTINCT signal FROM given ORDER BY signal").fetchall()
    there = [constant] if constant else [row[0] for row in distinct]
    missing = [name for name in wanted or () if name not in there]
    if missing:
        raise DataError(f"The table given has no signal {', '.join(missing)}. It has: {listed(there)}.")
    return there if wanted is None else list(wanted)


def _origin(
    con: duckdb.DuckDBPyConnection, frame: pd.DataFrame | str | Path, csv_form: Mapping[str, Any]
) -> tuple[str, dict[str, str]]:
    """A SQL source of the rows given, and its columns with their SQL types."""
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        con.register("frame", arrow_of(frame))
        origin = "frame"
    else:
        path = Path(frame)
        if not path.is_file():
            raise DataError(f"No file {path}. Give a .csv, .csv.gz or .parquet file.")
        origin = source_of(path, **csv_form)
    return origin, columns_of(con, origin)


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
