"""A table of one's own: a long one that is finished, or measurements in columns of one's own, put on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from loracast.data.attrition import Attrition
from loracast.data.gridding import Reason, fate, grid_and_write, grid_seconds, out_of_range
from loracast.data.readers import Reader, quiet
from loracast.data.schema import TableInfo, unit_of
from loracast.data.workspace import arrow_of, columns_of, one, source_of, told_names, workspace
from loracast.errors import ConfigError, DataError
from loracast.files import identifier, quoted
from loracast.types import Say, Table

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


LAST_YEAR = 2999
"""Dates are shifted into the future to hide them, but not so far."""


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
    """Unit of the values, where the signal is not a known one."""
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
        from loracast.data.table import open_table, with_signals

        return with_signals(open_table(self.path), self.signals)


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
    signal that is measured; of several, `signals` are kept, or all. Without `stay` a patient is one stay; where two
    patients use the same name for a stay, the patient is put before it. `unit` is one unit or a unit a signal, needed
    for signals loracast does not know. Rows without a value, values outside the plausible range of a known signal and
    measurements at the same time are counted in the attrition. `overwrite` and `temp`: see `Reader.read`. Raises
    DataError for missing columns, patients, signals or units, times that do not parse or bear a time zone, values that
    are text or infinite.
    """
    out = Path(out)
    columns = {"patient": patient, "time": time, "value": value}
    if stay is not None:
        columns["stay"] = stay
    seconds = grid_seconds(grid)
    sources = (Path(frame),) if isinstance(frame, str | Path) else ()
    with workspace(out, *sources, overwrite=overwrite, temp=temp) as con:
        origin, found = _origin(con, frame)
        if signal in found and signal != value:
            columns["signal"] = signal
        _refuse_columns(columns, found)
        constant = None if "signal" in columns else signal
        _load(con, origin, columns, found, constant)
        names = _names(con, constant, signals)
        info = TableInfo(source, False, seconds, _units(names, unit), licence)
        attrition = Attrition()
        reasons = _fates(con, names, attrition, chosen=signals is not None)
        grid_and_write(con, out, info, attrition, reasons, say, overwrite=overwrite)
    return attrition


def _names(con: duckdb.DuckDBPyConnection, constant: str | None, wanted: Sequence[str] | None) -> list[str]:
    """The signals to keep; raises DataError where one that is asked for is not in the table given."""
    distinct = con.execute("SELECT DISTINCT signal FROM given ORDER BY signal").fetchall()
    there = [constant] if constant else [row[0] for row in distinct]
    missing = [name for name in wanted or () if name not in there]
    if missing:
        raise DataError(f"The table given has no signal {', '.join(missing)}. It has: {', '.join(there)}.")
    return there if wanted is None else list(wanted)


def _origin(con: duckdb.DuckDBPyConnection, frame: pd.DataFrame | str | Path) -> tuple[str, dict[str, str]]:
    """A SQL source of the rows given, and its columns with their SQL types."""
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        con.register("frame", arrow_of(frame))
        origin = "frame"
    else:
        path = Path(frame)
        if not path.is_file():
            raise DataError(f"No file {path}. Give a .csv, .csv.gz or .parquet file.")
        origin = source_of(path)
    return origin, columns_of(con, origin)


def _refuse_columns(columns: Mapping[str, str], found: Mapping[str, str]) -> None:
    missing = [f"{name!r} ({role})" for role, name in columns.items() if name not in found]
    if missing:
        raise DataError(f"No column {', '.join(missing)} in the table given. It has: {told_names(found)}.")
    kind = found[columns["time"]]
    if "TIME ZONE" in kind:
        raise DataError(
            f"Column {columns['time']!r} bears a time zone. Choose the clock the patients lived by and drop the zone, "
            "e.g. with .dt.tz_localize(None)."
        )
    if not kind.startswith(("TIMESTAMP", "DATE", "VARCHAR")):
        raise DataError(
            f"Column {columns['time']!r} holds {kind}, not times. Give dates with times, such as 2021-07-30 16:43:00."
        )


def _load(
    con: duckdb.DuckDBPyConnection,
    origin: str,
    columns: Mapping[str, str],
    found: Mapping[str, str],
    constant: str | None,
) -> None:
    """Fill the table `given` (patient, stay, signal, time, value), refusing what cannot be read."""

    def text(role: str) -> str:
        return f"nullif(trim(CAST({identifier(columns[role])} AS VARCHAR)), '')"

    number = f"TRY_CAST({identifier(columns['value'])} AS DOUBLE)"
    if found[columns["value"]] == "VARCHAR":
        number = f"TRY_CAST({text('value')} AS DOUBLE)"
    con.execute(
        f"""
        CREATE TABLE given AS
        SELECT {text("patient")} AS patient, {text("stay" if "stay" in columns else "patient")} AS stay,
               {quoted(constant) if constant else text("signal")} AS signal,
               TRY_CAST({text("time")} AS TIMESTAMP) AS time, CASE WHEN NOT isnan({number}) THEN {number} END AS value,
               {text("value")} IS NOT NULL AND {number} IS NULL AS garbled
        FROM {origin}
        """
    )
    faults = {
        "patient IS NULL OR stay IS NULL": "have no patient or stay",
        "signal IS NULL": "have no signal",
        "time IS NULL": f"have a time in {columns['time']!r} that does not parse",
        "NOT isfinite(time)": f"have an infinite time in {columns['time']!r}",
        f"year(time) > {LAST_YEAR}": f"have a time in {columns['time']!r} after the year {LAST_YEAR}",
        "garbled": f"have text instead of a number in {columns['value']!r}",
        "isinf(value)": f"have an infinite value in {columns['value']!r}",
    }
    (total,) = one(con, "SELECT count(*) FROM given")
    if total == 0:
        raise DataError("The table given has no rows.")
    for condition, what in faults.items():
        count, first = one(con, f"SELECT count(*), min(rowid) FROM given WHERE {condition}")
        if count:
            raise DataError(
                f"{count:,} of {total:,} rows {what}, the first of them row {first + 1:,} after the header. Correct or "
                "remove them; none is guessed or skipped."
            )
    shared = "SELECT stay FROM given GROUP BY stay HAVING count(DISTINCT patient) > 1"
    con.execute(f"UPDATE given SET stay = patient || '-' || stay WHERE EXISTS ({shared})")


def _units(names: list[str], unit: str | Mapping[str, str] | None) -> dict[str, str]:
    if isinstance(unit, str) and len(names) > 1:
        raise DataError(
            f"One unit, {unit!r}, is given for {len(names)} signals ({', '.join(names)}). Give a unit for each: "
            "unit={signal: unit}."
        )
    given = dict.fromkeys(names, unit) if unit is None or isinstance(unit, str) else {n: unit.get(n) for n in names}
    return {name: unit_of(name, given[name]) for name in names}


def _fates(con: duckdb.DuckDBPyConnection, names: list[str], attrition: Attrition, *, chosen: bool) -> list[Reason]:
    """Make the table `events` from `given`; return the reasons its fates refer to."""
    reasons = [
        Reason("with a value", "value IS NULL"),
        Reason("within the plausible range", out_of_range(names)),
    ]
    if chosen:
        kept = ", ".join(quoted(name) for name in names)
        reasons.insert(0, Reason("of a signal asked for", f"signal NOT IN ({kept})"))
    patients, stays, rows = one(con, "SELECT count(DISTINCT patient), count(DISTINCT stay), count(*) FROM given")
    counts = dict(con.execute("SELECT signal, count(*) FROM given GROUP BY signal ORDER BY signal").fetchall())
    attrition.add("rows given", patients=patients, stays=stays, rows=rows, signals=counts)
    con.execute(f"CREATE TABLE events AS SELECT *, {fate(reasons)} AS fate FROM given")
    return reasons
