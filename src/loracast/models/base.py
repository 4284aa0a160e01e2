"""What a backbone is: a card, a network, the sites where it may be tuned, a loss and a forecast."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from loracast.errors import BackboneError


@dataclass(frozen=True)
class BackboneCard:
    """What a result, an adapter and a report say of a backbone.

    `name` is how a caller loads it again, `revision` the commit on the Hub (None for a folder or a packaged model),
    `context` and `horizon` the most steps it takes and forecasts in one pass, `parameters` its trained numbers.
    """

    name: str
    family: str
    parameters: int
    context: int
    horizon: int
    licence: str
    revision: str | None


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


@dataclass(frozen=True)
class Rows:
    """What is known of the rows of a batch besides their values.

    `start` is the time of each row's first context step in seconds since 1970 (wall clock of the data, no zone),
    `step_seconds` the time between two steps. Rows with the same number in `group` are signals of one patient over
    the same time; without it every row stands alone.
    """

    start: Int[Tensor, " batch"]
    step_seconds: int
    group: Int[Tensor, " batch"] | None = None


def count_parameters(net: nn.Module) -> int:
    """How many numbers a network has, tied ones once."""
    return sum(p.numel() for p in net.parameters())


class Backbone(Protocol):
    """A pretrained forecaster. `net` is what a method changes; `loss` and `forecast` call it.

    NaN means "not observed" in context and future, and reaches neither the loss nor the scale. A family that needs
    `rows` (for time features) refuses a call without them; one that has no use for them ignores them.

    A family whose loss is a mean over observed steps, not over rows, also has `counted(context, future)`: over how
    many. Then the parts of a batch, in several passes or processes, weigh as they would in one.
    """

    @property
    def card(self) -> BackboneCard: ...

    @property
    def net(self) -> nn.Module: ...

    @property
    def sites(self) -> Sites: ...

    def save(self, folder: Path) -> None:
        """Write the network, every weight of it, to an existing folder that `load_backbone` reads."""
        ...

    def loss(
        self,
        context: Float[Tensor, "batch context"],
        future: Float[Tensor, "batch horizon"],
        rows: Rows | None = None,
    ) -> Tensor:
        """The family's own training loss on one batch, a scalar with gradient."""
        ...

    def forecast(
        self,
        context: Float[Tensor, "batch context"],
        horizon: int,
        *,
        levels: tuple[float, ...],
        samples: int,
        generator: torch.Generator,
        rows: Rows | None = None,
    ) -> Float[Tensor, "batch horizon level"]:
        """Predictive quantiles in the units of `context`, float32 on the CPU; equal for equal generator states."""
        ...


def check_window(card: BackboneCard, context: int) -> None:
    """Raise BackboneError where the backbone would silently cut a context short."""
    if context > card.context:
        raise BackboneError(
            f"A context of {context} steps is longer than {card.name} takes ({card.context}): it would drop the oldest "
            f"{context - card.context}. Set context to at most {card.context}, or choose a backbone that takes more."
        )
