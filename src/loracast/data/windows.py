"""Windows second: cut on a grid, kept on disk, sampled through a memory map.

A store is a folder: `values.f32` (all series end to end, NaN = not observed), one `SIDE.i64` a side of the split
(a row a window: offset of its first value, patient code, signal code) and `windows.json`. Building it needs the
memory of one series, sampling it the memory of one batch. The rows stand in the order of the table, so that an
index means the same window on every machine and with any number of workers.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Int

from loracast.config import WindowSpec
from loracast.data.split import SIDES
from loracast.data.stream import series_of
from loracast.errors import DataError
from loracast.files import digest, read_json, write_json, written
from loracast.series import Table

COLUMNS = ("offset", "patient", "signal")


@dataclass(frozen=True)
class WindowSet:
    """The windows of one side of the split, read through memory maps.

    `patient` and `signal` are integer codes, shape (window,); `signals` names the codes, `units` their units.
    """

    values: Float[np.ndarray, " value"]
    index: Int[np.ndarray, "window 3"]
    context: int
    horizon: int
    season: int
    step_seconds: int
    signals: tuple[str, ...]
    units: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> dict[str, Float[np.ndarray, " step"]]:
        """Window `i` as float32 `context` and `future`."""
        start = int(self.index[i, 0])
        split = start + self.context
        return {
            "context": np.array(self.values[start:split]),
            "future": np.array(self.values[split : split + self.horizon]),
        }

    def batch(self, rows: slice) -> tuple[Float[np.ndarray, "window context"], Float[np.ndarray, "window horizon"]]:
        """Contexts and futures of a slice of windows."""
        starts = np.asarray(self.index[rows, 0])
        steps = starts[:, None] + np.arange(self.context + self.horizon)
        cut = np.asarray(self.values[steps])
        return cut[:, : self.context], cut[:, self.context :]

    def batches(self, size: int) -> Iterator[slice]:
        """Slices of at most `size` windows, in order."""
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))

    @property
    def patient(self) -> Int[np.ndarray, " window"]:
        """Code of each window's patient."""
        return np.asarray(self.index[:, 1])

    @property
    def signal(self) -> Int[np.ndarray, " window"]:
        """Code of each window's signal."""
        return np.asarray(self.index[:, 2])

    def some(self, count: int, seed: int) -> "WindowSet":
        """These windows, or a seeded choice of `count` of them in the same order where there are more."""
        if len(self) <= count:
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False))
        return self.rows(chosen)

    def rows(self, chosen: Int[np.ndarray, " chosen"]) -> "WindowSet":
        """The windows with these positions."""
        return WindowSet(
            self.values,
            np.asarray(self.index[chosen]),
            self.context,
            self.horizon,
            self.season,
            self.step_seconds,
            self.signals,
            self.units,
        )


@dataclass(frozen=True)
class Windows:
    """A window store: one `WindowSet` a side, and what is known of all of them (`meta`)."""

    folder: Path
    meta: dict[str, Any]

    @property
    def train(self) -> WindowSet:
        """The windows of the training patients."""
        return self.side("train")

    @property
    def validation(self) -> WindowSet:
        """The windows of the validation patients."""
        return self.side("validation")

    @property
    def test(self) -> WindowSet:
        """The windows of the test patients."""
        return self.side("test")

    def side(self, name: str) -> WindowSet:
        """The windows of `train`, `validation` or `test`."""
        count = self.meta["counts"][name]
        index = np.memmap(self.folder / f"{name}.i64", np.int64, "r", shape=(count, len(COLUMNS))) if count else None
        return WindowSet(
            np.memmap(self.folder / "values.f32", np.float32, "r"),
            np.empty((0, len(COLUMNS)), np.int64) if index is None else index,
            self.meta["context"],
            self.meta["horizon"],
            self.meta["season"],
            self.meta["step_seconds"],
            tuple(self.meta["signals"]),
            self.meta["units"],
        )

    def patients(self) -> dict[str, set[int]]:
        """Codes of the patients that have a window on each side."""
        return {name: set(np.unique(self.side(name).patient).tolist()) for name in SIDES}

    def count_patients(self) -> dict[str, int]:
        """How many patients have a window on each side; the split itself (`meta["patients"]`) may hold more."""
        return {name: len(codes) for name, codes in self.patients().items()}


def cut_windows(table: Table, sides: Mapping[str, str], spec: WindowSpec, out: Path) -> Windows:
    """Cut the windows of every series of `table` into a store at `out`, each on its patient's side.

    A window is kept if at least `min_context_observed` of its context and `min_target_observed` of its horizon are
    measured. What is not kept is counted in `meta["attrition"]`. Raises DataError where a side has no window, with
    the counts that show why.
    """
    spec = spec.resolved(table.step_seconds)
    assert spec.context is not None
    assert spec.horizon is not None
    codes = {patient: code for code, patient in enumerate(sides)}
    counts = dict.fromkeys(("series", "series_too_short", "windows", "context_too_sparse", "target_too_sparse"), 0)
    kept = dict.fromkeys(SIDES, 0)
    with written(out) as folder:
        folder.mkdir()
        offset = 0
        with ExitStack() as stack:
            values_file = stack.enter_context((folder / "values.f32").open("wb"))
            files = {side: stack.enter_context((folder / f"{side}.i64").open("wb")) for side in SIDES}
            for one in series_of(table):
                values = one.values
                counts["series"] += 1
                if len(values) < spec.context + spec.horizon:
                    counts["series_too_short"] += 1
                    continue
                starts = _starts(values, spec, counts)
                side = sides[one.patient]
                kept[side] += len(starts)
                _append(files[side], starts + offset, codes[one.patient], table.signals.index(one.signal))
                values_file.write(values.tobytes())
                offset += len(values)
        meta = _meta(table, sides, spec, counts, kept)
        _refuse_empty(kept, counts, spec)
        write_json(folder / "windows.json", meta)
    return Windows(out, meta)


def open_windows(folder: Path) -> Windows:
    """Open a store that `cut_windows` wrote; raises DataError where there is none."""
    if not (folder / "windows.json").is_file():
        raise DataError(f"No windows in {folder}: windows.json is missing. Cut them again from the long table.")
    return Windows(folder, read_json(folder / "windows.json"))


def _starts(values: Float[np.ndarray, " time"], spec: WindowSpec, counts: dict[str, int]) -> Int[np.ndarray, " window"]:
    """First steps of the windows of one series that are observed well enough; counts the others."""
    assert spec.context is not None
    assert spec.horizon is not None
    starts = np.arange(0, len(values) - spec.context - spec.horizon + 1, spec.stride)
    seen = np.concatenate([[0], np.cumsum(~np.isnan(values))])
    in_context = seen[starts + spec.context] - seen[starts]
    in_target = seen[starts + spec.context + spec.horizon] - seen[starts + spec.context]
    rich_context = in_context >= max(1.0, spec.min_context_observed * spec.context)
    rich_target = in_target >= max(1.0, spec.min_target_observed * spec.horizon)
    counts["windows"] += len(starts)
    counts["context_too_sparse"] += int((~rich_context).sum())
    counts["target_too_sparse"] += int((rich_context & ~rich_target).sum())
    kept: Int[np.ndarray, " window"] = starts[rich_context & rich_target]
    return kept


def _append(file: BinaryIO, offsets: Int[np.ndarray, " window"], patient: int, signal: int) -> None:
    rows = np.column_stack([offsets, np.full(len(offsets), patient), np.full(len(offsets), signal)])
    file.write(rows.astype(np.int64).tobytes())


def _meta(
    table: Table, sides: Mapping[str, str], spec: WindowSpec, counts: dict[str, int], kept: dict[str, int]
) -> dict[str, Any]:
    return {
        **spec.model_dump(mode="json"),
        "step_seconds": table.step_seconds,
        "signals": list(table.signals),
        "units": dict(table.units),
        "counts": kept,
        "patients": {side: sum(s == side for s in sides.values()) for side in SIDES},
        "attrition": counts,
        "table_fingerprint": table.fingerprint,
        "split_fingerprint": digest(dict(sides)),
        "simulated": table.simulated,
        "source": table.source,
        "licence": table.licence,
    }


def _refuse_empty(kept: Mapping[str, int], counts: Mapping[str, int], spec: WindowSpec) -> None:
    empty = [side for side in SIDES if not kept[side]]
    if empty:
        raise DataError(
            f"No window of {spec.context} + {spec.horizon} steps is left for {' and '.join(empty)}. Of "
            f"{counts['series']} series {counts['series_too_short']} are shorter than a window; of "
            f"{counts['windows']} windows {counts['context_too_sparse']} have a context and "
            f"{counts['target_too_sparse']} a target that is measured too rarely. Shorten context or horizon, lower "
            "min_context_observed or min_target_observed, or read more patients."
        )
