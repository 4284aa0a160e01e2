"""Series as MOIRAI reads them: patches of several variates in one row of tokens (Woo et al., ICML 2024, section 3.2).

A sample is what one row of tokens holds: the variates of one patient over the same time. First come the tokens of
the past, variate by variate, then those of the horizon in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

_SMALLEST_VARIANCE = 1e-5
"""Added to a variance before the root, so that a constant series has a scale."""


@dataclass(frozen=True)
class Series:
    """Past and future of the variates of each sample; what is not observed holds 0.

    `padding` marks the steps before a sample begins, `present` the variates that a sample has: samples with fewer
    variates than the widest of their batch are filled up with absent ones.
    """

    past: Float[Tensor, "sample variate context"]
    past_observed: Bool[Tensor, "sample variate context"]
    padding: Bool[Tensor, "sample context"]
    future: Float[Tensor, "sample variate horizon"]
    future_observed: Bool[Tensor, "sample variate horizon"]
    present: Bool[Tensor, "sample variate"]

    @property
    def horizon(self) -> int:
        """Steps of the future."""
        return self.future.shape[2]

    def take(self, samples: Int[Tensor, " some"]) -> "Series":
        """Some of the samples."""
        return Series(**{name: values[samples] for name, values in vars(self).items()})

    def hold_out(self, steps: int) -> "Series":
        """The last `steps` of the past as a future to be forecast from what comes before."""
        cut = self.past.shape[2] - steps
        return replace(
            self,
            past=self.past[..., :cut],
            past_observed=self.past_observed[..., :cut],
            padding=self.padding[:, :cut],
            future=self.past[..., cut:],
            future_observed=self.past_observed[..., cut:],
        )


@dataclass(frozen=True)
class Packed:
    """A batch of samples as tokens, all of one patch size.

    Tokens with equal `sample_id` see each other; 0 is padding. `time_id` counts patches from the first observed one.
    `forecast` marks the tokens whose values the network must not see. `loc` and `scale` standardise a token's values.
    """

    values: Float[Tensor, "sample token step"]
    observed: Bool[Tensor, "sample token step"]
    sample_id: Int[Tensor, "sample token"]
    time_id: Int[Tensor, "sample token"]
    variate_id: Int[Tensor, "sample token"]
    forecast: Bool[Tensor, "sample token"]
    loc: Float[Tensor, "sample token"]
    scale: Float[Tensor, "sample token"]
    past: int
    variates: int

    @property
    def patch(self) -> int:
        """Steps in a token."""
        return self.values.shape[2]


def arrange(
    context: Float[Tensor, "row context"],
    future: Float[Tensor, "row horizon"],
    group: Int[Tensor, " row"] | None,
) -> tuple[Series, Int[Tensor, "sample variate"]]:
    """Rows with NaN gaps as samples, and which row each variate is (0 where absent, see `present`).

    Rows of one group become the variates of one sample, in their order in the batch; without groups every row is a
    sample. Steps before any variate was observed count as padding, as upstream counts those before a series begins.
    """
    rows = len(context)
    device = context.device
    if group is None:
        index = torch.arange(rows, device=device)[:, None]
        present = torch.ones_like(index, dtype=torch.bool)
    else:
        _, sample, sizes = torch.unique(group.to(device), return_inverse=True, return_counts=True)
        order = torch.argsort(sample, stable=True)
        first = sizes.cumsum(0) - sizes
        place = torch.arange(rows, device=device) - first[sample[order]]
        index = torch.zeros((len(sizes), int(sizes.max())), dtype=torch.long, device=device)
        index[sample[order], place] = order
        present = torch.arange(index.shape[1], device=device) < sizes[:, None]
    past, after = context[index], future[index]
    past_observed = past.isfinite() & present[..., None]
    begun = past_observed.any(dim=1).cummax(dim=1).values
    series = Series(
        past=torch.where(past_observed, past, 0.0),
        past_observed=past_observed,
        padding=~begun,
        future=after.nan_to_num(0.0),
        future_observed=after.isfinite() & present[..., None],
        present=present,
    )
    return series, index


def standardiser(
    series: Series, *, scaling: bool = True
) -> tuple[Float[Tensor, "sample variate"], Float[Tensor, "sample variate"]]:
    """Mean and standard deviation of what is observed of each variate's past: loc and scale.

    Computed in float64, with the sample variance and 1e-5 added to it; a variate without observations has loc 0.
    With `scaling` off they are 0 and 1.
    """
    if not scaling:
        loc = torch.zeros_like(series.past[..., 0])
        return loc, torch.ones_like(loc)
    observed = series.past_observed.double()
    count = observed.sum(dim=-1)
    past = series.past.double()
    loc = (observed * past).sum(dim=-1) / count.clamp_min(1)
    spread = (observed * (past - loc[..., None]).square()).sum(dim=-1)
    scale = (spread / (count - 1).clamp_min(1) + _SMALLEST_VARIANCE).sqrt()
    return loc.to(series.past.dtype), scale.to(series.past.dtype)


def pack(series: Series, patch: int, *, scaling: bool = True) -> Packed:
    """Cut `series` into tokens of `patch` steps: the past is filled up on its left, the future on its right.

    Tokens of padding have loc 0 and scale 1; with `scaling` off all have.
    """
    samples, variates, context = series.past.shape
    left, right = -context % patch, -series.horizon % patch
    past, past_observed = (_tokens(x, (left, 0), patch) for x in (series.past, series.past_observed))
    future, future_observed = (_tokens(x, (0, right), patch) for x in (series.future, series.future_observed))
    before, after = past.shape[1] // variates, future.shape[1] // variates
    alive = (~functional.pad(series.padding, (left, 0), value=True)).reshape(samples, before, patch).any(dim=2)
    ids = _by_variate(alive, torch.ones_like(alive[:, :1]).expand(-1, after), variates).long()
    seen = past_observed.reshape(samples, variates, before, patch).any(dim=3).any(dim=1)
    time = (seen.long().cummax(dim=1).values.cumsum(dim=1) - 1).clamp_min(0)
    ahead = time[:, -1:] + 1 + torch.arange(after, device=time.device)
    number = torch.arange(variates, device=time.device).expand(samples, -1)
    present = _by_token(series.present, before, after)
    sample_id = ids * present
    loc, scale = (_by_token(x, before, after) for x in standardiser(series, scaling=scaling))
    padding = sample_id == 0
    return Packed(
        values=torch.cat([past, future], dim=1),
        observed=torch.cat([past_observed, future_observed], dim=1),
        sample_id=sample_id,
        time_id=_by_variate(time, ahead, variates),
        variate_id=_by_token(number, before, after),
        forecast=present & (torch.arange(present.shape[1], device=time.device) >= past.shape[1]),
        loc=torch.where(padding, 0.0, loc),
        scale=torch.where(padding, 1.0, scale),
        past=past.shape[1],
        variates=variates,
    )


def by_step(tokens: Tensor, variates: int, horizon: int) -> Tensor:
    """Horizon tokens [sample, token, step, ...] as steps [sample, variate, horizon, ...], without their filling."""
    return tokens.reshape(len(tokens), variates, -1, *tokens.shape[3:])[:, :, :horizon]


def tokens_of(context: int, horizon: int, patch: int, variates: int) -> int:
    """How many tokens a sample of `variates` takes at a patch size."""
    return variates * (-(-context // patch) + -(-horizon // patch))


def fixed_patch_size(sizes: Sequence[int], context: int, horizon: int, variates: int, most_tokens: int) -> int:
    """The patch size for a window of which nothing but its shape is known.

    The middle one of `sizes`: of the released ones 32, which pretraining met at most sampling rates. Where the
    context holds fewer than two such patches (the least that pretraining met), the largest size of which it holds
    two, or the smallest; where the tokens are more than `most_tokens`, the next size with which they are not, or the
    largest.
    """
    ordered = sorted(sizes)
    start = (len(ordered) - 1) // 2
    while start and context < 2 * ordered[start]:
        start -= 1
    fits = (p for p in ordered[start:] if tokens_of(context, horizon, p, variates) <= most_tokens)
    return next(fits, ordered[-1])


def _tokens(values: Tensor, filling: tuple[int, int], patch: int) -> Tensor:
    """Steps [sample, variate, step], filled up on both sides, as tokens [sample, token, step], variate by variate."""
    return functional.pad(values, filling).reshape(len(values), -1, patch)


def _by_variate(past: Tensor, future: Tensor, variates: int) -> Tensor:
    """What holds for every variate alike, [sample, patch] of past and future, as one row of tokens."""
    return torch.cat([past.repeat(1, variates), future.repeat(1, variates)], dim=1)


def _by_token(values: Tensor, before: int, after: int) -> Tensor:
    """What holds for a whole variate, [sample, variate], for each of its tokens."""
    return torch.cat([values.repeat_interleave(before, dim=1), values.repeat_interleave(after, dim=1)], dim=1)
