"""What can be adapted and what a method would train on it: counted from built-in sizes, offline.

What is known of a backbone beforehand (`models.outline`) is counted without torch; others are built, or read.
"""

from pathlib import Path
from typing import Any

from loracast.errors import LoracastError
from loracast.models.base import Backbone
from loracast.models.cached import is_cached
from loracast.models.outline import Outline, outline
from loracast.models.registry import backbones, check_backbone, is_listed, load_backbone, skeleton
from loracast.tuning.arm import ArmSpec
from loracast.tuning.method import Method
from loracast.tuning.methods import methods
from loracast.tuning.other import PREFIX, peft_names


def catalogue() -> list[dict[str, Any]]:
    """Every backbone by name: family, parameters, context and horizon in steps, licence, where its weights are."""
    return [_row(name) for name in backbones()]


def _row(name: str) -> dict[str, Any]:
    family, release = backbones()[name]
    weights = _whereabouts(release.location)
    # What is packaged is small, and knows its own context; of a release the published context is built in.
    card = (outline(name) or (load_backbone if weights == "packaged" else skeleton)(name)).card
    return {
        "family": family.name,
        "name": name,
        "parameters": card.parameters,
        "context": card.context,
        "horizon": card.horizon,
        "licence": card.licence,
        "hub": release.location if isinstance(release.location, str) else None,
        "weights": weights,
    }


def _whereabouts(location: str | Path | None) -> str:
    if not isinstance(location, str):
        return "packaged" if location is not None and location.is_dir() else "missing"
    return "cached" if is_cached(location) else "on the Hub"


def trained_numbers(arm: ArmSpec) -> dict[str, Any]:
    """How many numbers the arm trains; raises as `attach` does where the method does not fit the backbone.

    A folder is read. So is what ships where the method is one of `peft:NAME`, which is then tried as well.
    """
    known = backbones().get(arm.model)
    at_hand = isinstance(known[1].location, Path) if known else Path(arm.model).exists()
    tried = at_hand and (known is None or not arm.method.proven)
    backbone = load_backbone(arm.model) if tried else _bare(arm.model)
    return {
        "backbone": backbone.card.name,
        "method": arm.method.name,
        "size": _size(arm.method),
        "rank": None,
        **arm.method.model_dump(mode="json"),
        "trainable_parameters": _counted(arm.method, backbone),
        "total_parameters": backbone.card.parameters,
    }


def refuse_unfit(arm: ArmSpec) -> None:
    """Raise what can be known of an arm without its network: a backbone that is none, a size that no matrix has."""
    check_backbone(arm.model, revision=arm.revision)
    known = outline(arm.model)
    if known is not None:
        arm.method.counted(known)


def _counted(method: Method, backbone: Backbone | Outline) -> int:
    """How many numbers a method trains; raises as `attach` does."""
    if isinstance(backbone, Outline):
        found = method.counted(backbone)
        if found:
            return found
        # Zero-shot, or what attaching alone can tell: another kind of module, or a refusal of PEFT.
        if found == 0 and not method.trains:
            return 0
        backbone = skeleton(backbone.card.name)
    from loracast.tuning.attach import attach

    return attach(backbone, method).trainable_parameters


def _size(method: Method) -> str:
    """By what it is sized: `rank 2`."""
    return f"{method.size.replace('_', ' ')} {getattr(method, method.size)}" if method.size else ""


def methods_of(backbone: str | None = None) -> list[dict[str, Any]]:
    """Every method on `backbone`, or on the smallest release of each family: what it trains, or why it is refused.

    Counted without weights where the backbone is in the table; a folder is read. The last row of each backbone says
    which other tuners of PEFT there are. Raises BackboneError for a name that is neither.
    """
    names = _smallest() if backbone is None else [backbone]
    kinds = [kind for kind in methods().values() if "pretrained" in kind.kinds]
    return [_method_row(name, kind) for kind in kinds for name in names] + [_other_row(name) for name in names]


def _smallest() -> list[str]:
    """The smallest release of each family; the nanos that ship are stand-ins."""
    found: dict[str, tuple[int, str]] = {}
    for name, (family, release) in backbones().items():
        if not isinstance(release.location, Path):
            size = _bare(name).card.parameters, name
            found[family.name] = min(found.get(family.name, size), size)
    return [name for _, name in found.values()]


def _bare(name: str) -> Backbone | Outline:
    listed = is_listed(name) or not Path(name).exists()
    return (outline(name) or skeleton(name)) if listed else load_backbone(name)


def _method_row(name: str, kind: type[Method]) -> dict[str, Any]:
    bare, method = _bare(name), kind()
    row: dict[str, Any] = {
        "method": kind.name,
        "summary": kind.summary,
        "backbone": bare.card.name,
        "total_parameters": bare.card.parameters,
        "size": _size(method),
        "sites": getattr(method, "sites", None),
        "learning_rate": method.rate(bare.card.parameters),
    }
    try:
        return {**row, "trainable_parameters": _counted(method, bare), "refused": None}
    except LoracastError as error:
        return {**row, "trainable_parameters": None, "refused": str(error)}


def _other_row(name: str) -> dict[str, Any]:
    """One row for all of `peft:NAME`."""
    card = _bare(name).card
    return {
        "method": f"{PREFIX}NAME",
        "summary": f"another tuner of PEFT: {', '.join(peft_names())}",
        "backbone": card.name,
        "total_parameters": card.parameters,
        "size": "",
        "sites": "attention",
        "learning_rate": 1e-3,
        "trainable_parameters": None,
        "refused": f"count one by its name, such as `loracast params --method {PREFIX}hra`",
    }
