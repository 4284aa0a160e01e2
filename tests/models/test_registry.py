"""Backbones by name and by folder: sizes without weights, and refusals that say what to do."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from loracast.errors import BackboneError
from loracast.models.base import check_window
from loracast.models.registry import BACKBONES, load_backbone, skeleton
from loracast.spec import ArmSpec
from loracast.tuning.methods import attach

SIZES = {
    "chronos-t5-tiny": (49_152, 8_394_496),
    "chronos-t5-mini": (86_016, 20_456_192),
    "chronos-t5-small": (147_456, 46_154_240),
    "chronos-t5-base": (442_368, 201_374_976),
    "chronos-t5-large": (1_179_648, 708_963_328),
    # Published as 9, 21, 48, 205 and 120 million.
    "chronos-bolt-tiny": (49_152, 8_652_672),
    "chronos-bolt-mini": (86_016, 21_236_096),
    "chronos-bolt-small": (147_456, 47_718_016),
    "chronos-bolt-base": (442_368, 205_292_928),
    "chronos-2": (294_912, 119_477_664),
}


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny backbone, to be spoiled."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def config_of(folder: Path, **changed: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **changed}))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def save_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", SIZES)
def test_lora_of_rank_two_and_the_whole_have_the_published_sizes(name):
    attached = attach(skeleton(name), ArmSpec(backbone=name, method="lora", rank=2))
    assert (attached.trainable_parameters, attached.backbone.card.parameters) == SIZES[name]
    assert all(p.is_meta for p in attached.backbone.net.parameters())


def test_the_name_on_the_hub_means_the_same_as_the_short_name():
    assert skeleton("amazon/chronos-t5-mini").card == skeleton("chronos-t5-mini").card
    assert skeleton("chronos-t5-mini").card.name == "chronos-t5-mini"


def test_the_packaged_model_has_the_sizes_of_the_table_and_fits_in_8_mb():
    entry = BACKBONES["chronos-t5-nano"]
    card = load_backbone("chronos-t5-nano").card
    assert card.parameters == skeleton("chronos-t5-nano").card.parameters
    assert (card.name, card.licence, card.revision) == ("chronos-t5-nano", "Apache-2.0", None)
    assert sum(file.stat().st_size for file in Path(entry.location).iterdir()) < 8_000_000


def test_a_folder_is_a_backbone_called_after_itself(tiny):
    card = load_backbone(str(tiny)).card
    assert (card.name, card.family, card.context, card.horizon) == ("tiny-t5", "chronos-t5", 48, 16)
    assert card.parameters == sum(tensor.numel() for tensor in weights_of(tiny).values())


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: cc-by-nc-4.0\ntags: [a]\n---\n# A model\n", "CC-BY-NC-4.0"),
        ("---\ntags: [a]\nlicense: 'mit'\n---\n", "mit"),
        ("---\ntags: [a]\n---\nlicense: mit\n", "not stated in its folder"),
        ("license: mit\n", "not stated in its folder"),
        (None, "not stated in its folder"),
    ],
)
def test_a_folder_has_the_licence_that_its_model_card_states(copied, card, licence):
    if card is not None:
        (copied / "README.md").write_text(card)
    assert load_backbone(str(copied)).card.licence == licence


@pytest.mark.parametrize("ask", [load_backbone, skeleton])
def test_an_unknown_name_is_refused_with_those_that_are_known(ask):
    with pytest.raises(BackboneError, match=r"'chronos-t5-huge'.*chronos-t5-nano, .*chronos-t5-tiny"):
        ask("chronos-t5-huge")


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(BackboneError, match=r"no config\.json"):
        load_backbone(str(tmp_path))


def test_a_config_that_is_not_json_is_refused(copied):
    (copied / "config.json").write_text("{")
    with pytest.raises(BackboneError, match=r"config\.json .*is not JSON"):
        load_backbone(str(copied))


@pytest.mark.parametrize("content", [{"architectures": ["BertModel"]}, {}, {"architectures": None}])
def test_another_architecture_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(BackboneError, match=r"BertModel|unknown architecture"):
        load_backbone(str(tmp_path))


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


def test_a_context_longer_than_the_backbone_takes_is_refused_not_cut(tiny):
    card = load_backbone(str(tiny)).card
    check_window(card, 48)
    with pytest.raises(BackboneError, match=r"49 steps is longer than tiny-t5 takes \(48\).*drop the oldest 1\."):
        check_window(card, 49)


OFFLINE = """
import socket
def refuse(*_, **__):
    raise SystemExit("tried the network")
socket.getaddrinfo = socket.socket.connect = refuse
from loracast.models.registry import load_backbone
from loracast.errors import BackboneError
try:
    load_backbone("chronos-t5-tiny")
except BackboneError as error:
    print(error)
"""


def test_offline_a_model_that_is_not_cached_says_how_to_get_it(tmp_path):
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OFFLINE], env=env, capture_output=True, text=True, check=True)
    assert "amazon/chronos-t5-tiny is neither in the local cache nor to be had from the Hub" in done.stdout
    assert "hf download amazon/chronos-t5-tiny" in done.stdout
