"""LoRA and its relatives: methods that add an update of a low rank to each matrix. Importing this loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from loracast.errors import ConfigError
from loracast.tuning.method import PeftMethod, sides_of

if TYPE_CHECKING:
    import peft
    from peft import PeftModel

    from loracast.models.base import Backbone
    from loracast.tuning.schedule import Schedule
    from loracast.tuning.sites import Tunable


class Ranked(PeftMethod):
    """LoRA and what is like it: an update of each matrix of a low rank, scaled by alpha.

    Rank 2, alpha 16, query, key, value and output of every attention: the recipe of arXiv 2405.10216.
    """

    size = "rank"
    learning_rate = 1e-3

    rank: int = Field(default=2, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=16, gt=0)
    """The update is scaled by alpha / rank (rsLoRA: alpha / √rank)."""

    @property
    def first_rank(self) -> int:
        """The rank that training starts with."""
        return self.rank

    def check(self, model: Tunable, modules: Mapping[str, Any]) -> None:
        """Raise ConfigError for a rank above that of a tuned matrix."""
        least = min((min(sides) for sides in sides_of(modules)), default=self.first_rank)
        if self.first_rank > least:
            raise ConfigError(
                f"Rank {self.first_rank} given; the tuned matrices of {model.card.name} have rank {least} at most, and "
                "2 to 16 is usual. Lower rank, or train every weight with the method full."
            )

    def per_matrix(self, into: int, out: int) -> int:
        """Two factors."""
        return self.first_rank * (into + out)

    def config(self, model: Backbone, pattern: str) -> peft.PeftConfig:
        """LoRA's."""
        import peft

        return peft.LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=pattern, **self.variant(model))

    def variant(self, model: Backbone) -> dict[str, Any]:
        """What tells a relative of LoRA from it."""
        del model
        return {}


class LoRA(Ranked):
    """Low-rank adaptation (Hu et al., ICLR 2022).

    >>> LoRA(rank=4, sites="qv").short
    'lora r=4'
    """

    name = "lora"
    summary = "a low-rank update of each matrix"


class RsLoRA(Ranked):
    """Rank-stabilised LoRA (Kalajdzievski, arXiv 2312.03732).

    >>> RsLoRA(rank=8, alpha=8).short
    'rslora r=8'
    """

    name = "rslora"
    summary = "LoRA scaled by alpha / √rank"

    def variant(self, model: Backbone) -> dict[str, Any]:
        """Scaled by the root of the rank."""
        return {"use_rslora": True}


class DoRA(Ranked):
    """Weight-decomposed LoRA (Liu et al., ICML 2024).

    >>> DoRA(rank=4).short
    'dora r=4'
    """

    name = "dora"
    summary = "LoRA with a trained length of each row"

    def variant(self, model: Backbone) -> dict[str, Any]:
        """With magnitudes of its own."""
        return {"use_dora": True}

    def per_matrix(self, into: int, out: int) -> int:
        """Two factors, and a length of each row."""
        return super().per_matrix(into, out) + out


class PiSSA(Ranked):
    """LoRA from the principal singular vectors (Meng et al., NeurIPS 2024).

    >>> PiSSA(rank=4).short
    'pissa r=4'
    """

    name = "pissa"
    summary = "LoRA that starts from the largest singular vectors"

    def variant(self, model: Backbone) -> dict[str, Any]:
        """Its start is a singular value decomposition; a skeleton, made for counting, has no weights to decompose."""
        counted = next(model.net.parameters()).is_meta
        return {"init_lora_weights": True if counted else "pissa"}


class AdaLoRA(Ranked):
    """LoRA whose ranks move to where they gain most (Zhang et al., ICLR 2023).

    >>> AdaLoRA(rank=4).first_rank
    6
    """

    name = "adalora"
    summary = "LoRA that moves its ranks to where they gain most"
    learning_rate = 1e-2

    @property
    def first_rank(self) -> int:
        """Half as many again as it ends with, as in the paper."""
        return math.ceil(1.5 * self.rank)

    def per_matrix(self, into: int, out: int) -> int:
        """Two factors, and as many singular values as the rank."""
        return self.first_rank * (into + out + 1)

    def config(self, model: Backbone, pattern: str) -> peft.PeftConfig:
        """AdaLoRA's; its schedule is spread over the steps later."""
        import peft

        return peft.AdaLoraConfig(
            init_r=self.first_rank,
            target_r=self.rank,
            lora_alpha=self.alpha,
            total_step=100,
            target_modules=pattern,
        )

    def schedule(self, wrapper: PeftModel | None) -> Schedule | None:
        """When ranks are taken away."""
        from loracast.tuning.schedule import AdaLoraSchedule

        return None if wrapper is None else AdaLoraSchedule(wrapper)
