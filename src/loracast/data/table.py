"""The long table on disk: one row is one grid cell of one signal of one stay.

Sorted by (series, time); each series runs on a regular grid without holes from its first to its last observed cell, and
a cell that was not observed has a null value. The cell `t` holds the mean of the measurements in (t - grid, t], so a
cell never knows what came after its label. Importing this file loads neither DuckDB nor Arrow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from loracast.data.schema import signals_named
from loracast.data.workspace import connect, parquet_source, reading
from loracast.errors import DataError
from loracast.files.texts import quoted


@dataclass(frozen=True)
class Table:
    """A long table on disk that has been checked: known columns, one regular grid, finite values, sorted.

    `step_seconds` is the grid, `units` maps each signal to its unit, `fingerprint` is the SHA-256 of the file.
    """

    path: Path
    step_seconds: int
    signals: tuple[str, ...]
    units: dict[str, str]
    simulated: bool
    source: str
    licence: str
    fingerprint: str

    @classmethod
    def open(cls, path: Path | str) -> Table:
        """Check a long table and describe it; reads it once, a batch at a time.

        Raises DataError where it is no Parquet file or has other columns or types, where a series is unsorted, has
        times twice, off the grid or missing, or belongs to two patients, where a value is infinite or a unit unknown.
        """
        from loracast.data.checked import checked  # Arrow, which whoever only names a table need not wait for

        path = Path(path)
        return cls(path=path, **checked(path))


def open_table(path: Path | str) -> Table:
    """The same as `Table.open`."""
    return Table.open(path)


def with_signals(table: Table, signals: tuple[str, ...] | None) -> Table:
    """The table restricted to `signals`, in their order; raises DataError where one of them is not in it."""
    if signals is None:
        return table
    missing = [name for name in signals if name not in table.signals]
    if missing:
        signals_named([name for name in missing if name not in table.units])
        raise DataError(
            f"{table.path.name} has no {' and no '.join(missing)}. It has: {', '.join(table.signals)}. Name only "
            "those, or read the table again with --signals."
        )
    return replace(table, signals=tuple(signals))


def patients_of(table: Table) -> list[str]:
    """The patients that have a series of one of the table's signals, sorted."""
    names = ", ".join(quoted(name) for name in table.signals)
    query = f"SELECT DISTINCT patient FROM {parquet_source(table.path)} WHERE signal IN ({names}) ORDER BY ALL"
    with reading(table.path), connect() as con:
        return [row[0] for row in con.execute(query).fetchall()]
