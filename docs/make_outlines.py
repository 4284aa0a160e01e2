"""Write what would else need torch to be told: the shapes of every known release, and the tuners of PEFT.

From the architectures and from PEFT themselves; run after changing a release or raising PEFT.

python docs/make_outlines.py
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from loracast.models.outline import FILE, LEAF, LINEAR, WHOLE, Part, folded, key_of
from loracast.models.registry import backbones, load_backbone, skeleton
from loracast.tuning.other import TUNERS, asked_peft


def outlines() -> str:
    """The content of the file."""
    found: dict[str, Any] = {}
    for name, (family, release) in backbones().items():
        key = key_of(family, release)
        if family.sites is None or key in found:
            continue
        bare = skeleton(name)
        # What ships is small, and knows its own context; of a release the published one is built in.
        card = (load_backbone(name) if isinstance(release.location, Path) else bare).card
        found[key] = {
            "first": name,
            "parameters": card.parameters,
            "context": card.context,
            "horizon": card.horizon,
            "modules": folded({where: part_of(module) for where, module in bare.net.named_modules() if where}),
        }
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(one, separators=(',', ':'))}" for key, one in found.items())
    return f"{{\n{lines}\n}}\n"


def tuners() -> str:
    """The content of the file of PEFT's tuners."""
    return json.dumps({"version": version("peft"), "names": asked_peft()}, indent=2) + "\n"


def part_of(module: nn.Module) -> Part:
    """A module as an outline has it."""
    kind = LINEAR if isinstance(module, nn.Linear) else WHOLE if list(module.children()) else LEAF
    return Part(kind, {name: tuple(one.shape) for name, one in module.named_parameters(recurse=False)})


if __name__ == "__main__":
    FILE.write_text(outlines(), encoding="utf-8")
    TUNERS.write_text(tuners(), encoding="utf-8")
