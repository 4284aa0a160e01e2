"""An arm as an experiment asks for it: its name, its settings, and what is refused."""

from typing import Any

import pytest

from loracast.errors import ConfigError
from loracast.spec import TrainSpec, parse
from loracast.tuning.arm import ArmSpec
from loracast.tuning.methods import LoRA


def test_an_arm_is_called_after_what_is_set_otherwise_than_usual():
    def name(**settings: Any) -> str:
        return ArmSpec(model="hub/tiny", **settings).name

    assert name(method="full") == "tiny full"
    assert name(method="lora") == name(method="lora", rank=2, alpha=16) == "tiny lora r=2"
    assert name(method="fourierft", sites="qv") == "tiny fourierft n=100 sites=qv"
    assert name(method="oft", block_size=8) == "tiny oft b=8"
    assert (
        name(method="full", patients=0.05, context=12, learning_rate=1e-4)
        == "tiny full patients=0.05 lr=0.0001 context=12"
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "full", "rank": 2}, "'full' takes no rank. It has no settings"),
        ({"method": "lora", "frequencies": 9}, "'lora' takes no frequencies. Its settings: sites, rank, alpha"),
        ({"method": "fourierft", "rank": 2}, "'fourierft' takes no rank. Its settings: sites, frequencies"),
        ({"method": "lora", "patients": 0}, "greater than 0"),
        ({"method": "lora", "context": 3}, "greater than or equal to 4"),
    ],
)
def test_a_setting_that_a_method_does_not_have_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        parse(ArmSpec, {"model": "tiny", **settings}, "The arm")


def test_an_arm_is_called_after_backbone_and_method():
    assert ArmSpec(model="amazon/chronos-t5-tiny", method="lora", rank=4).name == "chronos-t5-tiny lora r=4"
    assert ArmSpec(model="/models/mine/", method="full").name == "mine full"


def test_a_method_may_be_given_as_what_it_is():
    assert ArmSpec(model="tiny", method=LoRA(rank=4)) == ArmSpec(model="tiny", method="lora", rank=4)


def test_a_model_that_can_be_tuned_in_one_way_needs_no_method():
    assert [ArmSpec(model=name).method.name for name in ("ets", "nhits")] == ["as-is", "scratch"]
    with pytest.raises(ConfigError, match="method is missing"):
        parse(ArmSpec, {"model": "chronos-t5-nano"}, "The arm")


def test_an_arm_goes_through_json_with_every_setting_filled_in():
    arm = ArmSpec(model="hub/tiny", method="fourierft", sites="qv", training={"steps": 3})
    assert ArmSpec.model_validate_json(arm.model_dump_json()) == arm
    assert arm.as_json()["model"] == "tiny"
    assert arm.as_json()["frequencies"] == 100


def test_the_rate_is_the_arms_or_the_trainings_or_the_methods():
    spec = TrainSpec(learning_rate=0.5)
    assert ArmSpec(model="tiny", method="lora", learning_rate=0.1).training_of(spec, 1).learning_rate == 0.1
    assert ArmSpec(model="tiny", method="lora").training_of(spec, 1).learning_rate == 0.5
    assert ArmSpec(model="tiny", method="full").training_of(TrainSpec(), 1).learning_rate == 3e-4
    assert ArmSpec(model="nhits").training_of(spec, 1).learning_rate == 1e-3, "a network from scratch has its own"
