"""What Chronos-Bolt and Chronos-2 share: a scale taken from the context, and quantiles instead of samples."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from loracast.models.base import BackboneCard, count_parameters

# Standard deviation of a context relative to its largest value; below it, float32 is rounding.
_LEAST_SPREAD = 1e-6


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
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend keeping prediction length")
        yield


def card_of(net: Any, name: str, family: str, horizon: int, *, licence: str, revision: str | None) -> BackboneCard:
    """The card of a network with a `chronos_config`."""
    return BackboneCard(
        name=name,
        family=family,
        parameters=count_parameters(net),
        context=net.chronos_config.context_length,
        horizon=horizon,
        licence=licence,
        revision=revision,
    )
