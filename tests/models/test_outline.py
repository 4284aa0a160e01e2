"""What is known of a backbone without building it is what building it gives."""

import dataclasses
import runpy
from pathlib import Path

from loracast.models.outline import FILE, Outlined, Part, folded, outline, unfolded
from loracast.models.registry import Listed, backbones, listed
from loracast.tuning.other import TUNERS, asked_peft, peft_names

MAKE = Path(__file__).parents[2] / "docs" / "make_outlines.py"


def test_the_outlines_and_the_tuners_are_fresh():
    made = runpy.run_path(str(MAKE))
    assert made["outlines"]() == FILE.read_text(encoding="utf-8"), "run python docs/make_outlines.py"
    assert made["tuners"]() == TUNERS.read_text(encoding="utf-8"), "run python docs/make_outlines.py"


def test_every_backbone_has_an_outline_with_its_card():
    for name, (family, release) in backbones().items():
        card = outline(name).card
        assert (card.name, card.family, card.licence) == (name, family.name, release.licence)
    assert outline("amazon/chronos-2").card.name == "chronos-2"


def test_sizes_that_changed_are_not_taken_for_those_that_are_known(monkeypatch):
    found = listed("chronos-2")
    wider = dataclasses.replace(found.release, sizes={**found.release.sizes, "d_model": 1024})
    monkeypatch.setattr("loracast.models.outline.listed", lambda name: Listed(name, found.family, wider))
    assert outline("chronos-2") is None


def test_a_folder_and_what_has_no_sites_have_no_outline(tmp_path):
    assert outline(str(tmp_path)) is None
    assert outline("last-value") is None


def test_modules_that_differ_in_the_number_of_their_block_are_folded_into_one_entry():
    parts = {f"block.{n}.layer.1.q": Part("linear", {"weight": (3, 2)}) for n in range(12)}
    parts |= {"block.0.bias": Part("leaf", {"weight": (4,)}), "head": Part("leaf", {})}
    entries = folded(parts)
    assert list(entries) == ["block.#.layer.1.q", "block.#.bias", "head"]
    assert unfolded(entries) == parts
    assert dict(Outlined(parts).sizes())["block.11.layer.1.q.weight"] == 6
    linear, leaf = parts["block.3.layer.1.q"], parts["block.0.bias"]
    assert (linear.in_features, linear.out_features) == (2, 3)
    assert (leaf.in_features, leaf.out_features, leaf.numbers) == (None, None, 4)


def test_another_peft_is_asked_for_its_tuners(monkeypatch):
    monkeypatch.setattr("loracast.tuning.other.version", lambda package: "0.0.1")
    monkeypatch.setattr("loracast.tuning.other.asked_peft", lambda: ["asked"])
    assert peft_names() == ["asked"]
    monkeypatch.undo()
    assert peft_names() == asked_peft()
