"""What was trained comes back the same, on the right base only, and tells of no machine and no patient."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from peft import PeftModel
from transformers import T5ForConditionalGeneration, set_seed

from loracast.errors import AdapterError, BackboneError, ConfigError
from loracast.models.registry import load_backbone
from loracast.tuning.adapter import base_digest, load_adapter, merge_adapter, save_adapter
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.tuning.card import Card, digests_of, read_card
from loracast.tuning.method import Attached, quiet_peft
from loracast.tuning.methods import method_named
from loracast.types import LEVELS
from tests.conftest import save_backbone


def trained(tiny: Path, method: str) -> tuple[Attached, str]:
    """A method whose numbers have moved, as if trained, and the digest of the base before."""
    backbone = load_backbone(str(tiny))
    base = base_digest(backbone)
    set_seed(0)
    attached = attach(backbone, method_named(method)())
    with torch.no_grad():
        for parameter in attached.trainable.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return attached, base


def saved(tiny: Path, method: str, folder: Path) -> Attached:
    attached, base = trained(tiny, method)
    arm = ArmSpec(model=str(tiny), method=method)
    save_adapter(attached, arm, folder, base=base)
    return attached


def forecast(backbone) -> torch.Tensor:
    context = 80 + torch.randn(3, 40, generator=torch.Generator().manual_seed(1)).cumsum(dim=1)
    return backbone.forecast(context, 16, levels=LEVELS, samples=20, seed=0)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_loaded_adapter_forecasts_what_the_saved_one_did(tiny, tmp_path, method):
    attached = saved(tiny, method, tmp_path / "adapter")
    loaded = load_adapter(tmp_path / "adapter", backbone=str(tiny))
    assert torch.equal(forecast(loaded), forecast(attached.model))
    assert not torch.equal(forecast(loaded), forecast(load_backbone(str(tiny))))
    assert not loaded.net.training
    assert method == "full" or not any(parameter.requires_grad for parameter in loaded.net.parameters())


def test_plain_peft_opens_it_on_the_plain_network(tiny, tmp_path):
    attached = saved(tiny, "lora", tmp_path / "adapter")
    plain = T5ForConditionalGeneration.from_pretrained(str(tiny))
    with quiet_peft():
        plain = PeftModel.from_pretrained(plain, str(tmp_path / "adapter")).eval()
    ids = torch.randint(2, 64, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one = plain(input_ids=ids, decoder_input_ids=ids).logits
        other = attached.model.net(input_ids=ids, decoder_input_ids=ids).logits
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)  # PEFT makes other products
    assert not torch.allclose(
        one,
        T5ForConditionalGeneration.from_pretrained(str(tiny))(input_ids=ids, decoder_input_ids=ids).logits,
        rtol=1e-2,
        atol=1e-2,
    )


def test_plain_transformers_opens_a_whole_network(tiny, tmp_path):
    attached = saved(tiny, "full", tmp_path / "adapter")
    plain = T5ForConditionalGeneration.from_pretrained(str(tmp_path / "adapter"))
    for name, parameter in attached.model.net.named_parameters():
        assert torch.equal(plain.get_parameter(name), parameter), name


@pytest.mark.parametrize("method", ["lora", "full"])
def test_no_file_of_it_names_a_path_of_this_machine(tiny, tmp_path, method):
    saved(tiny, method, tmp_path / "adapter")
    for file in (tmp_path / "adapter").rglob("*"):
        content = file.read_bytes()
        for secret in (str(tiny), str(tiny.parent), str(tmp_path), str(Path.home())):
            assert secret.encode() not in content, (file.name, secret)
    assert read_card(tmp_path / "adapter", Card).arm.model == "tiny-t5"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_consists_of_safe_files_only(tiny, tmp_path, method):
    saved(tiny, method, tmp_path / "adapter")
    kinds = {file.suffix for file in (tmp_path / "adapter").iterdir()} - {".md"}
    assert kinds == {".json", ".safetensors"}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_another_base_is_refused_and_both_are_told_apart(tiny, tmp_path, method):
    saved(tiny, method, tmp_path / "adapter")
    other = save_backbone(tmp_path / "other-t5", seed=1)
    with pytest.raises(AdapterError, match=r"trained on tiny-t5 \(weights .* but .*other-t5 holds other weights"):
        load_adapter(tmp_path / "adapter", backbone=str(other))


def test_a_base_that_was_a_folder_must_be_given(tiny, tmp_path):
    saved(tiny, "lora", tmp_path / "adapter")
    with pytest.raises(AdapterError, match=r"trained on tiny-t5, a folder .*--backbone"):
        load_adapter(tmp_path / "adapter")
    with pytest.raises(BackboneError, match="No backbone 'nowhere'"):
        load_adapter(tmp_path / "adapter", backbone="nowhere")


def test_a_folder_without_a_card_is_no_adapter(tiny, tmp_path):
    with pytest.raises(AdapterError, match=r"loracast\.json is missing"):
        load_adapter(tiny)


def test_a_card_that_is_not_json_is_refused(tiny, tmp_path):
    saved(tiny, "lora", tmp_path / "adapter")
    (tmp_path / "adapter" / "loracast.json").write_text("{")
    with pytest.raises(AdapterError, match="is not JSON"):
        load_adapter(tmp_path / "adapter", backbone=str(tiny))


def of_old(folder: Path) -> Path:
    """The adapter as it was before a card stated the digests of the files beside it."""
    card = json.loads((folder / "loracast.json").read_text())
    del card["files"]
    (folder / "loracast.json").write_text(json.dumps(card))
    return folder


def test_a_missing_or_truncated_weight_file_is_refused_without_asking_the_hub(tiny, tmp_path):
    saved(tiny, "lora", tmp_path / "adapter")
    file = of_old(tmp_path / "adapter") / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(AdapterError, match="cannot be read"):
        load_adapter(tmp_path / "adapter", backbone=str(tiny))
    file.unlink()
    with pytest.raises(AdapterError, match="is not there"):
        load_adapter(tmp_path / "adapter", backbone=str(tiny))


def test_a_missing_tensor_is_refused_not_made_up(tiny, tmp_path):
    saved(tiny, "lora", tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors.pop(min(tensors))
    safetensors.torch.save_file(tensors, file)
    of_old(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="1 tensors are missing, 0 are not its own and 0 have another shape"):
        load_adapter(tmp_path / "adapter", backbone=str(tiny))


def test_the_card_says_what_it_belongs_to_and_what_was_trained(tiny, tmp_path):
    attached = saved(tiny, "lora", tmp_path / "adapter")
    card = json.loads((tmp_path / "adapter" / "loracast.json").read_text())
    assert card["format"] == 2
    assert card["base_sha256"] == base_digest(load_backbone(str(tiny)))
    assert card["trainable_parameters"] == attached.trainable_parameters


def test_a_failed_save_leaves_the_adapter_that_stood_there(tiny, tmp_path, monkeypatch):
    saved(tiny, "lora", tmp_path / "adapter")
    kept = shutil.copytree(tmp_path / "adapter", tmp_path / "kept")
    attached, base = trained(tiny, "lora")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(attached.peft, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        save_adapter(attached, ArmSpec(model="tiny-t5", method="lora"), tmp_path / "adapter", base=base, overwrite=True)
    for file in Path(kept).iterdir():
        assert file.read_bytes() == (tmp_path / "adapter" / file.name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "kept"}


@pytest.mark.parametrize(
    ("method", "name"),
    [("lora", "adapter_model.safetensors"), ("lora", "adapter_config.json"), ("full", "model.safetensors")],
)
def test_a_file_that_is_not_the_one_its_card_states_is_refused(tiny, tmp_path, method, name):
    saved(tiny, method, tmp_path / "adapter")
    file = tmp_path / "adapter" / name
    content = file.read_bytes()
    file.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    with pytest.raises(AdapterError, match=rf"{name} was changed: loracast\.json states the SHA-256"):
        load_adapter(tmp_path / "adapter", backbone=str(tiny))
    file.unlink()
    with pytest.raises(AdapterError, match=rf"{name} is missing"):
        load_adapter(tmp_path / "adapter", backbone=str(tiny))


def test_a_file_that_would_change_how_an_adapter_is_loaded_is_refused(tiny, tmp_path):
    saved(tiny, "head", tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterError, match=r"adapter_config\.json is none of its files"):
        load_adapter(tmp_path / "adapter", backbone=str(tiny))


@pytest.mark.parametrize("method", ["lora", "head"])
def test_an_adapter_that_was_saved_without_digests_still_loads(tiny, tmp_path, method):
    attached = saved(tiny, method, tmp_path / "adapter")
    loaded = load_adapter(of_old(tmp_path / "adapter"), backbone=str(tiny))
    assert torch.equal(forecast(loaded), forecast(attached.model))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"r": 8}, "another 'r' than the method of its card gives"),
        ({"megatron_core": "os"}, "another 'megatron_core' than"),
        ({"use_of_tomorrow": True}, "sets 'use_of_tomorrow', which the PEFT that is installed does not know"),
        ({"peft_type": "IA3"}, "another 'peft_type' than"),
    ],
)
def test_a_config_of_peft_is_held_against_the_card_and_never_obeyed(tiny, tmp_path, changed, told):
    saved(tiny, "lora", tmp_path / "adapter")
    file = of_old(tmp_path / "adapter") / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    with pytest.raises(AdapterError, match=told):
        load_adapter(tmp_path / "adapter", backbone=str(tiny))


def test_where_peft_would_look_for_the_base_changes_nothing(tiny, tmp_path):
    attached = saved(tiny, "lora", tmp_path / "adapter")
    file = of_old(tmp_path / "adapter") / "adapter_config.json"
    elsewhere = {"base_model_name_or_path": "evil/base", "auto_mapping": {"parent_library": "evil"}, "revision": "x"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **elsewhere}))
    loaded = load_adapter(tmp_path / "adapter", backbone=str(tiny))
    assert torch.equal(forecast(loaded), forecast(attached.model))


@pytest.mark.parametrize(("method", "name"), [("lora", "adapter_model"), ("head", "trained"), ("full", "model")])
def test_weights_that_are_not_finite_or_of_another_shape_are_refused(tiny, tmp_path, method, name):
    saved(tiny, method, tmp_path / "adapter")
    file = of_old(tmp_path / "adapter") / f"{name}.safetensors"
    tensors = safetensors.torch.load_file(file)
    first = max(tensors)
    whole = tensors[first]
    for damaged, told in (
        (whole * torch.inf, "not finite"),
        (whole[:1].clone(), "in another shape|have another shape"),
    ):
        safetensors.torch.save_file({**tensors, first: damaged}, file, metadata={"format": "pt"})
        with pytest.raises((AdapterError, BackboneError), match=told):
            load_adapter(tmp_path / "adapter", backbone=str(tiny))


def test_an_adapter_is_never_merged_over_itself(tiny, tmp_path):
    saved(tiny, "lora", tmp_path / "adapter")
    before = digests_of(tmp_path / "adapter")
    with pytest.raises(ConfigError):
        merge_adapter(tmp_path / "adapter", tmp_path / "adapter", backbone=str(tiny), overwrite=True)
    assert digests_of(tmp_path / "adapter") == before


def test_a_merged_adapter_states_its_own_files(tiny, tmp_path):
    saved(tiny, "lora", tmp_path / "adapter")
    merged = merge_adapter(tmp_path / "adapter", tmp_path / "merged", backbone=str(tiny))
    assert set(json.loads((merged / "loracast.json").read_text())["files"]) == {"config.json", "model.safetensors"}
    load_adapter(merged)
