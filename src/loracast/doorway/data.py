"""Data of any kind as a table, and forecasts in the kind that came in."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from loracast.data.table import Table
from loracast.doorway.quiet import warn
from loracast.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa


class Reading(TypedDict, total=False):
    """How a frame is read: the keywords of `Table.from_frame`."""

    patient: str | None
    time: str | None
    value: str | Sequence[str] | Mapping[str, str] | None
    signal: str | None
    stay: str | None
    grid: str | None
    start: datetime | str | None
    unit: str | Mapping[str, str] | None
    unit_column: str | None
    zone: str | None
    time_format: str | None
    missing: Sequence[str]
    decimal: str
    signals: Sequence[str] | None
    licence: str
    source: str


def as_table(data: Any, reading: Reading, *, usual: Mapping[str, Any] | None = None) -> Table:
    """A table as it is, the file of one opened, or a frame read: as `reading` says, else as is `usual`.

    Raises DataError and ConfigError as `Table.from_frame` does, and ConfigError for a reading of what is a table.
    """
    if not isinstance(data, Table | Path | str):
        return Table.from_frame(data, say=warn, **{**(usual or {}), **reading})
    if reading:
        raise ConfigError(f"{', '.join(reading)}: says how a frame is read, and a table is read already. Leave it out.")
    return opened(data)


def opened(table: Any) -> Table:
    """The table, or that of a file; raises ConfigError for a frame, which has to be put on a grid first."""
    if isinstance(table, Table):
        return table
    if isinstance(table, Path | str):
        return Table.open(table)
    raise ConfigError(
        f"A {type(table).__name__} given, where a table is wanted. Put it on a grid first: "
        'lc.Table.from_frame(df, grid="60min").'
    )


def as_given(found: "pa.Table", data: Any) -> Any:
    """Arrow columns as a frame of the library that `data` is of; of pandas where it is none."""
    import narwhals as nw

    if isinstance(data, Table | Path | str):
        return found.to_pandas()
    kind = nw.from_native(data).implementation
    if not (kind.is_pandas() or kind.is_polars() or kind.is_pyarrow() or kind.is_modin() or kind.is_cudf()):
        return found.to_pandas()
    return nw.from_arrow(found, backend=kind).to_native()
