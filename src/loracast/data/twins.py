"""The same series under two ids: somebody who stands in the source twice may land on both sides of a split.

Series are compared by what was observed, gaps skipped: two patients are taken for one where `RUN` observed values of
one signal are the same in a row. A run must hold several different values, for a signal that hardly moves is the same
in many people. Whatever the clock, the ids and where a series was cut, the same values give the same numbers; they are
hashes, and no id or value leaves.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int, UInt

from loracast.data.split import SIDES
from loracast.data.windows import Windows, WindowSet

RUN = 12
"""Observed values in a row that must be the same."""
FEWEST_VALUES = 7
"""Different values that a run must hold. Of 9,120 people of the PhysioNet/CinC Challenge 2019 (eight signals, hourly)
no two share a run with 6 or more; with 5 it happens."""
MOST_RUNS = 2_000_000
"""Runs of a side that are compared; of more a choice by their hash, so that the same run is chosen on every side."""
_DIGITS = 5
"""Significant digits in which values must agree: another export rounds otherwise."""
_CHUNK = 65_536
"""Values of a series that are looked at together."""

Runs = tuple[UInt[np.ndarray, " run"], Int[np.ndarray, " run"]]
"""The hash of each run, and the code of its patient."""


def spans_of(windows: WindowSet) -> Int[np.ndarray, "series 4"]:
    """The series behind windows: patient code, signal code, and the part of the store that some window covers.

    In the order of patient, signal and time; two stays of a patient are two series.
    """
    offset, patient, signal, start = np.asarray(windows.index)[:, :4].T
    # Windows of one series lie as far apart in the store as in time; another stay's clock does not fit.
    keys = np.stack([patient, signal, start - offset * windows.step_seconds], axis=1)
    found, place = np.unique(keys, axis=0, return_inverse=True)
    first, last = np.full(len(found), np.iinfo(np.int64).max), np.zeros(len(found), dtype=np.int64)
    np.minimum.at(first, place.ravel(), offset)
    np.maximum.at(last, place.ravel(), offset + windows.context + windows.horizon)
    return np.asarray(np.column_stack([found[:, :2], first, last]))


def count_twins(windows: Windows) -> dict[str, int]:
    """How many patients of the second of two sides have a series that stands on the first under another id.

    By the two sides, as "train and test"; all pairs are there. Memory is that of `MOST_RUNS` hashes a side.
    """
    sides = {name: windows.side(name) for name in SIDES}
    spans = {name: spans_of(side) for name, side in sides.items()}
    most = max(int((found[:, 3] - found[:, 2]).sum()) for found in spans.values())
    one_in = max(1, -(-most // MOST_RUNS))
    runs = {name: _runs(sides[name], spans[name], one_in) for name in SIDES}
    return {f"{one} and {other}": _shared(runs[one], runs[other]) for one, other in combinations(SIDES, 2)}


def _shared(one: Runs, other: tuple[UInt[np.ndarray, " other"], Int[np.ndarray, " other"]]) -> int:
    """Patients of `other` with a run that another patient of `one` has."""
    # One id on both sides is a fault of its own (check C01); here a run counts where the ids differ.
    same = np.isin(other[0], one[0])
    hashes, patients = other[0][same], other[1][same]
    order = np.argsort(one[0], kind="stable")
    known = one[0][order]
    first, last = (np.searchsorted(known, hashes, side=side) for side in ("left", "right"))
    found = {
        int(patient)
        for patient, low, high in zip(patients, first, last, strict=True)
        if (one[1][order[low:high]] != patient).any()
    }
    return len(found)


def _runs(windows: WindowSet, spans: Int[np.ndarray, "series 4"], one_in: int) -> Runs:
    """The runs of one side, of which one in `one_in` is chosen."""
    hashes, patients = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for patient, signal, first, last in spans.tolist():
        for values in _chunks(windows, first, last):
            found = hashes_of(values, signal)
            hashes.append(found[found % np.uint64(one_in) == 0])
            patients.append(np.full(len(hashes[-1]), patient))
    return np.concatenate(hashes), np.concatenate(patients)


def _chunks(windows: WindowSet, first: int, last: int) -> Iterator[Float[np.ndarray, " value"]]:
    """What was observed between two places of the store, a part at a time; parts overlap by a run less one value."""
    kept = np.empty(0, np.float32)
    for start in range(first, last, _CHUNK):
        values = np.asarray(windows.values[start : min(start + _CHUNK, last)])
        kept = np.concatenate([kept, values[~np.isnan(values)]])
        yield kept
        kept = kept[-(RUN - 1) :]


def hashes_of(observed: Float[np.ndarray, " value"], signal: int) -> UInt[np.ndarray, " run"]:
    """A hash of every run of `RUN` values with enough different ones in it, without gaps; the same anywhere."""
    if len(observed) < RUN:
        return np.empty(0, np.uint64)
    rounded = _rounded(observed)
    runs = np.lib.stride_tricks.sliding_window_view(rounded, RUN)
    different = 1 + (np.diff(np.sort(runs, axis=1), axis=1) != 0).sum(axis=1)
    words = (rounded + 0.0).view(np.uint64)  # + 0.0: there is a negative zero
    mixed = np.lib.stride_tricks.sliding_window_view(_mixed(words), RUN)
    odd = np.arange(1, RUN + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
    hashes = _mixed((mixed * odd).sum(axis=1, dtype=np.uint64) + np.uint64(signal))
    return np.asarray(hashes[different >= FEWEST_VALUES])


def _rounded(values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " value"]:
    """The values to `_DIGITS` significant digits."""
    exact = values.astype(np.float64)
    size = np.floor(np.log10(np.abs(exact), out=np.zeros_like(exact), where=exact != 0))
    scale = 10.0 ** (_DIGITS - 1 - size)
    return np.asarray(np.round(exact * scale) / scale)


def _mixed(words: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014): every bit of a word moves every bit of the result."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(words ^ (words >> np.uint64(31)))
