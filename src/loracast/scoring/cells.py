"""Windows with their forecasts to sums and counts a patient, a signal and a step: what every score is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from loracast.errors import DataError
from loracast.scoring import metrics
from loracast.types import Forecast


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
Texts = tuple[str, str, str]
"""A signal's name, label and unit."""


@dataclass(frozen=True)
class Cells:
    """What windows add up to at each place, which is a patient and a signal; no place stands twice.

    Steps 1 to H hold the sums and counts of the cell scores; step 0 stands for the window as a whole and holds those of
    the window scores. A count is how many numbers are in a sum: what is undefined is left out of both. `windows` counts
    them, `targets` is the sum of their observed targets (by which two runs are known to have scored the same), `worst`
    are the absolute errors of one window added up, and of how many targets: the window where that is most.
    """

    patient: Int[np.ndarray, " place"]
    signal: Int[np.ndarray, " place"]
    """Counts into `signals`."""
    signals: tuple[Texts, ...]
    windows: Int[np.ndarray, " place"]
    targets: Float[np.ndarray, " place"]
    worst: Float[np.ndarray, "place 2"]
    sums: Float[np.ndarray, "place step score"]
    counts: Int[np.ndarray, "place step score"]

    def __len__(self) -> int:
        return len(self.patient)


def score_cells(
    truth: Float[np.ndarray, "window horizon"],
    forecast: Forecast,
    context: Float[np.ndarray, "window context"],
    *,
    patient: Int[np.ndarray, " window"],
    signal: Int[np.ndarray, " window"],
    signals: Mapping[str, SignalFacts],
) -> Cells:
    """Score windows, and add up per patient code, signal and step; `signal` counts into `signals`.

    Raises DataError if arrays do not belong together or a forecast is not finite on an observed target.
    """
    lengths = {len(array) for array in (truth, forecast.quantiles, context, patient, signal)}
    if len(lengths) > 1 or (len(signal) and not 0 <= signal.min() <= signal.max() < len(signals)):
        raise DataError(
            f"truth, forecast, context, patient and signal have {sorted(lengths)} windows and signal codes up to "
            f"{max(signal, default=0)} for {len(signals)} signals: give one of each a window."
        )
    values = _values(_batch(truth, forecast, context, np.asarray(signal), list(signals.values())))
    errors = metrics.absolute_error(truth, forecast.median)
    pairs, place = np.unique(np.stack([patient, signal], axis=1), axis=0, return_inverse=True)
    order = np.argsort(place.ravel(), kind="stable")
    starts = np.searchsorted(place.ravel()[order], np.arange(len(pairs)))

    def total(numbers: np.ndarray) -> np.ndarray:
        """Sums over the windows of each place."""
        return np.asarray(np.add.reduceat(numbers[order], starts, axis=0))

    return Cells(
        patient=pairs[:, 0],
        signal=pairs[:, 1],
        signals=tuple((name, facts.label, facts.unit) for name, facts in signals.items()),
        windows=total(np.ones(len(truth), dtype=np.int64)),
        targets=total(np.asarray(np.nansum(truth, axis=1, dtype=np.float64))),
        worst=worst_of(np.column_stack([np.nansum(errors, axis=1), (~np.isnan(errors)).sum(axis=1)]), place.ravel()),
        sums=total(np.nan_to_num(values)),
        counts=total((~np.isnan(values)).astype(np.int64)),
    )


def _values(batch: Batch) -> Float[np.ndarray, "window step score"]:
    """Every score of each window at its steps, the window as a whole as step 0; NaN where there is no number."""
    windows, horizon = batch.truth.shape
    values = np.full((windows, 1 + horizon, len(METRICS)), np.nan)
    for place, metric in enumerate(METRICS.values()):
        found = metric.values(batch)
        values[:, 0 if found.ndim == 1 else slice(1, None), place] = found
    return values


def worst_of(windows: Float[np.ndarray, "window 2"], place: Int[np.ndarray, " window"]) -> Float[np.ndarray, "place 2"]:
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
