# mypy: allow-subclassing-any
"""The products of adapted matrices: PEFT's layers, parameters and files, with less arithmetic a pass.

PEFT sends every row of a batch through the frozen matrix and beside it through the adapter, whose narrow products and
sums then take a third of the matrix's own time, or more than it. Here the update is added to the matrix first, and one
product is made: W x + s B (A x) = (W + s B A) x. Numbers agree to rounding in float32. In bfloat16 an update that is
small beside its weight would be rounded away, so there, and wherever a layer is used otherwise than a training or a
forecast uses it, PEFT's own pass is taken.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, cast

import torch
from peft.tuners.fourierft.layer import FourierFTLinear
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.vera.layer import Linear as VeraLinear
from torch import Tensor, nn
from torch.nn import functional

ADAPTER = "default"
"""The name that PEFT gives to the only adapter of a network."""


class LowRank(torch.autograd.Function):
    """x (W + s B A)ᵀ + bias, with gradients of A, B and x alone; keeps nothing for them but x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, base: nn.Linear, a: Tensor, b: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, base.weight, a, b)
        ctx.scale = scale
        return functional.linear(x, torch.addmm(base.weight, b, a, alpha=scale), base.bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        rows, seen = gradient.reshape(-1, len(b)), x.reshape(-1, a.shape[1])
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (rows @ torch.addmm(weight, b, a, alpha=ctx.scale)).view(x.shape)
        # Few columns: in this order of factors the library's product is up to nine times as fast.
        of_a = ctx.scale * (rows @ b.T.contiguous().T).T @ seen
        of_b = ctx.scale * ((seen @ a.T).T @ rows).T
        return of_x, None, of_a, of_b, None


class MergedLora(LoraLinear):
    """LoRA's layer, with one product instead of three."""

    def forward(self, x: Tensor, *arguments: Any, **named: Any) -> Tensor:
        if arguments or named or not _is_plain(self, x):
            return cast("Tensor", super().forward(x, *arguments, **named))
        a, b = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
        found: Tensor = LowRank.apply(x, self.base_layer, a, b, self.scaling[ADAPTER])  # type: ignore[no-untyped-call]
        return found


class MergedVera(VeraLinear):
    """VeRA's layer, with one product instead of three."""

    def forward(self, x: Tensor, *arguments: Any, **named: Any) -> Tensor:
        if arguments or named or not _is_plain(self, x):
            return cast("Tensor", super().forward(x, *arguments, **named))
        return _with_update(self, x)


class MergedFourier(FourierFTLinear):
    """FourierFT's layer, with one product instead of two and without a dense inverse transform."""

    def get_delta_weight(self, adapter: str) -> Tensor:
        """The update: the real part of the inverse transform of the few coefficients, as a product of waves."""
        spectrum = self.fourierft_spectrum[adapter]
        if spectrum.dtype != torch.float32:
            return cast("Tensor", super().get_delta_weight(adapter))
        waves = (self.fourierft_n_frequency[adapter], self.fourierft_random_loc_seed[adapter])
        left, right = _waves(*waves, self.out_features, self.in_features, spectrum.device)
        with torch.autocast(spectrum.device.type, enabled=False):
            found: Tensor = (left * (self.fourierft_scaling[adapter] * spectrum).repeat(2)) @ right
        return found

    def forward(self, x: Tensor, *arguments: Any, **named: Any) -> Tensor:
        if arguments or named or not _is_plain(self, x):
            return cast("Tensor", super().forward(x, *arguments, **named))
        return _with_update(self, x)


@lru_cache(maxsize=32)
def _waves(count: int, seed: int, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two factors, (rows, 2 count) and (2 count, columns), whose product with coefficients between them is the update.

    Entry (p, q) of an inverse transform is the sum over frequencies (u, v) of c cos(2π (u p / rows + v q / columns)),
    over the number of entries; the cosine of a sum is a sum of two products (Gao et al., ICML 2024, equation 3).
    """
    # Where PEFT puts its coefficients.
    places = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(seed))[:count]
    u, v = places // columns, places % columns
    down = 2 * math.pi / rows * (torch.arange(rows)[:, None] * u % rows).double()
    along = 2 * math.pi / columns * (v[:, None] * torch.arange(columns) % columns).double()
    left = torch.cat([down.cos(), down.sin()], dim=1) / (rows * columns)
    right = torch.cat([along.cos(), -along.sin()])
    return left.float().to(device), right.float().to(device)


def _with_update(layer: Any, x: Tensor) -> Tensor:
    base = layer.base_layer
    return functional.linear(x, base.weight + layer.get_delta_weight(ADAPTER), base.bias)


def _is_plain(layer: Any, x: Tensor) -> bool:
    """Whether a layer with its one adapter on is used in float32 throughout."""
    return (
        not layer.disable_adapters
        and not layer.merged
        and layer.active_adapters == [ADAPTER]
        and x.dtype == layer.base_layer.weight.dtype == torch.float32
        and not torch.is_autocast_enabled(x.device.type)
    )


MERGED: dict[type[nn.Module], type[nn.Module]] = {
    LoraLinear: MergedLora,
    VeraLinear: MergedVera,
    FourierFTLinear: MergedFourier,
}


def merge_products(net: nn.Module) -> None:
    """Let the layers of LoRA, VeRA and FourierFT on `net` make one product a pass, in place.

    Left as they are: layers that are a variant of these (DoRA), drop inputs, or tune what is no plain linear layer.
    """
    for layer in net.modules():
        merged = MERGED.get(type(layer))
        if merged is not None and _fits(layer):
            layer.__class__ = merged


def _fits(layer: Any) -> bool:
    dropouts = [getattr(layer, name) for name in ("lora_dropout", "vera_dropout") if hasattr(layer, name)]
    return (
        type(layer.base_layer) is nn.Linear
        and not layer.base_layer.weight.requires_grad
        and not getattr(layer, "lora_variant", None)
        and not any(getattr(layer, "lora_bias", {}).values())
        and all(isinstance(part, nn.Identity) for parts in dropouts for part in parts.values())
    )
