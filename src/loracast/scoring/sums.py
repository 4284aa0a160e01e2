"""Sums of windows, from which every score and interval follows: added up, kept on disk, and laid side by side.

Every score is a mean over observed cells or over windows (RMSE the root of one), so a run keeps only sums and counts
per patient, signal and step (`Sums`, stored as `cells.parquet`). Batches add up, and patients can be drawn again
without looking at a window twice. Runs of one arm are laid on top of each other as arrays (`PatientSums`): scores,
comparisons and rank sweeps are all made of those.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from loracast.errors import ConfigError, DataError
from loracast.files import regular, written
from loracast.scoring.cell_tables import SCHEMA, cells_of, table_of
from loracast.scoring.cells import METRICS, Cells, Texts, worst_of

_ADDED = ("windows", "targets", "sums", "counts")
_ROOM = 1.25
"""By how much arrays grow that are full: adding up stays linear, and little room is taken that nobody needs."""
_PLACES = 1024
"""Patients and signals that are looked at together, where all of them at once would be a second copy."""


class Sums:
    """The sums and counts of one run, from which every score follows.

    `add` takes what `score_cells` gives, batch by batch; their order and size do not matter (but for rounding). Memory
    is that of the numbers of each patient, signal and step, however many windows and batches there were.
    """

    def __init__(self) -> None:
        self._places: dict[tuple[int, Texts], int] = {}
        self._held: dict[str, np.ndarray] = {}
        self._layers: dict[tuple[str, ...], dict[str, PatientSums]] = {}

    def add(self, cells: Cells) -> None:
        """Add some more; raises DataError if they have another horizon."""
        if not len(cells):
            return
        horizons = {array.shape[1] - 1 for array in (self._held.get("sums", cells.sums), cells.sums)}
        if len(horizons) > 1:
            raise DataError(f"Windows of {sorted(horizons)} steps cannot be added up. Score one horizon at a time.")
        self._layers = {}
        keys = zip(cells.patient.tolist(), (cells.signals[code] for code in cells.signal.tolist()), strict=True)
        at = np.array([self._places.setdefault(key, len(self._places)) for key in keys])
        self._make_room(cells)
        for name in _ADDED:
            self._held[name][at] += getattr(cells, name)  # no place stands twice in `cells`
        held, new = self._held["worst"][at], cells.worst
        larger = (new[:, 0] > held[:, 0]) | ((new[:, 0] == held[:, 0]) & (new[:, 1] > held[:, 1]))
        # What is not known stays so: NaN takes the place of any number, and no number that of NaN.
        self._held["worst"][at] = np.where((larger | np.isnan(new[:, 0]))[:, None], new, held)

    def _make_room(self, cells: Cells) -> None:
        """Let every array have a row a place, 0 where it is new."""
        for name in (*_ADDED, "worst"):
            like = getattr(cells, name)
            array = self._held.setdefault(name, np.zeros((0, *like.shape[1:]), like.dtype))
            if len(array) < len(self._places):
                # In place, without a copy beside it: nothing that is handed out looks into these arrays.
                array.resize((max(len(self._places), int(_ROOM * len(array))), *array.shape[1:]), refcheck=False)

    def parts(self) -> Iterator[Cells]:
        """Everything in the order of patients and signals, some of them at a time; nothing before the first `add`."""
        keys = sorted(self._places)
        signals = tuple(sorted({texts for _, texts in keys}))
        codes = {texts: code for code, texts in enumerate(signals)}
        for first in range(0, len(keys), _PLACES):
            some = keys[first : first + _PLACES]
            at = np.array([self._places[key] for key in some])
            yield Cells(
                patient=np.array([patient for patient, _ in some]),
                signal=np.array([codes[texts] for _, texts in some]),
                signals=signals,
                **{name: self._held[name][at] for name in (*_ADDED, "worst")},
            )

    def layers(self, scores: tuple[str, ...]) -> "dict[str, PatientSums]":
        """This run alone as arrays, per signal; kept, because an arm is held against many others."""
        if scores not in self._layers:
            names = sorted({texts[0] for _, texts in self._places})
            self._layers[scores] = {name: self.layer(scores, name) for name in names}
        return self._layers[scores]

    def layer(self, scores: tuple[str, ...], signal: str | None = None) -> "PatientSums":
        """This run alone as arrays, on one signal or on all together."""
        keys = sorted(key for key in self._places if signal in (None, key[1][0]))
        at = np.array([self._places[key] for key in keys], dtype=np.int64)
        patient = np.array([code for code, _ in keys], dtype=np.int64)
        patients, starts, place = np.unique(patient, return_index=True, return_inverse=True)
        chosen = [list(METRICS).index(name) for name in scores]
        sums, step_sums = self._folded("sums", at)
        counts, step_counts = self._folded("counts", at)

        def of_patients(numbers: np.ndarray) -> np.ndarray:
            return np.asarray(np.add.reduceat(numbers, starts, axis=0).T)

        counted = of_patients(counts)[chosen]
        scored = counted[0] > 0
        return PatientSums(
            scores=scores,
            patients=patients[scored],
            # One order in memory whatever the scores, so that equal sums give equal draws to the last bit.
            sums=np.ascontiguousarray(of_patients(sums)[chosen][:, None, scored]),
            counts=np.ascontiguousarray(counted[:, scored]),
            step_sums=step_sums[1:, None, chosen].transpose(2, 1, 0),
            step_counts=step_counts[1:, chosen].T,
            targets=of_patients(self._held["targets"][at])[scored],
            windows=int(self._held["windows"][at].sum()),
            worst=worst_of(self._held["worst"][at], place).T[:, None, scored],
        )

    def _folded(self, name: str, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every score at these places over the steps (place, score), and at the steps over the places (step, score)."""
        held = self._held[name]
        places, steps = np.empty((len(at), held.shape[2])), np.zeros(held.shape[1:])
        for first in range(0, len(at), _PLACES):
            some = slice(first, first + _PLACES)
            places[some] = held[at[some]].sum(axis=1)
            steps += held[at[some]].sum(axis=0)
        return places, steps

    def to_parquet(self, path: Path) -> None:
        """Write the sums, whole or not at all; a row a patient code, signal and step (`cell_tables.COLUMNS`)."""
        with (
            written(path, overwrite=True) as temporary,
            pq.ParquetWriter(temporary, SCHEMA, write_page_checksum=True) as writer,
        ):
            for part in self.parts():
                writer.write_table(table_of(part))

    @classmethod
    def from_parquet(cls, path: Path) -> "Sums":
        """Read what `to_parquet` wrote; raises DataError if the file cannot be read or holds something else."""
        where = f"{path.parent.name}/{path.name}"
        try:
            with pq.ParquetFile(regular(path), page_checksum_verification=True) as file:
                table = file.read()
            table.validate(full=True)  # texts are UTF-8
        except (pa.ArrowException, OSError, KeyError, OverflowError, ValueError) as error:
            why = type(error).__name__
            raise DataError(f"{where} cannot be read as Parquet ({why}). Score the run again.") from error
        sums = cls()
        sums.add(cells_of(table, where))
        return sums


@dataclass(frozen=True)
class PatientSums:
    """An arm's sums by patient, on one signal or on all together: its runs (training seeds) on the same windows.

    `counts` is how many numbers are in each sum; they are the same for every run. Patients without a number in the
    first of `scores` are not in it. `windows` counts all windows, `targets` is the sum of a patient's observed
    targets, by which two arms are known to have scored the same. `worst` holds, of the patient's window with the
    largest sum of absolute errors, that sum and its number of targets; NaN where it was not kept.
    """

    scores: tuple[str, ...]
    patients: Int[np.ndarray, " patient"]
    sums: Float[np.ndarray, "score seed patient"]
    counts: Float[np.ndarray, "score patient"]
    step_sums: Float[np.ndarray, "score seed horizon"]
    step_counts: Float[np.ndarray, "score horizon"]
    targets: Float[np.ndarray, " patient"]
    windows: int
    worst: Float[np.ndarray, "2 seed patient"]

    @property
    def seeds(self) -> int:
        """How many runs there are."""
        return int(self.sums.shape[1])

    def values(self) -> Float[np.ndarray, " score"]:
        """Every score over all patients, the runs averaged; NaN where there is no number."""
        return ratios(self.sums.sum(axis=2).mean(axis=1), self.counts.sum(axis=1), self.scores)

    def by_step(self) -> Float[np.ndarray, "score horizon"]:
        """Every score at each step of the horizon; window scores, which have no step, are NaN."""
        return ratios(self.step_sums.mean(axis=1), self.step_counts, self.scores)

    def seed(self, number: int) -> "PatientSums":
        """The run `number` alone."""
        one = slice(number, number + 1)
        return replace(self, sums=self.sums[:, one], step_sums=self.step_sums[:, one], worst=self.worst[:, one])


def ratios(sums: np.ndarray, counts: np.ndarray, scores: Sequence[str]) -> np.ndarray:
    """Sum over count, NaN where the count is 0, with the root for the scores that are one; scores on axis 0."""
    means: np.ndarray = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    for position, name in enumerate(scores):
        if METRICS[name].root:
            means[position] = np.sqrt(means[position])
    return means


def by_signal(runs: Iterable[Sums], scores: Sequence[str] = tuple(METRICS)) -> dict[str, PatientSums]:
    """The sums of an arm's runs per signal; raises DataError if the runs did not score the same windows."""
    layers = [run.layers(tuple(scores)) for run in runs]
    first = _first(layers)
    for layer in layers[1:]:
        check_same(first, layer, "Two runs of an arm")
    return {name: _stacked([layer[name] for layer in layers]) for name in first}


def over_signals(runs: Iterable[Sums], scores: Sequence[str]) -> PatientSums:
    """The sums of an arm's runs over all signals together, for scores that are free of units."""
    layers = [run.layer(tuple(scores)) for run in runs]
    first = _first(layers)
    for layer in layers[1:]:
        check_same({"all": first}, {"all": layer}, "Two runs of an arm")
    return _stacked(layers)


Layer = TypeVar("Layer")


def _first(layers: Sequence[Layer]) -> Layer:
    if not layers:
        raise ConfigError("No run to score: give the sums of at least one.")
    return layers[0]


def _stacked(layers: Sequence[PatientSums]) -> PatientSums:
    sums, step_sums, worst = (
        np.concatenate([getattr(one, name) for one in layers], axis=1) for name in ("sums", "step_sums", "worst")
    )
    return replace(layers[0], sums=sums, step_sums=step_sums, worst=worst)


def check_same(one: Mapping[str, PatientSums], other: Mapping[str, PatientSums], who: str) -> None:
    """Refuse sums over other windows: the same signals, patients, counts and sums of targets are required."""
    if set(one) == set(other) and all(_are_same(one[name], other[name]) for name in one):
        return
    windows, patients = (
        [sum(number(sums) for sums in side.values()) for side in (one, other)]
        for number in (lambda sums: sums.windows, lambda sums: len(sums.patients))
    )
    raise DataError(
        f"{who} did not score the same windows ({windows[0]} and {windows[1]} windows, {patients[0]} and "
        f"{patients[1]} patients, signal by signal): their scores cannot be compared. Score both on the same windows."
    )


def _are_same(one: PatientSums, other: PatientSums) -> bool:
    exact = ("patients", "counts", "step_counts")
    same = one.windows == other.windows and all(np.array_equal(getattr(one, n), getattr(other, n)) for n in exact)
    return same and np.allclose(one.targets, other.targets, rtol=1e-6)
