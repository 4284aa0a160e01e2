"""The list of what can be adapted, and the counts of what would be trained: offline and complete."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from loracast.cli import main
from loracast.models.registry import BACKBONES, load_backbone
from loracast.spec import ArmSpec
from loracast.tuning.catalogue import catalogue, trained_numbers


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_every_backbone_is_listed_with_its_family_size_and_licence():
    rows = {row["name"]: row for row in catalogue()}
    assert list(rows) == list(BACKBONES)
    assert rows["chronos-bolt-base"] == {
        "family": "chronos-bolt",
        "name": "chronos-bolt-base",
        "parameters": 205_292_928,
        "context": 2048,
        "horizon": 64,
        "licence": "Apache-2.0",
        "hub": "amazon/chronos-bolt-base",
        "weights": "on the Hub",
    }
    assert all(row["family"] == BACKBONES[name].family for name, row in rows.items())


def test_what_is_packaged_tells_its_own_context():
    row = next(row for row in catalogue() if row["name"] == "chronos-t5-nano")
    card = load_backbone("chronos-t5-nano").card
    assert (row["weights"], row["hub"]) == ("packaged", None)
    assert (row["context"], row["horizon"], row["parameters"]) == (card.context, card.horizon, card.parameters)


def test_weights_of_any_commit_in_the_cache_are_seen(empty_cache):
    folder = empty_cache / "models--amazon--chronos-2" / "snapshots" / ("3" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    where = {row["name"]: row["weights"] for row in catalogue()}
    assert where["chronos-2"] == "on the Hub"
    (folder / "model.safetensors").touch()
    where = {row["name"]: row["weights"] for row in catalogue()}
    assert where["chronos-2"] == "cached"
    assert where["chronos-bolt-tiny"] == "on the Hub"


def test_the_command_prints_the_list_as_a_table_and_as_json(capsys):
    for words in (["backbones"], ["backbones", "--json"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
    table, _, text = capsys.readouterr().out.partition("[")
    assert all(name in table for name in BACKBONES)
    assert "205,292,928" in table
    assert [row["name"] for row in json.loads("[" + text)] == list(BACKBONES)


def test_the_name_on_the_hub_is_counted_as_the_short_one():
    row = trained_numbers(ArmSpec(backbone="amazon/chronos-2", method="lora", rank=2))
    assert row == {
        "backbone": "chronos-2",
        "method": "lora",
        "rank": 2,
        "trainable_parameters": 294_912,
        "total_parameters": 119_477_664,
    }
