"""The table of tuning methods: one entry each, for every backbone."""

import contextlib
import copy
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import peft
from peft import PeftModel, get_peft_model
from torch import Tensor, nn

from loracast.errors import ConfigError, TrainingError
from loracast.models.base import Backbone
from loracast.spec import ArmSpec
from loracast.tuning.adalora import AdaLoraSchedule
from loracast.tuning.sites import NAMED, modules_at, pattern_of


class Schedule(Protocol):
    """What a method does besides following the gradient."""

    def begin(self, steps: int) -> None:
        """Called before training, with the number of optimizer steps."""

    def penalty(self) -> Tensor:
        """A scalar that is added to the training loss, and not to the validation loss."""
        ...

    def after_step(self, step: int) -> None:
        """Called after each optimizer step, before gradients are zeroed; `step` counts from 1."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides the trained numbers."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave."""


@dataclass(frozen=True)
class Method:
    """How a backbone is tuned.

    `attach` prepares the network in place and returns PEFT's wrapper where there is one. `at` is the set of `Sites`
    that it acts on unless the arm names another, None where its place is fixed. `learning_rate` is the default for a
    small network and a few hundred steps. `trains` is False for the zero-shot arm alone.
    """

    summary: str
    attach: Callable[[Backbone, ArmSpec], PeftModel | None]
    learning_rate: float
    at: str | None = None
    trains: bool = True
    schedule: Callable[[PeftModel], Schedule] | None = None


@dataclass
class Attached:
    """A backbone with a method on it. `peft` is the wrapper that saves the adapter, None where PEFT has no part."""

    backbone: Backbone
    spec: ArmSpec
    peft: PeftModel | None
    trainable: dict[str, nn.Parameter] = field(default_factory=dict)
    schedule: Schedule | None = None

    @property
    def trainable_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(p.numel() for p in self.trainable.values())

    @property
    def is_whole(self) -> bool:
        """Whether every number of the network is trained."""
        return self.peft is None and len(self.trainable) == len(list(self.backbone.net.parameters()))


def _nothing(backbone: Backbone, _: ArmSpec) -> None:
    backbone.net.requires_grad_(False)


def _everything(backbone: Backbone, _: ArmSpec) -> None:
    backbone.net.requires_grad_(True)


def _head(backbone: Backbone, _: ArmSpec) -> None:
    modules = modules_at(backbone, pattern_of(backbone, "head"))
    _free(backbone, modules)
    backbone.net.requires_grad_(False)
    for module in modules.values():
        module.requires_grad_(True)


def _biases(backbone: Backbone, _: ArmSpec) -> None:
    if backbone.sites.bias is None:
        raise TrainingError(
            f"{backbone.card.name} has no bias terms (the position table of a T5 is none), so bitfit would train "
            "nothing: it would silently be zero-shot. Choose another method, e.g. layernorm."
        )
    for name, parameter in backbone.net.named_parameters():
        parameter.requires_grad_(re.fullmatch(backbone.sites.bias, name) is not None)


def _free(backbone: Backbone, modules: Mapping[str, nn.Module]) -> None:
    """Give these modules weights of their own where they share them: a head that is the embedding too, say.

    Otherwise what is trained there, or merged into it, would change the other end of the network as well.
    """
    within = {id(module) for top in modules.values() for module in top.modules()}
    elsewhere = {id(p) for module in backbone.net.modules() if id(module) not in within
                 for p in module.parameters(recurse=False)}  # fmt: skip
    for top in modules.values():
        for module in top.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if id(parameter) in elsewhere:
                    setattr(module, name, nn.Parameter(parameter.detach().clone()))


def free_sites(backbone: Backbone, spec: ArmSpec) -> None:
    """Give the modules that `spec` tunes weights of their own, as `attach` does before anything else."""
    _free(backbone, modules_at(backbone, _pattern(backbone, spec)))


def _pattern(backbone: Backbone, spec: ArmSpec) -> str:
    """Where a method of PEFT acts: at the arm's sites, else at its own."""
    sites = spec.sites or METHODS[spec.method].at
    assert sites is not None, "every method of PEFT has a place"
    return pattern_of(backbone, sites)


Config = Callable[[Backbone, ArmSpec, str], peft.PeftConfig]
"""The backbone, the arm, and the pattern of the modules that are tuned, to what PEFT asks for."""


def _peft(config: Config) -> Callable[[Backbone, ArmSpec], PeftModel]:
    def attach(backbone: Backbone, spec: ArmSpec) -> PeftModel:
        pattern = _pattern(backbone, spec)
        modules = modules_at(backbone, pattern)
        _check_size(backbone, spec, modules)
        _free(backbone, modules)
        with quiet_peft():
            return get_peft_model(backbone.net, config(backbone, spec, pattern))

    return attach


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Hold back what PEFT 0.21 warns of without need.

    It asks transformers 5 for a property by its old name; it takes a tuned head for tied to the embedding, which
    `_free` has untied; it knows few norm layers by name, though it tunes any.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        for text in ("tie_word_embeddings", "Unsupported layer type"):
            warnings.filterwarnings("ignore", message=f".*{text}.*", category=UserWarning)
        yield


def _check_size(backbone: Backbone, spec: ArmSpec, modules: Mapping[str, nn.Module]) -> None:
    """Raise ConfigError for a rank, a count of frequencies or a block that a tuned matrix cannot have."""
    matrices = {name: module for name, module in modules.items() if isinstance(module, nn.Linear)}
    if not matrices:
        return
    sides = [(module.in_features, module.out_features) for module in matrices.values()]
    where = f"the tuned matrices of {backbone.card.name}"
    rank, least = (None if spec.rank is None else _first_rank(spec)), min(map(min, sides))
    if rank is not None and spec.method != "vera" and rank > least:  # VeRA's vectors scale random factors of any rank
        raise ConfigError(
            f"Rank {rank} given; {where} have rank {least} at most, and 2 to 16 is usual. Lower rank, or train every "
            "weight with the method full."
        )
    area = min(a * b for a, b in sides)
    if spec.frequencies is not None and spec.frequencies > area:
        raise ConfigError(f"{spec.frequencies} frequencies given; {where} have {area} at most. Lower frequencies.")
    common = math.gcd(*(into for into, _ in sides))
    if spec.block_size is not None and common % spec.block_size:
        fitting = [size for size in range(2, common + 1) if common % size == 0]
        raise ConfigError(
            f"Blocks of {spec.block_size} given; {where} need a divisor of {common}. Set block_size to one of: "
            f"{', '.join(map(str, fitting))}."
        )


def check_arm(backbone: Backbone, spec: ArmSpec) -> None:
    """Raise what `attach` would raise for this arm, without touching the backbone."""
    attach(copy.deepcopy(backbone), spec)


def _lora(**more: Any) -> Config:
    def config(_: Backbone, spec: ArmSpec, pattern: str) -> peft.PeftConfig:
        return peft.LoraConfig(r=spec.rank, lora_alpha=spec.alpha, target_modules=pattern, **more)

    return config


def _pissa(backbone: Backbone, spec: ArmSpec, pattern: str) -> peft.PeftConfig:
    # Its start is a singular value decomposition of the weights; a skeleton, made for counting, has none.
    counted = next(backbone.net.parameters()).is_meta
    return _lora(init_lora_weights=True if counted else "pissa")(backbone, spec, pattern)


def _first_rank(spec: ArmSpec) -> int:
    """The rank that training starts with: AdaLoRA's paper takes half as many again as it ends with."""
    assert spec.rank is not None
    return math.ceil(1.5 * spec.rank) if spec.method == "adalora" else spec.rank


def _adalora(_: Backbone, spec: ArmSpec, pattern: str) -> peft.PeftConfig:
    # The schedule is spread over the steps later.
    return peft.AdaLoraConfig(
        init_r=_first_rank(spec), target_r=spec.rank, lora_alpha=spec.alpha, total_step=100, target_modules=pattern
    )


def _vera(_: Backbone, spec: ArmSpec, pattern: str) -> peft.PeftConfig:
    return peft.VeraConfig(r=spec.rank, target_modules=pattern)


def _fourierft(_: Backbone, spec: ArmSpec, pattern: str) -> peft.PeftConfig:
    # PEFT's default is a random spectrum, which would change the forecast before the first step.
    return peft.FourierFTConfig(n_frequency=spec.frequencies, init_weights=True, target_modules=pattern)


def _ia3(backbone: Backbone, _: ArmSpec, pattern: str) -> peft.PeftConfig:
    return peft.IA3Config(target_modules=pattern, feedforward_modules=backbone.sites.feed_forward_out or "$")


def _oft(_: Backbone, spec: ArmSpec, pattern: str) -> peft.PeftConfig:
    return peft.OFTConfig(oft_block_size=spec.block_size, target_modules=pattern)


def _norms(_: Backbone, __: ArmSpec, pattern: str) -> peft.PeftConfig:
    return peft.LNTuningConfig(target_modules=pattern)


# Where the learning rates come from: docs/methods.md.
METHODS: dict[str, Method] = {
    "zero-shot": Method("the pretrained weights as they are", _nothing, 0.0, trains=False),
    "full": Method("every weight", _everything, 3e-4),
    "head": Method("the output layer alone (linear probe)", _head, 3e-3),
    # Rank 2, alpha 16, query, key, value and output of every attention: the recipe of arXiv 2405.10216.
    "lora": Method("a low-rank update of each matrix", _peft(_lora()), 1e-3, "attention"),
    "rslora": Method("LoRA scaled by alpha / √rank", _peft(_lora(use_rslora=True)), 1e-3, "attention"),
    "dora": Method("LoRA with a trained length of each row", _peft(_lora(use_dora=True)), 1e-3, "attention"),
    "pissa": Method("LoRA that starts from the largest singular vectors", _peft(_pissa), 1e-3, "attention"),
    "adalora": Method(
        "LoRA that moves its ranks to where they gain most", _peft(_adalora), 1e-2, "attention",
        schedule=AdaLoraSchedule,
    ),
    "vera": Method("two trained vectors a matrix between frozen random factors", _peft(_vera), 3e-2, "attention"),
    "fourierft": Method("a few trained Fourier coefficients a matrix", _peft(_fourierft), 3e-2, "attention"),
    "ia3": Method("a trained scale of keys, values and feed-forward", _peft(_ia3), 3e-2, "ia3"),
    "layernorm": Method("the scales of the norm layers", _peft(_norms), 3e-2, "norm"),
    "bitfit": Method("the bias terms", _biases, 3e-2),
    "oft": Method("an orthogonal rotation of each matrix, in blocks", _peft(_oft), 1e-3, "attention"),
}  # fmt: skip


def method_named(name: str) -> Method:
    """The entry `name`; raises ConfigError with the list."""
    if name not in METHODS:
        raise ConfigError(f"No method {name!r}. Methods: {', '.join(METHODS)}.")
    return METHODS[name]


def attach(backbone: Backbone, spec: ArmSpec) -> Attached:
    """Put the method of `spec` on `backbone`, in place.

    Raises ConfigError for an unknown method, sites that are none, or a size that a matrix cannot have; TrainingError
    where the backbone has no such part, or a method that trains would find nothing to train: it would be zero-shot by
    another name.
    """
    method = method_named(spec.method)
    if spec.sites is not None and method.at is None:
        raise ConfigError(f"sites {spec.sites!r} given; where {spec.method!r} acts is fixed. Leave sites out.")
    try:
        attached = Attached(backbone, spec, method.attach(backbone, spec))
    except (TypeError, ValueError) as error:  # PEFT's, where a module is of a kind that the method cannot tune
        raise TrainingError(
            f"{spec.method!r} cannot tune {spec.sites or method.at} of {backbone.card.name}: {error} Choose other "
            f"sites ({', '.join(NAMED)}) or another method ({', '.join(METHODS)})."
        ) from error
    if method.schedule is not None and attached.peft is not None:
        attached.schedule = method.schedule(attached.peft)
    attached.trainable = {name: p for name, p in backbone.net.named_parameters() if p.requires_grad}
    if method.trains and not attached.trainable:
        raise TrainingError(
            f"{spec.method!r} matches no weight of {backbone.card.name}: it would silently be zero-shot. "
            f"Choose another method: {', '.join(METHODS)}."
        )
    return attached
