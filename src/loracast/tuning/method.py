"""What a tuning method is: a class whose fields are its settings. Importing this file loads no torch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from loracast.spec import Asked, TrainSpec
from loracast.tuning.sites import modules_at, pattern_of, with_own_weights
from loracast.types import Kind

if TYPE_CHECKING:
    import peft
    from peft import PeftModel
    from torch import nn

    from loracast.models.base import Backbone, Model, Network
    from loracast.models.outline import Outline
    from loracast.tuning.schedule import Schedule
    from loracast.tuning.sites import Tunable

PRETRAINED: frozenset[Kind] = frozenset({"pretrained"})
SHORT = {"rank": "r", "frequencies": "n", "block_size": "b"}
"""How the sizes of methods are called in the names of arms."""


@dataclass
class Attached:
    """A model with a method on it. `peft` is the wrapper that saves the adapter, None where PEFT has no part."""

    model: Model
    method: Method
    peft: PeftModel | None = None
    trainable: dict[str, nn.Parameter] = field(default_factory=dict)
    schedule: Schedule | None = None

    @property
    def network(self) -> Network:
        """The model as what it is where something is trained: a network."""
        return cast("Network", self.model)

    @property
    def trainable_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(p.numel() for p in self.trainable.values())

    @property
    def is_whole(self) -> bool:
        """Whether every number of the network is trained."""
        return self.peft is None and len(self.trainable) == len(list(self.network.net.parameters()))


class Method(Asked):
    """How a model is tuned. The fields of a subclass are its settings; their docstrings are what `--help` says."""

    name: ClassVar[str]
    """What a caller types."""
    summary: ClassVar[str]
    """What it trains, in a few words."""
    kinds: ClassVar[frozenset[Kind]] = PRETRAINED
    """The kinds of model that it can be put on."""
    trains: ClassVar[bool] = True
    learning_rate: ClassVar[float] = 0.0
    """The default for a small network and a few hundred steps; where they come from: docs/methods.md."""
    size: ClassVar[str | None] = None
    """The setting that says how many numbers are trained; None where there is nothing to set."""
    proven: ClassVar[bool] = True
    """Whether our own tests show that it starts as the identity, leaves the rest alone and is saved and loaded; if not,
    `attach` tries it on a copy of the model before anything is trained."""

    def rate(self, parameters: int) -> float:
        """The default learning rate for a network of so many numbers."""
        del parameters
        return self.learning_rate

    def training(self, spec: TrainSpec) -> TrainSpec:
        """The training that an experiment asks for, as this method takes it."""
        return spec

    def prepare(self, model: Model) -> PeftModel | None:
        """Make trainable what it trains, in place; returns PEFT's wrapper where there is one.

        Raises ConfigError for a setting that the model cannot have, TrainingError where it has no such part.
        """
        raise NotImplementedError

    def counted(self, model: Outline) -> int | None:
        """How many numbers it trains on a network of these shapes; None where only the network can tell.

        Raises as `prepare` does.
        """
        del model
        return None

    def schedule(self, wrapper: PeftModel | None) -> Schedule | None:
        """What it does besides following the gradient."""
        del wrapper
        return None

    def put_on(self, model: Model) -> Attached:
        """The model with this method on it, in place; raises as `prepare` does."""
        wrapper = self.prepare(model)
        schedule = self.schedule(wrapper)
        attached = Attached(model, self, wrapper, schedule=schedule)
        if self.trains:
            attached.trainable = {name: p for name, p in attached.network.net.named_parameters() if p.requires_grad}
        return attached

    def advice(self, *, start: bool = False) -> str:
        """What to do where it does not pass the gate; `start`: because it does not start as the identity."""
        del start
        return "Choose another method of `loracast methods`."

    def words(self) -> list[str]:
        """Its settings as an arm's name has them: the size always, others (but the sites) where they were changed."""
        size = [f"{SHORT.get(self.size, self.size)}={getattr(self, self.size)}"] if self.size else []
        others = {name: value for name, value in self.changed().items() if name not in (self.size, "sites")}
        return size + [f"{name}={told(value)}" for name, value in others.items()]

    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults."""
        fields = type(self).model_fields
        usual = {name: one.get_default(call_default_factory=True) for name, one in fields.items()}
        return {name: value for name in fields if (value := getattr(self, name)) != usual[name]}

    @property
    def short(self) -> str:
        """Name and size: `lora r=2`."""
        return " ".join([self.name, *self.words()[: self.size is not None]])


def told(value: Any) -> str:
    """A setting in the name of an arm, without blanks."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


class PeftMethod(Method):
    """A method that is one of PEFT's tuners."""

    sites: str = Field(default="attention", min_length=1)
    """Which matrices: attention, qv, qkvo, feed-forward, all-linear, head, or a regular expression of full names."""

    def config(self, model: Backbone, pattern: str) -> peft.PeftConfig:
        """What PEFT asks for, to act on the modules whose full names `pattern` matches."""
        raise NotImplementedError

    def pattern(self, model: Tunable) -> str:
        """Where it acts on this network."""
        return pattern_of(model, self.sites)

    def check(self, model: Tunable, modules: Mapping[str, Any]) -> None:
        """Raise ConfigError for a size that one of the tuned modules cannot have."""

    def counted(self, model: Outline) -> int | None:
        """What it trains in each matrix, over all; another kind of module, which a caller's pattern may mean, is not
        counted here."""
        modules = modules_at(model, self.pattern(model))
        self.check(model, modules)
        found = [number for pair in sides_of(modules) if (number := self.per_matrix(*pair)) is not None]
        return sum(found) if len(found) == len(modules) else None

    def per_matrix(self, into: int, out: int) -> int | None:
        """How many numbers it trains in a matrix of so many columns and rows; None where nobody has said so."""
        del into, out
        return None

    def prepare(self, model: Backbone) -> PeftModel:  # type: ignore[override]
        """Put PEFT's tuner on the network."""
        from peft import get_peft_model

        from loracast.tuning.products import merge_products

        pattern = self.pattern(model)
        modules = modules_at(model, pattern)
        self.check(model, modules)
        with_own_weights(model, modules)
        with quiet_peft():
            wrapper = get_peft_model(model.net, self.config(model, pattern))
        merge_products(model.net)
        return wrapper


def added_modules(net: nn.Module) -> Iterator[nn.Module]:
    """The modules that a tuner of PEFT has put into a network, without those of the base that they wrap."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in net.modules():
        if isinstance(module, BaseTunerLayer):
            yield cast("nn.Module", module)
            for name, part in cast("nn.Module", module).named_children():
                if name != "base_layer":
                    yield from part.modules()


def sides_of(modules: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Numbers into and out of each linear layer among the modules."""
    found = [(getattr(one, "in_features", None), getattr(one, "out_features", None)) for one in modules.values()]
    return [(into, out) for into, out in found if into is not None and out is not None]


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Hold back what PEFT 0.21 warns of without need.

    It asks transformers 5 for a property by its old name; it takes a tuned head for tied to the embedding, which
    `with_own_weights` has untied; it knows few norm layers by name, though it tunes any.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        for text in ("tie_word_embeddings", "Unsupported layer type"):
            warnings.filterwarnings("ignore", message=f".*{text}.*", category=UserWarning)
        yield
