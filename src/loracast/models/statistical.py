"""Exponential smoothing and the Theta method, fitted by statsforecast to the context of each window alone.

The observed span of a context is the series: gaps in it are interpolated linearly (in the input only), and a context
whose last values are missing is forecast that much further ahead. A season is fitted where the span holds two of them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from loracast.errors import ConfigError, DataError
from loracast.models.base import needed
from loracast.models.levels import check_levels
from loracast.models.naive import Levels, RuleModel, checked, last_value
from loracast.models.registry import Family, Release, Wanted
from loracast.types import LEVELS, Forecast

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from loracast.models.naive import Context, Rule

    Series = Float[np.ndarray, " time"]

SPARE = 8
"""Fewest values beyond the season: all but a seasonal model's first states can then be estimated with one to spare."""

FEWEST_FITS = 10
"""Contexts from which on it is no chance if none could be fitted."""

logger = logging.getLogger(__name__)

Maker = Callable[[int], Any]
"""A season to a model of statsforecast."""


def ets(context: Context, horizon: int, season: int = 1, levels: Levels = LEVELS) -> Forecast:
    """AutoETS with additive errors: the AICc chooses no, a linear or a damped trend, and no or an additive season.

    Multiplicative forms are left out: they depend on where a unit has its zero (°C or °F), their intervals have no
    closed form or are simulated, and they take three times as long. See `_forecast` for what is not fitted.
    """
    make = needed("statsforecast.models").AutoETS
    return _forecast(lambda length: make(season_length=length, model="AZZ"), context, horizon, season, levels)


def theta(context: Context, horizon: int, season: int = 1, levels: Levels = LEVELS) -> Forecast:
    """AutoTheta: of the standard, the optimized and their dynamic Theta models the one with the least squared error.

    The season, where a test finds one, is multiplicative as in the published method: statsforecast adds an additive
    one to the residuals again, and its intervals are then as wide as the season is high. See `_forecast` for what is
    not fitted.
    """
    make = needed("statsforecast.models").AutoTheta
    return _forecast(lambda length: make(season_length=length), context, horizon, season, levels)


def _forecast(make: Maker, context: Context, horizon: int, season: int, levels: Levels) -> Forecast:
    """Fit and forecast window by window; quantiles of shape (window, horizon, level).

    A context that is constant, holds fewer than eight observed values, or that the library cannot fit takes the last
    value with its interval, which is exponential smoothing with weight 1: without width where all values are equal.
    """
    import numpy as np

    if season < 1:
        raise ConfigError(f"season is {season} steps: give at least 1 (which is no season).")
    check_levels(levels)
    values = checked(context, horizon)
    quantiles = last_value(context, horizon, levels=levels).quantiles
    tried = found = 0
    with _undisturbed():
        for window, one in enumerate(values):
            at = np.flatnonzero(~np.isnan(one))
            if len(at) < SPARE or np.ptp(one[at]) == 0:
                continue
            series = np.interp(np.arange(at[0], at[-1] + 1), at, one[at])
            fitted = _fitted(make, series, len(one) - 1 - at[-1] + horizon, season, levels)
            tried += 1
            if fitted is not None:
                quantiles[window] = fitted[-horizon:]
                found += 1
    if tried >= FEWEST_FITS and not found:
        raise DataError(
            f"statsforecast fitted none of {tried} contexts: this would be the last value by another name. Check its "
            'version: pip install "loracast[baselines]"'
        )
    if found < tried:
        logger.warning("%d of %d contexts could not be fitted and take the last value", tried - found, tried)
    return Forecast(quantiles, levels)


def _fitted(
    make: Maker, series: Series, steps: int, season: int, levels: Levels
) -> Float[np.ndarray, "step level"] | None:
    """Quantiles of the fitted model for `steps` steps; None where the library finds no model."""
    import numpy as np

    seasonal = len(series) >= max(2 * season, season + SPARE + 1)
    widths = sorted({width for level in levels if (width := _width(level)) > 0})
    try:
        found = make(season if seasonal else 1).forecast(series, steps, level=widths or None)
    except Exception:  # of any kind: the library raises plain ones where an optimizer fails
        return None
    quantiles = np.stack([_quantile(found, level) for level in levels], axis=-1)
    assert quantiles.shape == (steps, len(levels))
    with np.errstate(over="ignore"):
        usable = np.isfinite(quantiles.astype(np.float32)).all()
    return quantiles if usable else None


def _width(level: float) -> int | float:
    """The central prediction interval, in percent, of which a level is an end; 0 for the median."""
    percent = round(100 * abs(2 * level - 1), 9)
    return int(percent) if percent.is_integer() else percent


def _quantile(found: Mapping[str, Any], level: float) -> Float[np.ndarray, " step"]:
    """A level of what the library forecast. Theta's intervals are simulated, and may miss its own point forecast."""
    import numpy as np

    point, width = found["mean"], _width(level)
    if width == 0:
        return np.asarray(point)
    if level < 0.5:
        return np.asarray(np.minimum(found[f"lo-{width}"], point))
    return np.asarray(np.maximum(found[f"hi-{width}"], point))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep numpy's random state, which statsforecast seeds for its simulations, and hush its failed optimizations."""
    import numpy as np

    state = np.random.get_state()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        np.random.set_state(state)


_RULES: dict[str, Rule] = {"ets": ets, "theta": theta}


def load(wanted: Wanted) -> RuleModel:
    """The rule of that name; raises ConfigError without `loracast[baselines]`."""
    needed("statsforecast.models")
    return RuleModel.of(wanted, FAMILY.name, FAMILY.kind, _RULES[wanted.name])


FAMILY = Family(
    name="statistical",
    kind="statistical",
    summary="exponential smoothing (AutoETS) and the Theta method (AutoTheta), fitted to each context",
    releases={name: Release(None, "Apache-2.0", {}) for name in _RULES},
    load=load,
    packages=("statsforecast", "scipy"),
)
