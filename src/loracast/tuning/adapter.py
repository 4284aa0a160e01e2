"""What was trained, as a folder, and a card that makes it self-contained.

A PEFT method is saved as `adapter_config.json` + `adapter_model.safetensors`, which plain PEFT loads on the same
base; full fine-tuning as `config.json` + `model.safetensors`, which the family's own library loads; a method that
trains some of the backbone's own weights (head, bitfit) as those weights, `trained.safetensors`. `loracast.json`
beside them says what it belongs to. No path of this machine and no identifier of a patient is in it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.ln_tuning.layer import LNTuningLayer
from safetensors import SafetensorError
from torch import Tensor, nn

from loracast.errors import AdapterError
from loracast.files import read_json, write_json, written
from loracast.models.base import Backbone
from loracast.models.registry import BACKBONES, load_backbone
from loracast.spec import ArmSpec, parse
from loracast.tuning.methods import Attached, attach, free_sites, quiet_peft

CARD = "loracast.json"
TRAINED = "trained.safetensors"
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
        if attached.is_whole:
            _save_whole(attached.backbone, temporary, "every weight tuned by loracast")
        elif attached.peft is None:
            trained = {name: p.detach().to("cpu", copy=True) for name, p in attached.trainable.items()}
            safetensors.torch.save_file(trained, temporary / TRAINED)
        else:
            hub = BACKBONES[card.name].location if card.name in BACKBONES else card.name
            config = attached.peft.peft_config["default"]
            # PEFT would store the path that the base was loaded from: of no use elsewhere, telling of this machine.
            config.base_model_name_or_path = hub if isinstance(hub, str) else f"loracast/{card.name}"
            config.revision = card.revision
            if attached.schedule is not None:
                # The ranks that were taken away are zeros among the kept; the pattern may be of a later step than they.
                config.rank_pattern = None
            # Asked to find out by itself, PEFT would look the base up on the Hub.
            attached.peft.save_pretrained(temporary, save_embedding_layers=False)
            (temporary / "README.md").unlink(missing_ok=True)
        write_json(temporary / CARD, content)


def _save_whole(backbone: Backbone, folder: Path, what: str) -> None:
    """Save the network as a backbone of its own, which stays under the licence of its base."""
    card = backbone.card
    backbone.save(folder)
    stated = "" if " " in card.licence else f"license: {card.licence.lower()}\n"
    head = f"---\n{stated}base_model: {card.name}\n---\n"
    (folder / "README.md").write_text(f"{head}\n{card.name}, {what}.\n", encoding="utf-8")


def merge_adapter(folder: Path | str, out: Path | str, *, backbone: str | None = None) -> Path:
    """Write the backbone with an adapter folded into its weights to `out`: a model without PEFT, as fast as the base.

    Its forecasts are those of the adapter up to rounding. Raises AdapterError as `load_adapter` does.
    """
    base, model = _loaded(Path(folder), backbone)
    if model is not None:
        _fold(base.net, model)
    with written(Path(out)) as temporary:
        temporary.mkdir(parents=True)
        _save_whole(base, temporary, "with an adapter of loracast folded into its weights")
        write_json(temporary / CARD, {**read_card(Path(folder)), "merged": True})
    return Path(out)


def _fold(net: nn.Module, model: PeftModel) -> None:
    """Turn an adapted network into a plain one, in place."""
    norms = {name: module for name, module in net.named_modules() if isinstance(module, LNTuningLayer)}
    for name, module in norms.items():
        # By hand: PEFT looks for the norm's `weight`, and not every family calls its scale so.
        net.set_submodule(name, module.ln_tuning_layers["default"])
    if not norms:
        with quiet_peft():
            model.merge_and_unload()


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
    return _loaded(Path(folder), backbone)[0]


def _loaded(folder: Path, backbone: str | None) -> tuple[Backbone, PeftModel | None]:
    """The backbone with the adapter on it, and PEFT's wrapper where there is one."""
    card = read_card(folder)
    if card.get("merged"):
        return load_backbone(str(folder)), None
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
    model = None
    if (folder / "adapter_config.json").is_file():
        model = _put_on(base, folder, card)
    elif (folder / TRAINED).is_file():
        _fill_trained(base, folder, card)
    else:
        trained = load_backbone(str(folder))
        base.net.load_state_dict(trained.net.state_dict())
    base.net.eval()
    return base, model


def _put_on(base: Backbone, folder: Path, card: Mapping[str, Any]) -> PeftModel:
    """Load PEFT's files onto `base`; it would look for a missing file on the Hub, and make up a missing tensor."""
    file = folder / "adapter_model.safetensors"
    saved = set(_tensors(file))
    free_sites(base, parse(ArmSpec, card["arm"], "The adapter's card"))
    with quiet_peft():
        model = PeftModel.from_pretrained(base.net, str(folder))
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    _refuse_other_tensors(file, "adapter_config.json", saved, wanted)
    return model


def _fill_trained(base: Backbone, folder: Path, card: Mapping[str, Any]) -> None:
    """Put the weights of the base that an adapter has tuned in the place of its own."""
    file = folder / TRAINED
    saved = _tensors(file)
    trainable = attach(base, parse(ArmSpec, card["arm"], "The adapter's card")).trainable
    _refuse_other_tensors(file, CARD, set(saved), set(trainable))
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(saved[name])


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = safetensors.torch.load_file(file)
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{file} cannot be read ({error}). Copy the adapter again, or adapt anew.") from error
    return found


def _refuse_other_tensors(file: Path, promise: str, saved: set[str], wanted: set[str]) -> None:
    if saved != wanted:
        raise AdapterError(
            f"{file} does not hold what {promise} promises: {len(wanted - saved)} tensors are missing and "
            f"{len(saved - wanted)} are not its own. Copy the adapter again, or adapt anew."
        )
