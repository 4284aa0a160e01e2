"""Where a method acts: named sets of a backbone's modules, or a pattern of a caller's own."""

import re

from torch import nn

from loracast.errors import ConfigError, TrainingError
from loracast.models.base import Backbone

NAMED: dict[str, tuple[str, ...]] = {
    # "qkvo" is what the papers call it, "attention" what it is.
    "attention": ("attention",),
    "qkvo": ("attention",),
    "qv": ("query_value",),
    "feed-forward": ("feed_forward",),
    "all-linear": ("attention", "feed_forward", "embedding"),
    "head": ("head",),
}
"""Each named set, as the fields of `backbones.base.Sites` that it is made of."""
_OWN = {"ia3": ("key_value", "feed_forward_out"), "norm": ("norm",)}  # where two methods act unless told otherwise


def pattern_of(backbone: Backbone, sites: str) -> str:
    """A named set, or a caller's regular expression, as one that matches the full names of the modules it means.

    Raises ConfigError where `sites` is neither a name nor matches a module, TrainingError where the backbone has no
    such part.
    """
    parts = NAMED.get(sites) or _OWN.get(sites)
    if parts is not None:
        patterns = [pattern for part in parts if (pattern := getattr(backbone.sites, part)) is not None]
        if not patterns:
            raise TrainingError(f"{backbone.card.name} has no {sites}. Choose another of {', '.join(NAMED)}.")
        return patterns[0] if len(patterns) == 1 else "|".join(f"(?:{pattern})" for pattern in patterns)
    names = [name for name, _ in backbone.net.named_modules() if name]
    try:
        found = any(re.fullmatch(sites, name) for name in names)
    except re.error as error:
        raise ConfigError(f"sites {sites!r} is not a regular expression: {error}. {_choice(backbone)}") from error
    if not found:
        matches = f"sites {sites!r} is no known set and matches no module of {backbone.card.name}."
        raise ConfigError(f"{matches} {_choice(backbone)}")
    return sites


def modules_at(backbone: Backbone, pattern: str) -> dict[str, nn.Module]:
    """The modules whose full names `pattern` matches."""
    return {name: module for name, module in backbone.net.named_modules() if re.fullmatch(pattern, name)}


def _choice(backbone: Backbone) -> str:
    example = next(iter(modules_at(backbone, backbone.sites.attention)))
    return f"Known: {', '.join(NAMED)}; or a regular expression of full names such as {example}."
