"""The table of tuning methods: one entry each, for every backbone."""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from loracast.backbones.base import Backbone
from loracast.config import ArmSpec
from loracast.errors import ConfigError, TrainingError


@dataclass(frozen=True)
class Method:
    """How a backbone is tuned.

    `attach` prepares the network in place and returns PEFT's wrapper where there is one; `trains` is False for the
    zero-shot arm alone; `learning_rate` is the default for a small network and a few hundred steps.
    """

    summary: str
    attach: Callable[[Backbone, ArmSpec], PeftModel | None]
    learning_rate: float
    trains: bool = True


@dataclass
class Attached:
    """A backbone with a method on it. `peft` is the wrapper that saves the adapter, None for whole networks."""

    backbone: Backbone
    spec: ArmSpec
    peft: PeftModel | None
    trainable: dict[str, nn.Parameter] = field(default_factory=dict)

    @property
    def trainable_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(p.numel() for p in self.trainable.values())


def _nothing(backbone: Backbone, _: ArmSpec) -> None:
    backbone.net.requires_grad_(False)


def _everything(backbone: Backbone, _: ArmSpec) -> None:
    backbone.net.requires_grad_(True)


def _peft(config: Callable[[Backbone, ArmSpec], Any]) -> Callable[[Backbone, ArmSpec], PeftModel]:
    def attach(backbone: Backbone, spec: ArmSpec) -> PeftModel:
        with old_names_of_peft():
            return get_peft_model(backbone.net, config(backbone, spec))

    return attach


@contextlib.contextmanager
def old_names_of_peft() -> Iterator[None]:
    """Hold back the warning that PEFT 0.21 asks transformers 5 for a property by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def check_arm(backbone: Backbone, spec: ArmSpec) -> None:
    """Raise ConfigError for an unknown method, or a rank that no weight of the backbone can have."""
    method_named(spec.method)
    tuned = [m for name, m in backbone.net.named_modules() if re.fullmatch(backbone.sites.attention, name)]
    full = max((min(m.weight.shape) for m in tuned if isinstance(m, nn.Linear)), default=0)
    if spec.method == "lora" and 0 < full < spec.rank:
        raise ConfigError(
            f"Rank {spec.rank} given; the attention of {backbone.card.name} has rank {full} at most, and 2 to "
            "16 is usual. Lower rank, or train every weight with the method full."
        )


def _lora(backbone: Backbone, spec: ArmSpec) -> LoraConfig:
    return LoraConfig(r=spec.rank, lora_alpha=spec.alpha, target_modules=backbone.sites.attention)


METHODS: dict[str, Method] = {
    "zero-shot": Method("the pretrained weights as they are", _nothing, 0.0, trains=False),
    "full": Method("every weight", _everything, 1e-4),
    # Rank 2, alpha 16, query, key, value and output of every attention: the recipe of arXiv 2405.10216.
    "lora": Method("a low-rank update of every attention matrix", _peft(_lora), 1e-3),
}


def method_named(name: str) -> Method:
    """The entry `name`; raises ConfigError with the list."""
    if name not in METHODS:
        raise ConfigError(f"No method {name!r}. Methods: {', '.join(METHODS)}.")
    return METHODS[name]


def attach(backbone: Backbone, spec: ArmSpec) -> Attached:
    """Put the method of `spec` on `backbone`, in place.

    Raises TrainingError where a method that trains would find nothing to train: it would be zero-shot by another
    name.
    """
    check_arm(backbone, spec)
    method = method_named(spec.method)
    nothing = (
        f"{spec.method!r} matches no weight of {backbone.card.name}: it would silently be zero-shot. "
        f"Choose another method: {', '.join(METHODS)}."
    )
    try:
        attached = Attached(backbone, spec, method.attach(backbone, spec))
    except ValueError as error:  # PEFT's, where no module bears a name that the method looks for
        raise TrainingError(f"{nothing} ({error})") from error
    attached.trainable = {name: p for name, p in backbone.net.named_parameters() if p.requires_grad}
    if method.trains and not attached.trainable:
        raise TrainingError(nothing)
    return attached
