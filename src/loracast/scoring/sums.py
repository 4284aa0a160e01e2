"""Forecasts to sums per patient, from which every score and interval follows.

Every score is a mean over observed cells or over windows (RMSE the root of one), so a run keeps only sums and counts
per patient, signal and step (`Sums`, stored as `cells.parquet`). Batches add up, and patients can be drawn again
without looking at a window twice. Runs of one arm are laid on top of each other as arrays (`PatientSums`): scores,
comparisons and rank sweeps are all made of those.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from pandas.api.types import is_float_dtype, is_integer_dtype

from loracast.errors import ConfigError, DataError
from loracast.files import regular, written
from loracast.scoring import metrics
from loracast.types import Forecast

KEYS = ["patient", "signal", "step"]
FACTS = ["label", "unit"]


class SignalFacts(Protocol):
    """What scoring needs to know of a signal."""

    @property
    def label(self) -> str:
        """What people call it."""

    @property
    def unit(self) -> str:
        """The unit of its values."""

    @property
    def scaled(self) -> tuple[float, float] | None:
        """The paper's fixed range, or None."""


@dataclass(frozen=True)
class Batch:
    """Windows with their forecast, ready to be scored; NaN in `truth` is unobserved, `levels` holds 0.1, 0.5, 0.9."""

    truth: Float[np.ndarray, "window horizon"]
    point: Float[np.ndarray, "window horizon"]
    quantiles: Float[np.ndarray, "window horizon level"]
    levels: tuple[float, ...]
    context: Float[np.ndarray, "window context"]
    scaled_truth: Float[np.ndarray, "window horizon"]
    scaled_point: Float[np.ndarray, "window horizon"]


@dataclass(frozen=True)
class Metric:
    """A score that is a mean (`root`: the root of one) of numbers a cell or a window, NaN where there is none."""

    summary: str
    values: Callable[[Batch], np.ndarray]
    """A batch to shape (window, horizon) or (window,)."""
    root: bool = False


METRICS: dict[str, Metric] = {
    "mae": Metric("mean absolute error", lambda b: metrics.absolute_error(b.truth, b.point)),
    "rmse": Metric("root mean squared error", lambda b: metrics.squared_error(b.truth, b.point), root=True),
    "bias": Metric("mean of forecast minus truth", lambda b: metrics.error(b.truth, b.point)),
    "mse_scaled": Metric(
        "mean squared error in the paper's scaled space",
        lambda b: metrics.squared_error(b.scaled_truth, b.scaled_point),
    ),
    "mape": Metric(
        "mean absolute percentage error, scaled space",
        lambda b: metrics.percentage_error(b.scaled_truth, b.scaled_point),
    ),
    "dtw_scaled": Metric("dynamic time warping, scaled space", lambda b: metrics.dtw(b.scaled_truth, b.scaled_point)),
    "mase": Metric("mean absolute scaled error", lambda b: metrics.mase(b.truth, b.point, b.context)),
    "crps": Metric("CRPS from quantiles", lambda b: metrics.crps(b.truth, b.quantiles, b.levels)),
    "coverage_80": Metric(
        "share inside the central 80 % interval", lambda b: metrics.inside(b.truth, b.quantiles, b.levels)
    ),
}
WORST = ["worst_sum", "worst_n"]
"""The absolute errors of one window added up, and of how many targets: the window of a patient where that is most."""
COLUMNS = [
    *(*KEYS, *FACTS, "windows", "targets"),
    *(f"{kind}_{name}" for name in METRICS for kind in ("sum", "n")),
    *WORST,
]


def score_cells(
    truth: Float[np.ndarray, "window horizon"],
    forecast: Forecast,
    context: Float[np.ndarray, "window context"],
    *,
    patient: Int[np.ndarray, " window"],
    signal: Int[np.ndarray, " window"],
    signals: Mapping[str, SignalFacts],
) -> pd.DataFrame:
    """Score windows, and add up per patient code, signal and step: a table with the columns `COLUMNS`.

    `signal` counts into `signals`. Steps 1 to H hold the sums and counts of the cell scores; step 0 stands for the
    window as a whole and holds those of the window scores, how many `windows` there were, and the sum of their
    observed `targets` (by which two runs are known to have scored the same), and the window with the largest sum of
    absolute errors (`WORST`; other steps have 0 there). A count of a score is how many numbers are in its sum: what is
    undefined is left out of both. Raises DataError if arrays do not belong together or a forecast is not finite on an
    observed target.
    """
    lengths = {len(array) for array in (truth, forecast.quantiles, context, patient, signal)}
    if len(lengths) > 1 or (len(signal) and not 0 <= signal.min() <= signal.max() < len(signals)):
        raise DataError(
            f"truth, forecast, context, patient and signal have {sorted(lengths)} windows and signal codes up to "
            f"{max(signal, default=0)} for {len(signals)} signals: give one of each a window."
        )
    facts = list(signals.values())
    batch = _batch(truth, forecast, context, np.asarray(signal), facts)
    texts = {"signal": list(signals), "label": [f.label for f in facts], "unit": [f.unit for f in facts]}
    pairs, place = np.unique(np.stack([patient, signal], axis=1), axis=0, return_inverse=True)
    order = np.argsort(place.ravel(), kind="stable")
    starts = np.searchsorted(place.ravel()[order], np.arange(len(pairs)))

    def total(numbers: np.ndarray) -> np.ndarray:
        """Sums over the windows of each pair, with the window's own numbers as step 0: (pair * (1 + horizon),)."""
        steps = np.zeros((len(truth), 1 + truth.shape[1]), dtype=numbers.dtype)
        if numbers.ndim == 1:
            steps[:, 0] = numbers
        else:
            steps[:, 1:] = numbers
        return np.asarray(np.add.reduceat(steps[order], starts, axis=0).ravel())

    step = 1 + truth.shape[1]
    columns = {
        "patient": np.repeat(pairs[:, 0], step),
        **{name: np.repeat(np.array(text, dtype=object)[pairs[:, 1]], step) for name, text in texts.items()},
        "step": np.tile(np.arange(step), len(pairs)),
        "windows": total(np.ones(len(truth), dtype=np.int64)),
        "targets": total(np.asarray(np.nansum(truth, axis=1, dtype=np.float64))),
    }
    for name, metric in METRICS.items():
        values = metric.values(batch)
        columns[f"sum_{name}"] = total(np.nan_to_num(values))
        columns[f"n_{name}"] = total((~np.isnan(values)).astype(np.int64))
    errors = metrics.absolute_error(truth, forecast.median)
    worst = np.zeros((len(pairs), step, len(WORST)))
    worst[:, 0] = _worst(np.column_stack([np.nansum(errors, axis=1), (~np.isnan(errors)).sum(axis=1)]), place.ravel())
    columns |= dict(zip(WORST, worst.reshape(-1, len(WORST)).T, strict=True))
    return pd.DataFrame(columns)[COLUMNS]


def _worst(windows: Float[np.ndarray, "window 2"], place: Int[np.ndarray, " window"]) -> Float[np.ndarray, "place 2"]:
    """Of the windows at each place (0 to the last, none empty) the one with the largest sum, of equals more targets."""
    order = np.lexsort((windows[:, 1], windows[:, 0], place))
    last = np.flatnonzero(np.diff(place[order], append=-1))
    return np.asarray(windows[order[last]])


def _batch(
    truth: np.ndarray, forecast: Forecast, context: np.ndarray, signal: np.ndarray, signals: Sequence[SignalFacts]
) -> Batch:
    ranges = np.array([facts.scaled or (np.nan, np.nan) for facts in signals], dtype=np.float64).reshape(-1, 2)[signal]
    low, high = ranges[:, 0], ranges[:, 1]
    return Batch(
        truth=truth,
        point=forecast.median,
        quantiles=forecast.quantiles,
        levels=forecast.levels,
        context=context,
        scaled_truth=metrics.scaled(truth, low, high),
        scaled_point=metrics.scaled(forecast.median, low, high),
    )


class Sums:
    """The sums and counts of one run, from which every score follows.

    `add` takes the tables of `score_cells`, batch by batch; their order and size do not matter (but for rounding).
    """

    def __init__(self) -> None:
        self._parts: list[pd.DataFrame] = []
        self._folded = False
        self._layers: dict[tuple[str, ...], dict[str, PatientSums]] = {}

    def add(self, cells: pd.DataFrame) -> None:
        """Add one more table; raises DataError if it has other columns or another horizon."""
        if list(cells.columns) != COLUMNS:
            different = sorted(set(COLUMNS) ^ set(cells.columns))
            raise DataError(
                f"These are not the sums of `score_cells`: {different} is missing or too much. Score again."
            )
        if not len(cells):
            return
        horizons = {int(part["step"].max()) for part in (*self._parts[:1], cells)}
        if len(horizons) > 1:
            raise DataError(f"Windows of {sorted(horizons)} steps cannot be added up. Score one horizon at a time.")
        self._parts.append(cells)
        self._folded, self._layers = False, {}
        # Sums are small and batches many: fold now and then, so that memory stays that of the sums.
        if len(self._parts) >= 32:
            self._fold()

    def _fold(self) -> None:
        rows = pd.concat(self._parts, ignore_index=True)
        groups = rows.groupby([*KEYS, *FACTS], sort=True)
        cells = groups.sum().reset_index()
        worst = _worst(rows[WORST].to_numpy(), groups.ngroup().to_numpy())
        cells = cells.assign(**dict(zip(WORST, worst.T, strict=True)))
        self._parts, self._folded = [cells], True

    @property
    def cells(self) -> pd.DataFrame:
        """One row a patient code, signal and step, sorted, with the columns `COLUMNS`; empty before the first `add`."""
        if not self._parts:
            return pd.DataFrame(columns=COLUMNS)
        if not self._folded:
            self._fold()
        return self._parts[0]

    def layers(self, scores: tuple[str, ...]) -> "dict[str, PatientSums]":
        """This run alone as arrays, per signal; kept, because an arm is held against many others."""
        if scores not in self._layers:
            self._layers[scores] = {str(name): _layer(part, scores) for name, part in self.cells.groupby("signal")}
        return self._layers[scores]

    def to_parquet(self, path: Path) -> None:
        """Write the sums, whole or not at all."""
        table = pa.Table.from_pandas(self.cells, preserve_index=False)
        with written(path, overwrite=True) as temporary:
            pq.write_table(table.replace_schema_metadata(None), temporary, write_page_checksum=True)

    @classmethod
    def from_parquet(cls, path: Path) -> "Sums":
        """Read what `to_parquet` wrote; raises DataError if the file cannot be read or holds something else."""
        where = f"{path.parent.name}/{path.name}"
        try:
            cells = pq.ParquetFile(regular(path), page_checksum_verification=True).read().to_pandas()
        except (pa.ArrowException, OSError, KeyError, OverflowError, ValueError) as error:
            why = type(error).__name__
            raise DataError(f"{where} cannot be read as Parquet ({why}). Score the run again.") from error
        if not set(WORST) & set(cells.columns):  # written before 0.3
            cells = cells.assign(**dict.fromkeys(WORST, np.nan))
        sums = cls()
        _refuse_damage(where, cells)
        sums.add(cells)
        return sums


def _refuse_damage(where: str, cells: pd.DataFrame) -> None:
    """Raise DataError where the columns are not the types and ranges that sums and counts have."""
    if list(cells.columns) != COLUMNS:
        return  # `add` says which
    counts = ["patient", "step", "windows", *(name for name in COLUMNS if name.startswith("n_"))]
    whole = all(is_integer_dtype(cells[name]) and (cells[name] >= 0).all() for name in counts)
    numbers = [name for name in COLUMNS if name.startswith("sum_") or name == "targets"]
    finite = all(is_float_dtype(cells[name]) and np.isfinite(cells[name]).all() for name in numbers)
    texts = all(isinstance(text, str) for name in ("signal", *FACTS) for text in cells[name].unique())
    worst = all(is_float_dtype(cells[name]) for name in WORST)
    if not (whole and finite and texts and worst):
        raise DataError(f"{where} holds other things than sums and counts: it was damaged. Score the run again.")


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
    layers = [_layer(run.cells, scores) for run in runs]
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


def _layer(cells: pd.DataFrame, scores: Sequence[str]) -> PatientSums:
    """The arrays of one run, from cells that are sorted by patient."""
    patients, starts = np.unique(cells["patient"].to_numpy(dtype=np.int64), return_index=True)
    steps, sizes = cells["step"].to_numpy(dtype=np.int64), np.diff(starts, append=len(cells))

    def columns(kind: str) -> Float[np.ndarray, "row score"]:
        return cells[[f"{kind}_{name}" for name in scores]].to_numpy(dtype=np.float64)

    def of_patients(numbers: np.ndarray) -> np.ndarray:
        return np.add.reduceat(numbers, starts, axis=0).T

    def of_steps(numbers: np.ndarray) -> np.ndarray:
        totals = np.zeros((steps.max() + 1, len(scores)))
        np.add.at(totals, steps, numbers)
        return totals[1:].T  # step 0 is the window as a whole

    sums, counts = columns("sum"), columns("n")
    worst = _worst(cells[WORST].to_numpy(dtype=np.float64), np.repeat(np.arange(len(patients)), sizes))
    scored = of_patients(counts)[0] > 0
    return PatientSums(
        scores=tuple(scores),
        patients=patients[scored],
        # One order in memory whatever the scores, so that equal sums give equal draws to the last bit.
        sums=np.ascontiguousarray(of_patients(sums)[:, None, scored]),
        counts=np.ascontiguousarray(of_patients(counts)[:, scored]),
        step_sums=of_steps(sums)[:, None],
        step_counts=of_steps(counts),
        targets=of_patients(cells["targets"].to_numpy(dtype=np.float64))[scored],
        windows=int(cells["windows"].sum()),
        worst=worst.T[:, None, scored],
    )


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
