"""Sample paths of an encoder-decoder over tokens: the encoder reads a window once, however many paths go on from it.

`transformers` has a sampler of its own; it draws from torch's global state, whose numbers depend on what else is in the
batch, reads a window once for every path, and follows a config that may switch the cache of the decoder off.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from loracast.models.draws import paths_at_once

if TYPE_CHECKING:
    from transformers import EncoderDecoderCache, T5ForConditionalGeneration

Warp = Callable[[Float[Tensor, "row token"]], Float[Tensor, "row token"]]
"""Raw scores of tokens to those that are drawn from; minus infinity for what is not."""

MOST_KEPT = 2**24
"""Numbers that the keys and values of one pass's paths may take (64 MB), unless fewer than 20 paths fit."""


def numbers_of_path(net: T5ForConditionalGeneration, context: int, horizon: int) -> int:
    """How many numbers a path keeps: keys and values of its own tokens and, where they are copied, of the context."""
    config = net.config
    return int(config.num_decoder_layers * 2 * config.num_heads * config.d_kv * (context + horizon))


@torch.no_grad()
def sample_tokens(
    net: T5ForConditionalGeneration,
    ids: Int[Tensor, "window context"],
    mask: Bool[Tensor, "window context"],
    numbers: Float[Tensor, "window sample horizon"],
    warp: Warp,
) -> Int[Tensor, "window sample horizon"]:
    """A token for each of `numbers` from [0, 1), which says where in the distribution it stands (inverse transform)."""
    windows, samples, horizon = numbers.shape
    read = net.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    first = torch.full((windows, 1), net.config.decoder_start_token_id, device=ids.device)
    begun = net(
        encoder_outputs=BaseModelOutput(read), attention_mask=mask, decoder_input_ids=first, use_cache=True
    )  # whatever the config says of the cache
    some = paths_at_once(samples, numbers_of_path(net, 0 if windows == 1 else ids.shape[1], horizon), MOST_KEPT)
    found = numbers.new_empty(numbers.shape, dtype=torch.long)
    for start in range(0, samples, some):
        part = numbers[:, start : start + some].to(ids.device)
        found[:, start : start + some] = _continued(net, read, mask, begun, part, warp)
    return found


def _continued(
    net: T5ForConditionalGeneration, read: Tensor, mask: Tensor, begun: object, numbers: Tensor, warp: Warp
) -> Tensor:
    """Some paths of each window, from what is common to all of them."""
    windows, paths, horizon = numbers.shape
    logits, cache = begun.logits[:, -1], _spread(begun.past_key_values, paths)  # type: ignore[attr-defined]
    logits, read, mask = (_rows(part, paths) for part in (logits, read, mask))
    numbers = numbers.flatten(0, 1)
    tokens = numbers.new_empty(windows * paths, horizon, dtype=torch.long)
    for step in range(horizon):
        tokens[:, step] = chosen(warp(logits.float()), numbers[:, step])
        if step + 1 == horizon:
            break
        out = net(
            encoder_outputs=BaseModelOutput(read),
            attention_mask=mask,
            decoder_input_ids=tokens[:, step : step + 1],
            past_key_values=cache,
            use_cache=True,
        )
        logits = out.logits[:, -1]
    return tokens.view(windows, paths, horizon)


def chosen(logits: Float[Tensor, "row token"], numbers: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    """The token in whose stretch of the cumulative distribution each number lies; never one without a share."""
    shares = logits.softmax(-1, dtype=torch.float64).cumsum(-1)
    # Below the whole, which rounding leaves beside 1: else the last token would be drawn though it has no share.
    at = (numbers.double() * shares[:, -1]).clamp_max(shares[:, -1].nextafter(shares.new_zeros(())))
    return torch.searchsorted(shares, at[:, None], right=True).squeeze(1)


def _rows(part: Tensor, paths: int) -> Tensor:
    """Each window's row once for each of its paths, beside each other; a single window is not copied."""
    return part.unsqueeze(1).expand(-1, paths, *part.shape[1:]).flatten(0, 1)


def _spread(cache: EncoderDecoderCache, paths: int) -> EncoderDecoderCache:
    """The keys and values of the first step, for every path."""
    own = deepcopy(cache)
    for half in (own.self_attention_cache, own.cross_attention_cache):
        for layer in half.layers:
            layer.keys, layer.values = (_rows(kept, paths) for kept in (layer.keys, layer.values))
    return own
