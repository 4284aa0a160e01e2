"""The floor: forecasts that need no network, with the textbook's prediction intervals.

Point forecasts and Gaussian intervals as in Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd
edition), sections 5.2 and 5.5. Everything is estimated from the observed values of the context alone. NumPy is imported
by what computes: whoever lists models has no use for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loracast.errors import ConfigError, DataError
from loracast.models.base import ModelCard
from loracast.models.levels import check_levels
from loracast.models.registry import Family, Release, Wanted
from loracast.types import FLOOR, LEVELS, Forecast, Kind, Rows

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

    Context = Float[np.ndarray, "window context"]
    Steps = Float[np.ndarray, "window horizon"]
    Rule = Callable[[Context, int, int, "Levels"], Forecast]
    """A context, a horizon and a season in steps, and levels, to a forecast of each window from itself alone."""

Levels = tuple[float, ...]


@dataclass(frozen=True)
class RuleModel:
    """A rule as a model: without a network, without chance, each window forecast from itself alone."""

    card: ModelCard
    rule: Rule

    @classmethod
    def of(cls, wanted: Wanted, family: str, kind: Kind, rule: Rule) -> RuleModel:
        """With the card of a model that takes any number of steps."""
        return cls(ModelCard(wanted.name, family, kind, 0, None, None, wanted.licence), rule)

    def windows_a_pass(self, samples: int) -> None:
        """All at once: no window meets another in a product."""

    def forecast(
        self,
        context: Float[Tensor, "batch context"],
        horizon: int,
        *,
        levels: Levels,
        samples: int,
        seed: int,
        rows: Rows | None = None,
    ) -> Float[Tensor, "batch horizon level"]:
        """The rule's quantiles: `samples` and `seed` are not used; of `rows` the season is, 1 without them.

        Raises DataError for a context without an observed value, ConfigError for what is no horizon, season or level.
        """
        import torch

        season = 1 if rows is None else rows.season
        found = self.rule(context.detach().cpu().numpy(), horizon, season, levels)
        return torch.from_numpy(found.quantiles)


def last_value(context: Context, horizon: int, season: int = 1, levels: Levels = LEVELS) -> Forecast:
    """The last observed value, kept; the deviation at h steps from it is sigma * sqrt(h).

    h counts from the observation, not from the end of the context, so an old value is a less certain one. sigma² is
    the mean squared change between observed neighbours, each divided by the steps between them: the maximum
    likelihood of a random walk with gaps, and the textbook's residual variance where nothing is missing. With one
    observed value nothing can be estimated and the interval has no width. `season` is not used.
    """
    del season
    return _forecast(*_last(checked(context, horizon), horizon), levels)


def seasonal_naive(context: Context, horizon: int, season: int, levels: Levels = LEVELS) -> Forecast:
    """The most recent observed value at the same phase of the season; k cycles on, the deviation is sigma * sqrt(k).

    (The textbook writes k + 1 with k the full cycles in between.) sigma² is the mean squared change between observed
    neighbours of the same phase, each divided by the cycles between them. Where no phase was observed twice, as in a
    context of one season, it is twice the variance of the context: that of the difference of two unrelated values
    of it. A phase that was never observed takes the last value and its interval. `season` is in steps; 1 makes this
    the last value.
    """
    import numpy as np

    if season < 1:
        raise ConfigError(f"season is {season} steps: give at least 1 (which is the last value).")
    values = checked(context, horizon)
    if season == 1:
        return _forecast(*_last(values, horizon), levels)
    point, deviation = _carried(values, horizon, season)
    deviation = np.where(np.isnan(deviation), np.sqrt(2) * _spread(values), deviation)
    fallback_point, fallback_deviation = _last(values, horizon)
    never = np.isnan(point)
    return _forecast(np.where(never, fallback_point, point), np.where(never, fallback_deviation, deviation), levels)


def context_mean(context: Context, horizon: int, season: int = 1, levels: Levels = LEVELS) -> Forecast:
    """The mean of the T observed values; the deviation is their standard deviation * sqrt(1 + 1/T) at every step.

    With one observed value the interval has no width. `season` is not used.
    """
    import numpy as np

    del season
    values = checked(context, horizon)
    observed = (~np.isnan(values)).sum(axis=1, keepdims=True)
    point = np.broadcast_to(np.nanmean(values, axis=1, keepdims=True), (len(values), horizon))
    deviation = np.broadcast_to(_spread(values) * np.sqrt(1 + 1 / observed), (len(values), horizon))
    return _forecast(point, deviation, levels)


def checked(context: Context, horizon: int) -> Context:
    """The context in double precision; raises DataError where a window has nothing to forecast from."""
    import numpy as np

    if horizon < 1:
        raise ConfigError(f"horizon is {horizon} steps: give at least 1.")
    empty = np.flatnonzero(np.isnan(context).all(axis=1))
    if len(empty):
        raise DataError(
            f"{len(empty)} of {len(context)} contexts hold no observed value (the first is window {empty[0]}): there "
            "is nothing to forecast from. Cut windows with a least observed share of the context above 0."
        )
    if np.isinf(context).any():
        raise DataError("A context holds infinities: values are finite, or NaN where nothing was observed.")
    values: Context = context.astype(np.float64)
    return values


def _last(values: Context, horizon: int) -> tuple[Steps, Steps]:
    """Point and deviation of the last value; the deviation is 0 where a context has one observed value."""
    import numpy as np

    point, deviation = _carried(values, horizon, 1)
    return point, np.nan_to_num(deviation)


def _carried(values: Context, horizon: int, season: int) -> tuple[Steps, Steps]:
    """The last observed value of each phase, kept for `horizon` steps, and its deviation.

    NaN in the point where a phase was never observed, NaN in the deviation where no phase was observed twice.
    """
    import numpy as np

    windows, context = values.shape
    cycles = -(-context // season)
    grid = np.full((windows, cycles * season), np.nan)
    grid[:, cycles * season - context :] = values
    grid = grid.reshape(windows, cycles, season)
    observed = ~np.isnan(grid)
    cycle = np.arange(cycles)[None, :, None]
    latest = np.maximum.accumulate(np.where(observed, cycle, -1), axis=1)

    paired = observed[:, 1:] & (latest[:, :-1] >= 0)
    change = grid[:, 1:] - np.take_along_axis(grid, np.maximum(latest[:, :-1], 0), axis=1)
    gap = np.where(paired, cycle[:, 1:] - latest[:, :-1], 1)
    count = paired.sum(axis=(1, 2))
    total = np.where(paired, np.square(change) / gap, 0.0).sum(axis=(1, 2))
    sigma = np.sqrt(np.divide(total, count, out=np.full(windows, np.nan), where=count > 0))

    step = np.arange(horizon)
    kept = latest[:, -1][:, step % season]
    point = np.take_along_axis(grid, np.maximum(latest[:, -1:], 0), axis=1)[:, 0][:, step % season]
    cycles_on = step // season + cycles - kept
    return np.where(kept >= 0, point, np.nan), sigma[:, None] * np.sqrt(cycles_on)


def _spread(values: Context) -> Float[np.ndarray, "window 1"]:
    """Standard deviation of the observed values (T - 1 degrees of freedom), 0 where there is one."""
    import numpy as np

    observed = (~np.isnan(values)).sum(axis=1, keepdims=True)
    centred = values - np.nanmean(values, axis=1, keepdims=True)
    return np.asarray(np.sqrt(np.nansum(np.square(centred), axis=1, keepdims=True) / np.maximum(observed - 1, 1)))


def _forecast(point: Steps, deviation: Steps, levels: Levels) -> Forecast:
    """Gaussian quantiles around the point forecast."""
    import numpy as np
    from scipy.special import ndtri

    check_levels(levels)
    quantiles = point[..., None] + deviation[..., None] * ndtri(np.array(levels))
    return Forecast(quantiles.astype(np.float32), levels)


_RULES: dict[str, Rule] = dict(zip(FLOOR, (last_value, seasonal_naive, context_mean), strict=True))


def load(wanted: Wanted) -> RuleModel:
    """The rule of that name."""
    return RuleModel.of(wanted, FAMILY.name, FAMILY.kind, _RULES[wanted.name])


FAMILY = Family(
    name="naive",
    kind="naive",
    summary="the last value, the last season or the mean of the context",
    releases={name: Release(None, "Apache-2.0", {}) for name in _RULES},
    load=load,
    packages=("numpy", "scipy"),
)
