"""Where a method acts: named sets of a backbone's modules, or a pattern of a caller's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loracast.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from torch import nn

    from loracast.models.base import Backbone
    from loracast.models.outline import Outline

    Tunable = Backbone | Outline

NAMED: dict[str, tuple[str, ...]] = {
    # "qkvo" is what the papers call it, "attention" what it is.
    "attention": ("attention",),
    "qkvo": ("attention",),
    "qv": ("query_value",),
    "feed-forward": ("feed_forward",),
    "all-linear": ("attention", "feed_forward", "embedding"),
    "head": ("head",),
}
"""Each named set, as the fields of `models.base.Sites` that it is made of."""
_OWN = {"ia3": ("key_value", "feed_forward_out"), "norm": ("norm",)}  # where two methods act unless told otherwise


def pattern_of(model: Tunable, sites: str) -> str:
    """A named set, or a caller's regular expression, as one that matches the full names of the modules it means.

    Raises ConfigError where `sites` is neither a name nor matches a module, TrainingError where the backbone has no
    such part.
    """
    parts = NAMED.get(sites) or _OWN.get(sites)
    if parts is not None:
        patterns = [pattern for part in parts if (pattern := getattr(model.sites, part)) is not None]
        if not patterns:
            raise TrainingError(f"{model.card.name} has no {sites}. Choose another of {', '.join(NAMED)}.")
        return patterns[0] if len(patterns) == 1 else "|".join(f"(?:{pattern})" for pattern in patterns)
    names = [name for name, _ in model.net.named_modules() if name]
    try:
        found = any(re.fullmatch(sites, name) for name in names)
    except re.error as error:
        raise ConfigError(f"sites {sites!r} is not a regular expression: {error}. {_choice(model)}") from error
    if not found:
        matches = f"sites {sites!r} is no known set and matches no module of {model.card.name}."
        raise ConfigError(f"{matches} {_choice(model)}")
    return sites


def modules_at(model: Tunable, pattern: str) -> dict[str, Any]:
    """The modules whose full names `pattern` matches."""
    return {name: module for name, module in model.net.named_modules() if re.fullmatch(pattern, name)}


def with_own_weights(model: Backbone, modules: Mapping[str, nn.Module]) -> None:
    """Give these modules weights of their own where they share them: a head that is the embedding too, say.

    Otherwise what is trained there, or merged into it, would change the other end of the network as well.
    """
    from torch import nn

    within = {id(module) for top in modules.values() for module in top.modules()}
    elsewhere = {id(p) for module in model.net.modules() if id(module) not in within
                 for p in module.parameters(recurse=False)}  # fmt: skip
    for top in modules.values():
        for module in top.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if id(parameter) in elsewhere:
                    setattr(module, name, nn.Parameter(parameter.detach().clone()))


def _choice(model: Tunable) -> str:
    example = next(iter(modules_at(model, model.sites.attention)))
    return f"Known: {', '.join(NAMED)}; or a regular expression of full names such as {example}."
