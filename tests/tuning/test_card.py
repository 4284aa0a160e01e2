"""A card says what an adapter is; a damaged one is told, not stumbled over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loracast.errors import AdapterError
from loracast.files import write_json
from loracast.tuning.card import CARD, Card, TrainedCard, read_card

BARE: dict[str, Any] = {
    "format": 2,
    "model": "chronos-t5-nano",
    "family": "chronos-t5",
    "revision": None,
    "base_sha256": "0f",
    "base_licence": "Apache-2.0",
    "arm": {"model": "chronos-t5-nano", "method": "lora", "rank": 2},
    "trainable_parameters": 12,
}
WHOLE: dict[str, Any] = BARE | {
    "seed": 0,
    "split": {"seed": 0},
    "window": {"context": 24, "horizon": 6, "step_seconds": 3600, "joint": False},
    "signals": {"map": "mmHg"},
    "levels": [0.1, 0.5, 0.9],
    "data": {
        "source": "here",
        "simulated": True,
        "licence": "none",
        "table_fingerprint": "a",
        "split_fingerprint": "b",
    },
    "patients": {"train": 8, "validation": 1, "test": 1},
    "best_step": 4,
    "validation_loss": 1.0,
    "validation_loss_at_start": 2.0,
    "versions": {"torch": "2"},
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / CARD, WHOLE)
    card = read_card(tmp_path, TrainedCard)
    assert card.window.context == 24
    assert card.arm.method.name == "lora"
    found = card.model_dump(mode="json", exclude_unset=True, exclude={"arm", "split"})
    assert found == {key: value for key, value in WHOLE.items() if key not in ("arm", "split")}


def test_a_card_with_a_training_is_also_a_bare_one(tmp_path: Path) -> None:
    write_json(tmp_path / CARD, WHOLE)
    assert read_card(tmp_path, Card).base_sha256 == "0f"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda card: card.pop("format"), "format: Field required"),
        (lambda card: card.update(format=1), "has format 1, which is not 2"),
        (lambda card: card.update(arm="lora"), "arm: "),
        (lambda card: card["arm"].pop("model"), "model"),
        (lambda card: card["window"].pop("context"), "window.context: Field required"),
        (
            lambda card: card["data"].update(table_fingerprint=7),
            "data.table_fingerprint: Input should be a valid string",
        ),
        (lambda card: card["split"].update(shares=[1, 1, 1]), "split"),
        (lambda card: card.pop("best_step"), "best_step: Field required"),
        (lambda card: card["window"].update(context=-5), "window.context: Input should be greater than or equal to 1"),
        (lambda card: card["window"].update(horizon=0), "window.horizon: Input should be greater than or equal to 1"),
        (lambda card: card.update(levels=[]), "levels: List should have at least 1 item"),
        (lambda card: card.update(levels=[0.5, 2.0]), "levels.1: Input should be less than 1"),
    ],
)
def test_a_damaged_card_is_told_with_the_place(tmp_path: Path, damage: Callable[[Any], Any], told: str) -> None:
    card = WHOLE | {key: dict(WHOLE[key]) for key in ("arm", "window", "data", "split")}
    damage(card)
    write_json(tmp_path / CARD, card)
    with pytest.raises(AdapterError, match=told):
        read_card(tmp_path, TrainedCard)


@pytest.mark.parametrize("content", [[], "text", None])
def test_what_is_no_card_at_all_is_told(tmp_path: Path, content: Any) -> None:
    write_json(tmp_path / CARD, content)
    with pytest.raises(AdapterError, match="damaged"):
        read_card(tmp_path, Card)
