"""Lag-Llama's paths by upstream's procedure: level and spread taken anew before each step, over history and path.

A new level or spread changes the features of every token, so nothing is kept that they went into; but what they did not
change is not computed again. The tokens of the history hang on level and spread alone: they are computed once for each
pair of these that paths of the window have, not once a path. A path whose level and spread a drawn step left as they
were (a median and quartiles of values that repeat, as vital signs do) needs its newest token only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from loracast.models.nets.lag_llama import Attend, LagLlama, StudentT, rotation
from loracast.models.nets.lag_llama_window import Window, features, lagged, level_and_spread
from loracast.models.precision import dtype_of

if TYPE_CHECKING:
    from loracast.models.nets.lag_llama_paths import Choose

_Kept = tuple[Float[Tensor, "row head token feature"], Float[Tensor, "row head token feature"]]
"""Keys and values of a layer."""
_TOKENS_AT_ONCE = 512
"""Tokens that go through a layer together on a processor, about: their activations then stay in its caches."""


def exact_paths(
    net: LagLlama, window: Window, choose: Choose, *, samples: int, horizon: int
) -> Float[Tensor, "1 sample horizon"]:
    """Paths of one window."""
    config, length = net.config, window.values.shape[1]
    series = functional.pad(window.values, (0, horizon)).repeat(samples, 1)
    observed = functional.pad(window.observed, (0, horizon), value=True).expand(samples, -1)
    loc, scale = (part.expand(samples, 1) for part in (window.loc, window.scale))
    grown = _Grown(net, window, samples, horizon)
    for step in range(horizon):
        now = slice(0, length + step)
        if step:
            loc, scale = level_and_spread(config.scaling, series[:, now], observed[:, now], guarded=window.guarded)
        predicted = grown.predict(series, torch.cat([loc, scale], dim=1), step)
        series[:, length + step] = (loc + scale * choose(predicted, step).reshape(-1, 1)).squeeze(1)
    return series[None, :, length:]


class _Grown:
    """A window's paths as they grow: keys and values of history and paths, and the level and spread they are of."""

    def __init__(self, net: LagLlama, window: Window, samples: int, horizon: int) -> None:
        self._net, self._window, self._longest = net, window, window.tokens + horizon - 1
        self._pairs = window.loc.new_empty(0, 2)
        self._which = torch.zeros(samples, dtype=torch.long, device=window.loc.device)
        self._history: list[_Kept] = []
        config = net.config
        room = (samples, config.n_head, horizon - 1, config.n_embd_per_head)
        self._own = [_empty(net, room) for _ in range(config.n_layer)]

    def predict(self, series: Float[Tensor, "sample step"], pairs: Float[Tensor, "sample 2"], step: int) -> StudentT:
        """The distribution of each path's next step, [1, sample], after `step` steps, under level and spread."""
        if not step:
            (first,) = self._encode(pairs)
            return StudentT(*(part.expand(1, len(pairs)) for part in first))
        before = self._pairs[self._which]
        self._encode(pairs)
        changed = (before != pairs).any(dim=1)
        found = pairs.new_empty(3, len(pairs))
        for rows, start in ((changed.nonzero()[:, 0], 0), ((~changed).nonzero()[:, 0], step - 1)):
            for some in self._blocks(rows, step - start):
                tokens = slice(start, step)
                found[:, some] = torch.stack(self._follow(series[some], pairs[some], some, tokens)).squeeze(-1)
        return StudentT(*found[:, None])

    def _encode(self, pairs: Float[Tensor, "sample 2"]) -> list[StudentT]:
        """Compute the history under those of `pairs` that are new; what it says under them, block by block."""
        window, net, config = self._window, self._net, self._net.config
        pairs, self._which = torch.unique(pairs, dim=0, return_inverse=True)
        same = (pairs[:, None] == self._pairs).all(dim=2)
        known = same.any(dim=1)
        room = (len(pairs), config.n_head, window.tokens, config.n_embd_per_head)
        history = [_empty(net, room) for _ in range(config.n_layer)]
        if known.any():
            old = same[known].int().argmax(dim=1)
            for new_parts, old_parts in zip(history, self._history, strict=True):
                for new, of_old in zip(new_parts, old_parts, strict=True):
                    new[known] = of_old[old]
        length = window.values.shape[1]
        read = lagged(window.values, config.lags_seq, slice(length - window.tokens, length))
        time = None if window.time is None else window.time[:, : window.tokens]
        turn = rotation(config, 0, window.tokens, longest=self._longest, device=read.device)
        predicted = []
        for some in self._blocks((~known).nonzero()[:, 0], window.tokens):
            tokens = features(read.expand(len(some), -1, -1), pairs[some, :1], pairs[some, 1:], time)
            predicted.append(net(tokens, turn, attend=self._begin(history, some), only_last=True))
        self._pairs, self._history = pairs, history
        return predicted

    def _begin(self, history: list[_Kept], some: Int[Tensor, " pair"]) -> Attend:
        """Attention among the history's tokens, keeping their keys and values."""

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            history[layer][0][some], history[layer][1][some] = key, value
            return self._net.causal(layer, query, key, value)

        return attend

    def _follow(self, series: Tensor, pairs: Tensor, some: Int[Tensor, " path"], tokens: slice) -> StudentT:
        """What the newest token of some paths says, for which the tokens `tokens` of these have to be computed."""
        window, config = self._window, self._net.config
        length, start, stop = window.values.shape[1], window.tokens + tokens.start, window.tokens + tokens.stop
        read = lagged(series, config.lags_seq, slice(length + tokens.start, length + tokens.stop))
        time = None if window.time is None else window.time[:, start:stop]
        turn = rotation(config, start, stop, longest=self._longest, device=series.device)
        seen = torch.ones(stop - start, stop, dtype=torch.bool, device=series.device).tril(start)

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = self._own[layer]
            keys[some, :, tokens], values[some, :, tokens] = key, value
            pair, upto = self._which[some], slice(tokens.stop)
            old_keys, old_values = self._history[layer]
            return functional.scaled_dot_product_attention(
                query,
                torch.cat([old_keys[pair], keys[some, :, upto]], dim=2),
                torch.cat([old_values[pair], values[some, :, upto]], dim=2),
                attn_mask=seen[-query.shape[2] :],
            )

        read = features(read, pairs[:, :1], pairs[:, 1:], time)
        predicted: StudentT = self._net(read, turn, attend=attend, only_last=True)
        return predicted

    def _blocks(self, rows: Int[Tensor, " row"], tokens: int) -> list[Int[Tensor, " row"]]:
        """The rows, so many at a time as go through the network together where each has so many tokens."""
        together = max(1, len(rows) if rows.is_cuda else _TOKENS_AT_ONCE // tokens)
        return [rows[start : start + together] for start in range(0, len(rows), together)]


def _empty(net: LagLlama, shape: tuple[int, ...]) -> _Kept:
    like, dtype = next(net.parameters()), dtype_of(net)
    return like.new_empty(shape, dtype=dtype), like.new_empty(shape, dtype=dtype)
