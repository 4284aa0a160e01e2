"""The series of a long table, one at a time, in the table's order."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from loracast.errors import DataError
from loracast.types import Table

_COLUMNS = ["patient", "stay", "series", "signal", "time", "value"]


@dataclass(frozen=True)
class One:
    """One series on its grid: float32 `values` of shape (time,), NaN where not observed, and the time of the last."""

    patient: str
    stay: str
    series: str
    signal: str
    last_time: datetime
    values: Float[np.ndarray, " time"]

    def seconds_of_first(self, step_seconds: int) -> int:
        """Time of the first value, in seconds since 1970 (wall clock of the data, no zone)."""
        return seconds(self.last_time) - (len(self.values) - 1) * step_seconds


def seconds(time: datetime) -> int:
    """A time without a zone, in whole seconds since 1970."""
    return (time - datetime(1970, 1, 1)) // timedelta(seconds=1)


def series_of(table: Table) -> Iterator[One]:
    """Yield every series of the table's signals; memory holds one series and one batch of rows.

    Raises DataError for a value that single precision cannot hold.
    """
    keys: dict[str, str] | None = None
    last_time = datetime.min
    pieces: list[np.ndarray] = []
    with pq.ParquetFile(table.path) as file:
        for batch in file.iter_batches(batch_size=65_536, columns=_COLUMNS):
            for start, stop in _runs(batch.column("series")):
                found = {name: batch.column(name)[start].as_py() for name in _COLUMNS[:4]}
                if keys is not None and found["series"] != keys["series"]:
                    if keys["signal"] in table.signals:
                        yield One(**keys, last_time=last_time, values=np.concatenate(pieces))
                    pieces = []
                keys, last_time = found, batch.column("time")[stop - 1].as_py()
                values = batch.column("value").slice(start, stop - start)
                pieces.append(_single(values.to_numpy(zero_copy_only=False), found["signal"]))
    if keys is not None and keys["signal"] in table.signals:
        yield One(**keys, last_time=last_time, values=np.concatenate(pieces))


def _single(values: Float[np.ndarray, " row"], signal: str) -> Float[np.ndarray, " row"]:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if np.isinf(single).any():
        raise DataError(f"A value of {signal} is too large for single precision (3.4e38). Correct it.")
    return single


def _runs(series: pa.Array) -> list[tuple[int, int]]:
    """First row and row after the last of every stretch of equal names."""
    codes = series.dictionary_encode().indices.to_numpy()
    breaks = (np.flatnonzero(np.diff(codes)) + 1).tolist()
    return list(zip([0, *breaks], [*breaks, len(codes)], strict=True)) if len(codes) else []
