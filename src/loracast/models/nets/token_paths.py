"""Sample paths of a T5 over tokens: what all paths of a window have in common is computed once a window.

The sampler of `transformers` draws from torch's global state, whose numbers depend on what else is in the batch, and
its network keeps the keys and values of the context once for every path. Here the modules of that network, with
whatever adapts them, are called in its order, a token at a time: the encoder and the keys and values that the decoder
takes from it once a window, those of the paths' own tokens in one place that does not grow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from loracast.models.draws import paths_at_once
from loracast.models.precision import dtype_of

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration
    from transformers.models.t5.modeling_t5 import T5Attention

MOST_KEPT = 2**24
"""Numbers that the keys and values of one pass's paths may take (64 MB), unless fewer than 20 paths fit."""
MOST_AT_HAND = 2**20
"""Numbers that stay within reach of a processor (4 MB): up to so many keys, products one by one are quicker."""
_PARTS = 4
"""In how many times `top_k` parts the tokens are looked through for the likeliest."""
_PART = 32
"""Tokens whose shares are added up before they are looked at one by one."""


@dataclass(frozen=True)
class Drawing:
    """Which tokens are drawn: never `never`, and those that `warp` leaves a score above minus infinity.

    `warp` keeps the order of the scores, and of the likeliest `top_k` (of all, if 0) and those that equal the last of
    them nothing else: then it need not see the others.
    """

    never: int
    warp: Callable[[Float[Tensor, "row token"]], Float[Tensor, "row token"]]
    top_k: int = 0


def numbers_of_path(net: T5ForConditionalGeneration, horizon: int) -> int:
    """How many numbers a path keeps: keys and values of its own tokens."""
    config = net.config
    return int(config.num_decoder_layers * 2 * config.num_heads * config.d_kv * horizon)


@torch.no_grad()
def sample_tokens(
    net: T5ForConditionalGeneration,
    ids: Int[Tensor, "window context"],
    mask: Bool[Tensor, "window context"],
    numbers: Float[Tensor, "window sample horizon"],
    drawing: Drawing,
) -> Int[Tensor, "window sample horizon"]:
    """A token for each of `numbers` from [0, 1), which says where in the distribution it stands (inverse transform)."""
    windows, samples, horizon = numbers.shape
    decoder = Decoder(net, ids, mask, horizon)
    begun = _Kept(net, windows, 1)
    logits = decoder.step(decoder.first, 0, begun)
    some = paths_at_once(samples, numbers_of_path(net, horizon), MOST_KEPT)
    found = numbers.new_empty(numbers.shape, dtype=torch.long)
    for start in range(0, samples, some):
        part = numbers[:, start : start + some].to(ids.device)
        paths = part.shape[1]
        kept, tokens = begun.of_paths(paths, horizon), torch.empty_like(part, dtype=torch.long)
        tokens[:, :, 0] = drawn(logits.repeat_interleave(paths, dim=0), part[:, :, 0].flatten(), drawing).view(
            -1, paths
        )
        for step in range(1, horizon):
            scores = decoder.step(tokens[:, :, step - 1], step, kept)
            tokens[:, :, step] = drawn(scores, part[:, :, step].flatten(), drawing).view(-1, paths)
        found[:, start : start + some] = tokens
    return found


class _Kept:
    """Keys and values of the tokens so far: (layer, row, step, inner), a row for each path, with room for `steps`.

    The steps of a row lie beside each other, heads within them: that is how they are made and how they are read.
    """

    def __init__(self, net: T5ForConditionalGeneration, rows: int, steps: int) -> None:
        config = net.config
        shape = (config.num_decoder_layers, rows, steps, config.num_heads * config.d_kv)
        self.keys, self.values = (torch.empty(shape, dtype=dtype_of(net), device=net.device) for _ in range(2))
        self._net = net

    def of_paths(self, paths: int, steps: int) -> _Kept:
        """Room for `steps` of each of `paths` paths a row, which begin with what is kept here."""
        _, rows, own, _ = self.keys.shape
        room = _Kept(self._net, rows * paths, steps)
        room.keys[:, :, :own] = self.keys.repeat_interleave(paths, dim=1)
        room.values[:, :, :own] = self.values.repeat_interleave(paths, dim=1)
        return room


class Decoder:
    """The decoder of a T5 on some windows, a token of each of their paths at a time."""

    def __init__(
        self,
        net: T5ForConditionalGeneration,
        ids: Int[Tensor, "window context"],
        mask: Bool[Tensor, "window context"],
        horizon: int,
    ) -> None:
        self._net = net
        self._blocks = net.decoder.block
        read = net.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        lowest = torch.finfo(dtype_of(net)).min
        self._hidden = torch.zeros_like(mask, dtype=dtype_of(net)).masked_fill(~mask.bool(), lowest)
        attentions = [block.layer[1].EncDecAttention for block in self._blocks]
        self._read = [[_by_head(one, part(read)).transpose(1, 2) for part in (one.k, one.v)] for one in attentions]
        own = self._blocks[0].layer[0].SelfAttention
        self._bias: Float[Tensor, "1 head horizon horizon"] = own.compute_bias(horizon, horizon)
        self.first = torch.full((len(ids), 1), net.config.decoder_start_token_id, device=ids.device)

    def step(self, tokens: Int[Tensor, "window path"], step: int, kept: _Kept) -> Float[Tensor, "row token"]:
        """The scores of the tokens after these, which stand at `step`; their keys and values are put into `kept`."""
        windows, paths = tokens.shape
        hidden = self._net.decoder.embed_tokens(tokens.reshape(-1, 1))
        for number, block in enumerate(self._blocks):
            own, cross, forward = block.layer
            attention, given = own.SelfAttention, own.layer_norm(hidden)
            kept.keys[number, :, step] = attention.k(given).squeeze(1)
            kept.values[number, :, step] = attention.v(given).squeeze(1)
            found = _of_one_step(
                _by_head(attention, attention.q(given)),
                _by_head(attention, kept.keys[number, :, : step + 1]),
                _by_head(attention, kept.values[number, :, : step + 1]),
                self._bias[0, :, step, : step + 1],
            )
            hidden = hidden + attention.o(found.flatten(1).unsqueeze(1))
            attention, (keys, values) = cross.EncDecAttention, self._read[number]
            given = attention.q(cross.layer_norm(hidden)).view(windows, paths, -1)  # one product a window, not a path
            found = scaled_dot_product_attention(
                _by_head(attention, given).transpose(1, 2),
                keys,
                values,
                attn_mask=self._hidden[:, None, None],
                scale=1.0,
            )
            hidden = hidden + attention.o(found.transpose(1, 2).reshape(windows * paths, 1, -1))
            hidden = forward(hidden)
        hidden = self._net.decoder.final_layer_norm(hidden)
        if self._net.config.scale_decoder_outputs:
            hidden = hidden * self._net.model_dim**-0.5
        scores: Tensor = self._net.lm_head(hidden).squeeze(1)
        return scores


def _by_head(attention: T5Attention, states: Float[Tensor, "row step inner"]) -> Float[Tensor, "row step head own"]:
    return states.view(*states.shape[:2], -1, attention.key_value_proj_dim)


def _of_one_step(
    query: Float[Tensor, "row 1 head own"],
    keys: Float[Tensor, "row step head own"],
    values: Float[Tensor, "row step head own"],
    bias: Float[Tensor, "head step"],
) -> Float[Tensor, "row head own"]:
    """What one step of each row takes from its own steps; T5 has the scale of the products in its weights."""
    if keys.device.type == "cpu" and keys.numel() <= MOST_AT_HAND:
        shares = ((keys * query).sum(-1) + bias.T).softmax(1)
        return (shares[..., None] * values).sum(1)
    query, keys, values = (one.transpose(1, 2) for one in (query, keys, values))
    return scaled_dot_product_attention(query, keys, values, attn_mask=bias[None, :, None], scale=1.0).squeeze(2)


def drawn(scores: Float[Tensor, "row token"], numbers: Float[Tensor, " row"], drawing: Drawing) -> Int[Tensor, " row"]:
    """The token of each row that its number chooses; `scores` are overwritten."""
    scores[:, drawing.never] = -torch.inf
    # On a GPU the search would wait for the processor at each step, and going through all tokens is quick.
    if scores.device.type != "cpu" or not 0 < drawing.top_k * _PARTS < scores.shape[1]:
        return chosen(drawing.warp(scores.float()), numbers)
    some, tokens = likeliest(scores.float(), drawing.top_k)
    return tokens.gather(1, chosen(drawing.warp(some), numbers)[:, None]).squeeze(1)


def likeliest(
    scores: Float[Tensor, "row token"], least: int
) -> tuple[Float[Tensor, "row some"], Int[Tensor, "row some"]]:
    """At least the `least` highest scores of each row and all that equal the last of them, with their tokens.

    In the order of the tokens; rows that have fewer than others end with minus infinity. The highest scores of more
    than `least` parts of a row are themselves that many scores: nothing below the last of these can be among the
    highest. A part takes every n-th token, as tokens that are alike stand beside each other.
    """
    rows, tokens = scores.shape
    parts = least * _PARTS
    highest = scores[:, : tokens // parts * parts].view(rows, -1, parts).amax(dim=1)
    row, token = (scores >= highest.topk(least).values[:, -1:]).nonzero(as_tuple=True)
    count = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row)) - (count.cumsum(0) - count)[row]
    some = scores.new_full((rows, int(count.max())), -torch.inf)
    where = torch.zeros_like(some, dtype=torch.long)
    some[row, place], where[row, place] = scores[row, token], token
    return some, where


def chosen(logits: Float[Tensor, "row token"], numbers: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    """The token in whose stretch of the cumulative distribution each number lies; never one without a share.

    First the part of the tokens, then the one in it, so that not all of them are added up in double precision.
    """
    shares = logits.softmax(-1)
    parts = pad(shares, (0, -shares.shape[1] % _PART)).view(len(shares), -1, _PART)
    sums = parts.sum(-1, dtype=torch.float64)
    whole = sums.cumsum(-1)
    at = numbers.double() * whole[:, -1]
    part = _stretch(whole, at)
    before = (whole - sums).gather(1, part[:, None]).squeeze(1)
    own = parts.gather(1, part[:, None, None].expand(-1, 1, _PART)).squeeze(1)
    return part * _PART + _stretch(own.double().cumsum(-1), at - before)


def _stretch(ends: Float[Tensor, "row stretch"], at: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    """In which of the stretches that end at `ends` each number lies; those without a length are never taken."""
    # Below the end of the last, which rounding leaves beside the whole.
    inside = at.clamp_min(0).minimum(ends[:, -1].nextafter(ends.new_zeros(())))
    return torch.searchsorted(ends, inside[:, None], right=True).squeeze(1)
