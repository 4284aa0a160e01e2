"""What is noticed of forecasts besides their scores: values that cannot be, and tokens that are coarse."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from loracast.scoring import metrics
from loracast.scoring.facts import Forecasts
from loracast.types import Forecast


class Ranged(Protocol):
    """What must be known of a signal."""

    @property
    def low(self) -> float:
        """The least plausible value; 0 is itself not plausible."""

    @property
    def high(self) -> float:
        """The largest plausible value."""


def beyond_range(quantiles: Float[np.ndarray, "*step level"], signal: Ranged) -> np.ndarray:
    """Which steps have a quantile outside what the signal can be, shape (*step,); NaN is no value."""
    below = (quantiles <= 0) if signal.low == 0 else (quantiles < signal.low)
    return np.asarray((below | (quantiles > signal.high)).any(axis=-1))


class Noticed:
    """Counts over the forecasts of one run, batch by batch; their order and size do not matter."""

    def __init__(self, signals: Mapping[str, Ranged]) -> None:
        self._signals = signals
        self._steps = dict.fromkeys(signals, 0)
        self._beyond = dict.fromkeys(signals, 0)
        self._spreads = {name: np.zeros(3) for name in signals}
        """Windows with a spread, their token widths added up, and their spreads."""
        self._drawn = {name: np.zeros(3) for name in signals}
        """Targets, and by how much the absolute error and the CRPS of half the paths exceed those of all, added up."""

    def add(
        self,
        context: Float[np.ndarray, "window context"],
        quantiles: Float[np.ndarray, "window horizon level"],
        signal: Int[np.ndarray, " window"],
        token_width: Float[np.ndarray, " window"] | None = None,
    ) -> None:
        """Add some windows; `signal` counts into the signals, `token_width` is in the units of each window."""
        for code, (name, facts) in enumerate(self._signals.items()):
            own = np.asarray(signal) == code
            if not own.any():
                continue
            self._steps[name] += int(quantiles[own].shape[0] * quantiles.shape[1])
            self._beyond[name] += int(beyond_range(quantiles[own], facts).sum())
            if token_width is not None:
                seen = context[own].astype(np.float64)
                several = (~np.isnan(seen)).sum(axis=1) > 1
                spread = np.nanstd(seen[several], axis=1)
                self._spreads[name] += (several.sum(), token_width[own][several].sum(dtype=np.float64), spread.sum())

    def add_drawn(
        self, truth: Float[np.ndarray, "window horizon"], forecast: Forecast, signal: Int[np.ndarray, " window"]
    ) -> None:
        """Add what drawing costs of some windows whose forecast has halves of its paths; others are passed over.

        An error is that of endless paths and a part that falls as 1 / paths. So a half errs by as much more than the
        whole as the whole does than endless paths would: the mean over both halves, minus the error of the whole.
        """
        if forecast.halves is None:
            return
        whole, *halves = (
            _errors(truth, quantiles, forecast.levels) for quantiles in (forecast.quantiles, *forecast.halves)
        )
        more, seen = np.mean(halves, axis=0) - whole, ~np.isnan(truth)
        for code, name in enumerate(self._signals):
            own = (np.asarray(signal) == code)[:, None] & seen
            self._drawn[name] += (own.sum(), *more[:, own].sum(axis=1))

    def facts(self) -> dict[str, Forecasts]:
        """By signal; a signal of which nothing was forecast is left out."""
        return {name: self._of(name) for name, steps in self._steps.items() if steps}

    def _of(self, name: str) -> Forecasts:
        known: dict[str, Any] = {"steps": self._steps[name], "beyond_range": self._beyond[name]}
        windows, width, spread = self._spreads[name].tolist()
        if windows:
            known |= {"token_width": width / windows, "spread": spread / windows}
        targets, mae, crps = self._drawn[name].tolist()
        if targets:
            known |= {"drawing_mae": mae / targets, "drawing_crps": crps / targets}
        return Forecasts(**known)


def _errors(
    truth: Float[np.ndarray, "window horizon"],
    quantiles: Float[np.ndarray, "window horizon level"],
    levels: tuple[float, ...],
) -> Float[np.ndarray, "score window horizon"]:
    """Absolute error and CRPS of each target."""
    point = quantiles[:, :, levels.index(0.5)]
    return np.stack([metrics.absolute_error(truth, point), metrics.crps(truth, quantiles, levels)])
