"""Chronos-Bolt: a T5 that reads patches and writes quantiles of all steps at once (amazon/chronos-bolt-*, 2024).

Network and forecast are those of `chronos-forecasting`, which cannot fine-tune it. This file adds the training: the
loss that the network's `forward` computes, put right where its scale is none, and what PEFT has to know of the network.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from chronos import ChronosBoltPipeline
from chronos.chronos_bolt import ChronosBoltModelForForecasting
from jaxtyping import Float
from torch import Tensor
from transformers import T5Config

from loracast.models.base import BackboneCard, Rows, Sites, check_window
from loracast.models.patched import card_of, scored, undisturbed
from loracast.models.store import open_network

FAMILY = "chronos-bolt"
SITES = Sites(
    attention=r".*\.(SelfAttention|EncDecAttention)\.[qkvo]",
    query_value=r".*\.(SelfAttention|EncDecAttention)\.[qv]",
    key_value=r".*\.(SelfAttention|EncDecAttention)\.[kv]",
    feed_forward=r".*\.DenseReluDense\.w[io]",
    feed_forward_out=r".*\.DenseReluDense\.wo",
    embedding=r"input_patch_embedding\.(hidden|output|residual)_layer",
    norm=r".*layer_norm",
    bias=r"(input|output)_patch_embedding\.(hidden|output|residual)_layer\.bias",
    head=r"output_patch_embedding\.(hidden|output|residual)_layer",
)
# transformers 5 asks each class where its embeddings are, and the library's does not say: PEFT then refuses any adapter
# on it, ours or another's. Said of the class, so that an adapter opens on a network that the library itself has loaded.
ChronosBoltModelForForecasting._input_embed_layer = "shared"
# The same in all four published configs.
_PUBLISHED = {
    "context_length": 2048,
    "prediction_length": 64,
    "input_patch_size": 16,
    "input_patch_stride": 16,
    "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
    "use_reg_token": True,
}


class ChronosBolt:
    """A loaded Chronos-Bolt."""

    def __init__(self, card: BackboneCard, net: ChronosBoltModelForForecasting) -> None:
        self.card = card
        self.sites = SITES
        self._net = net

    @property
    def net(self) -> ChronosBoltModelForForecasting:
        """The T5 with its patch embeddings."""
        return self._net

    def save(self, folder: Path) -> None:
        """Write the network to a folder."""
        self._net.save_pretrained(folder)

    def loss(
        self,
        context: Float[Tensor, "batch context"],
        future: Float[Tensor, "batch horizon"],
        rows: Rows | None = None,
    ) -> Tensor:
        """Pinball loss of the native quantiles on the standardised target, as the library reduces it.

        Twice the pinball loss, mean over quantiles, sum over the steps, mean over the rows. A missing target adds 0 and
        stays in the denominator, as in pretraining; so does a target after a context without spread, which is no scale
        (see `patched.scored`). Of a longer horizon the native one is scored: one pass forecasts no more.
        """
        check_window(self.card, context.shape[1])
        device = self._net.device
        future = future[:, : self.card.horizon]
        counted = scored(context, future)
        loss: Tensor = self._net(
            context=context.to(device), target=future.to(device), target_mask=counted.to(device)
        ).loss
        return loss

    @torch.no_grad()
    def forecast(
        self,
        context: Float[Tensor, "batch context"],
        horizon: int,
        *,
        levels: tuple[float, ...],
        samples: int,
        generator: torch.Generator,
        rows: Rows | None = None,
    ) -> Float[Tensor, "batch horizon level"]:
        """The model's quantiles, without chance: `samples` and `generator` are not used.

        Levels between the native ones (0.1 to 0.9) are interpolated linearly, levels beyond them are the outermost
        native ones, of which the library's log tells. A horizon beyond the native 64 steps is rolled out: each native
        quantile of one block continues the context in turn, and the next block's quantiles are those of all 81 values.
        """
        check_window(self.card, context.shape[1])
        with undisturbed():
            # Of the pipeline of this call: PEFT changes `net` in place.
            quantiles, _ = ChronosBoltPipeline(self._net).predict_quantiles(
                context, prediction_length=horizon, quantile_levels=list(levels)
            )
        found: Tensor = quantiles.float().cpu()
        return found


def load(name: str, location: str | Path, licence: str, revision: str | None) -> ChronosBolt:
    """Load weights from a folder, the Hub or its cache; raises BackboneError with what to do next."""
    opened = open_network(ChronosBoltModelForForecasting, T5Config, location, revision, FAMILY)
    return ChronosBolt(_card(opened.net, name, licence, opened.commit), opened.net)


def skeleton(name: str, sizes: Mapping[str, Any], licence: str) -> ChronosBolt:
    """The architecture without weights, on the meta device."""
    with torch.device("meta"):
        net = ChronosBoltModelForForecasting(T5Config(**sizes, chronos_config=dict(_PUBLISHED)))
    return ChronosBolt(_card(net, name, licence, None), net)


def _card(net: ChronosBoltModelForForecasting, name: str, licence: str, revision: str | None) -> BackboneCard:
    horizon = net.chronos_config.prediction_length
    return card_of(net, name, FAMILY, horizon, licence=licence, revision=revision)
