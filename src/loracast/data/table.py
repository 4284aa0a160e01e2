"""A caller's own measurements into the long table, and any long table checked before it is used."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from loracast.data.attrition import Attrition
from loracast.data.gridding import Reason, fate, grid_and_write, grid_seconds, out_of_range
from loracast.data.schema import LONG_SCHEMA, SIGNALS, TableInfo, read_info, signal_named, unit_of
from loracast.data.workspace import columns_of, identifier, one, quoted, source_of, workspace
from loracast.errors import DataError
from loracast.files import file_digest
from loracast.types import Table

REWRITE = "Put it on a regular grid with loracast.data.table.write_table or `loracast data table`."


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
    show: Callable[[str], None] | None = None,
) -> Attrition:
    """Put measurements of any step and order on the regular `grid` and write them as a long table at `out`.

    `patient`, `time`, `value` and `stay` name columns of `frame` (a DataFrame, or a .csv, .csv.gz or .parquet file);
    `signal` names a column too, or, where there is none of that name or it is the value column itself, the one
    signal that is measured. Without `stay` a patient is one stay; where two patients use the same name for a stay,
    the patient is put before it. `unit` is one unit or a unit a signal, needed for signals loracast does not know.
    Rows without a value, values outside the plausible range of a known signal and measurements at the same time are
    counted in the attrition. Raises DataError for missing columns, patients or units, times that do not parse or
    bear a time zone, values that are text or infinite.
    """
    out = Path(out)
    columns = {"patient": patient, "time": time, "value": value}
    if stay is not None:
        columns["stay"] = stay
    seconds = grid_seconds(grid)
    with workspace(out) as con:
        origin, found = _origin(con, frame)
        if signal in found and signal != value:
            columns["signal"] = signal
        _refuse_columns(columns, found)
        constant = None if "signal" in columns else signal
        _load(con, origin, columns, found, constant)
        names = [row[0] for row in con.execute("SELECT DISTINCT signal FROM given ORDER BY signal").fetchall()]
        units = _units([constant] if constant else names, unit)
        info = TableInfo(source, False, seconds, units, licence)
        attrition = Attrition()
        reasons = _fates(con, names, attrition)
        grid_and_write(con, out, info, attrition, reasons, show or _silent)
    return attrition


def open_table(path: Path | str) -> Table:
    """Check a long table and describe it; reads it once, a batch at a time.

    Raises DataError where it is no Parquet file or has other columns or types, where a series is unsorted, has
    times twice, off the grid or missing, or belongs to two patients, where a value is infinite or a unit unknown.
    """
    path = Path(path)
    info = read_info(path)
    with pq.ParquetFile(path) as file:
        _refuse_schema(path, file.schema_arrow)
        if file.metadata.num_rows == 0:
            raise DataError(f"{path} holds no rows. Read the source again, and look at what was dropped.")
        check = _Check(path, info.get("grid_seconds"))
        for batch in file.iter_batches(batch_size=131_072, columns=LONG_SCHEMA.names):
            check.batch(batch)
    if check.step is None:
        raise DataError(f"{path} has no two rows in any series, so that its grid is unknown. {REWRITE}")
    stated = dict(info.get("units", {}))
    signals = (*[name for name in SIGNALS if name in check.signals], *sorted(check.signals - set(SIGNALS)))
    for name in signals:
        unit_of(name, stated.get(name, None if name not in SIGNALS else SIGNALS[name].unit))
    return Table(
        path=path,
        step_seconds=check.step,
        signals=signals,
        units={name: signal_named(name, stated).unit for name in signals},
        simulated=bool(info.get("simulated", False)),
        source=str(info.get("source", "table")),
        licence=str(info.get("licence", "not stated")),
        fingerprint=file_digest(path),
    )


def patients_of(table: Table) -> list[str]:
    """The patients that have a series of one of the table's signals, sorted."""
    names = ", ".join(quoted(name) for name in table.signals)
    with duckdb.connect() as con:
        found = con.execute(
            f"SELECT DISTINCT patient FROM read_parquet({quoted(table.path)}) WHERE signal IN ({names}) ORDER BY ALL"
        ).fetchall()
    return [row[0] for row in found]


class _Check:
    """The state that a check of sorted batches carries from one to the next: the last row, and the grid."""

    def __init__(self, path: Path, step: int | None) -> None:
        self.path = path
        self.step = step
        self.signals: set[str] = set()
        self._last: pa.RecordBatch | None = None
        self._seen = 0

    def batch(self, batch: pa.RecordBatch) -> None:
        """Check one more batch; raises DataError at the first row that breaks a rule."""
        for name in ("patient", "stay", "series", "signal", "time"):
            self._refuse(pc.is_null(batch[name]), self._seen, f"has no {name}", "Fill it in.")
        self._refuse(
            pc.is_inf(batch["value"]), self._seen, "holds an infinite value", "Make it null where it is unknown."
        )
        self.signals.update(pc.unique(batch["signal"]).to_pylist())
        first = self._seen
        if self._last is not None:
            batch, first = pa.concat_batches([self._last, batch]), first - 1
        self._neighbours(batch, first + 1)
        self._seen = first + batch.num_rows
        self._last = batch.slice(batch.num_rows - 1)

    def _neighbours(self, batch: pa.RecordBatch, first: int) -> None:
        """Compare each row with the one before it; `first` is the number in the file of the second row."""
        before, after = batch.slice(0, batch.num_rows - 1), batch.slice(1)
        if after.num_rows == 0:
            return
        again = pc.less(after["series"], before["series"])
        self._refuse(again, first, "stands before the series above it: not sorted by (series, time)", REWRITE)
        same = pc.equal(after["series"], before["series"]).to_numpy(zero_copy_only=False)
        times = batch["time"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)
        gap = np.where(same, np.diff(times), 0)
        self._refuse(same & (gap == 0), first, "repeats the time of the row above it", REWRITE)
        self._refuse(same & (gap < 0), first, "is earlier than the row above it: not sorted by time", REWRITE)
        for name in ("patient", "stay", "signal"):
            other = same & pc.not_equal(after[name], before[name]).to_numpy(zero_copy_only=False)
            self._refuse(
                other, first, f"has another {name} than the row above it in the same series", "Name them apart."
            )
        if self.step is None and same.any():
            self.step = max(1, int(gap[same][0]) // 1_000_000)
        if self.step is not None:
            off = same & (gap != self.step * 1_000_000)
            self._refuse(off, first, f"is not {self.step} s after the row above it: the grid has a hole", REWRITE)

    def _refuse(self, rows: Any, first: int, what: str, remedy: str) -> None:
        """Raise at the first row marked; rows are numbered, never quoted: they are patients."""
        marked = np.flatnonzero(np.asarray(rows, dtype=bool))
        if len(marked):
            raise DataError(f"Row {first + int(marked[0]):,} (from 0) of {self.path} {what}. {remedy}")


def _refuse_schema(path: Path, schema: pa.Schema) -> None:
    missing = [name for name in LONG_SCHEMA.names if name not in schema.names]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}. It has: {', '.join(schema.names)}. A long table has "
            f"{', '.join(LONG_SCHEMA.names)}. {REWRITE}"
        )
    for field in LONG_SCHEMA:
        kind = schema.field(field.name).type
        if pa.types.is_string(field.type):
            fits = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        elif pa.types.is_timestamp(field.type):
            fits = pa.types.is_timestamp(kind) and kind.tz is None
        else:
            fits = pa.types.is_floating(kind)
        if not fits:
            raise DataError(f"Column {field.name} of {path} is {kind}; a long table has {field.type}. {REWRITE}")


def _origin(con: duckdb.DuckDBPyConnection, frame: pd.DataFrame | str | Path) -> tuple[str, dict[str, str]]:
    """A SQL source of the rows given, and its columns with their SQL types."""
    if isinstance(frame, pd.DataFrame):
        con.register("frame", pa.Table.from_pandas(frame, preserve_index=False))
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
        raise DataError(f"No column {', '.join(missing)} in the table given. It has: {', '.join(found)}.")
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
        "garbled": f"have text instead of a number in {columns['value']!r}",
        "isinf(value)": f"have an infinite value in {columns['value']!r}",
    }
    (total,) = one(con, "SELECT count(*) FROM given")
    if total == 0:
        raise DataError("The table given has no rows.")
    for condition, what in faults.items():
        (count,) = one(con, f"SELECT count(*) FROM given WHERE {condition}")
        if count:
            raise DataError(f"{count:,} of {total:,} rows {what}. Correct or remove them; none is guessed or skipped.")
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


def _fates(con: duckdb.DuckDBPyConnection, names: list[str], attrition: Attrition) -> list[Reason]:
    """Make the table `events` from `given`; return the reasons its fates refer to."""
    reasons = [
        Reason("with a value", "value IS NULL"),
        Reason("within the plausible range", out_of_range(names)),
    ]
    patients, stays, rows = one(con, "SELECT count(DISTINCT patient), count(DISTINCT stay), count(*) FROM given")
    counts = dict(con.execute("SELECT signal, count(*) FROM given GROUP BY signal ORDER BY signal").fetchall())
    attrition.add("rows given", patients=patients, stays=stays, rows=rows, signals=counts)
    con.execute(f"CREATE TABLE events AS SELECT *, {fate(reasons)} AS fate FROM given")
    return reasons


def _silent(_: str) -> None:
    return None
