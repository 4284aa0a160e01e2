"""The check that every long table passes before it is used: columns, types, order, grid and what it says of itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field, ValidationError

from loracast.data.attrition import Attrition, attrition_path
from loracast.data.schema import METADATA_KEY, SIGNALS, signal_named
from loracast.data.units import unit_of
from loracast.data.workspace import parquet, refuse_twins
from loracast.errors import DataError
from loracast.files import file_digest, read_json, regular
from loracast.spec import Frozen

REWRITE = "Put it on a regular grid with loracast.Table.from_frame or `loracast data table`."

LONG_SCHEMA: pa.Schema = pa.schema(
    [
        ("patient", pa.string()),
        ("stay", pa.string()),
        ("series", pa.string()),
        ("signal", pa.string()),
        ("time", pa.timestamp("us")),
        ("value", pa.float64()),
    ]
)


def checked(path: Path) -> dict[str, Any]:
    """Check a long table, reading it once, a batch at a time; returns the fields of its `Table`, without the path.

    Raises DataError as `Table.open` does.
    """
    info = _read_info(path)
    check = _Check(path, info.grid_seconds)
    # Without a buffer ahead, which would keep all that was read of the file until it is closed.
    with parquet(path), pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        _refuse_schema(path, file.schema_arrow)
        if file.metadata.num_rows == 0:
            raise DataError(f"{path} holds no rows. Read the source again, and look at what was dropped.")
        for batch in file.iter_batches(batch_size=131_072, columns=LONG_SCHEMA.names):
            batch.validate(full=True)  # texts are UTF-8
            check.batch(batch)
    if check.step is None:
        raise DataError(f"{path} has no two rows in any series, so that its grid is unknown. {REWRITE}")
    fingerprint = file_digest(path)
    attrition = _attrition_of(path, fingerprint)
    stated = dict(info.units)
    signals = (*[name for name in SIGNALS if name in check.signals], *sorted(check.signals - set(SIGNALS)))
    for name in signals:
        unit_of(name, stated.get(name, None if name not in SIGNALS else SIGNALS[name].unit))
    return {
        "step_seconds": check.step,
        "signals": signals,
        "units": {name: signal_named(name, stated).unit for name in signals},
        "simulated": info.simulated,
        "source": info.source,
        "licence": info.licence,
        "fingerprint": fingerprint,
        "attrition": attrition,
    }


class _Info(Frozen):
    """What a long table says of itself; `TableInfo` as it may be found in a file of anybody's."""

    model_config = ConfigDict(extra="ignore", strict=True)

    source: str = "table"
    simulated: bool = False
    grid_seconds: int | None = Field(default=None, ge=1)
    units: dict[str, str] = Field(default_factory=dict)
    licence: str = "not stated"


def _read_info(path: Path) -> _Info:
    """The metadata of a long table, empty where the file has none; raises DataError where it is not Parquet."""
    regular(path)
    with parquet(path):
        metadata = pq.read_schema(path).metadata or {}
    raw = metadata.get(METADATA_KEY.encode())
    if raw is None:
        return _Info()
    again = "Write the table again."
    try:
        return _Info.model_validate(json.loads(raw))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise DataError(f"The metadata {METADATA_KEY!r} of {path}: {place}: {first['msg']}. {again}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"The metadata {METADATA_KEY!r} of {path} is not JSON. {again}") from error


def _attrition_of(path: Path, fingerprint: str) -> Attrition | None:
    """The attrition beside a table, if any that can be read.

    Raises DataError where it is that of another table: one of the two was changed or damaged.
    """
    beside = attrition_path(path)
    if not beside.is_file():
        return None
    content = read_json(beside)
    table = content.get("table") if isinstance(content, dict) else None
    stated = table.get("sha256") if isinstance(table, dict) else None
    if stated is not None and stated != fingerprint:
        raise DataError(
            f"{path} is not the table that {beside.name} was written with: one of them was changed or damaged. Read "
            f"the source again; if the change is meant, move {beside.name} away."
        )
    return Attrition.from_json(content)


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
        import pyarrow.compute as pc  # its many functions take time; a table of other columns has been refused

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
        import pyarrow.compute as pc

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
        if isinstance(rows, pa.Array):
            rows = rows.fill_null(False).to_numpy(zero_copy_only=False)  # np.asarray would load pandas for it
        marked = np.flatnonzero(rows)
        if len(marked):
            raise DataError(f"Row {first + int(marked[0]):,} (from 0) of {self.path} {what}. {remedy}")


def _refuse_schema(path: Path, schema: pa.Schema) -> None:
    refuse_twins(str(path), schema.names)
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
