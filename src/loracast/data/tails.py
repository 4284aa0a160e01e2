"""The end of every series, batch by batch: what a forecast of the unseen future starts from."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from loracast.data.stream import One, seconds, series_of
from loracast.types import Table


@dataclass(frozen=True)
class Tails:
    """Some series and their last values: `context` has shape (series, context), left-padded with NaN."""

    series: list[One]
    context: Float[np.ndarray, "series context"]

    def starts(self, step_seconds: int) -> Int[np.ndarray, " series"]:
        """Time of the first context step (padding included), in seconds since 1970."""
        before = (self.context.shape[1] - 1) * step_seconds
        return np.array([seconds(one.last_time) - before for one in self.series], np.int64)

    def groups(self) -> Int[np.ndarray, " series"]:
        """A number for each series, equal for signals of one stay that end at the same time."""
        ends = [(one.patient, one.stay, one.last_time) for one in self.series]
        return np.array([ends.index(end) for end in ends], np.int64)

    def with_quantiles(
        self, quantiles: Float[np.ndarray, "series horizon level"], levels: tuple[float, ...], step_seconds: int
    ) -> pa.Table:
        """The forecast as rows: one a series and step, a column a level."""
        horizon = quantiles.shape[1]
        step = timedelta(seconds=step_seconds)
        columns = {
            name: pa.array([getattr(one, name) for one in self.series for _ in range(horizon)], pa.string())
            for name in ("patient", "stay", "series", "signal")
        }
        times = [one.last_time + step * (h + 1) for one in self.series for h in range(horizon)]
        columns["time"] = pa.array(times, pa.timestamp("us"))
        for i, level in enumerate(levels):
            columns[f"q{level:g}"] = pa.array(quantiles[:, :, i].ravel().astype(np.float64))
        return pa.table(columns)


def tails_of(table: Table, context: int, size: int) -> Iterator[Tails]:
    """Yield the last `context` values of every series, some `size` series at a time: those of a stay together."""
    part: list[One] = []
    for one in series_of(table):
        if len(part) >= size and (one.patient, one.stay) != (part[-1].patient, part[-1].stay):
            yield _padded(part, context)
            part = []
        part.append(One(one.patient, one.stay, one.series, one.signal, one.last_time, one.values[-context:]))
    if part:
        yield _padded(part, context)


def _padded(series: list[One], context: int) -> Tails:
    values = np.full((len(series), context), np.nan, np.float32)
    for row, one in zip(values, series, strict=True):
        row[len(row) - len(one.values) :] = one.values
    return Tails(series, values)
