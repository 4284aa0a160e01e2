"""The types that cross walls: what is known of a batch, and a forecast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from torch import Tensor

LEVELS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

FLOOR: tuple[str, ...] = ("last-value", "seasonal-naive", "context-mean")
"""Names of the naive forecasts that every comparison is held against."""

Kind = Literal["naive", "statistical", "network", "pretrained"]
"""What a model is: a rule, a model fitted to each context alone, a network that is trained here from random numbers, or
a pretrained one (a backbone)."""

Say = Callable[[str], None]
"""What tells the user a line."""


@dataclass(frozen=True)
class Rows:
    """What is known of the rows of a batch besides their values.

    `start` is the time of each row's first context step in seconds since 1970 (wall clock of the data, no zone),
    `step_seconds` the time between two steps. Rows with the same number in `group` are signals of one patient over
    the same time; without it every row stands alone. `season` is the period in steps that naive and statistical models
    take for granted. `series` is a number for the series of each row, the same wherever that series is forecast: with
    `start` and the seed it decides what is drawn for the row.
    """

    start: Int[Tensor, " batch"]
    step_seconds: int
    group: Int[Tensor, " batch"] | None = None
    season: int = 1
    series: Int[Tensor, " batch"] | None = None


@dataclass(frozen=True)
class Forecast:
    """Predictive quantiles in the units of the series; the point forecast is the median.

    `quantiles` has shape (window, horizon, level), `levels` ascends and contains 0.5. `halves` are the quantiles of the
    first and of the second half of the sample paths, by which it is told what drawing adds to an error; None where no
    paths are drawn, or nobody asked.
    """

    quantiles: Float[np.ndarray, "window horizon level"]
    levels: tuple[float, ...] = LEVELS
    halves: Float[np.ndarray, "half window horizon level"] | None = None

    @property
    def median(self) -> Float[np.ndarray, "window horizon"]:
        """The point forecast, shape (window, horizon)."""
        return self.quantiles[:, :, self.levels.index(0.5)]
