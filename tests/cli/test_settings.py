"""The options of methods follow from their classes, and reach the step as its caller gave them."""

import inspect
from typing import Any

import pytest
from typer.testing import CliRunner

from loracast.cli import steps
from loracast.cli.app import app
from loracast.study.steps import adapting
from loracast.tuning.methods import BUILT_IN

SETTINGS = {name for kind in BUILT_IN for name in kind.model_fields}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arms that `adapt` has asked for; nothing is trained."""
    arms: list[dict[str, Any]] = []

    def adapt_table(table: Any, out: Any, *, arm: dict[str, Any], **_: Any) -> dict[str, Any]:
        arms.append(arm)
        numbers = ("validation_loss_at_start", "validation_loss", "trainable_parameters", "best_step")
        return dict.fromkeys(numbers, 1)

    monkeypatch.setattr(adapting, "adapt_table", adapt_table)
    return arms


def run(*words: str) -> Any:
    return CliRunner().invoke(app, [*words])


@pytest.mark.parametrize("command", [steps.params, steps.adapt])
def test_every_setting_of_every_method_has_an_option(command):
    assert {"rank", "alpha", "sites", "frequencies", "block_size"} <= SETTINGS
    assert set(inspect.signature(command).parameters) >= SETTINGS | {"others"}


def test_the_help_of_an_option_is_that_of_the_setting_and_says_whose_it_is():
    text = " ".join(run("params", "--help").stdout.split())
    assert "Rank of the update. [lora, rslora, dora, pissa, adalora]" in text
    assert "any rank fits. [vera]" in text
    assert "--block-size" in text


def test_what_is_given_is_passed_on_and_what_is_not_is_left_out(asked, tmp_path):
    out = str(tmp_path / "adapter")
    run("adapt", "vitals.parquet", "--out", out, "--backbone", "tiny", "--rank", "4", "--set", "bias=all")
    run("adapt", "vitals.parquet", "--out", out, "--method", "peft:hra", "--set", "r=4", "--set", "apply_GS=true")
    assert asked == [
        {"model": "tiny", "method": "lora", "learning_rate": None, "rank": 4, "bias": "all"},
        {"model": "chronos-t5-nano", "method": "peft:hra", "learning_rate": None, "r": 4, "apply_GS": True},
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "r"], "KEY=VALUE is needed"),
        (["--set", "=4"], "KEY=VALUE is needed"),
        (["--set", "context=4"], "context is no setting of a method"),
        (["--rank", "2", "--set", "rank=4"], "rank is given twice"),
    ],
)
def test_what_is_no_setting_is_refused(asked, tmp_path, words, says):
    found = run("adapt", "vitals.parquet", "--out", str(tmp_path / "adapter"), *words)
    assert says in str(found.exception)
    assert asked == []
