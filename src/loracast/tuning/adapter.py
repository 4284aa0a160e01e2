"""What was trained, as a folder, and a card that makes it self-contained.

A PEFT method is saved as `adapter_config.json` + `adapter_model.safetensors`, which plain PEFT loads on the same
base; full fine-tuning as `config.json` + `model.safetensors`, which the family's own library loads; a method that
trains some of the backbone's own weights (head, bitfit) as those weights, `trained.safetensors`. `loracast.json`
beside them says what it belongs to, `README.md` says it to people and hubs. No path of this machine and no identifier
of a patient is in it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.ln_tuning.layer import LNTuningLayer
from torch import Tensor

from loracast.errors import AdapterError, ConfigError, TrainingError
from loracast.files import claimed, read_json, write_json, written
from loracast.models.base import Backbone, Network
from loracast.models.hub import Shapes, read_tensors, refuse_broken, shapes_of
from loracast.models.registry import is_listed, load_backbone
from loracast.tuning.arm import ArmSpec
from loracast.tuning.card import CARD, FORMAT, Card, TrainedCard, Training, check_files, digests_of, read_card
from loracast.tuning.foreign import PEFT_CONFIG, refuse_other_config
from loracast.tuning.method import Attached, Method, quiet_peft
from loracast.tuning.model_card import Form, base_name, write_model_card
from loracast.types import Rows

TRAINED = "trained.safetensors"


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values, whatever the order, device or file they came from."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().to("cpu", torch.float32).contiguous()
        total.update(f"{name}{tuple(values.shape)}".encode())
        total.update(values.numpy().tobytes())
    return total.hexdigest()


def base_digest(model: Network) -> str:
    """What tells a base from another: the digest of its weights before any method is attached."""
    return tensor_digest(dict(model.net.named_parameters()))


def save_adapter(
    attached: Attached,
    arm: ArmSpec,
    folder: Path,
    *,
    base: str,
    training: Training | None = None,
    overwrite: bool = False,
) -> None:
    """Save what was trained to `folder`, whole or not at all; what stands there is replaced only with `overwrite`.

    `base` is `base_digest` of the model as it was loaded, `training` what the card adds where it was trained on data.
    """
    known = attached.model.card
    card = Card(
        format=FORMAT,
        model=known.name,
        family=known.family,
        revision=known.revision,
        base_sha256=base,
        base_licence=known.licence,
        # A folder's name without its path, which tells of this machine and means nothing on another.
        arm=arm.model_copy(update={"model": known.name}),
        trainable_parameters=attached.trainable_parameters,
    )
    content = card.model_dump(mode="json") | (training.model_dump(mode="json") if training else {})
    with written(folder, overwrite=overwrite) as temporary:
        temporary.mkdir(parents=True)
        form: Form = "adapter"
        if attached.is_whole:
            form = "whole"
            attached.network.save(temporary)
        elif attached.peft is None:
            form = "weights"
            trained = {name: p.detach().to("cpu", copy=True) for name, p in attached.trainable.items()}
            safetensors.torch.save_file(trained, temporary / TRAINED)
        else:
            _save_peft(attached, attached.peft, temporary)
        write_model_card(temporary, card, training, form)
        write_json(temporary / CARD, content | {"files": digests_of(temporary)})


def _save_peft(attached: Attached, wrapper: PeftModel, folder: Path) -> None:
    """Write PEFT's two files, of which the first names the base."""
    card, config = attached.model.card, wrapper.peft_config["default"]
    # PEFT would store the path that the base was loaded from: of no use elsewhere, telling of this machine.
    config.base_model_name_or_path = base_name(card.name)
    config.revision = card.revision
    if attached.schedule is not None:
        # The ranks that were taken away are zeros among the kept; the pattern may be of a later step than they.
        config.rank_pattern = None
    # Asked to find out by itself, PEFT would look the base up on the Hub.
    wrapper.save_pretrained(folder, save_embedding_layers=False)


def merge_adapter(folder: Path | str, out: Path | str, *, backbone: str | None = None, overwrite: bool = False) -> Path:
    """Write the backbone with an adapter folded into its weights to `out`: a model without PEFT, as fast as the base.

    Its forecasts are those of the adapter up to rounding. Raises AdapterError as `load_adapter` does, ConfigError where
    `out` exists and `overwrite` is not given, and, even then, where it is, holds or lies in the adapter or its base.

    >>> merged = merge_adapter(tuned.folder, folder / "merged")
    >>> lc.load(merged).name
    'chronos-t5-nano lora r=2'
    """
    folder, out = Path(folder), Path(out)
    card = read_card(folder, Card)
    with claimed(out, folder, backbone or card.model, overwrite=overwrite):
        base, wrapper = _loaded(folder, backbone)
        if wrapper is not None:
            _fold(base, wrapper, card.arm.method.name)
        with written(out, overwrite=overwrite) as temporary:
            temporary.mkdir(parents=True)
            base.save(temporary)
            content = read_json(folder / CARD, AdapterError)
            training = read_card(folder, TrainedCard) if "data" in content else None
            write_model_card(temporary, card, training, "merged")
            write_json(temporary / CARD, content | {"merged": True, "files": digests_of(temporary)})
    return out


def _fold(base: Backbone, wrapper: PeftModel, method: str) -> None:
    """Turn an adapted network into a plain one, in place; raises AdapterError where PEFT cannot, or does it wrong."""
    net, before = base.net, window_losses(base)
    norms = {name: module for name, module in net.named_modules() if isinstance(module, LNTuningLayer)}
    for name, module in norms.items():
        # By hand: PEFT looks for the norm's `weight`, and not every family calls its scale so.
        net.set_submodule(name, module.ln_tuning_layers["default"])
    instead = "Use the adapter as it is, with the base."
    try:
        if not norms:
            with quiet_peft():
                wrapper.merge_and_unload()
    except Exception as error:  # any class: not every tuner of PEFT can be folded into weights
        raise AdapterError(f"PEFT cannot fold {method!r} into the weights ({error}). {instead}") from error
    after = window_losses(base)
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise AdapterError(
            f"Folded into the weights, {method!r} forecasts otherwise (loss {after.mean():.6g}, not "
            f"{before.mean():.6g}). {instead}"
        )


def load_adapter(folder: Path | str, *, backbone: str | None = None) -> Backbone:
    """Load the backbone that an adapter belongs to, with the adapter on it, ready to forecast.

    `backbone` names a folder or Hub copy of the base where the card's name cannot be resolved. Raises AdapterError
    where the base is not the one that the adapter was trained on (its weights' SHA-256 tells), and where a file of the
    folder is not the one that the card states, lacks a weight or holds one that is not finite.
    """
    return _loaded(Path(folder), backbone)[0]


def _loaded(folder: Path, backbone: str | None) -> tuple[Backbone, PeftModel | None]:
    """The backbone with the adapter on it, and PEFT's wrapper where there is one."""
    card = read_card(folder, Card)
    check_files(folder, card)
    if card.merged:
        return load_backbone(str(folder)), None
    name = backbone or card.model
    if backbone is None and not is_listed(name) and not Path(name).is_dir():
        raise AdapterError(
            f"The adapter {folder.name} was trained on {name}, a folder that does not come with loracast. Say where it "
            "is (backbone=..., --backbone)."
        )
    base = load_backbone(name, revision=card.revision if is_listed(name) else None)
    found = base_digest(base)
    if found != card.base_sha256:
        raise AdapterError(
            f"The adapter {folder.name} was trained on {card.model} (weights {card.base_sha256[:12]}…), but "
            f"{name} holds other weights ({found[:12]}…). Give the base it was trained on with --backbone."
        )
    return base, put_back(base, folder, card.arm.method)


def put_back(base: Backbone, folder: Path, method: Method) -> PeftModel | None:
    """Put what an adapter's folder holds on `base`, in place; returns PEFT's wrapper where there is one.

    `method` is what it was trained with. Raises AdapterError where the folder lacks a weight, or holds others.
    """
    wrapper = None
    if (folder / PEFT_CONFIG).exists():
        wrapper = _put_peft(base, folder, method)
    elif (folder / TRAINED).exists():
        _fill_trained(base, folder, method)
    else:
        whole = load_backbone(str(folder)).net.state_dict()
        _refuse_other_tensors(folder / "model.safetensors", CARD, shapes_of(whole), shapes_of(base.net.state_dict()))
        base.net.load_state_dict(whole)
    base.net.eval()
    return wrapper


def _put_peft(base: Backbone, folder: Path, method: Method) -> PeftModel:
    """Put the method of the card on `base` as for a training, and the saved weights into it.

    PEFT's own loader would do whatever adapter_config.json says (import a module that it names, look for files on the
    Hub, make up a missing tensor); here that file is only held against the card.
    """
    file = folder / "adapter_model.safetensors"
    saved = read_tensors(file, AdapterError)
    wrapper = _attached(base, folder, method).peft
    if wrapper is None:
        raise AdapterError(f"{folder} holds {PEFT_CONFIG}, but {CARD} names {method.name}, which is none of PEFT's.")
    refuse_other_config(folder / PEFT_CONFIG, wrapper.peft_config["default"])
    wanted = get_peft_model_state_dict(wrapper, save_embedding_layers=False)
    _refuse_other_tensors(file, PEFT_CONFIG, shapes_of(saved), shapes_of(wanted))
    # Some tuners keep the places of what they train beside it.
    refuse_broken(file, saved, AdapterError, places=[n for n, one in wanted.items() if not one.is_floating_point()])
    with quiet_peft():
        set_peft_model_state_dict(wrapper, saved)
    base.net.requires_grad_(False)
    return wrapper


def _fill_trained(base: Backbone, folder: Path, method: Method) -> None:
    """Put the weights of the base that an adapter has tuned in the place of its own."""
    file = folder / TRAINED
    saved = read_tensors(file, AdapterError)
    trainable = _attached(base, folder, method).trainable
    _refuse_other_tensors(file, CARD, shapes_of(saved), shapes_of(trainable))
    refuse_broken(file, saved, AdapterError)
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(saved[name])


def _attached(base: Backbone, folder: Path, method: Method) -> Attached:
    try:
        return method.put_on(base)
    except (ConfigError, TrainingError) as error:
        raise AdapterError(f"{folder / CARD} names a method that its base cannot have: {error}") from error


def _refuse_other_tensors(file: Path, promise: str, saved: Shapes, wanted: Shapes) -> None:
    missing, strange = set(wanted) - set(saved), set(saved) - set(wanted)
    other = [name for name in set(saved) & set(wanted) if saved[name] != wanted[name]]
    if missing or strange or other:
        raise AdapterError(
            f"{file} does not hold what {promise} promises: {len(missing)} tensors are missing, {len(strange)} are not "
            f"its own and {len(other)} have another shape. Copy the adapter again, or adapt anew."
        )


WINDOWS, CONTEXT, HORIZON = 3, 32, 8


def window_losses(model: Network, *, grad: bool = False) -> Tensor:
    """The model's own loss on each of three random walks, shape (3,), float32 on the CPU.

    Whatever changes a forecast changes them; unlike a forecast they need no draws.
    """
    card = model.card
    context = CONTEXT if card.kind == "pretrained" else card.context or CONTEXT
    context, horizon = min(context, card.context or context), min(HORIZON, card.horizon or HORIZON)
    generator = torch.Generator().manual_seed(0)
    walks = 80 + torch.randn(WINDOWS, context + horizon, generator=generator).cumsum(dim=1)
    rows = Rows(torch.full((1,), 1_700_000_000), 3600)
    with torch.set_grad_enabled(grad), _quiet():
        losses = [model.loss(walk[None, :context], walk[None, context:], rows) for walk in walks]
    return torch.stack(losses).float().cpu()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what a family notes about short contexts: these windows are not the caller's."""
    logger = logging.getLogger("loracast.models")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two such losses are one up to rounding in float32; never where they are not finite."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)
