"""`peft:NAME`: PEFT's own settings, and a gate that says which test a tuner fails."""

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from loracast.errors import AdapterError, ConfigError, TrainingError
from loracast.models.registry import load_backbone, skeleton
from loracast.spec import parse
from loracast.tuning import gate
from loracast.tuning.adapter import base_digest, load_adapter, merge_adapter, save_adapter, window_losses
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach, check_attached
from loracast.tuning.methods import LoRA, method_named
from loracast.tuning.other import STARTS, OtherPeft, peft_names
from tests.conftest import save_backbone
from tests.models.tiny_ports import save_moirai

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
ROW = re.compile(r"^\| `peft:(\w+)` \| (passes|refused) \|", re.MULTILINE)
DOCUMENTED = dict(ROW.findall(PAGE.read_text(encoding="utf-8")))
TRIED = ("hra", "waveft", "randlora", "miss", "c3a", "delora", "shira")
FAMILIES: dict[str, Callable[[Path], Path]] = {"chronos-t5": save_backbone, "moirai": save_moirai}
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("others")
    return {family: save(root / f"tiny-{family}") for family, save in FAMILIES.items()}


def test_the_page_tells_of_every_tuner_that_was_tried_and_of_our_own_defaults():
    assert set(TRIED) <= set(DOCUMENTED)
    assert set(DOCUMENTED) <= set(peft_names())
    lines = {match[1]: line for line in PAGE.read_text().splitlines() if (match := ROW.match(line))}
    for name, start in STARTS.items():
        assert all(f"{key}={str(value).lower()}" in lines[name] for key, value in start.settings.items()), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_tuner_passes_the_gate_where_the_page_says_so(folders, family, name):
    backbone, method = load_backbone(str(folders[family])), method_named(f"peft:{name}")()
    before = base_digest(backbone)
    if DOCUMENTED[name] == "refused":
        with pytest.raises(TrainingError, match=f"'peft:{name}' on tiny-{family} does not pass the test that"):
            attach(backbone, method)
        assert base_digest(backbone) == before
        return
    found = attach(backbone, method)
    assert found.trainable_parameters > 0
    assert found.peft.peft_config["default"].peft_type.lower() == name, "the tuner is the one that was named"


@pytest.mark.parametrize("name", ["hra", "waveft"])
def test_an_adapter_is_an_arm_that_is_saved_loaded_and_merged(folders, tmp_path, name):
    arm = ArmSpec(model=str(folders["moirai"]), method=f"peft:{name}", sites="qv")
    backbone = load_backbone(str(folders["moirai"]))
    base, found = base_digest(backbone), attach(backbone, arm.method)
    with torch.no_grad():
        for parameter in found.trainable.values():
            parameter.add_(0.01 * torch.randn_like(parameter))
    found.network.net.eval()
    expected = window_losses(found.network)
    save_adapter(found, arm, tmp_path / "adapter", base=base)
    loaded = load_adapter(tmp_path / "adapter", backbone=str(folders["moirai"]))
    torch.testing.assert_close(window_losses(loaded), expected)
    merged = merge_adapter(tmp_path / "adapter", tmp_path / "merged", backbone=str(folders["moirai"]))
    torch.testing.assert_close(window_losses(load_backbone(str(merged))), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Detected that the base layer has no bias term:UserWarning")
def test_a_tuner_that_cannot_be_folded_into_the_weights_is_not_merged_wrongly(folders, tmp_path):
    arm = ArmSpec(model=str(folders["chronos-t5"]), method="peft:beft")
    backbone = load_backbone(arm.model)
    base, found = base_digest(backbone), attach(backbone, arm.method)
    with torch.no_grad():
        for parameter in found.trainable.values():
            parameter.add_(0.1)
    save_adapter(found, arm, tmp_path / "adapter", base=base)
    with pytest.raises(AdapterError, match=r"(cannot fold 'peft:beft'|'peft:beft' forecasts otherwise).*as it is"):
        merge_adapter(tmp_path / "adapter", tmp_path / "merged", backbone=arm.model)
    assert not (tmp_path / "merged").exists()


def test_an_arm_shows_what_was_set_and_survives_json_pickle_and_copy():
    arm = ArmSpec(model="chronos-t5-nano", method="peft:hra", r=4, apply_GS=True)
    assert arm.name == "chronos-t5-nano peft:hra r=4 apply_GS=true"
    assert arm.method.short == "peft:hra r=4"
    content = arm.as_json()
    assert {key: content[key] for key in ("model", "method", "r", "sites")} == {
        "model": "chronos-t5-nano", "method": "peft:hra", "r": 4, "sites": "attention",
    }  # fmt: skip
    for again in (ArmSpec.model_validate(content), pickle.loads(pickle.dumps(arm)), copy.deepcopy(arm)):
        assert (again, again.name) == (arm, arm.name)
    assert ArmSpec(model="chronos-t5-nano", method="peft:hra").name == "chronos-t5-nano peft:hra r=8"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "peft:hra", "rank": 4}, "'peft:hra' takes no rank. Its settings: sites, r, apply_GS"),
        ({"method": "peft:hra", "target_modules": "q"}, "takes no target_modules"),
        ({"method": "peft:hra", "r": "four"}, r"r: Input should be a valid integer.*\('four' given\)"),
        ({"method": "peft:shira", "mask_type": "star"}, "mask_type: Input should be 'random'"),
        ({"method": "peft:waveft", "wavelet_family": "db99"}, "PEFT's WaveFTConfig refuses: .*db99"),
        ({"method": "peft:hrra"}, "PEFT has no tuner 'hrra'. It has, for peft:NAME: .*hra"),
        ({"method": "peft:lora"}, "peft:lora is not passed on. It has a class of its own here: use the method lora"),
        ({"method": "peft:ln_tuning"}, "use the method layernorm"),
        (
            {"method": "peft:prefix_tuning"},
            "token embeddings of a language model, and a forecaster of series has no such tokens",
        ),
        ({"method": "peft:p_tuning"}, "token embeddings of a language model"),
        (
            {"method": "peft:xlora"},
            r"\. It acts on no named matrices of the network. Use a method that does, such as lora",
        ),
    ],
)
def test_what_peft_does_not_have_or_take_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        parse(ArmSpec, {"model": "tiny", **settings}, "The arm")


def test_the_advice_names_options_of_peft_and_other_sites_once():
    advice = method_named("peft:hra")().advice()
    assert advice.startswith("Set another of PEFT's options (r, apply_GS")
    assert "(sites" not in advice
    assert ", sites" not in advice


def test_a_skeleton_is_counted_and_not_tried():
    assert attach(skeleton("chronos-t5-tiny"), method_named("peft:hra")(r=2)).trainable_parameters == 24_576
    check_attached(skeleton("chronos-t5-tiny"), method_named("peft:shira")())
    with pytest.raises(ConfigError, match="matches no module"):
        check_attached(skeleton("chronos-t5-tiny"), method_named("peft:shira")(sites="nowhere"))


def test_peft_s_random_start_is_refused_with_the_option_that_mends_it(tiny):
    method = method_named("peft:c3a")(init_weights="gaussian")
    with pytest.raises(TrainingError, match=r"starts as the identity: the loss is .*PEFT's options \(init_weights\)"):
        attach(load_backbone(str(tiny)), method)


class Careless(LoRA):
    """LoRA that fails one of the tests."""

    name = "careless"
    proven = False
    fails: str = "nothing"

    def put_on(self, model: Any) -> Any:
        found = super().put_on(model)
        net = found.network.net
        if self.fails == "identity":
            with torch.no_grad():
                next(p for name, p in net.named_parameters() if "lora_B" in name).fill_(0.3)
        if self.fails == "nothing to train":
            found.trainable = {}
        if self.fails == "no gradient":
            found.trainable = {"idle": nn.Parameter(torch.zeros(1))}
            net.idle = found.trainable["idle"]
        if self.fails == "the rest":
            net.register_buffer("counter", torch.zeros(1))
            net.encoder.register_forward_pre_hook(lambda *_: net.counter.add_(1).sum().item() and None)
        return found

    def prepare(self, model: Any) -> Any:
        if self.fails == "attach":
            raise KeyError("no such layer")
        return super().prepare(model)


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ("attach", "it can be attached: KeyError: 'no such layer'"),
        ("identity", "it starts as the identity: the loss is"),
        ("nothing to train", "something is trained: it leaves no number"),
        ("no gradient", "something is trained: after 2 steps every number is what it was"),
        ("the rest", "the rest is untouched: 1 tensors that are not trained have changed, counter among them"),
    ],
)
def test_each_test_of_the_gate_is_told_by_its_name(tiny, fails, says):
    with pytest.raises(TrainingError, match=f"'careless' on tiny-t5 does not pass the test that {says}"):
        attach(load_backbone(str(tiny)), Careless(fails=fails))


def test_what_does_not_come_back_from_its_folder_is_refused(tiny, monkeypatch):
    attach(load_backbone(str(tiny)), Careless())
    monkeypatch.setattr(gate, "put_back", lambda base, folder, method: None)
    with pytest.raises(TrainingError, match=r"what is saved comes back the same: the loss is .* after loading"):
        attach(load_backbone(str(tiny)), Careless())


def test_each_subclass_is_made_once():
    assert method_named("peft:hra") is method_named("peft:hra")
    assert issubclass(method_named("peft:hra"), OtherPeft)
