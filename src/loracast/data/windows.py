"""Windows second: cut on a grid, kept on disk, sampled through a memory map.

A store is a folder: `values.f32` (all series end to end, NaN = not observed), one `SIDE.i64` a side of the split
(a row a window: offset of its first value, patient code, signal code, time of its first value, number of its series)
and `windows.json`.
Building it needs the memory of one stay, sampling it the memory of one batch. The rows stand in the order of the
table, so that an index means the same window on every machine and with any number of workers.

Joint windows start at the same times in every signal of a stay and stand beside each other: a group. A batch, a
training example and a choice then take whole groups, so that a backbone can read the signals of a patient together.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from loracast.data.series import One, series_of
from loracast.data.split import SIDES, split_patients
from loracast.data.table import Table, patients_of
from loracast.errors import ConfigError, DataError
from loracast.files import digest, read_json, write_json, written
from loracast.spec import SplitSpec, WindowSpec

COUNTED = ("series", "series_too_short", "windows", "context_too_sparse", "target_too_sparse")
COLUMNS = ("offset", "patient", "signal", "start", "series")


@dataclass(frozen=True)
class WindowSet:
    """The windows of one side of the split, read through memory maps.

    `patient` and `signal` are integer codes, shape (window,); `signals` names the codes, `units` their units.
    """

    values: Float[np.ndarray, " value"]
    index: Int[np.ndarray, "window 5"]
    context: int
    horizon: int
    season: int
    step_seconds: int
    signals: tuple[str, ...]
    units: Mapping[str, str]
    joint: bool = False

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def _firsts(self) -> Int[np.ndarray, " group"]:
        """Row of the first window of every group; of joint windows only, elsewhere a group is a row."""
        patient, signal, start = np.diff(np.asarray(self.index)[:, 1:4], axis=0).T
        # A signal that comes again is of another stay, whose clock may show the same time.
        return np.flatnonzero(np.r_[True, (patient != 0) | (start != 0) | (signal <= 0)][: len(self)])

    @property
    def groups(self) -> int:
        """How many groups there are: stays × starts where windows are joint, windows elsewhere."""
        return len(self._firsts) if self.joint else len(self)

    def group(self, i: int) -> slice:
        """The rows of group `i`."""
        if not self.joint:
            return slice(i, i + 1)
        return slice(int(self._firsts[i]), int(self._firsts[i + 1]) if i + 1 < self.groups else len(self))

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
        """Slices of at most `size` windows, in order, of whole groups (one group at least, however large)."""
        start = 0
        while start < len(self):
            stop = min(start + size, len(self))
            if self.joint and stop < len(self):
                at = int(np.searchsorted(self._firsts, stop, side="right")) - 1
                if self._firsts[at] <= start:
                    at += 1
                stop = int(self._firsts[at]) if at < self.groups else len(self)
            yield slice(start, stop)
            start = stop

    def starts(self, rows: slice) -> Int[np.ndarray, " window"]:
        """Time of the first context step of these windows, in seconds since 1970."""
        return np.array(self.index[rows, 3])

    def series(self, rows: slice) -> Int[np.ndarray, " window"]:
        """A number for the series of each of these windows, the same in every table that holds the series."""
        return np.array(self.index[rows, 4])

    def numbers(self, rows: slice) -> Int[np.ndarray, " window"] | None:
        """A number for the group of each of these windows; None where every window stands alone."""
        asked = np.arange(*rows.indices(len(self)))
        return np.searchsorted(self._firsts, asked, side="right") if self.joint else None

    @property
    def patient(self) -> Int[np.ndarray, " window"]:
        """Code of each window's patient."""
        return np.asarray(self.index[:, 1])

    @property
    def signal(self) -> Int[np.ndarray, " window"]:
        """Code of each window's signal."""
        return np.asarray(self.index[:, 2])

    def some(self, count: int, seed: int) -> "WindowSet":
        """These windows, or a seeded choice of (about) `count` of them, by whole groups, in the same order."""
        if len(self) <= count:
            return self
        most = max(1, count * self.groups // len(self))
        chosen = np.sort(np.random.default_rng(seed).choice(self.groups, most, replace=False))
        if self.joint:
            every = np.arange(len(self))
            chosen = np.concatenate([every[self.group(int(i))] for i in chosen])
        return self.rows(chosen)

    def of_patients(self, share: float, seed: int) -> "WindowSet":
        """The windows of a seeded share of the patients, one at least; a smaller share is part of a larger one."""
        if share == 1:
            return self
        patients = np.random.default_rng(seed).permutation(np.unique(self.patient))
        return self.rows(np.flatnonzero(np.isin(self.patient, patients[: max(1, round(share * len(patients)))])))

    def seeing(self, context: int | None) -> "WindowSet":
        """The same windows to one who sees the last `context` steps before the horizon; all of them for None.

        Raises ConfigError for more steps than a window has.
        """
        if context is not None and context > self.context:
            raise ConfigError(
                f"An arm's context of {context} steps is longer than the windows' ({self.context}). Lower it, or cut "
                "the windows longer ([windows] context)."
            )
        if context is None or context == self.context:
            return self
        index = self.index + (self.context - context) * np.array([1, 0, 0, self.step_seconds, 0])
        return replace(self, index=index, context=context)

    def rows(self, chosen: Int[np.ndarray, " chosen"]) -> "WindowSet":
        """The windows with these positions."""
        return replace(self, index=np.asarray(self.index[chosen]))


@dataclass(frozen=True)
class Windows:
    """A window store: one `WindowSet` a side, and what is known of all of them (`meta`)."""

    folder: Path
    meta: dict[str, Any]

    @property
    def spec(self) -> WindowSpec:
        """How they were cut."""
        return WindowSpec(**{key: self.meta[key] for key in WindowSpec.model_fields})

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
            self.meta["joint"],
        )

    def patients(self) -> dict[str, set[int]]:
        """Codes of the patients that have a window on each side."""
        return {name: set(np.unique(self.side(name).patient).tolist()) for name in SIDES}

    def count_patients(self) -> dict[str, int]:
        """How many patients have a window on each side; the split itself (`meta["patients"]`) may hold more."""
        return {name: len(codes) for name, codes in self.patients().items()}


def split_and_cut(
    table: Table,
    split: SplitSpec,
    spec: WindowSpec,
    out: Path,
    *,
    shortest: int | None = None,
    having: WindowSpec | None = None,
) -> Windows:
    """Split the patients of a table so that each side has some with windows, if that can be, and cut their windows.

    `having` are the windows by which that is decided, if others than `spec`: those of an adapter whose split is to come
    out again. Raises DataError as `split_patients` and `cut_windows` do.
    """
    patients = patients_of(table)
    sides = split_patients(patients, split, patients_with_windows(table, having or spec))
    by_windows = sides != split_patients(patients, split)
    return cut_windows(table, sides, spec, out, shortest=shortest, by_windows=by_windows)


def patients_with_windows(table: Table, spec: WindowSpec) -> set[str]:
    """The patients of whom at least one window can be cut."""
    spec, counts = spec.resolved(table.step_seconds), dict.fromkeys(COUNTED, 0)
    found = set()
    for one, skipped in _cuttable(table, spec):
        if skipped is not None and len(_starts(one.values, spec, counts, skipped=skipped, shortest=None)):
            found.add(one.patient)
    return found


def _cuttable(table: Table, spec: WindowSpec) -> Iterator[tuple[One, int | None]]:
    """Every series, with the steps before its first window, which are none unless windows are joint; None for a series
    that is shorter than a window."""
    assert spec.context is not None
    assert spec.horizon is not None
    assert spec.stride is not None
    for _, series in groupby(series_of(table), key=lambda one: (one.patient, one.stay)):
        stay = list(series)
        begun = min(one.seconds_of_first(table.step_seconds) for one in stay)
        for one in stay:
            first = one.seconds_of_first(table.step_seconds)
            skipped = -((first - begun) // table.step_seconds) % spec.stride if spec.joint else 0
            yield one, skipped if len(one.values) >= skipped + spec.context + spec.horizon else None


def cut_windows(
    table: Table,
    sides: Mapping[str, str],
    spec: WindowSpec,
    out: Path,
    *,
    shortest: int | None = None,
    by_windows: bool = False,
) -> Windows:
    """Cut the windows of every series of `table` into a store at `out`, each on its patient's side.

    A window is kept if at least `min_context_observed` of its context and `min_target_observed` of its horizon are
    measured, and anything in its last `shortest` context steps, which are all that some arm sees. What is not kept is
    counted in `meta["attrition"]`. `by_windows` is noted: whether the sides were shared out by who has windows. Raises
    DataError where a side has no window, with the counts that show why.
    """
    spec = spec.resolved(table.step_seconds)
    codes = {patient: code for code, patient in enumerate(sides)}
    counts = dict.fromkeys(COUNTED, 0)
    kept = dict.fromkeys(SIDES, 0)
    having: dict[str, set[str]] = {side: set() for side in SIDES}
    with written(out) as folder:
        folder.mkdir()
        offset = 0
        with ExitStack() as stack:
            values_file = stack.enter_context((folder / "values.f32").open("wb"))
            files = {side: stack.enter_context((folder / f"{side}.i64").open("wb")) for side in SIDES}
            for (patient, _), stay in groupby(_cuttable(table, spec), key=lambda pair: (pair[0].patient, pair[0].stay)):
                found: list[Int[np.ndarray, "window 5"]] = []
                for one, skipped in stay:
                    counts["series"] += 1
                    if skipped is None:
                        counts["series_too_short"] += 1
                        continue
                    first = one.seconds_of_first(table.step_seconds)
                    starts = _starts(one.values, spec, counts, skipped=skipped, shortest=shortest)
                    codes_of = np.full((len(starts), 2), (codes[one.patient], table.signals.index(one.signal)))
                    times, number = first + starts * table.step_seconds, np.full(len(starts), one.number)
                    found.append(np.column_stack([starts + offset, codes_of, times, number]))
                    values_file.write(one.values.tobytes())
                    offset += len(one.values)
                rows = np.concatenate(found) if found else np.empty((0, len(COLUMNS)), np.int64)
                if spec.joint:
                    rows = rows[np.lexsort((rows[:, 2], rows[:, 3]))]
                side = sides[patient]
                kept[side] += len(rows)
                having[side] |= {patient} if len(rows) else set()
                files[side].write(rows.astype(np.int64).tobytes())
        meta = _meta(table, sides, spec, counts, kept) | {"split_by_windows": by_windows}
        _refuse_empty(meta, {side: len(patients) for side, patients in having.items()})
        write_json(folder / "windows.json", meta)
    return Windows(out, meta)


def open_windows(folder: Path) -> Windows:
    """Open a store that `cut_windows` wrote; raises DataError where there is none."""
    if not (folder / "windows.json").is_file():
        raise DataError(f"No windows in {folder}: windows.json is missing. Cut them again from the long table.")
    windows = Windows(folder, read_json(folder / "windows.json"))
    if isinstance(windows.meta, dict) and windows.meta.get("columns") != list(COLUMNS):
        raise DataError(
            f"The windows in {folder} were cut by another version of loracast, which kept other facts of them. Give "
            "another --out, or remove that folder and cut them again."
        )
    try:
        whole = all(_is_whole(windows.side(side)) for side in SIDES)
    except (AttributeError, LookupError, OSError, OverflowError, TypeError, ValueError):
        whole = False
    if not whole:
        raise DataError(f"The windows in {folder} are damaged. Remove that folder and cut them again (--resume).")
    return windows


def _is_whole(windows: WindowSet) -> bool:
    """Whether every window lies within the values that are there, and is of a signal that is named."""
    start, patient, signal = (np.asarray(windows.index[:, column]) for column in range(3))
    lengths = (windows.context, windows.horizon, windows.season, windows.step_seconds)
    if not all(type(length) is int and length > 0 for length in lengths):
        return False
    inside = (start >= 0) & (start <= len(windows.values) - windows.context - windows.horizon)
    return bool((inside & (patient >= 0) & (signal >= 0) & (signal < len(windows.signals))).all())


def _starts(
    values: Float[np.ndarray, " time"], spec: WindowSpec, counts: dict[str, int], *, skipped: int, shortest: int | None
) -> Int[np.ndarray, " window"]:
    """First steps of the windows of one series that are observed well enough; counts the others.

    The first `skipped` steps lie before the first start that all signals of the stay share.
    """
    assert spec.context is not None
    assert spec.horizon is not None
    starts = np.arange(skipped, len(values) - spec.context - spec.horizon + 1, spec.stride)
    seen = np.concatenate([[0], np.cumsum(~np.isnan(values))])
    in_context = seen[starts + spec.context] - seen[starts]
    in_target = seen[starts + spec.context + spec.horizon] - seen[starts + spec.context]
    rich_context = in_context >= max(1.0, spec.min_context_observed * spec.context)
    if shortest is not None:
        rich_context &= seen[starts + spec.context] > seen[starts + max(0, spec.context - shortest)]
    rich_target = in_target >= max(1.0, spec.min_target_observed * spec.horizon)
    counts["windows"] += len(starts)
    counts["context_too_sparse"] += int((~rich_context).sum())
    counts["target_too_sparse"] += int((rich_context & ~rich_target).sum())
    kept: Int[np.ndarray, " window"] = starts[rich_context & rich_target]
    return kept


def _meta(
    table: Table, sides: Mapping[str, str], spec: WindowSpec, counts: dict[str, int], kept: dict[str, int]
) -> dict[str, Any]:
    return {
        **spec.model_dump(mode="json"),
        "columns": list(COLUMNS),
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


def _refuse_empty(meta: Mapping[str, Any], having: Mapping[str, int]) -> None:
    empty, counts = [side for side in SIDES if not having[side]], meta["attrition"]
    if empty:
        got = ", ".join(f"{side} {meta['patients'][side]} ({having[side]} with windows)" for side in SIDES)
        raise DataError(
            f"No window of {meta['context']} + {meta['horizon']} steps is left for {' and '.join(empty)}. Patients: "
            f"{got}. Of {counts['series']} series {counts['series_too_short']} are shorter than a window; of "
            f"{counts['windows']} windows {counts['context_too_sparse']} have a context and "
            f"{counts['target_too_sparse']} a target that is measured too rarely. Shorten context or horizon, lower "
            "min_context_observed or min_target_observed, or read more patients: each side needs one with windows."
        )
