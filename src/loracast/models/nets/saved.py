"""A network of ours as files: config.json and model.safetensors under the published names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from loracast.files import write_json, written


def save_network(net: nn.Module, config: Mapping[str, Any], folder: str | Path) -> None:
    """Write both files, each whole or not at all."""
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    with written(folder / "model.safetensors") as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(folder / "config.json", config)
