from pathlib import Path
from typing import Any

from loracast.training.pretrain.card import read_measured, write_card
from loracast.training.pretrain.recipe import load_recipe

SCORES = {"mae": 12.345, "mase": 1.25, "crps": 9.875, "coverage_80": 0.789, "n_windows": 4321, "n_patients": 87}
MEASURED: dict[str, Any] = {
    "parameters": 1_574_656,
    "hardware": "2 CPU cores",
    "training": {"first": 6.543, "last": 4.321, "last_over": 450, "hours": 0.7},
    "synthetic": {
        "series": 987,
        "left_out": 13,
        "context": 96,
        "horizon": 24,
        "mean_mase": {"zero-shot": 1.111, "last-value": 2.222, "seasonal-naive": 3.333},
        "median_mase": {"zero-shot": 0.444, "last-value": 0.555, "seasonal-naive": 0.666},
    },
    "tables": {
        "shanghai-cgm": {
            "context": 48,
            "horizon": 4,
            "step_seconds": 900,
            "samples": 50,
            "signals": {"glucose": {"zero-shot": SCORES, "last-value": {**SCORES, "mae": 15.432}}},
        }
    },
}


def test_the_card_names_corpus_steps_seed_loss_and_licence(tmp_path: Path) -> None:
    recipe = load_recipe("chronos-t5-nano")
    text = write_card(tmp_path, recipe, MEASURED).read_text(encoding="utf-8")
    for fact in ("synthetic series only", f"{recipe.training.steps:,} steps", f"seed {recipe.seed}", "Apache-2.0"):
        assert fact in text
    assert "6.54" in text
    assert "4.32" in text
    assert "license: apache-2.0" in text


def test_the_card_prints_every_measured_number(tmp_path: Path) -> None:
    text = write_card(tmp_path, load_recipe("chronos-t5-nano"), MEASURED).read_text(encoding="utf-8")
    for number in ("1.111", "2.222", "3.333", "0.444", "0.555", "0.666", "987"):
        assert number in text
    for number in ("12.345", "15.432", "1.250", "9.875", "78.9%", "4,321", "87"):
        assert number in text


def test_what_a_card_knew_can_be_read_again(tmp_path: Path) -> None:
    write_card(tmp_path, load_recipe("chronos-t5-nano"), MEASURED)
    assert read_measured(tmp_path) == MEASURED


def test_the_card_tells_each_set_who_was_looked_at_and_the_geometric_mean_of_its_group(tmp_path: Path) -> None:
    def one(group: str, looked_at: bool, score: float, coverage: float) -> dict[str, Any]:
        models = {name: {"of_seasonal_naive": value, "coverage_80": coverage, "milliseconds": 1.0}
                  for name, value in (("zero-shot", score), ("last-value", 0.9), ("seasonal-naive", 1.0))}  # fmt: skip
        return {"group": group, "looked_at": looked_at, "context": 24, "horizon": 6, "windows": 31, "models": models}

    sets = {"pulse": one("vitals", True, 0.4, 0.7), "breath": one("vitals", False, 0.9, 0.9)}
    text = write_card(tmp_path, load_recipe("chronos-2-nano"), {**MEASURED, "sets": sets}).read_text(encoding="utf-8")
    assert "| pulse | yes | 24 → 6 | 31 | 0.400 (70%) | 0.900 (70%) |" in text
    assert "| **vitals** (2) | | | | 0.600 (80%)" in text
    assert "| **vitals, held back** (1) | | | | 0.900 (90%)" in text
    assert "loracast.training.pretrain.spectra" in text
    assert "20% of the windows without their seasonal row" in text
