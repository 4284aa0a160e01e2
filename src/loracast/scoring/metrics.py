"""One plain function a score, vectorised over windows.

Cell scores have one number a window and step, window scores one number a window. NaN in the truth means "not
observed": it is never scored and comes out as NaN. A forecast must be finite wherever the truth is observed;
anything else is a DataError, because skipping it would flatter a forecaster that gives up on hard windows.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from loracast.errors import ConfigError, DataError

Cells = Float[np.ndarray, "window horizon"]
Windows = Float[np.ndarray, " window"]
Quantiles = Float[np.ndarray, "window horizon level"]
_WARPED = 256
"""Windows that are warped together: few enough for a processor's cache, and many enough for one call of NumPy."""


def error(truth: Cells, point: Cells) -> Cells:
    """Forecast minus truth, in the unit of the series; its mean is the bias (positive: forecast too high)."""
    _check(truth, point)
    difference: Cells = point.astype(np.float64) - truth
    return difference


def absolute_error(truth: Cells, point: Cells) -> Cells:
    """Distance of the forecast from the truth, in the unit of the series; its mean is the MAE."""
    distance: Cells = np.abs(error(truth, point))
    return distance


def squared_error(truth: Cells, point: Cells) -> Cells:
    """Squared distance; the root of its mean is the RMSE, and in the paper's scaled space its mean is the MSE."""
    square: Cells = np.square(error(truth, point))
    return square


def percentage_error(truth: Cells, point: Cells) -> Cells:
    """Absolute error in percent of the truth (its mean is the MAPE); NaN where the truth is 0: undefined there."""
    distance = absolute_error(truth, point)
    size = np.abs(truth.astype(np.float64))
    share: Cells = np.divide(distance, size, out=np.full_like(distance, np.nan), where=size > 0)
    return np.asarray(100 * share)


def crps(truth: Cells, quantiles: Quantiles, levels: Sequence[float]) -> Cells:
    """Continuous ranked probability score from quantiles, in the unit of the series.

    The CRPS is twice the pinball loss integrated over all levels (Laio & Tamea 2007, eq. 17; Gneiting & Raftery
    2007, section 4.2). Here the integral is the plain mean over `levels`, so the tails beyond the outermost levels
    do not count: an approximation that compares forecasts with the same levels, not the exact CRPS.
    """
    _check(truth, quantiles)
    over = truth.astype(np.float64)[..., None] - quantiles
    level = np.asarray(levels, dtype=np.float64)
    pinball: Quantiles = np.maximum(level * over, (level - 1) * over)
    return np.asarray(2 * pinball.mean(axis=-1))


def inside(
    truth: Cells, quantiles: Quantiles, levels: Sequence[float], *, low: float = 0.1, high: float = 0.9
) -> Cells:
    """1 where the truth lies between two quantiles (bounds included), else 0; its mean is the coverage.

    The default is the central 80 % interval. Raises ConfigError if the forecast lacks one of the two levels.
    """
    _check(truth, quantiles)
    missing = [level for level in (low, high) if level not in levels]
    if missing:
        raise ConfigError(
            f"The forecast has the levels {list(levels)}, without {missing}: the interval from {low} to {high} needs "
            "both. Forecast with these levels too."
        )
    lower, upper = quantiles[..., list(levels).index(low)], quantiles[..., list(levels).index(high)]
    between = ((truth >= lower) & (truth <= upper)).astype(np.float64)
    return np.where(np.isnan(truth), np.nan, between)


def scaled(values: np.ndarray, low: Windows, high: Windows) -> np.ndarray:
    """Map the fixed range [low, high] of each window's signal to [0, 1]; NaN ranges (no range known) give NaN.

    The papers' scores are taken in this space, with clinical ranges that are not fitted (arXiv 2311.04770).
    `values` has windows on its first axis.
    """
    shape = (-1, *([1] * (values.ndim - 1)))
    floor, width = low.reshape(shape), (high - low).reshape(shape)
    return np.asarray((values.astype(np.float64) - floor) / width)


def dtw(truth: Cells, point: Cells) -> Windows:
    """Mean absolute difference along the dynamic-time-warping path, as darts' `dtw_metric` has it by default.

    Alignment by absolute distance, without a window (Sakoe & Chiba 1978, symmetric steps, unit weights), on the
    observed steps only; NaN for a window without any. Where predecessors tie, the path prefers the diagonal, then the
    step in the truth, then the step in the forecast, as darts does: with ties, paths of equal cost differ in length
    and so in their mean.
    """
    _check(truth, point)
    observed = ~np.isnan(truth)
    count = observed.sum(axis=1)
    # Observed steps first, in order; the padding behind them is reached by no path into (count, count).
    order = np.argsort(~observed, axis=1, kind="stable")
    x, y = (
        np.take_along_axis(np.where(observed, values, 0.0).astype(np.float64), order, axis=1)
        for values in (truth, point)
    )
    result = np.full(len(truth), np.nan)
    for first in range(0, len(truth), _WARPED):
        some = slice(first, first + _WARPED)
        result[some] = _warped(np.ascontiguousarray(x[some].T), np.ascontiguousarray(y[some].T[::-1]), count[some])
    return result


def _warped(
    truth: Float[np.ndarray, "horizon window"],
    backwards: Float[np.ndarray, "horizon window"],
    count: Int[np.ndarray, " window"],
) -> Windows:
    """`dtw` of the first `count` steps of each window; `backwards` is the forecast with its last step first.

    The cost of the best path into each cell and its moves along the diagonal are carried forward together, one
    anti-diagonal at a time over all windows at once, so that no path is traced back and memory is three diagonals. A
    path into (i, j) has i + j cells, less one for each of those moves.
    """
    horizon, windows = truth.shape
    # Row i of an anti-diagonal d is the cell (i, d - i) of the table with a border of infinite cost around (0, 0).
    costs, moves = np.full((3, horizon + 1, windows), np.inf), np.zeros((3, horizon + 1, windows), dtype=np.int32)
    costs[0, 0] = 0.0
    result = np.full(windows, np.nan)
    for d in range(2, 2 * int(count.max(initial=0)) + 1):
        first, stop = max(1, d - horizon), min(horizon, d - 1) + 1
        now, last, before = d % 3, (d - 1) % 3, (d - 2) % 3
        cost, moved = costs[now, first:stop], moves[now, first:stop]
        cost[:] = costs[before, first - 1 : stop - 1]
        np.add(moves[before, first - 1 : stop - 1], 1, out=moved)
        for shift in (1, 0):  # from (i - 1, j), a step in the truth; from (i, j - 1)
            other = costs[last, first - shift : stop - shift]
            # By arithmetic: a choice by a mask takes several times as long as all the rest.
            moved += (moves[last, first - shift : stop - shift] - moved) * (other < cost)
            np.minimum(cost, other, out=cost)
        cost += np.abs(truth[first - 1 : stop - 1] - backwards[horizon - d + first : horizon - d + stop])
        costs[now, :first] = costs[now, stop:] = np.inf
        if d % 2 == 0:
            ends = count == d // 2
            result[ends] = costs[now, d // 2, ends] / (d - moves[now, d // 2, ends])
    return result


def naive_scale(context: Float[np.ndarray, "window context"]) -> Windows:
    """Mean absolute one-step change of each observed context, over adjacent observed pairs; NaN without a pair."""
    change = np.abs(np.diff(context.astype(np.float64), axis=1))
    pairs = np.isfinite(change)
    count = pairs.sum(axis=1)
    total = np.where(pairs, change, 0.0).sum(axis=1)
    scale: Windows = np.divide(total, count, out=np.full(len(context), np.nan), where=count > 0)
    return scale


def mase(truth: Cells, point: Cells, context: Float[np.ndarray, "window context"]) -> Windows:
    """Mean absolute scaled error of each window (Hyndman & Koehler 2006, non-seasonal scale).

    The MAE over the observed targets, divided by `naive_scale` of the context: below 1 is better than what the last
    value made in one step of the context. NaN where it is undefined: a context that does not change or has no two
    adjacent observations, or no observed target.
    """
    distance = absolute_error(truth, point)
    observed = ~np.isnan(distance)
    count = observed.sum(axis=1)
    total = np.where(observed, distance, 0.0).sum(axis=1)
    divisor = naive_scale(context) * count
    ratio: Windows = np.divide(total, divisor, out=np.full(len(truth), np.nan), where=divisor > 0)
    return ratio


def _check(truth: Cells, forecast: np.ndarray) -> None:
    """Refuse a forecast of another shape, an infinite truth, and a forecast that is not finite where it is scored."""
    if forecast.shape[:2] != truth.shape or truth.ndim != 2:
        raise DataError(
            f"The truth has shape {truth.shape} and the forecast {forecast.shape}: both start with (window, horizon). "
            "Forecast the same windows and as many steps as are scored."
        )
    if np.isinf(truth).any():
        raise DataError("The truth holds infinities: a target is a finite number, or NaN where nothing was observed.")
    finite = np.isfinite(forecast).all(axis=tuple(range(2, forecast.ndim)))
    lost = int((~finite & ~np.isnan(truth)).sum())
    if lost:
        raise DataError(
            f"The forecast is not finite on {lost} of {int((~np.isnan(truth)).sum())} observed targets: every observed "
            "target is scored. Look at the forecaster (an adapter that diverged?) before scoring it."
        )
