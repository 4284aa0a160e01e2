"""The methods that need no tuner of PEFT: nothing, everything, or a part of the network as it is.

Importing this file loads no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from loracast.errors import TrainingError
from loracast.spec import TrainSpec
from loracast.tuning.method import Method
from loracast.tuning.sites import modules_at, pattern_of, with_own_weights

if TYPE_CHECKING:
    from loracast.models.base import Backbone, Model, Network
    from loracast.models.outline import Outline, Part
    from loracast.tuning.sites import Tunable


class AsIs(Method):
    """A model that has nothing to train: a naive forecast, or one that is fitted to each context alone.

    >>> AsIs().trains
    False
    """

    name = "as-is"
    summary = "nothing: the model has nothing to train"
    kinds = frozenset({"naive", "statistical"})
    trains = False

    def prepare(self, model: Model) -> None:
        """Nothing is to be done."""


class Scratch(Method):
    """A network that is trained from random numbers, by the words and defaults of its own kind.

    Batches of 128 windows, up to 1,000 steps, Adam at 1e-3, halved three times: neuralforecast's own schedule.

    >>> Scratch().training(TrainSpec(steps=5)).steps
    1000
    """

    name = "scratch"
    summary = "every number of a network that starts at random"
    kinds = frozenset({"network"})
    learning_rate = 1e-3

    OWN: ClassVar[dict[str, Any]] = {
        "steps": 1000, "batch_size": 128, "evaluate_every": 50, "patience": 5, "learning_rate": None,
        "warmup_share": 0.0, "weight_decay": 0.0, "decay": "halving", "base_dropout": True,
    }  # fmt: skip

    def training(self, spec: TrainSpec) -> TrainSpec:
        """Its own loop: what a pretrained network needs says nothing of one that starts at random."""
        del spec
        return TrainSpec(**self.OWN)

    def prepare(self, model: Network) -> None:  # type: ignore[override]
        """Let every number that is meant to be trained be trained."""


class ZeroShot(Method):
    """The pretrained weights as they are.

    >>> ZeroShot().short
    'zero-shot'
    """

    name = "zero-shot"
    summary = "nothing: the pretrained weights as they are"
    trains = False

    def prepare(self, model: Backbone) -> None:  # type: ignore[override]
        """Freeze the network."""
        model.net.requires_grad_(False)

    def counted(self, model: Outline) -> int:
        """None."""
        del model
        return 0


class Full(Method):
    """Full fine-tuning.

    >>> Full().learning_rate
    0.0003
    """

    name = "full"
    summary = "every weight"
    learning_rate = 3e-4

    def prepare(self, model: Backbone) -> None:  # type: ignore[override]
        """Let every weight be trained."""
        model.net.requires_grad_(True)

    def counted(self, model: Outline) -> int:
        """All."""
        return model.card.parameters


class Head(Method):
    """The output layer alone, a linear probe.

    >>> Head().short
    'head'
    """

    name = "head"
    summary = "the output layer alone (linear probe)"
    learning_rate = 3e-3

    def prepare(self, model: Backbone) -> None:  # type: ignore[override]
        """Let the head be trained, with weights of its own where it shares those of the embedding."""
        modules = modules_at(model, pattern_of(model, "head"))
        with_own_weights(model, modules)
        model.net.requires_grad_(False)
        for module in modules.values():
            module.requires_grad_(True)

    def counted(self, model: Outline) -> int:
        """The head's, with all of its parts."""
        tops = tuple(f"{name}." for name in modules_at(model, pattern_of(model, "head")))
        return sum(size for name, size in model.net.sizes() if name.startswith(tops))


class BitFit(Method):
    """The bias terms (Ben Zaken et al., ACL 2022).

    >>> BitFit().short
    'bitfit'
    """

    name = "bitfit"
    summary = "the bias terms"
    learning_rate = 3e-2

    def prepare(self, model: Backbone) -> None:  # type: ignore[override]
        """Let the biases be trained; raises TrainingError where the network has none."""
        biases = self._biases(model)
        for name, parameter in model.net.named_parameters():
            parameter.requires_grad_(re.fullmatch(biases, name) is not None)

    def counted(self, model: Outline) -> int:
        """The biases'."""
        biases = self._biases(model)
        return sum(size for name, size in model.net.sizes() if re.fullmatch(biases, name))

    def _biases(self, model: Tunable) -> str:
        if model.sites.bias is None:
            raise TrainingError(
                f"{model.card.name} has no bias terms (the position table of a T5 is none), so bitfit would train "
                "nothing: it would silently be zero-shot. Choose another method, e.g. layernorm."
            )
        return model.sites.bias


def own_numbers(parts: Mapping[str, Part]) -> int | None:
    """How many numbers the parts of an outline have; None where one is made of others."""
    return None if any(part.kind == "whole" for part in parts.values()) else sum(p.numbers for p in parts.values())
