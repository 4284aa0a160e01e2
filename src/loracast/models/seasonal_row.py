"""A window's own past as a covariate with a known future: its series one period late, and its last cycles' mean.

A network that takes covariates (Chronos-2) then finds a season by looking beside it, where attention over patches of
eight steps would have to learn every period anew. No parameter is added, and without a season there is no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

SHORTEST = 3
"""Steps of the shortest period that is looked for."""
_WITHIN = 0.9
"""The share of the best peak of the autocorrelation that a shorter lag must reach."""
_RISE = 0.1
"""How far a peak must at least rise above what is lowest at a shorter lag: noise on a decay has peaks too."""
_ERRORS = 2.5
"""How many standard errors of an autocorrelation a peak must have in height, and in its rise."""
_MOST_CYCLES = 3
_CLIP = 3.0


@dataclass(frozen=True)
class SeasonalRows:
    """The second row of each window, NaN where there is none: `period` (steps) is 0 there."""

    past: Float[Tensor, "batch context"]
    future: Float[Tensor, "batch horizon"]
    period: Int[Tensor, " batch"]

    @property
    def there(self) -> Bool[Tensor, " batch"]:
        """Which windows have a period, and a value of it somewhere over the horizon."""
        return (self.period > 0) & self.future.isfinite().any(dim=1)


def seasonal_rows(context: Float[Tensor, "batch context"], horizon: int) -> SeasonalRows:
    """The series shifted by its period; over the horizon, the mean of its last one to three whole cycles.

    >>> import torch
    >>> rows = seasonal_rows(torch.arange(24.0).remainder(6)[None], horizon=3)
    >>> rows.period.tolist(), rows.future.tolist()
    ([6], [[0.0, 1.0, 2.0]])
    """
    import torch

    steps = context.shape[1]
    period = periods(context)
    late = torch.arange(steps) - period[:, None]
    nothing = torch.full((), torch.nan, dtype=context.dtype)
    past = torch.where((late >= 0) & (period > 0)[:, None], context.gather(1, late.clamp(min=0)), nothing)
    some = period.clamp(min=1)[:, None]
    into = torch.arange(horizon) % some
    cycles = []
    for back in range(1, _MOST_CYCLES + 1):
        at = steps - back * some + into
        held = (back * some <= steps) & (period > 0)[:, None]
        cycles.append(torch.where(held, context.gather(1, at.clamp(0, steps - 1)), nothing))
    return SeasonalRows(past, torch.stack(cycles).nanmean(dim=0), period)


@dataclass(frozen=True)
class Given:
    """The rows of a batch as Chronos-2 takes them: targets and covariates, rows of one group seeing each other.

    `known` is what is known of each row over the horizon: NaN for a target, which `target` tells from a covariate.
    """

    context: Float[Tensor, "row context"]
    known: Float[Tensor, "row horizon"] | None
    group: Int[Tensor, " row"] | None
    target: Bool[Tensor, " row"]


def beside(context: Float[Tensor, "batch context"], horizon: int, group: Int[Tensor, " batch"] | None) -> Given:
    """Each window followed by its seasonal row: always two rows, so that no window changes the shape of a batch.

    Where there is no season the second row is empty, and in a group of its own, where no other row sees it.
    """
    import torch

    rows, count = seasonal_rows(context, horizon), len(context)
    own = torch.arange(count) if group is None else group
    apart = own.max() + 1 + torch.arange(count)
    there = rows.there[:, None]
    return Given(
        paired(context, rows.past.masked_fill(~there, torch.nan)),
        paired(torch.full_like(rows.future, torch.nan), rows.future.masked_fill(~there, torch.nan)),
        paired(own, torch.where(rows.there, own, apart)),
        paired(torch.ones_like(rows.there), torch.zeros_like(rows.there)),
    )


def paired(first: Tensor, second: Tensor) -> Tensor:
    """The rows of two tensors in turn."""
    import torch

    return torch.stack([first, second], dim=1).flatten(0, 1)


def periods(context: Float[Tensor, "batch context"]) -> Int[Tensor, " batch"]:
    """The shortest lag (steps) whose autocorrelation peaks within a tenth of the best peak; 0 where there is none.

    The autocorrelation is that of the context without its linear trend, clipped at three standard deviations, over the
    pairs of which both are observed. None below 3 steps or beyond half the context.
    """
    import torch

    steps = context.shape[1]
    most = steps // 2
    if most < SHORTEST:
        return torch.zeros(len(context), dtype=torch.long)
    lags = _autocorrelation(context)[:, : most + 2]
    lowest = torch.cummin(lags[:, :-1], dim=1).values
    chance = _ERRORS / steps**0.5
    inner = lags[:, 1:-1]
    peaks = (inner > lags[:, :-2]) & (inner >= lags[:, 2:])
    peaks &= (inner >= chance) & (inner - lowest[:, 1:] >= max(_RISE, chance))
    peaks[:, : SHORTEST - 1] = False
    heights = torch.where(peaks, inner, torch.zeros_like(inner))
    best = heights.amax(dim=1, keepdim=True)
    first = (peaks & (heights >= _WITHIN * best)).int().argmax(dim=1)
    return torch.where(best[:, 0] > 0, first + 1, torch.zeros_like(first))


def _autocorrelation(context: Float[Tensor, "batch context"]) -> Float[Tensor, "batch lag"]:
    """Autocorrelation by lag from 0, 0 where too few pairs are observed or nothing varies."""
    import torch

    steps = context.shape[1]
    seen = context.isfinite().double()
    # Of any unit: the spread is brought to about 1 first, lest squares of 1e-200 vanish.
    values = _detrended(context.double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0), seen)
    length = 2 * steps

    def spectrum(of: Tensor) -> Tensor:
        found: Tensor = torch.fft.rfft(of, n=length)
        return found

    def pairs(one: Tensor, other: Tensor) -> Tensor:
        found: Tensor = torch.fft.irfft(one.conj() * other, n=length)
        return found[:, :steps]

    mask, square, value = spectrum(seen), spectrum(values.square()), spectrum(values)
    count = pairs(mask, mask).round()
    scale = (pairs(square, mask).clamp(min=0) * pairs(mask, square).clamp(min=0)).sqrt()
    enough = (count >= max(4.0, steps / 8)) & (scale > 1e-9 * steps)
    found = pairs(value, value) / scale.clamp(min=1e-30)
    return torch.where(enough, found.clamp(-1, 1), torch.zeros_like(found))


def _detrended(values: Tensor, seen: Tensor) -> Tensor:
    """The values around their linear trend in standard deviations, clipped twice; 0 where not observed."""
    import torch

    count = seen.sum(dim=1, keepdim=True).clamp(min=1)
    time = torch.linspace(-1, 1, values.shape[1], dtype=torch.double)
    at = (time - (time * seen).sum(dim=1, keepdim=True) / count) * seen
    largest = values.abs().amax(dim=1, keepdim=True)
    values = values / torch.where(largest > 0, largest, torch.ones_like(largest)) * seen
    for _ in range(2):
        values = (values - values.sum(dim=1, keepdim=True) / count) * seen
        slope = (values * at).sum(dim=1, keepdim=True) / at.square().sum(dim=1, keepdim=True).clamp(min=1e-12)
        values = values - slope * at
        spread = (values.square().sum(dim=1, keepdim=True) / count).sqrt()
        # What is left of rounding is no season.
        values = torch.where(spread > 1e-7, values / spread.clamp(min=1e-30), torch.zeros_like(values))
        values = values.clamp(-_CLIP, _CLIP)
    return values
