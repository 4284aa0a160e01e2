"""The precision that a network multiplies in, which is part of what a forecast is: asked for, never guessed.

float32 unless bfloat16 is asked for. Nothing chooses by the machine: the same experiment would have other numbers on
the next one, and its digest would not tell. bfloat16 halves the bytes of a product and is quicker where the processor
has it (AMX, AVX512_BF16) or on a GPU; elsewhere it is computed all the same, slower, which is said.

Products of matrices are rounded to bfloat16, by torch's autocast; sums over layers, norms, shares of attention,
distributions and all that is drawn or solved for stay in float32 or better.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch
    from torch import nn

    from loracast.models.base import Model, Network
    from loracast.spec import ForecastSpec, Precision

_OF_PROCESSORS = ("amx_bf16", "avx512_bf16", "bf16")
"""What torch calls it: two names on x86-64, one on ARM."""

logger = logging.getLogger(__name__)


def precision_of(model: Model, spec: ForecastSpec) -> Precision | None:
    """What the network of a model multiplies in; None for a model without one.

    Networks from scratch stay in float32, in training and in forecasts: they are small.
    """
    if model.card.kind == "pretrained":
        return spec.precision
    return "float32" if model.card.kind == "network" else None


@contextmanager
def computing(model: Model, precision: Precision | None) -> Iterator[None]:
    """Within it the network of a model multiplies in this precision; nothing can be trained in it.

    Where the machine has no bfloat16, that is said once.
    """
    import torch

    if precision != "bfloat16":
        yield
        return
    net = cast("Network", model).net
    device = next(net.parameters()).device.type
    if has_bfloat16(device) is False:
        _tell_slow()
    # autocast keeps what it has made of a weight only where that could be trained; others it makes again each time.
    frozen = [one for one in net.parameters() if not one.requires_grad and one.is_floating_point()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def dtype_of(net: nn.Module) -> torch.dtype:
    """The type of what the network's products give here: bfloat16 within `computing`, else that of its weights."""
    import torch

    like = next(net.parameters())
    if torch.is_autocast_enabled(like.device.type):
        return torch.get_autocast_dtype(like.device.type)
    return like.dtype


def has_bfloat16(device: str) -> bool | None:
    """Whether a processor or GPU multiplies bfloat16 in hardware; None where torch does not tell."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # which torch has since 2.10
        return None
    known = torch.cpu.get_capabilities()
    return any(bool(known.get(name)) for name in _OF_PROCESSORS)


@functools.cache
def _tell_slow() -> None:
    logger.warning(
        "bfloat16 asked for, which this machine does not have (a processor has it with AMX or AVX512_BF16). Forecasts "
        "are computed in it all the same, more slowly than in float32; leave precision out to forecast in float32."
    )
