"""The types that cross walls: a checked table of series, and a forecast."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

LEVELS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Table:
    """A long table on disk that has been checked: known columns, one regular grid, finite values, sorted.

    `step_seconds` is the grid, `units` maps each signal to its unit, `fingerprint` is the SHA-256 of the file.
    """

    path: Path
    step_seconds: int
    signals: tuple[str, ...]
    units: dict[str, str]
    simulated: bool
    source: str
    licence: str
    fingerprint: str


@dataclass(frozen=True)
class Forecast:
    """Predictive quantiles in the units of the series; the point forecast is the median.

    `quantiles` has shape (window, horizon, level), `levels` ascends and contains 0.5.
    """

    quantiles: Float[np.ndarray, "window horizon level"]
    levels: tuple[float, ...] = LEVELS

    @property
    def median(self) -> Float[np.ndarray, "window horizon"]:
        """The point forecast, shape (window, horizon)."""
        return self.quantiles[:, :, self.levels.index(0.5)]
