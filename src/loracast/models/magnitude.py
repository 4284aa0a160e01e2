"""Very small and very large series, brought to an ordinary size before a model sees them.

The networks add fixed numbers to variances, read logarithms of levels and compute in single precision: a series of
1e-9 is then nothing to them, and one of 1e12 everything. A power of two is exact, and whatever lies between 1/16 and a
million is left as it is, so that what is published of a model holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

_LEAST, _MOST = 2.0**-4, 2.0**20
_ORDINARY = 7
"""The largest value of a context that is not ordinary comes to lie between 2^6 and 2^7."""


def factor_of(context: Float[Tensor, "batch context"]) -> Float[Tensor, "batch 1"]:
    """What brings each context to an ordinary size: a power of two, float64, 1 where it is one or holds nothing."""
    import torch

    largest = context.double().abs().nan_to_num(nan=0.0).amax(dim=1, keepdim=True)
    _, exponent = torch.frexp(largest)
    factor = torch.ldexp(torch.ones_like(largest), _ORDINARY - exponent)
    return torch.where((largest == 0) | ((largest >= _LEAST) & (largest < _MOST)), 1.0, factor)


def sized(values: Float[Tensor, "batch step"], factor: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch step"]:
    """The values times the factor, in their own precision."""
    return (values.double() * factor.to(values.device)).to(values.dtype)
