"""Sums as they stand on disk: one row a patient code, signal and step, sorted, with the columns `COLUMNS`.

Window scores, `windows`, `targets` and the worst window are those of step 0, and 0 at the others.
"""

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from loracast.errors import DataError
from loracast.scoring.cells import METRICS, Cells, Texts

TEXTS = ("signal", "label", "unit")
WORST = ("worst_sum", "worst_n")
SCHEMA: pa.Schema = pa.schema(
    [
        *(("patient", pa.int64()), ("signal", pa.string()), ("step", pa.int64())),
        *(("label", pa.string()), ("unit", pa.string()), ("windows", pa.int64()), ("targets", pa.float64())),
        *((f"{kind}_{name}", type_) for name in METRICS for kind, type_ in (("sum", pa.float64()), ("n", pa.int64()))),
        *((name, pa.float64()) for name in WORST),
    ]
)
COLUMNS: list[str] = SCHEMA.names
_COUNTS = ["patient", "step", "windows", *(f"n_{name}" for name in METRICS)]


def table_of(cells: Cells) -> pa.Table:
    """The rows of some places, in the order of these."""
    places, steps, _ = cells.sums.shape

    def at_first(numbers: np.ndarray) -> np.ndarray:
        """What belongs to the window as a whole, at step 0."""
        column = np.zeros((places, steps), dtype=numbers.dtype)
        column[:, 0] = numbers
        return column.ravel()

    columns = {
        "patient": np.repeat(cells.patient, steps),
        "step": np.tile(np.arange(steps), places),
        "windows": at_first(cells.windows),
        "targets": at_first(cells.targets),
        **{name: at_first(cells.worst[:, which]) for which, name in enumerate(WORST)},
    }
    signal = pa.array(np.repeat(cells.signal, steps))
    for which, name in enumerate(TEXTS):
        columns[name] = pa.array([texts[which] for texts in cells.signals], pa.string()).take(signal)
    for which, name in enumerate(METRICS):
        columns[f"sum_{name}"] = cells.sums[:, :, which].ravel()
        columns[f"n_{name}"] = cells.counts[:, :, which].ravel()
    return pa.table([pa.array(columns[name], kind.type) for name, kind in zip(COLUMNS, SCHEMA, strict=True)], SCHEMA)


def cells_of(table: pa.Table, where: str) -> Cells:
    """What `table_of` made rows of, whatever their order.

    Raises DataError, naming the file `where`, for other columns, types or numbers than sums and counts have, and where
    a place lacks a step or has one twice.
    """
    if not set(WORST) & set(table.column_names):  # written before 0.3
        unknown = pa.array(np.full(len(table), np.nan))
        for name in WORST:
            table = table.append_column(name, unknown)
    if table.column_names != COLUMNS:
        different = sorted(set(COLUMNS) ^ set(table.column_names))
        raise DataError(
            f"{where}: these are not the sums of `score_cells`: {different} is missing or too much. Score again."
        )
    if not _are_sums(table):
        raise _damaged(where)
    signals, code = _signals(table)
    pairs, place = np.unique(np.stack([_numbers(table, "patient"), code], axis=1), axis=0, return_inverse=True)
    step = _numbers(table, "step")
    steps = int(step.max(initial=0)) + 1
    at = np.full(len(step), -1)
    if len(pairs) * steps == len(step):  # asked before anything of that size is made
        at[place.ravel() * steps + step] = np.arange(len(step))
    if (at < 0).any():
        raise _damaged(where)
    found = {name: _numbers(table, name)[at].reshape(-1, steps) for name in COLUMNS if name not in TEXTS}
    if any(np.nan_to_num(found[name][:, 1:]).any() for name in ("windows", "targets", *WORST)):
        raise _damaged(where)
    return Cells(
        patient=pairs[:, 0],
        signal=pairs[:, 1],
        signals=signals,
        windows=found["windows"][:, 0],
        targets=found["targets"][:, 0],
        worst=np.stack([found[name][:, 0] for name in WORST], axis=1),
        sums=np.stack([found[f"sum_{name}"] for name in METRICS], axis=2),
        counts=np.stack([found[f"n_{name}"] for name in METRICS], axis=2),
    )


def _damaged(where: str) -> DataError:
    return DataError(f"{where} holds other things than sums and counts: it was damaged. Score the run again.")


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """A column as int64 or float64; NaN where it has nothing."""
    found: np.ndarray = table[name].to_numpy()
    return found.astype(np.int64 if name in _COUNTS else np.float64)


def _are_sums(table: pa.Table) -> bool:
    """Whether the columns are of the types and ranges that sums and counts have."""
    for name in COLUMNS:
        column, kind = table[name], table[name].type
        if name in TEXTS:
            fits = (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and not column.null_count
        elif name in _COUNTS:
            fits = pa.types.is_integer(kind) and not column.null_count and bool((_numbers(table, name) >= 0).all())
        elif name in WORST:  # NaN where it was not kept
            fits = pa.types.is_floating(kind) and not bool((_numbers(table, name) < 0).any())
        else:
            fits = pa.types.is_floating(kind) and bool(np.isfinite(_numbers(table, name)).all())
        if not fits:
            return False
    return True


def _signals(table: pa.Table) -> tuple[tuple[Texts, ...], Int[np.ndarray, " row"]]:
    """The signals that rows are of, and which each is of."""
    columns = [table[name].combine_chunks().dictionary_encode() for name in TEXTS]
    codes = np.stack([column.indices.to_numpy() for column in columns], axis=1).astype(np.int64)
    found, code = np.unique(codes, axis=0, return_inverse=True)
    names = [column.dictionary.to_pylist() for column in columns]
    signals = [tuple(texts[which] for texts, which in zip(names, row, strict=True)) for row in found.tolist()]
    return tuple((name, label, unit) for name, label, unit in signals), code.ravel()
