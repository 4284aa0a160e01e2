"""An adapter's README: what a hub reads of it is valid, and names no base that a stranger could put there."""

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from peft import PeftConfig
from transformers import AutoConfig

from loracast.models.registry import backbones
from loracast.spec import parse
from loracast.tuning.adapter import merge_adapter
from loracast.tuning.card import Card, TrainedCard, read_card
from loracast.tuning.model_card import README, base_name, base_on_hub, write_model_card
from tests.tuning.test_adapter import saved
from tests.tuning.test_card import WHOLE

SHIPPED = [name for name in backbones() if base_on_hub(name) is None]


def trained_card(**changed: Any) -> TrainedCard:
    return parse(TrainedCard, WHOLE | changed, "card")


def written(folder: Path, card: TrainedCard, form: Any = "adapter") -> ModelCard:
    write_model_card(folder, card, card, form)
    return ModelCard.load(folder / README)


def test_models_ship():
    assert "chronos-t5-nano" in SHIPPED


@pytest.mark.parametrize("name", [*SHIPPED, "my-folder", "tiny-t5"])
def test_what_ships_and_what_is_a_folder_has_a_name_that_no_repository_can_have(name):
    with pytest.raises(HFValidationError):
        validate_repo_id(base_name(name))


def test_a_base_on_the_hub_is_called_by_its_repository():
    assert base_name("chronos-t5-tiny") == "amazon/chronos-t5-tiny"
    validate_repo_id(base_name("chronos-t5-tiny"))


def test_transformers_asks_nobody_for_a_base_that_ships(monkeypatch):
    def connect(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", connect)
    with pytest.raises(OSError, match="loracast:chronos-t5-nano"):
        AutoConfig.from_pretrained(base_name("chronos-t5-nano"))


def test_an_adapter_of_a_folder_names_it_so_that_the_hub_has_none(tiny, tmp_path):
    saved(tiny, "lora", tmp_path / "adapter")
    assert PeftConfig.from_pretrained(str(tmp_path / "adapter")).base_model_name_or_path == "folder:tiny-t5"


@pytest.mark.parametrize(
    ("method", "library"), [("lora", "peft"), ("head", "loracast"), ("full", "loracast"), ("merged", "loracast")]
)
def test_every_form_of_an_adapter_has_a_card_that_the_hub_can_read(tiny, tmp_path, method, library):
    saved(tiny, "lora" if method == "merged" else method, tmp_path / "adapter")
    folder = tmp_path / "adapter"
    if method == "merged":
        folder = merge_adapter(folder, tmp_path / "merged", backbone=str(tiny))
    card = ModelCard.load(folder / README)
    assert card.data.library_name == library
    assert card.data.pipeline_tag == "time-series-forecasting"
    assert "loracast" in card.data.tags
    assert card.data.base_model is None
    assert f"{read_card(folder, Card).trainable_parameters:,}" in card.text


def test_the_base_is_named_where_it_is_on_the_hub_and_left_out_where_it_is_not(tmp_path):
    hub = written(tmp_path, trained_card(model="chronos-t5-tiny", revision="f" * 40))
    assert (hub.data.base_model, hub.data.to_dict()["base_model_relation"]) == ("amazon/chronos-t5-tiny", "adapter")
    assert "f" * 40 in hub.text
    shipped = written(tmp_path, trained_card())
    assert shipped.data.base_model is None
    assert "`loracast:chronos-t5-nano`" in shipped.text
    assert "is another's" in shipped.text


def test_what_was_learnt_from_patients_is_under_their_terms_and_says_so(tmp_path):
    terms = "PhysioNet Credentialed Health Data License"
    card = written(tmp_path, trained_card(data=WHOLE["data"] | {"simulated": False, "licence": terms}))
    assert (card.data.license, card.data.license_name) == ("other", "apache-2.0-and-the-terms-of-the-training-data")
    assert f"**{terms}**" in card.text
    assert "may forbid" in card.text
    simulated = written(tmp_path, trained_card())
    assert simulated.data.license == "apache-2.0"
    assert "no patient lived these data" in simulated.text


def test_numbers_are_those_of_the_card(tmp_path):
    text = written(tmp_path, trained_card()).text
    for told in ("24 steps seen, 6 forecast, 3600 s", "map (mmHg)", "8 train, 1 validation, 1 test", "Kept step 4"):
        assert told in text
    assert "no test score" in text


USE = """## Use

```python
import loracast

model = loracast.load(FOLDER)
```
"""
WITH_PEFT = """
Or with PEFT alone, on the network of the same base:

```python
from loracast.models.registry import load_backbone
from peft import PeftModel

base = load_backbone("chronos-t5-nano").net  # or as its own library loads it
network = PeftModel.from_pretrained(base, FOLDER)
```
"""


def test_the_card_shows_how_it_is_used_and_peft_only_where_peft_can(tmp_path):
    assert f"{USE}{WITH_PEFT}\nEverything above" in written(tmp_path, trained_card()).text
    assert f"{USE}\nEverything above" in written(tmp_path, trained_card(), "whole").text


def test_where_a_base_is_stands_in_a_sentence_of_its_own(tmp_path):
    assert ". The base comes with loracast and is on no hub: a repository" in written(tmp_path, trained_card()).text
    folder = written(tmp_path, trained_card(model="mine")).text
    assert ". The base was a folder of whoever trained this: say where it is (`--backbone BASE`)." in folder


def test_the_method_is_a_tag_without_signs(tmp_path):
    arm = {"model": "chronos-t5-nano", "method": "peft:hra", "r": 4}
    assert "peft-hra" in written(tmp_path, trained_card(arm=arm)).data.tags


def test_a_stays_signals_together_are_told(tmp_path):
    assert "jointly" not in written(tmp_path, trained_card()).text
    joint = trained_card(window=WHOLE["window"] | {"joint": True})
    assert ", the signals of a stay jointly" in written(tmp_path, joint).text


@pytest.mark.parametrize(
    ("acted", "told"), [(False, "off"), (True, "as its config has it"), (None, "as its config has")]
)
def test_whether_the_dropout_of_the_base_acted_is_told(tmp_path, acted, told):
    assert f"the dropout of the base {told}" in written(tmp_path, trained_card(base_dropout=acted)).text


def test_names_of_a_caller_are_no_markup_and_break_no_line(tmp_path):
    strange = 'x"\n---\nlicense: mit\n# [y](z) <b>'
    card = written(tmp_path, trained_card(signals={strange: "1"}, data=WHOLE["data"] | {"source": strange}))
    assert card.data.license == "apache-2.0"
    assert not re.search(r"^# \[y\]", card.text, re.MULTILINE)
    assert "<b>" not in card.text
