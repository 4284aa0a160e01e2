"""Which quantile levels a model can give."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from loracast.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def check_levels(levels: Sequence[float]) -> None:
    """Raise ConfigError for levels that are none: each is the share of what may come that lies below a quantile."""
    wrong = [level for level in levels if not 0 < level < 1]
    if wrong or not levels:
        raise ConfigError(f"levels are {tuple(levels)}: give at least one, each above 0 and below 1.")


def between(
    found: Float[Tensor, "*step native"], native: Sequence[float], levels: Sequence[float], name: str
) -> Float[Tensor, "*step level"]:
    """Quantiles at `levels` from those at the ascending `native` ones, by linear interpolation.

    Raises ConfigError for levels beyond the outermost native ones: nothing was learnt of what lies there.
    """
    import numpy as np
    import torch

    beyond = [level for level in levels if not native[0] <= level <= native[-1]]
    if beyond or not levels:
        raise ConfigError(
            f"{name} was trained at quantile levels from {native[0]:g} to {native[-1]:g} and forecasts none of "
            f"{', '.join(f'{level:g}' for level in beyond) or 'no level'}. Ask for levels between these, or choose a "
            "model that draws sample paths."
        )
    place = [float(np.interp(level, native, range(len(native)))) for level in levels]
    below = torch.tensor([int(at) for at in place])
    share = torch.tensor([at - int(at) for at in place], dtype=found.dtype)
    quantiles = found[..., below]
    if share.any():
        above = found[..., (below + 1).clamp_max(len(native) - 1)]
        quantiles = torch.where(share > 0, torch.lerp(quantiles, above, share), quantiles)
    return quantiles


def check_paths(levels: Sequence[float], samples: int) -> None:
    """Raise ConfigError for levels so far out that `samples` paths hold no value beyond their quantile."""
    outer = min(min(level, 1 - level) for level in levels)
    if samples * outer < 1 - 1e-9:
        raise ConfigError(
            f"{samples} sample paths say nothing of the level {next(x for x in levels if min(x, 1 - x) == outer):g}: "
            f"no path lies beyond it. Draw at least {ceil(1 / outer - 1e-9)} (--samples), or ask for levels "
            "nearer to 0.5."
        )
