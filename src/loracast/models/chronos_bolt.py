"""Chronos-Bolt: a T5 that reads patches and writes quantiles of all steps at once (amazon/chronos-bolt-*, 2024).

Network and forecast are those of `chronos-forecasting`, which cannot fine-tune it. This file adds the training: the
loss that the network's `forward` computes, put right where its scale is none, and what PEFT has to know of the network.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.models.base import ModelCard, check_window, count_parameters
from loracast.models.chronos_t5 import SITES as T5_SITES
from loracast.models.chronos_t5 import is_chronos
from loracast.models.levels import between
from loracast.models.registry import Family, Release, Wanted
from loracast.types import Rows

if TYPE_CHECKING:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from jaxtyping import Bool, Float
    from torch import Tensor

# The T5 is that of Chronos-T5; what stands before and behind it is not.
SITES = replace(
    T5_SITES,
    embedding=r"input_patch_embedding\.(hidden|output|residual)_layer",
    bias=r"(input|output)_patch_embedding\.(hidden|output|residual)_layer\.bias",
    head=r"output_patch_embedding\.(hidden|output|residual)_layer",
)
# Standard deviation of a context relative to its largest value; below it, float32 is rounding.
_LEAST_SPREAD = 1e-6
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

    def __init__(self, card: ModelCard, net: ChronosBoltModelForForecasting) -> None:
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
        (see `scored`). Of a longer horizon the native one is scored: one pass forecasts no more.
        """
        check_window(self.card, context.shape[1])
        device = self._net.device
        future = future[:, : self.card.horizon]
        counted = scored(context, future)
        loss: Tensor = self._net(
            context=context.to(device), target=future.to(device), target_mask=counted.to(device)
        ).loss
        return loss

    def forecast(
        self,
        context: Float[Tensor, "batch context"],
        horizon: int,
        *,
        levels: tuple[float, ...],
        samples: int,
        seed: int,
        rows: Rows | None = None,
    ) -> Float[Tensor, "batch horizon level"]:
        """The model's quantiles, without chance: `samples`, `seed` and `rows` are not used.

        Levels between the native ones (0.1 to 0.9) are interpolated linearly, levels beyond them are refused. A horizon
        beyond the native 64 steps is rolled out: each native quantile of one block continues the context in turn, and
        the next block's quantiles are those of all 81 values.
        """
        import torch
        from chronos import ChronosBoltPipeline

        check_window(self.card, context.shape[1])
        native = self._net.chronos_config.quantiles
        with torch.no_grad(), undisturbed():
            # Of the pipeline of this call: PEFT changes `net` in place.
            found, _ = ChronosBoltPipeline(self._net).predict_quantiles(
                context, prediction_length=horizon, quantile_levels=list(native)
            )
        return between(found.float().cpu(), native, levels, self.card.name)


def scored(context: Float[Tensor, "batch context"], future: Float[Tensor, "batch horizon"]) -> Bool[Tensor, "batch h"]:
    """Which targets the loss counts: those observed, after a context that tells a scale.

    Both libraries standardise the target by the standard deviation of the context, and put 1e-5 where that is 0. After
    a constant context, frequent in charted vital signs, a change of 1 bpm then weighs like 100,000 standard deviations
    and one such window drowns the batch; after an empty one the target is scored in raw units. Neither is scored here.
    """
    seen = ~context.isnan()
    count = seen.sum(dim=1, keepdim=True).clamp(min=1)
    values = context.nan_to_num(nan=0.0).double()
    mean = values.sum(dim=1, keepdim=True) / count
    spread = ((values - mean).square() * seen).sum(dim=1, keepdim=True).div(count).sqrt()
    return (spread > _LEAST_SPREAD * values.abs().amax(dim=1, keepdim=True)) & ~future.isnan()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the library from drawing of torch's global state, and from its warning of each batch of a long horizon.

    Nothing is sampled here, but a DataLoader draws a seed whenever it is begun, wanted or not.
    """
    import torch

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend keeping prediction length")
        yield


def card_of(net: Any, name: str, family: str, horizon: int, *, licence: str, revision: str | None) -> ModelCard:
    """The card of a network with a `chronos_config`."""
    return ModelCard(
        name=name,
        family=family,
        kind="pretrained",
        parameters=count_parameters(net),
        context=net.chronos_config.context_length,
        horizon=horizon,
        licence=licence,
        revision=revision,
    )


def _network() -> Any:
    """The library's class, told where its embeddings are.

    transformers 5 asks each class, and the library's does not say: PEFT then refuses any adapter on it, ours or
    another's. Said of the class, so that an adapter opens on a network that the library itself loads afterwards.
    """
    from chronos.chronos_bolt import ChronosBoltModelForForecasting

    ChronosBoltModelForForecasting._input_embed_layer = "shared"
    return ChronosBoltModelForForecasting


def load(wanted: Wanted) -> ChronosBolt:
    """Load weights from a folder, the Hub or its cache; raises BackboneError with what to do next."""
    from transformers import T5Config

    from loracast.models.store import open_network

    opened = open_network(_network(), T5Config, wanted.weights, wanted.revision, FAMILY.name)
    return ChronosBolt(_card(opened.net, wanted.name, wanted.licence, opened.commit), opened.net)


def skeleton(name: str, sizes: Mapping[str, Any], licence: str) -> ChronosBolt:
    """The architecture without weights, on the meta device."""
    import torch
    from transformers import T5Config

    with torch.device("meta"):
        net = _network()(T5Config(**sizes, chronos_config=dict(_PUBLISHED)))
    return ChronosBolt(_card(net, name, licence, None), net)


def _card(net: ChronosBoltModelForForecasting, name: str, licence: str, revision: str | None) -> ModelCard:
    horizon = net.chronos_config.prediction_length
    return card_of(net, name, FAMILY.name, horizon, licence=licence, revision=revision)


def _release(size: str, d_model: int, d_ff: int, layers: int, heads: int) -> Release:
    # The published config.json; encoder and decoder are equally deep.
    sizes = {"d_model": d_model, "d_kv": 64, "d_ff": d_ff, "num_layers": layers, "num_heads": heads, "vocab_size": 2}
    return Release(f"amazon/chronos-bolt-{size}", "Apache-2.0", sizes)


FAMILY = Family(
    name="chronos-bolt",
    kind="pretrained",
    summary="a T5 that reads patches and writes quantiles of all steps at once",
    releases={
        "chronos-bolt-tiny": _release("tiny", 256, 1024, 4, 4),
        "chronos-bolt-mini": _release("mini", 384, 1536, 4, 8),
        "chronos-bolt-small": _release("small", 512, 2048, 6, 8),
        "chronos-bolt-base": _release("base", 768, 3072, 12, 12),
    },
    load=load,
    skeleton=skeleton,
    sites=SITES,
    owns=lambda content: is_chronos(content, "ChronosBoltModelForForecasting"),
    packages=("chronos-forecasting", "torch", "transformers"),
)
