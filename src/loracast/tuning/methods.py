"""The tuning methods: one class each, with its own settings, defaults, limits, sites and learning rate.

Configuration, command line, catalogue and documentation follow from the class; those that need no tuner of PEFT stand
in `plain`. Adding a method is adding a class to `BUILT_IN`, or an entry point of the group `loracast.methods` that
names one. Importing this file loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import Field

from loracast.errors import ConfigError
from loracast.spec import brought
from loracast.tuning.method import Method, PeftMethod, sides_of
from loracast.tuning.other import PREFIX, other_peft
from loracast.tuning.plain import AsIs, BitFit, Full, Head, Scratch, ZeroShot, own_numbers
from loracast.tuning.ranked import AdaLoRA, DoRA, LoRA, PiSSA, RsLoRA
from loracast.tuning.sites import modules_at

if TYPE_CHECKING:
    import peft

    from loracast.models.base import Backbone
    from loracast.models.outline import Outline
    from loracast.tuning.sites import Tunable

__all__ = [
    "BUILT_IN", "GROUP", "IA3", "OFT", "AdaLoRA", "AsIs", "BitFit", "DoRA", "FourierFT", "Full", "Head", "LayerNorm",
    "LoRA", "PiSSA", "RsLoRA", "Scratch", "VeRA", "ZeroShot", "method_named", "methods",
]  # fmt: skip


class VeRA(PeftMethod):
    """Vector-based random matrix adaptation (Kopiczko et al., ICLR 2024).

    >>> VeRA(rank=32).short
    'vera r=32'
    """

    name = "vera"
    summary = "two trained vectors a matrix between frozen random factors"
    size = "rank"
    learning_rate = 3e-2

    rank: int = Field(default=64, ge=1)
    """Rank of the frozen random factors; any rank fits."""

    def per_matrix(self, into: int, out: int) -> int:
        """Two vectors."""
        del into
        return self.rank + out

    def config(self, model: Backbone, pattern: str) -> peft.PeftConfig:
        """VeRA's."""
        import peft

        return peft.VeraConfig(r=self.rank, target_modules=pattern)


class FourierFT(PeftMethod):
    """Sparse Fourier coefficients of the update (Gao et al., ICML 2024); 100 as in arXiv 2409.11302.

    >>> FourierFT(frequencies=50).short
    'fourierft n=50'
    """

    name = "fourierft"
    summary = "a few trained Fourier coefficients a matrix"
    size = "frequencies"
    learning_rate = 3e-2

    frequencies: int = Field(default=100, ge=1)
    """Trained coefficients a matrix."""

    def check(self, model: Tunable, modules: Mapping[str, Any]) -> None:
        """Raise ConfigError for more coefficients than a tuned matrix has numbers."""
        area = min((a * b for a, b in sides_of(modules)), default=self.frequencies)
        if self.frequencies > area:
            raise ConfigError(
                f"{self.frequencies} frequencies given; the tuned matrices of {model.card.name} have {area} at most. "
                "Lower frequencies."
            )

    def per_matrix(self, into: int, out: int) -> int:
        """Its coefficients."""
        del into, out
        return self.frequencies

    def config(self, model: Backbone, pattern: str) -> peft.PeftConfig:
        """FourierFT's. PEFT's default is a random spectrum, which would change the forecast before the first step."""
        import peft

        return peft.FourierFTConfig(n_frequency=self.frequencies, init_weights=True, target_modules=pattern)


class IA3(PeftMethod):
    """Infused adapter by inhibiting and amplifying inner activations (Liu et al., NeurIPS 2022).

    >>> IA3().sites
    'ia3'
    """

    name = "ia3"
    summary = "a trained scale of keys, values and feed-forward"
    learning_rate = 3e-2

    sites: str = Field(default="ia3", min_length=1)
    """Which matrices: its own (keys, values, the end of the feed-forward), a named set, or a regular expression."""

    def counted(self, model: Outline) -> int | None:
        """A scale of what leaves each matrix; of the end of the feed-forward of what enters it."""
        modules = modules_at(model, self.pattern(model))
        ends = modules_at(model, model.sites.feed_forward_out or "$")
        found = [part.in_features if name in ends else part.out_features for name, part in modules.items()]
        return sum(found) if None not in found else None

    def config(self, model: Backbone, pattern: str) -> peft.PeftConfig:
        """IA³'s."""
        import peft

        return peft.IA3Config(target_modules=pattern, feedforward_modules=model.sites.feed_forward_out or "$")


class LayerNorm(PeftMethod):
    """The scales of the norm layers (Zhao et al., ICLR 2024).

    >>> LayerNorm().sites
    'norm'
    """

    name = "layernorm"
    summary = "the scales of the norm layers"
    learning_rate = 3e-2

    sites: str = Field(default="norm", min_length=1)
    """Which modules: the norm layers, or a regular expression of full names."""

    def counted(self, model: Outline) -> int | None:
        """All of each module."""
        return own_numbers(modules_at(model, self.pattern(model)))

    def config(self, model: Backbone, pattern: str) -> peft.PeftConfig:
        """PEFT's layer-norm tuning."""
        import peft

        return peft.LNTuningConfig(target_modules=pattern)


class OFT(PeftMethod):
    """Orthogonal fine-tuning in blocks (Qiu et al., NeurIPS 2023).

    >>> OFT(block_size=8).short
    'oft b=8'
    """

    name = "oft"
    summary = "an orthogonal rotation of each matrix, in blocks"
    size = "block_size"
    learning_rate = 1e-3

    block_size: int = Field(default=16, ge=2)
    """Side of the orthogonal blocks; a divisor of every tuned matrix's input."""

    def check(self, model: Tunable, modules: Mapping[str, Any]) -> None:
        """Raise ConfigError for blocks that do not divide a tuned matrix."""
        common = math.gcd(*(into for into, _ in sides_of(modules))) or self.block_size
        if common % self.block_size:
            fitting = [size for size in range(2, common + 1) if common % size == 0]
            raise ConfigError(
                f"Blocks of {self.block_size} given; the tuned matrices of {model.card.name} need a divisor of "
                f"{common}. Set block_size to one of: {', '.join(map(str, fitting))}."
            )

    def per_matrix(self, into: int, out: int) -> int:
        """The upper triangle of each block."""
        del out
        return into // self.block_size * (self.block_size * (self.block_size - 1) // 2)

    def config(self, model: Backbone, pattern: str) -> peft.PeftConfig:
        """OFT's."""
        import peft

        return peft.OFTConfig(oft_block_size=self.block_size, target_modules=pattern)


BUILT_IN: tuple[type[Method], ...] = (
    AsIs, Scratch, ZeroShot, Full, Head, LoRA, RsLoRA, DoRA, PiSSA, AdaLoRA, VeRA, FourierFT, IA3, LayerNorm, BitFit,
    OFT,
)  # fmt: skip
GROUP = "loracast.methods"
"""Entry points of this group name methods of other packages."""


@cache
def methods() -> dict[str, type[Method]]:
    """Every method by its name: those that come with loracast, then those of entry points.

    Raises ConfigError for an entry point that cannot be loaded, is no method, or takes a name that there is.
    """
    found: dict[str, type[Method]] = {kind.name: kind for kind in BUILT_IN}
    for one in brought(GROUP, "method"):
        kind = one.found
        if not (isinstance(kind, type) and issubclass(kind, Method)):
            raise one.refused("is no subclass of loracast.tuning.method.Method")
        if kind.name in found:
            raise one.refused(f"is called {kind.name!r}, a name that is taken")
        found[kind.name] = kind
    return found


def method_named(name: str) -> type[Method]:
    """The class `name`, also one of the form `peft:hra`; raises ConfigError with the list."""
    if name.startswith(PREFIX):
        return other_peft(name)
    if name not in methods():
        raise ConfigError(f"No method {name!r}. Methods: {', '.join(methods())}, or {PREFIX}NAME for others of PEFT.")
    return methods()[name]
