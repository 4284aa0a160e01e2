"""What Lag-Llama makes of a window, and the paths that it draws on from it.

Level and spread, lagged values, time features and the teacher-forced loss are the arithmetic of arXiv 2310.08278 as the
released model was trained: the level and spread are taken over the whole history, not over the tokens alone, and a
missing step is the number 0 before it is standardised.

Paths are drawn one step after the other, by one of two procedures.

`exact` is that of upstream's estimator: before each step the level and spread are taken anew over the history and the
path so far, which changes the features of every token, so that everything is computed again for every path.

`frozen` keeps the level and spread of the history, as the training loss does. No token then changes once it is
computed: the keys and values of the history are computed once per window and shared by all its paths, each drawn step
adds one token, and the result equals full recomputation with the same level and spread to rounding.

The two are different estimators from the second step on. They differ as far as the drawn steps move level and spread,
so little where the history is long against the horizon. Measured for 100 paths of 36 steps with the released shape and
random weights, as the mean shift of a decile over the width between the first and the last: 1 % after 1,124 steps of
history, 4 % after 72; another seed moves them by 7 %. With a tiny random network and a history of 89 steps it was up
to 17 %.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from loracast.models.draws import PATHS_AT_ONCE
from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig, StudentT, rotation

Paths = Float[Tensor, "batch sample horizon"]
Choose = Callable[[StudentT, int], Float[Tensor, "batch sample"]]
"""The distribution of a step, [batch, sample], and the step's number, to the value that each path takes there."""

# Numbers that one pass may hold: the caches (frozen) or activations (exact) of a large batch are worked off in parts.
_MOST_CACHED = 2**25
_MOST_ACTIVE = 2**22
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
    time: Float[Tensor, "*row #token time"] | None,
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


@torch.no_grad()
def sample_paths(
    net: LagLlama, window: Window, draws: Float[Tensor, "batch sample horizon 2"], *, exact: bool
) -> Paths:
    """Paths in the units of the window, one for each row and sample of `draws`: numbers from [0, 1), two a step."""
    batch, samples, horizon, _ = draws.shape
    walk = _exact if exact else _frozen
    paths = draws.new_empty(batch, samples, horizon)
    for rows, some in _parts(net, window, batch, samples, horizon, exact=exact):
        choose = _drawing(draws[rows, some])
        part = len(range(samples)[some])
        paths[rows, some] = walk(net, window.rows(rows), choose, samples=part, horizon=horizon)
    return paths


def _drawing(numbers: Float[Tensor, "batch sample horizon 2"]) -> Choose:
    return lambda predicted, step: student_t(predicted, numbers[:, :, step])


@torch.no_grad()
def mean_path(net: LagLlama, window: Window, horizon: int, *, exact: bool) -> Float[Tensor, "batch horizon"]:
    """The one path whose every step is the mean of its distribution."""
    walk = _exact if exact else _frozen
    return walk(net, window, lambda predicted, _: predicted.loc, samples=1, horizon=horizon).squeeze(1)


def student_t(predicted: StudentT, draws: Float[Tensor, "*path 2"]) -> Tensor:
    """Student-t numbers from two uniform ones each, none rejected: Bailey's polar method (Math. Comp. 62, 1994)."""
    radius = torch.expm1(torch.log1p(-draws[..., 0]) * (-2 / predicted.df)) * predicted.df
    return predicted.loc + predicted.scale * radius.sqrt() * torch.cos(2 * math.pi * draws[..., 1])


def _parts(
    net: LagLlama, window: Window, batch: int, samples: int, horizon: int, *, exact: bool
) -> Iterator[tuple[slice, slice]]:
    """Rows and samples that one pass can hold: whole windows where possible, else some paths of one window."""
    config = net.config
    if exact:
        paths = _MOST_ACTIVE // ((window.tokens + horizon) * 4 * config.width)
    else:
        paths = _MOST_CACHED // (horizon * 2 * config.n_layer * config.width)
    some = min(samples, PATHS_AT_ONCE, max(paths, 1))
    rows = max(paths // some, 1)
    for row in range(0, batch, rows):
        for sample in range(0, samples, some):
            yield slice(row, row + rows), slice(sample, sample + some)


def _frozen(net: LagLlama, window: Window, choose: Choose, *, samples: int, horizon: int) -> Paths:
    """Level and spread of the history throughout; one new token a step."""
    config, tokens, length = net.config, window.tokens, window.values.shape[1]
    longest, device = tokens + horizon - 1, window.values.device
    cache = SharedPrefix(net, horizon - 1)
    predicted = net(
        features(
            lagged(window.values, config.lags_seq, slice(length - tokens, length)),
            window.loc,
            window.scale,
            None if window.time is None else window.time[:, :tokens],
        ),
        rotation(config, 0, tokens, longest=longest, device=device),
        attend=cache.begin,
        only_last=True,
    )
    predicted = StudentT(*(part.expand(-1, samples) for part in predicted))
    loc, scale = (part.unsqueeze(1) for part in (window.loc, window.scale))  # [batch, 1, 1]
    # Where the lags of each step of the horizon lie: below `length` in the history, from there on in the path.
    places = torch.arange(length, length + horizon, device=device)[:, None] - _lags(net, device)
    known = window.values[:, places.clamp_max(length - 1)]
    path = window.values.new_empty(len(window.values), samples, horizon)
    for step in range(horizon):
        path[:, :, step] = window.loc + window.scale * choose(predicted, step)
        if step + 1 == horizon:
            break
        back = places[step] - length
        read = torch.where(back >= 0, path[:, :, back.clamp_min(0)], known[:, None, step])
        time = None if window.time is None else window.time[:, None, tokens + step]
        token = features(read, loc.squeeze(-1), scale.squeeze(-1), time)
        turn = rotation(config, tokens + step, tokens + step + 1, longest=longest, device=device)
        predicted = net(token, turn, attend=cache.follow)
    return path


def _exact(net: LagLlama, window: Window, choose: Choose, *, samples: int, horizon: int) -> Paths:
    """Level and spread of history and path, taken anew before each step; every token computed again for every path."""
    config, tokens, length = net.config, window.tokens, window.values.shape[1]
    longest, device, batch = tokens + horizon - 1, window.values.device, len(window.values)
    lags = config.lags_seq
    # What the lags read of the history is gathered once; only what a drawn step reads is added.
    read = lagged(window.values, lags, slice(length - tokens, length)).repeat_interleave(samples, dim=0)
    series = window.values.repeat_interleave(samples, dim=0)
    series = torch.cat([series, series.new_zeros(len(series), horizon)], dim=1)
    observed = window.observed.repeat_interleave(samples, dim=0)
    observed = torch.cat([observed, observed.new_ones(len(observed), horizon)], dim=1)
    time = None if window.time is None else window.time.repeat_interleave(samples, dim=0)
    loc, scale = (part.repeat_interleave(samples, dim=0) for part in (window.loc, window.scale))
    for step in range(horizon):
        count = tokens + step
        if step:
            grown = slice(0, length + step)
            loc, scale = level_and_spread(config.scaling, series[:, grown], observed[:, grown], guarded=window.guarded)
            newest = slice(length + step - 1, length + step)
            read = torch.cat([read, lagged(series, lags, newest)], dim=1)
        predicted = net(
            features(read, loc, scale, None if time is None else time[:, :count]),
            rotation(config, 0, count, longest=longest, device=device),
            only_last=True,
        )
        chosen = choose(StudentT(*(part.view(batch, samples) for part in predicted)), step)
        series[:, length + step] = (loc + scale * chosen.reshape(-1, 1)).squeeze(1)
    return series[:, length:].view(batch, samples, horizon)


def _lags(net: LagLlama, device: torch.device) -> Tensor:
    return torch.tensor(net.config.lags_seq, device=device)


class SharedPrefix:
    """Keys and values of one call: of the history once per window, of drawn steps once per path.

    The history goes through `begin` as a batch of token sequences; then each step goes through `follow` with the
    paths of a window where a sequence has its tokens, so that all of them ask the history's keys in one product.
    Keys are kept as they are rotated: positions are absolute, so that none turns later.
    """

    def __init__(self, net: LagLlama, steps: int) -> None:
        self._net = net
        self._steps = steps
        self._history: list[tuple[Tensor, Tensor]] = []
        self._drawn: list[tuple[Tensor, Tensor]] = []
        self._count = 0

    def begin(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention among the history's tokens, keeping their keys and values."""
        self._history.append((key, value))
        return self._net.causal(layer, query, key, value)

    def follow(
        self,
        layer: int,
        query: Float[Tensor, "batch head sample feature"],
        key: Float[Tensor, "batch head sample feature"],
        value: Float[Tensor, "batch head sample feature"],
    ) -> Float[Tensor, "batch head sample feature"]:
        """Attention of each path's newest token to the history, to the path's earlier tokens and to itself."""
        if len(self._drawn) == layer:
            room = (*key.shape[:3], self._steps, key.shape[3])
            self._drawn.append((key.new_empty(room), value.new_empty(room)))
        self._count += layer == 0
        keys, values = (kept[..., : self._count, :] for kept in self._drawn[layer])
        keys[..., -1, :], values[..., -1, :] = key, value
        old_keys, old_values = self._history[layer]
        query = query / math.sqrt(query.shape[-1])
        to_history = query @ old_keys.transpose(-1, -2)
        to_path = (keys @ query.unsqueeze(-1)).squeeze(-1)
        shares = torch.cat([to_history, to_path], dim=-1).softmax(-1)
        before = to_history.shape[-1]
        taken: Tensor = shares[..., :before] @ old_values + (shares[..., None, before:] @ values).squeeze(-2)
        return taken
