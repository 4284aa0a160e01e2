"""A network and its folder: one of `transformers` read strictly, the weights of its config and no others; ours written.

`from_pretrained` makes up what a file lacks, drops what it has beyond its config and, for some classes, tells neither.
Here names and shapes are compared before a single number is read.
"""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from loracast.errors import BackboneError
from loracast.files import write_json, written
from loracast.models.foreign import Patches, Tokens, architectures_of, body_of, typed
from loracast.models.hub import fetch, read_config, read_shapes, read_tensors, refuse_broken, refuse_other_weights

WEIGHTS = "model.safetensors"
# What a config with a missing, misspelt or impossible entry makes the libraries raise.
BAD_CONFIG = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


class Opened(NamedTuple):
    """A network with its weights, in float32 and evaluation mode, and the commit that they are of."""

    net: Any
    commit: str | None


def open_network(kind: Any, settings: Any, location: str | Path, revision: str | None, family: str) -> Opened:
    """Open the network of class `kind` with configuration class `settings` that `location` holds.

    Raises BackboneError where the files cannot be had, are of another architecture, or hold other weights than
    config.json asks for, with what to do next.
    """
    fetched = fetch(location, ("config.json", WEIGHTS), revision)
    if (fetched.folder / "adapter_config.json").is_file():
        # transformers would put it on the network unasked.
        raise BackboneError(
            f"{location} holds an adapter. Load it with load_adapter, or move adapter_config.json away."
        )
    content = read_config(fetched.folder)
    architectures = architectures_of(content) or ["no known architecture"]
    if "chronos_config" not in content or kind.__name__ not in architectures:
        lack = "" if "chronos_config" in content else ", without a chronos_config block"
        raise BackboneError(
            f"{location} holds {', '.join(architectures)}{lack}, which is no model of the family {family}. Give its "
            "folder by its path: the family is then read from config.json."
        )
    file = fetched.folder / WEIGHTS
    shape = body_of(content, location, family, len(read_shapes(file)))
    block = Tokens if kind.__name__ == "T5ForConditionalGeneration" else Patches
    shape["chronos_config"] = typed(block, content["chronos_config"], location, family, "chronos_config")
    try:
        with torch.device("meta"):
            empty = kind(settings(**copy.deepcopy(shape)))
    except BAD_CONFIG as error:
        raise BackboneError(bad_config(location, family, error)) from error
    _compare(location, empty, file, tied=content.get("tie_word_embeddings") is not False)
    tensors = read_tensors(file)
    refuse_broken(location, tensors)
    try:
        # Of the folder nothing more is read: a file of it could change how the network computes or forecasts.
        net = kind.from_pretrained(None, config=settings(**shape), state_dict=tensors, dtype=torch.float32)
    except (OSError, *BAD_CONFIG) as error:
        raise BackboneError(bad_config(location, family, error)) from error
    net.eval()
    return Opened(net, fetched.commit)


def _compare(location: str | Path, empty: Any, file: Path, *, tied: bool) -> None:
    """Raise BackboneError where `file` has other tensors than the network `empty`, or several for one that is `tied`.

    transformers keeps a head apart from the embedding where the file has both.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in empty.named_parameters()}
    found = read_shapes(file)
    unused = [re.compile(pattern) for pattern in getattr(empty, "_keys_to_ignore_on_load_unexpected", None) or ()]
    copies = {name for name in empty.state_dict() if name not in wanted}
    own = {
        name: shape
        for name, shape in found.items()
        if name not in copies and (name in wanted or not any(pattern.search(name) for pattern in unused))
    }
    refuse_other_weights(location, wanted, own)
    for name in sorted(copies & set(found)) if tied else ():
        _refuse_untied(location, empty, file, name)


def _refuse_untied(location: str | Path, empty: Any, file: Path, name: str) -> None:
    source = next(other for other, one in empty.named_parameters() if one is empty.get_parameter(name))
    with safe_open(file, framework="pt") as content:
        same = torch.equal(content.get_tensor(name), content.get_tensor(source))
    if not same:
        raise BackboneError(
            f"{location} keeps {name} apart from {source}, but the network has one tensor for both: one of the two "
            "would be lost. Save it with tied embeddings."
        )


def bad_config(location: str | Path, family: str, error: Exception) -> str:
    """What is said of a config.json that no network can be built from."""
    return (
        f"{location} cannot be loaded as a {family}: {str(error) or type(error).__name__}. Its config.json lacks an "
        "entry or has an impossible one; save or download the model again."
    )


def save_network(net: nn.Module, config: Mapping[str, Any], folder: str | Path) -> None:
    """Write config.json and model.safetensors of a network of ours, each whole or not at all."""
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    with written(folder / WEIGHTS, overwrite=True) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(folder / "config.json", config, overwrite=True)
