"""What was trained, as a folder: PEFT's own files (or a whole network), and a card that makes it self-contained.

A PEFT method is saved as `adapter_config.json` + `adapter_model.safetensors`, which plain PEFT loads on the same
base; full fine-tuning as `config.json` + `model.safetensors`, which the family's own library loads. `loracast.json`
beside them says what it belongs to. No path of this machine and no identifier of a patient is in it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from torch import Tensor

from loracast.backbones import BACKBONES, load_backbone
from loracast.backbones.base import Backbone
from loracast.errors import AdapterError
from loracast.files import read_json, write_json, written
from loracast.methods import Attached, old_names_of_peft

CARD = "loracast.json"
_NEEDED = ("format", "backbone", "revision", "base_sha256", "arm")


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values, whatever the order, device or file they came from."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().to("cpu", torch.float32).contiguous()
        total.update(f"{name}{tuple(values.shape)}".encode())
        total.update(values.numpy().tobytes())
    return total.hexdigest()


def base_digest(backbone: Backbone) -> str:
    """What tells a base from another: the digest of its weights before any method is attached."""
    return tensor_digest(dict(backbone.net.named_parameters()))


def save_adapter(attached: Attached, folder: Path, *, base: str, facts: Mapping[str, Any]) -> None:
    """Save what was trained to `folder`, whole or not at all.

    `base` is `base_digest` of the backbone as it was loaded, `facts` what the card adds: window, signals, data
    licence and fingerprint, scores.
    """
    card = attached.backbone.card
    content = {
        "format": 1,
        "backbone": card.name,
        "family": card.family,
        "revision": card.revision,
        "base_sha256": base,
        "base_licence": card.licence,
        # A folder's name without its path, which tells of this machine and means nothing on another.
        "arm": attached.spec.model_copy(update={"backbone": card.name}).model_dump(mode="json"),
        "trainable_parameters": attached.trainable_parameters,
        **facts,
    }
    with written(folder) as temporary:
        temporary.mkdir(parents=True)
        if attached.peft is None:
            attached.backbone.net.save_pretrained(temporary)  # type: ignore[operator]
            # The folder is a backbone of its own, and stays under the licence of its base.
            stated = "" if " " in card.licence else f"license: {card.licence.lower()}\n"
            head = f"---\n{stated}base_model: {card.name}\n---\n"
            (temporary / "README.md").write_text(
                f"{head}\n{card.name}, every weight tuned by loracast.\n", encoding="utf-8"
            )
        else:
            hub = BACKBONES[card.name].location if card.name in BACKBONES else card.name
            config = attached.peft.peft_config["default"]
            # PEFT would store the path that the base was loaded from: of no use elsewhere, telling of this machine.
            config.base_model_name_or_path = hub if isinstance(hub, str) else f"loracast/{card.name}"
            config.revision = card.revision
            # Asked to find out by itself, PEFT would look the base up on the Hub.
            attached.peft.save_pretrained(temporary, save_embedding_layers=False)
            (temporary / "README.md").unlink(missing_ok=True)
        write_json(temporary / CARD, content)


def read_card(folder: Path, *, facts: Sequence[str] = ()) -> dict[str, Any]:
    """The card of an adapter; raises AdapterError where `folder` holds none, or one without the `facts` asked for."""
    if not (folder / CARD).is_file():
        raise AdapterError(
            f"{folder} holds no adapter: {CARD} is missing. `loracast adapt` and `loracast run` write them."
        )
    try:
        card: dict[str, Any] = read_json(folder / CARD)
    except ValueError as error:
        raise AdapterError(f"{folder / CARD} is not JSON ({error}). Copy the adapter again, or adapt anew.") from error
    needed = [*_NEEDED, *facts]
    lacks = [key for key in needed if key not in card] if isinstance(card, dict) else needed
    if lacks or card["format"] != 1:
        fault = f"lacks {', '.join(lacks)}" if lacks else f"has format {card['format']}, which is not 1"
        raise AdapterError(f"{folder / CARD} {fault}: it is of another version of loracast, or damaged. Adapt anew.")
    return card


def load_adapter(folder: Path | str, *, backbone: str | None = None) -> Backbone:
    """Load the backbone that an adapter belongs to, with the adapter on it, ready to forecast.

    `backbone` names a folder or Hub copy of the base where the card's name cannot be resolved. Raises AdapterError
    where the base is not the one that the adapter was trained on (its weights' SHA-256 tells), and where the folder
    lacks a weight.
    """
    folder = Path(folder)
    card = read_card(folder)
    name = backbone or str(card["backbone"])
    if backbone is None and name not in BACKBONES and not Path(name).is_dir():
        raise AdapterError(
            f"The adapter {folder.name} was trained on {name}, a folder that does not come with loracast. Say where it "
            "is (backbone=..., --backbone)."
        )
    base = load_backbone(name, revision=card["revision"] if name in BACKBONES else None)
    found = base_digest(base)
    if found != card["base_sha256"]:
        raise AdapterError(
            f"The adapter {folder.name} was trained on {card['backbone']} (weights {card['base_sha256'][:12]}…), but "
            f"{name} holds other weights ({found[:12]}…). Give the base it was trained on with --backbone."
        )
    if (folder / "adapter_config.json").is_file():
        _put_on(base, folder)
    else:
        trained = load_backbone(str(folder))
        base.net.load_state_dict(trained.net.state_dict())
    base.net.eval()
    return base


def _put_on(base: Backbone, folder: Path) -> None:
    """Load PEFT's files onto `base`; it would look for a missing file on the Hub, and make up a missing tensor."""
    file = folder / "adapter_model.safetensors"
    try:
        saved = set(safetensors.torch.load_file(file))
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{file} cannot be read ({error}). Copy the adapter again, or adapt anew.") from error
    with old_names_of_peft():
        model = PeftModel.from_pretrained(base.net, str(folder))
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if saved != wanted:
        raise AdapterError(
            f"{file} does not hold what adapter_config.json promises: {len(wanted - saved)} tensors are missing and "
            f"{len(saved - wanted)} are not its own. Copy the adapter again, or adapt anew."
        )
