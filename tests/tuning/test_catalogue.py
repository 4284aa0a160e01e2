"""The list of what can be adapted, and the counts of what would be trained: offline and complete."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from loracast.cli import main
from loracast.errors import TrainingError
from loracast.models.registry import backbones, load_backbone
from loracast.tuning.arm import ArmSpec
from loracast.tuning.catalogue import catalogue, methods_of, trained_numbers
from loracast.tuning.methods import methods


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three of the backbones stand for all: to list one takes a fifth of a second."""
    names = ["chronos-bolt-base", "chronos-2", "chronos-t5-nano"]
    found = {name: backbones()[name] for name in names}
    monkeypatch.setattr("loracast.tuning.catalogue.backbones", lambda: found)
    return names


def test_every_backbone_is_listed_with_its_family_size_and_licence():
    rows = {row["name"]: row for row in catalogue()}
    assert list(rows) == list(backbones())
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
    assert all(row["family"] == backbones()[name][0].name for name, row in rows.items())


def test_what_is_packaged_tells_its_own_context(few):
    row = next(row for row in catalogue() if row["name"] == "chronos-t5-nano")
    card = load_backbone("chronos-t5-nano").card
    assert (row["weights"], row["hub"]) == ("packaged", None)
    assert (row["context"], row["horizon"], row["parameters"]) == (card.context, card.horizon, card.parameters)


def test_weights_of_any_commit_in_the_cache_are_seen(empty_cache, few):
    folder = empty_cache / "models--amazon--chronos-2" / "snapshots" / ("3" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    where = {row["name"]: row["weights"] for row in catalogue()}
    assert where["chronos-2"] == "on the Hub"
    (folder / "model.safetensors").touch()
    where = {row["name"]: row["weights"] for row in catalogue()}
    assert where["chronos-2"] == "cached"
    assert where["chronos-bolt-base"] == "on the Hub"


def test_the_command_prints_the_list_as_a_table_and_as_json(capsys, few):
    for words in (["backbones"], ["backbones", "--json"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
    table, _, text = capsys.readouterr().out.partition("[")
    assert all(name in table for name in few)
    assert "205,292,928" in table
    assert [row["name"] for row in json.loads("[" + text)] == few


def test_the_name_on_the_hub_is_counted_as_the_short_one():
    row = trained_numbers(ArmSpec(model="amazon/chronos-2", method="lora", rank=2))
    assert row == {
        "backbone": "chronos-2",
        "method": "lora",
        "size": "rank 2",
        "rank": 2,
        "alpha": 16,
        "sites": "attention",
        "trainable_parameters": 294_912,
        "total_parameters": 119_477_664,
    }


def test_settings_of_the_method_are_in_the_count_and_a_method_without_rank_says_so():
    row = trained_numbers(ArmSpec(model="chronos-t5-tiny", method="fourierft", sites="qv"))
    assert (row["rank"], row["frequencies"], row["sites"], row["trainable_parameters"]) == (None, 100, "qv", 2400)


def test_every_method_of_a_backbone_has_a_row_and_the_other_tuners_of_peft_one(tiny):
    rows = {row["method"]: row for row in methods_of(str(tiny))}
    kinds = {name for name, kind in methods().items() if "pretrained" in kind.kinds}
    assert set(rows) == {*kinds, "peft:NAME"}
    assert rows["lora"] == {
        "method": "lora",
        "summary": "a low-rank update of each matrix",
        "backbone": "tiny-t5",
        "total_parameters": load_backbone(str(tiny)).card.parameters,
        "size": "rank 2",
        "sites": "attention",
        "learning_rate": 1e-3,
        "trainable_parameters": 24 * 2 * (16 + 16),
        "refused": None,
    }
    assert "has no bias terms" in rows["bitfit"]["refused"]
    assert rows["bitfit"]["trainable_parameters"] is None
    assert "hra" in rows["peft:NAME"]["summary"]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # torch's, of every sparse product
def test_a_tuner_that_needs_weights_is_counted_where_they_are_here(tiny):
    with pytest.raises(TrainingError, match=r"cannot be counted on chronos-t5-tiny offline.*chronos-t5-nano"):
        trained_numbers(ArmSpec(model="chronos-t5-tiny", method="peft:shira"))
    assert trained_numbers(ArmSpec(model=str(tiny), method="peft:shira", r=2))["trainable_parameters"] == 24 * 2 * 32
