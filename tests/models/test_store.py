"""The files of a saved model: whatever is missing, damaged or of another network is named, and nothing is made up."""

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from loracast.errors import BackboneError
from loracast.models.registry import load_backbone
from tests.models.conftest import weights_of


def config_of(folder: Path, **changed: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **changed}))


def save_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_config_that_is_not_json_is_refused(copied):
    (copied / "config.json").write_text("{")
    with pytest.raises(BackboneError, match=r"config\.json .*is not JSON"):
        load_backbone(str(copied))


def test_a_causal_chronos_is_refused(copied):
    chronos = json.loads((copied / "config.json").read_text())["chronos_config"]
    config_of(copied, chronos_config={**chronos, "model_type": "causal"})
    with pytest.raises(BackboneError, match="encoder-decoder only"):
        load_backbone(str(copied))


def test_a_chronos_block_that_lacks_a_key_is_refused(copied):
    config_of(copied, chronos_config={"context_length": 48})
    with pytest.raises(BackboneError, match=r"cannot be loaded as a chronos-t5.*missing"):
        load_backbone(str(copied))


def test_a_truncated_weight_file_is_refused(copied):
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BackboneError, match=r"cannot be read as safetensors.*cut short"):
        load_backbone(str(copied))


def test_a_missing_weight_file_is_refused(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"holds no model\.safetensors"):
        load_backbone(str(copied))


def test_a_missing_weight_is_named_and_never_made_up(copied):
    weights = weights_of(copied)
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    del weights[name]
    save_weights(copied, weights)
    with pytest.raises(BackboneError, match=rf"lacks {re.escape(name)} \(1 in all\)"):
        load_backbone(str(copied))


def test_weights_of_a_deeper_network_are_not_dropped(copied):
    config_of(copied, num_layers=1)
    with pytest.raises(BackboneError, match=r"beyond its config, .*encoder\.block\.1"):
        load_backbone(str(copied))


def test_weights_of_another_width_are_refused(copied):
    config_of(copied, d_ff=48)
    with pytest.raises(BackboneError, match=r"DenseReluDense\.wi"):
        load_backbone(str(copied))
