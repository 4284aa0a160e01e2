"""What Lag-Llama makes of a window: level and spread, lagged values, time features and the teacher-forced loss.

The arithmetic is that of arXiv 2310.08278 as the released model was trained: the level and spread are taken over the
whole history, not over the tokens alone, and a missing step is the number 0 before it is standardised.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig, StudentT, rotation

_SPREAD_FLOOR = 1e-10
_VARIANCE_FLOOR = 1e-5
_DAY = 86_400


@dataclass(frozen=True)
class Window:
    """A batch of histories: `reach` steps for the lags, then the `tokens` steps that become tokens.

    `values` holds 0 where a step is not observed. `time` has the features of every token, those of the horizon that
    are fed back included (tokens + horizon - 1 or more), None for a network without. `loc` and `scale` are those of
    `values`, in its units; `guarded` says by which rule (`level_and_spread`).
    """

    values: Float[Tensor, "batch history"]
    observed: Bool[Tensor, "batch history"]
    time: Float[Tensor, "batch step time"] | None
    loc: Float[Tensor, "batch 1"]
    scale: Float[Tensor, "batch 1"]
    tokens: int
    guarded: bool

    @classmethod
    def of(
        cls,
        config: LagLlamaConfig,
        values: Float[Tensor, "batch history"],
        observed: Bool[Tensor, "batch history"],
        time: Float[Tensor, "batch step time"] | None,
        *,
        guarded: bool = False,
    ) -> "Window":
        """With the level and spread that `config` asks for; all steps beyond the longest lag become tokens."""
        loc, scale = level_and_spread(config.scaling, values, observed, guarded=guarded)
        return cls(values, observed, time, loc, scale, values.shape[1] - config.reach, guarded)

    def rows(self, chosen: slice) -> "Window":
        """Some rows of the batch, with the level and spread that they have in it."""
        return replace(
            self,
            values=self.values[chosen],
            observed=self.observed[chosen],
            time=None if self.time is None else self.time[chosen],
            loc=self.loc[chosen],
            scale=self.scale[chosen],
        )


def level_and_spread(
    kind: str | None,
    values: Float[Tensor, "batch history"],
    observed: Bool[Tensor, "batch history"],
    *,
    guarded: bool = False,
) -> tuple[Float[Tensor, "batch 1"], Float[Tensor, "batch 1"]]:
    """`loc` and `scale` of each row over its observed steps; 0 and 1 where there is none.

    As released, with two weak spots that `guarded` mends and that leave every other row as it is. "robust": where one
    value fills the middle half of a row (a constant, or three quarters zeros) the interquartile range is 0 and its
    floor of 1e-10 turns a step of 1 into 1e10; guarded, such a row is scaled by its standard deviation, or by a
    thousandth of its level if it is constant. "mean": a row without observations takes the batch's average, so that
    it depends on its neighbours; guarded, it takes 1.
    """
    weights = observed.to(values.dtype)
    count = weights.sum(1, keepdim=True)
    known = count.clamp_min(1)
    if kind is None:
        return torch.zeros_like(count), torch.ones_like(count)
    if kind == "mean":
        total = (weights * values.abs()).sum(1, keepdim=True)
        instead = torch.ones_like(total) if guarded else total.sum() / count.sum().clamp_min(1)
        scale = torch.where(count > 0, total / known, instead)
        return torch.zeros_like(scale), scale.clamp_min(_SPREAD_FLOOR)
    if kind == "std":
        loc = (weights * values).sum(1, keepdim=True) / known
        variance = (weights * (values - loc)).square().sum(1, keepdim=True) / known
        return loc, torch.sqrt(variance + _VARIANCE_FLOOR)
    return _robust(values, observed, guarded)


def _robust(values: Tensor, observed: Tensor, guarded: bool) -> tuple[Tensor, Tensor]:
    """Lower median and interquartile range."""
    ordered = values.masked_fill(~observed, torch.inf).sort(dim=1).values
    count = observed.sum(1, keepdim=True)
    last = (count - 1).clamp_min(0)
    loc = ordered.gather(1, last // 2)
    low, high = (_quantile(ordered, last, share) for share in (0.25, 0.75))
    scale = (high - low).clamp_min(_SPREAD_FLOOR)
    if guarded:
        rounding = torch.finfo(values.dtype).eps * loc.abs()
        deviation = (values - loc).masked_fill(~observed, 0)
        spread = (deviation.square().sum(1, keepdim=True) / count.clamp_min(1)).sqrt()
        instead = torch.maximum(spread, 1e-3 * loc.abs()).clamp_min(_SPREAD_FLOOR)
        scale = torch.where(high - low <= rounding.clamp_min(_SPREAD_FLOOR), instead, scale)
    empty = count == 0
    return loc.masked_fill(empty, 0), scale.masked_fill(empty, 1)


def _quantile(ordered: Tensor, last: Tensor, share: float) -> Tensor:
    """Linear interpolation between the two order statistics around `share`."""
    place = share * last.to(ordered.dtype)
    below = place.floor().long()
    above = torch.minimum(below + 1, last)
    return torch.lerp(ordered.gather(1, below), ordered.gather(1, above), place - below)


def lagged(
    values: Float[Tensor, "batch step"], lags: tuple[int, ...], steps: slice
) -> Float[Tensor, "batch token lag"]:
    """The value at each lag of the steps `steps` of `values`, in the order of the list."""
    places = torch.arange(steps.start, steps.stop, device=values.device)[:, None]
    return values[:, places - torch.tensor(lags, device=values.device)]


def features(
    lagged_values: Float[Tensor, "*row token lag"],
    loc: Float[Tensor, "*row 1"],
    scale: Float[Tensor, "*row 1"],
    time: Float[Tensor, "*#row #token time"] | None,
) -> Float[Tensor, "*row token feature"]:
    """Standardised lags, ln(1+|level|), ln(spread), time: the order of the network's entrance."""
    level, spread = loc.unsqueeze(-1), scale.unsqueeze(-1)
    shape = lagged_values.shape[:-1]
    parts = [
        (lagged_values - level) / spread,
        level.abs().log1p().expand(*shape, 1),
        spread.log().expand(*shape, 1),
    ]
    return torch.cat(parts if time is None else [*parts, time.expand(*shape, time.shape[-1])], dim=-1)


def teacher_forced(
    net: LagLlama, window: Window, future: Float[Tensor, "batch horizon"]
) -> tuple[StudentT, Float[Tensor, "batch step"]]:
    """The distribution of every step after the first token, given all steps before it, and its log-likelihood, negated.

    [batch, tokens - 1 + horizon]: the last tokens of the history but the first, then the horizon. The likelihood is
    that of the values in their own units. What is not observed in `future` must be a number and is to be left out.
    """
    config, horizon = net.config, future.shape[1]
    count = window.tokens + horizon - 1
    values = torch.cat([window.values, future], dim=1)
    first = window.values.shape[1] - window.tokens
    time = None if window.time is None else window.time[:, :count]
    tokens = features(lagged(values, config.lags_seq, slice(first, first + count)), window.loc, window.scale, time)
    predicted = net(tokens, rotation(config, 0, count, longest=count, device=values.device))
    target = (values[:, first + 1 :] - window.loc) / window.scale
    return predicted, window.scale.log() - predicted.log_prob(target)


def time_features(start: Int[Tensor, " batch"], step_seconds: int, steps: int) -> Float[Tensor, "batch step 6"]:
    """Second, minute, hour, weekday, day of month, day of year of `steps` steps from `start`, each from -0.5 to 0.5.

    `start` is in seconds since 1970, wall clock. The released model reads the six features of secondly data whatever
    the data's own step is, and reads them from the period that a step covers: its clock stands at the period's whole
    day, hour, minute or second (the largest that divides `step_seconds`), and its date is that of its last day.
    """
    unit = next(unit for unit in (_DAY, 3600, 60, 1) if step_seconds % unit == 0)
    seconds = start.cpu().numpy()[:, None] + np.arange(steps) * step_seconds
    seconds = seconds // unit * unit
    days_covered = max(1, step_seconds // _DAY) if unit == _DAY else 1
    date = (seconds // _DAY + days_covered - 1).astype("datetime64[D]")
    parts = (
        (seconds % 60, 59),
        (seconds // 60 % 60, 59),
        (seconds // 3600 % 24, 23),
        ((date.astype(np.int64) + 3) % 7, 6),  # 1 January 1970 was a Thursday
        ((date - date.astype("datetime64[M]")).astype(np.int64), 30),
        ((date - date.astype("datetime64[Y]")).astype(np.int64), 365),
    )
    stacked = np.stack([part / most - 0.5 for part, most in parts], axis=-1)
    return torch.from_numpy(stacked.astype(np.float32)).to(start.device)
