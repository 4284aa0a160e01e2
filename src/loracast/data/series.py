"""The series of a long table, one at a time, in the table's order; and their ends, batch by batch."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from loracast.data.pseudonyms import Pseudonyms
from loracast.data.table import Table
from loracast.errors import DataError

FORECAST, TOO_SPARSE = "forecast", "too few observed values"
"""What the column `status` of a forecast may say."""

_COLUMNS = ["patient", "stay", "series", "signal", "time", "value"]
_ROWS = 65_536
"""Rows of a table in memory at a time."""


@dataclass(frozen=True)
class One:
    """One series on its grid: float32 `values` of shape (time,), NaN where not observed, and the time of the last."""

    patient: str
    stay: str
    series: str
    signal: str
    last_time: datetime
    values: Float[np.ndarray, " time"]

    @property
    def number(self) -> int:
        """A number for this series wherever it is met: 64 bits of the SHA-256 of patient, stay and signal."""
        key = json.dumps([self.patient, self.stay, self.signal])
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)

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
    # Without a buffer ahead, which would keep all that was read of the file until it is closed.
    with pq.ParquetFile(table.path, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=_COLUMNS):
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


@dataclass(frozen=True)
class Tails:
    """What a forecast of the unseen future starts from: some series and their last values.

    `context` has shape (series, context), left-padded with NaN.
    """

    series: list[One]
    context: Float[np.ndarray, "series context"]

    def starts(self, step_seconds: int) -> Int[np.ndarray, " series"]:
        """Time of the first context step (padding included), in seconds since 1970."""
        before = (self.context.shape[1] - 1) * step_seconds
        return np.array([seconds(one.last_time) - before for one in self.series], np.int64)

    def groups(self) -> Int[np.ndarray, " series"]:
        """A number for each series, equal for signals of one stay that end at the same time."""
        numbers: dict[tuple[str, str, datetime], int] = {}
        return np.array([numbers.setdefault((o.patient, o.stay, o.last_time), len(numbers)) for o in self.series])

    def numbers(self) -> Int[np.ndarray, " series"]:
        """The number of each series itself (`One.number`)."""
        return np.array([one.number for one in self.series], np.int64)

    def with_quantiles(
        self,
        quantiles: Float[np.ndarray, "series horizon level"],
        levels: tuple[float, ...],
        step_seconds: int,
        pseudonyms: Pseudonyms | None = None,
    ) -> pa.Table:
        """The forecast as rows: one a series and step, a column a level; null where there is no number (NaN).

        `status` says why: `FORECAST`, or `TOO_SPARSE`. With `pseudonyms` these stand for the names of patient and stay.
        """
        count, horizon, _ = quantiles.shape
        named = [one if pseudonyms is None else _renamed(one, pseudonyms) for one in self.series]
        row = pa.array(np.repeat(np.arange(count), horizon))
        columns = {
            name: pa.array([getattr(one, name) for one in named], pa.string()).take(row)
            for name in ("patient", "stay", "series", "signal")
        }
        last = np.array([one.last_time for one in self.series], "datetime64[us]")
        ahead = np.arange(1, horizon + 1) * np.timedelta64(step_seconds, "s")
        columns["time"] = pa.array((last[:, None] + ahead).ravel(), pa.timestamp("us"))
        for i, level in enumerate(levels):
            numbers = quantiles[:, :, i].ravel().astype(np.float64)
            columns[f"q{level!r}"] = pa.array(numbers, mask=np.isnan(numbers))
        missing = np.isnan(quantiles).all(axis=2).ravel()
        columns["status"] = pa.array(np.where(missing, TOO_SPARSE, FORECAST), pa.string())
        return pa.table(columns)


def _renamed(one: One, pseudonyms: Pseudonyms) -> One:
    stay = pseudonyms.stay(one.patient, one.stay)
    return replace(one, patient=pseudonyms.patient(one.patient), stay=stay, series=f"{stay}/{one.signal}")


def tails_of(table: Table, context: int, size: int, *, joint: bool = False) -> Iterator[Tails]:
    """Yield the last `context` values of every series, some `size` series at a time: those of a stay together.

    With `joint` all series of a stay end with the stay's last cell, whatever signal it holds: what a signal has not
    there is not observed.
    """
    part: list[One] = []
    for _, stay in groupby(series_of(table), key=lambda one: (one.patient, one.stay)):
        ones = list(stay)
        if joint:
            ones = _ending_together(ones, context, table.step_seconds)
        if len(part) >= size:
            yield _padded(part, context)
            part = []
        part += [replace(one, values=one.values[-context:]) for one in ones]
    if part:
        yield _padded(part, context)


def _ending_together(stay: list[One], context: int, step_seconds: int) -> list[One]:
    last = max(one.last_time for one in stay)
    ended = []
    for one in stay:
        after = (seconds(last) - seconds(one.last_time)) // step_seconds
        gap = np.full(min(after, context), np.nan, np.float32)
        ended.append(replace(one, last_time=last, values=np.concatenate([one.values[-context:], gap])))
    return ended


def _padded(series: list[One], context: int) -> Tails:
    values = np.full((len(series), context), np.nan, np.float32)
    for row, one in zip(values, series, strict=True):
        row[len(row) - len(one.values) :] = one.values
    return Tails(series, values)
