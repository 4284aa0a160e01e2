"""What a model is: all that forecasts. A network can also be trained, and a backbone is a network that already was."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from loracast.errors import BackboneError, ConfigError
from loracast.types import Kind, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import ModuleType

    from jaxtyping import Float
    from torch import Tensor, nn

    from loracast.spec import WindowSpec


@dataclass(frozen=True)
class ModelCard:
    """What a result, an adapter and a report say of a model.

    `name` is how a caller loads it again, `revision` the commit on the Hub (None for a folder or what ships),
    `context` and `horizon` the most steps it takes and forecasts in one pass (None: any number), `parameters` the
    numbers of its network, 0 where it has none. A network from scratch takes and forecasts exactly so many steps.
    """

    name: str
    family: str
    kind: Kind
    parameters: int
    context: int | None
    horizon: int | None
    licence: str
    revision: str | None = None


@dataclass(frozen=True)
class Sites:
    """Where tuning may act: regular expressions that match full module names, None where a family has no such part.

    Full names, not suffixes: families reuse a last name for different things. `bias` matches names of parameters.
    """

    attention: str
    query_value: str
    """Queries and values alone (with the keys where a family keeps keys and values in one matrix)."""
    key_value: str
    feed_forward: str | None = None
    feed_forward_out: str | None = None
    """Of the feed-forward, the matrix that leads back to the width of the network."""
    embedding: str | None = None
    """Linear layers that read the series, before the first attention."""
    norm: str | None = None
    bias: str | None = None
    head: str | None = None


class Model(Protocol):
    """All that forecasts. NaN means "not observed" in a context, and reaches neither the forecast nor its scale.

    A model that draws sample paths is a `draws.Sampler`. One has `windows_a_pass(samples)` where another number of
    windows should be forecast at a time than `models.forecast` takes: None for all, if no window meets
    another in a product of matrices. A model whose values are tokens has `token_width(context)`, that of one a window.
    """

    @property
    def card(self) -> ModelCard: ...

    def forecast(
        self,
        context: Float[Tensor, "batch context"],
        horizon: int,
        *,
        levels: tuple[float, ...],
        samples: int,
        seed: int,
        rows: Rows | None = None,
    ) -> Float[Tensor, "batch horizon level"]:
        """Predictive quantiles in the units of `context`, float32 on the CPU.

        What is drawn for a row comes from `seed`, its series and its time alone (`models.draws`). A level that the
        model cannot give is refused with a ConfigError. A family that needs `rows` (for the time, or the season)
        refuses a call without them; one that has no use for them ignores them.
        """
        ...


class Network(Model, Protocol):
    """A model that can be trained. `net` is what a method changes; `loss` and `forecast` call it.

    NaN means "not observed" in the future too, and reaches neither the loss nor the scale.

    A family whose loss is a mean over observed steps, not over rows, also has `counted(context, future)`: over how
    many. Then the parts of a batch, in several passes or processes, weigh as they would in one.
    """

    @property
    def net(self) -> nn.Module: ...

    def save(self, folder: Path) -> None:
        """Write the network, every weight of it, to an existing folder that `load_model` reads."""
        ...

    def loss(
        self,
        context: Float[Tensor, "batch context"],
        future: Float[Tensor, "batch horizon"],
        rows: Rows | None = None,
    ) -> Tensor:
        """The family's own training loss on one batch, a scalar with gradient."""
        ...


class Backbone(Network, Protocol):
    """A pretrained network, with the sites where it may be tuned."""

    @property
    def sites(self) -> Sites: ...


def count_parameters(net: nn.Module) -> int:
    """How many numbers a network has, tied ones once."""
    return sum(p.numel() for p in net.parameters())


def check_window(card: ModelCard, context: int) -> None:
    """Raise BackboneError where the model would silently cut a context short."""
    if card.context is not None and context > card.context:
        raise BackboneError(
            f"A context of {context} steps is longer than {card.name} takes ({card.context}): it would drop the oldest "
            f"{context - card.context}. Set context to at most {card.context}, or choose a backbone that takes more."
        )


def within(spec: WindowSpec, step_seconds: int, cards: Iterable[ModelCard]) -> WindowSpec:
    """The windows with the context of the grid (`WindowSpec.resolved`), shortened to what every model takes.

    A context that was asked for stays as it is, for `check_window` to refuse.
    """
    usual = spec.resolved(step_seconds).context
    taken = [card.context for card in cards if card.context is not None]
    if spec.context is not None or usual is None or usual <= min(taken, default=usual):
        return spec
    return spec.model_copy(update={"context": min(taken)})


def needed(module: str) -> ModuleType:
    """Import `module` of a library of `loracast[baselines]`; raises ConfigError where it is not installed.

    Imported when it is first needed: neuralforecast takes seconds.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module.split('.')[0]} cannot be imported ({error}), and models other than the naive and the pretrained "
            'ones need it. Install it with: pip install "loracast[baselines]"'
        ) from error
