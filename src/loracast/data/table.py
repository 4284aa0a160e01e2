"""The long table on disk: one row is one grid cell of one signal of one stay.

Sorted by (series, time); each series runs on a regular grid without holes from its first to its last observed cell, and
a cell that was not observed has a null value. The cell `t` holds the mean of the measurements in (t - grid, t], so a
cell never knows what came after its label. Importing this file loads neither DuckDB nor Arrow.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.data.schema import signals_named
from loracast.data.workspace import connect, parquet_source, reading
from loracast.errors import DataError
from loracast.files.texts import quoted
from loracast.types import Say

if TYPE_CHECKING:
    import pandas as pd

    from loracast.data.attrition import Attrition
    from loracast.files.private import PrivateFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Table:
    """A long table on disk that has been checked: known columns, one regular grid, finite values, sorted.

    `step_seconds` is the grid, `units` maps each signal to its unit, `fingerprint` is the SHA-256 of the file.
    `attrition` has what was dropped and noticed on the way to it, None where that is not known.

    >>> table
    Table(vitals.parquet: heart_rate, map; every 3600 s; source test)
    >>> table.units["map"]
    'mmHg'
    """

    path: Path
    step_seconds: int
    signals: tuple[str, ...]
    units: dict[str, str]
    simulated: bool
    source: str
    licence: str
    fingerprint: str
    attrition: Attrition | None = field(default=None, compare=False)
    _private: PrivateFolder | None = field(default=None, compare=False)
    """The folder that the file goes away with, where nobody said where to put it."""

    @classmethod
    def open(cls, path: Path | str) -> Table:
        """Check a long table and describe it; reads it once, a batch at a time.

        Raises DataError where it is no Parquet file or has other columns or types, where a series is unsorted, has
        times twice, off the grid or missing, or belongs to two patients, where a value is infinite or a unit unknown.

        >>> Table.open(table.path).step_seconds
        3600
        """
        path = Path(path)
        refuse_absent(path)
        from loracast.data.checked import checked  # Arrow, which whoever only names a table need not wait for

        return cls(path=path, **checked(path))

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        patient: str | None = None,
        time: str | None = None,
        value: str | Sequence[str] | Mapping[str, str] | None = None,
        signal: str | None = None,
        stay: str | None = None,
        grid: str | None = None,
        start: datetime | str | None = None,
        unit: str | Mapping[str, str] | None = None,
        unit_column: str | None = None,
        zone: str | None = None,
        time_format: str | None = None,
        missing: Sequence[str] = (),
        decimal: str = ".",
        signals: Sequence[str] | None = None,
        licence: str = "not stated",
        source: str = "table",
        out: Path | str | None = None,
        overwrite: bool = False,
        temp: Path | None = None,
        say: Say = logger.warning,
    ) -> Table:
        """Put measurements in a frame, or an array, on a regular grid: the table that `loracast data table` writes.

        `frame` is a frame of pandas, polars (lazy too), Arrow or another library that narwhals knows: long (a row a
        measurement) or wide (a column a signal). Columns that are not named are found by their usual names, those of
        Nixtla (`unique_id`, `ds`, `y`) among them. Or it is a NumPy array of shape (step,) or (series, step), NaN where
        nothing was observed, of one `signal`: each row is a patient, the first step is at `start`.

        `value` is the column of the values; of several signals the columns, or signal to column. `signal` is the column
        that says of which signal a value is, or the one signal. `grid` is the step, e.g. "60min"; without it the step
        of the times is taken, where they are regular. The other settings: `loracast.data.roles.Reading`.

        Without `out` the table lies in a temporary folder of this user and goes away with the object or the process.
        What was dropped is in `attrition`; what to notice in it is told to `say` (a warning of `logging`), too. Raises
        DataError and ConfigError as `write_table` does, naming what was found and what to say.

        >>> hours = pd.date_range("2150-03-01", periods=4, freq="h")
        >>> wide = pd.DataFrame({"patient": "p1", "time": hours, "heart_rate": [80, 82, None, 81], "map": 70.0})
        >>> Table.from_frame(wide, grid="60min").signals
        ('heart_rate', 'map')
        >>> Table.from_frame(np.array([[80, 81, 79], [70, np.nan, 72]]), signal="heart_rate", grid="5min").step_seconds
        300
        """
        from loracast.data.readers.table import table_from

        return table_from(
            frame, out, start=start, source=source, overwrite=overwrite, temp=temp, say=say,
            patient=patient, time=time, value=value, signal=signal, stay=stay, grid=grid, unit=unit,
            unit_column=unit_column, zone=zone, time_format=time_format, missing=missing, decimal=decimal,
            signals=signals, licence=licence,
        )  # fmt: skip

    @property
    def reading(self) -> dict[str, Any] | None:
        """The keywords that read another frame of the same columns as this table's was; None where it had none.

        >>> again = Table.from_frame(own_frame, signal="heart_rate", grid="60min").reading
        >>> again["patient"], again["value"], Table.from_frame(own_frame, **again).signals
        ('unique_id', 'y', ('heart_rate',))
        """
        return None if self.attrition is None else self.attrition.reading

    def to_frame(self) -> pd.DataFrame:
        """The cells as a pandas frame: patient, stay, signal, time, value; NaN where a cell was not observed.

        In the order of the table. `Table.from_frame` of it with the same grid gives the same table.

        >>> list(table.to_frame().columns)
        ['patient', 'stay', 'signal', 'time', 'value']
        """
        import pyarrow.parquet as pq

        columns = ["patient", "stay", "signal", "time", "value"]
        found = pq.read_table(self.path, columns=columns, filters=[("signal", "in", list(self.signals))])
        frame: pd.DataFrame = found.to_pandas()
        return frame

    def describe(self) -> pd.DataFrame:
        """A row a signal: patients, stays, cells, `observed` (share of the cells), median (in the unit), unit.

        >>> table.describe()["unit"].to_dict()
        {'heart_rate': '1/min', 'map': 'mmHg'}
        """
        from loracast.data.described import described

        return described(self)

    def __repr__(self) -> str:
        told = "; simulated" if self.simulated else ""
        signals = ", ".join(self.signals)
        return f"Table({self.path.name}: {signals}; every {self.step_seconds} s; source {self.source}{told})"

    def _repr_html_(self) -> str:
        from loracast.data.described import as_html

        return as_html(self)


def refuse_absent(table: Path | str | Table) -> None:
    """Raise DataError for a table that is not there: known before anything is read or imported for it.

    >>> refuse_absent(table)
    """
    if not isinstance(table, Table) and not Path(table).exists() and not Path(table).is_symlink():
        raise DataError(f"No such table: {table}. Write one with `loracast data ...`.")


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
