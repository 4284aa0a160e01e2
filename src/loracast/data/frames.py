"""Frames of any library, and arrays, as the Arrow columns that DuckDB reads: typed as they are, by way of no text."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from loracast.data.workspace import refuse_twins
from loracast.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

FIRST_STEP = datetime(2000, 1, 1)
"""When the first step of an array is taken to be where nobody says."""
GIVE = "Give a DataFrame of pandas or polars, an Arrow table, or a NumPy array (series × steps)."


class Given:
    """A frame that a caller has in memory: the names of its columns, and those that are wanted as Arrow.

    Takes what narwhals takes: pandas, polars (lazy too), PyArrow, DuckDB and more. Levels of a pandas index that have a
    name are columns, as after `reset_index`; numbers of rows without a name are none. Raises DataError for what is no
    frame, for two columns of one name and for an index of something without a name.
    """

    def __init__(self, frame: Any) -> None:
        import narwhals as nw
        from narwhals.exceptions import DuplicateError

        if nw.dependencies.is_pandas_dataframe(frame):
            frame = _without_index(frame)
        try:
            self._frame = nw.from_native(frame)
            self.names: list[str] = self._frame.collect_schema().names()
        except TypeError:
            raise DataError(f"A {type(frame).__name__} given, which is no frame. {GIVE}") from None
        except DuplicateError:
            raise DataError("The frame given has two columns of one name. Rename one of them.") from None
        except Exception as error:  # a lazy frame that cannot be carried out, in the words of its library
            raise _failed(error) from None
        refuse_twins("The frame given", self.names)

    def arrow(self, columns: Collection[str]) -> pa.Table:
        """Some columns; raises DataError, which quotes no value, for one that holds values of several kinds."""
        import narwhals as nw
        import pyarrow as pa

        names = list(dict.fromkeys(columns))
        some = self._frame.select(names)
        try:
            whole = some.collect() if isinstance(some, nw.LazyFrame) else some
        except Exception as error:  # of whatever library; it may quote values
            raise _failed(error) from None
        found = {}
        for name in names:
            try:
                found[name] = whole[name].to_arrow()
                if pa.types.is_float16(found[name].type):  # DuckDB has none
                    found[name] = found[name].cast(pa.float32())
                if whole[name].dtype == nw.Object and _loses_zones(found[name], whole[name]):
                    raise TypeError  # Arrow would take a time without a zone for one of UTC
            except (pa.ArrowException, NotImplementedError, OverflowError, TypeError, ValueError) as error:
                # Not `from error`: Arrow quotes the value that it stumbled over.
                raise DataError(
                    f"Column {name!r} of the frame given cannot be read ({type(error).__name__}): it holds values of "
                    "several kinds, such as texts among numbers. Give it one kind (df.dtypes shows them)."
                ) from None
        return pa.table(found)


def _failed(error: Exception) -> DataError:
    return DataError(
        f"The frame given cannot be carried out ({type(error).__name__}). Collect it first, and see its own message."
    )


def _loses_zones(column: pa.Array, given: Any) -> bool:
    """Whether some times of an Arrow column with a zone were given without one."""
    import pyarrow as pa

    zoned = pa.types.is_timestamp(column.type) and column.type.tz is not None
    return zoned and any(isinstance(one, datetime) and one.tzinfo is None for one in given.to_list())


def _without_index(frame: pd.DataFrame) -> pd.DataFrame:
    """A pandas frame with named levels of its index as columns, and with texts for the names of its columns."""
    import pandas as pd

    if frame.columns.nlevels > 1:
        raise DataError("The columns of the frame given have names of several levels. Give each one name.")
    index = frame.index
    named = [name for name in index.names if name is not None]
    if len(named) < index.nlevels and (named or not pd.api.types.is_integer_dtype(index.dtype)):
        raise DataError(
            f"The index of the frame given ({type(index).__name__}) holds values without a name. Name it "
            "(df.rename_axis('time'), say) to have it read as a column, or drop it (df.reset_index(drop=True))."
        )
    taken = [name for name in named if name in frame.columns]
    if taken:
        raise DataError(
            f"{', '.join(map(repr, taken))} names a column of the frame given and a level of its index. Drop one "
            "(df.reset_index(drop=True), say)."
        )
    plain = frame.reset_index() if named else frame
    return plain.set_axis([str(name) for name in plain.columns], axis="columns")


def table_of_array(array: np.ndarray, seconds: int, start: datetime | str | None) -> tuple[pa.Table, str]:
    """An array of shape (step,) or (series, step) as the columns patient, time and value; and what was taken for so.

    Steps are `seconds` apart, the first at `start`. NaN, and what is masked, was not observed. Raises DataError for an
    array of another shape or of no numbers, and where no step is left.
    """
    import numpy as np
    import pyarrow as pa

    if array.dtype.kind not in "iuf":
        raise DataError(f"An array of {array.dtype.name} given. Give numbers, with NaN where nothing was observed.")
    if array.ndim not in (1, 2) or array.size == 0:
        raise DataError(
            f"An array of shape {array.shape} given. Give (step,) or (series, step), for one signal of each patient; "
            "several signals, or stays, are given as a frame."
        )
    values = np.ma.filled(np.ma.asarray(np.atleast_2d(array), np.float64), np.nan)
    series, steps = values.shape
    first = moment_of(start)
    try:
        times = [first + timedelta(seconds=seconds * step) for step in range(steps)]
    except OverflowError:
        raise DataError(f"{steps:,} steps of {seconds} s from {first} on end beyond all years. Give a start.") from None
    names = [f"{row:0{len(str(series - 1))}}" for row in range(series)]
    columns = {
        "patient": pa.array(np.repeat(names, steps)),
        "time": pa.array(np.tile(np.array(times, "datetime64[us]"), series)),
        "value": pa.array(values.ravel()),
    }
    when = "" if start is not None else f", its first step for {first:%Y-%m-%d %H:%M} (start=... says when)"
    return pa.table(columns), f"Each row of the array is taken for a patient of its own{when}."


def moment_of(start: datetime | str | None) -> datetime:
    """The time of the first step; raises ConfigError for a text that is none, and for a time of a zone."""
    if start is None:
        return FIRST_STEP
    try:
        first = start if isinstance(start, datetime) else datetime.fromisoformat(start)
    except (TypeError, ValueError):
        raise ConfigError(f"start={start!r} is no time. Give one such as '2021-07-30 16:00'.") from None
    if first.tzinfo is not None:
        raise ConfigError(f"start={start!r} bears a time zone. Give the time on the patients' wall, without one.")
    return first
