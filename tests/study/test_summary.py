"""All runs side by side: summary.json as documented, and the examples that the report draws."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from loracast.data.windows import open_windows
from loracast.study.summary import choose_examples, references_of
from loracast.types import LEVELS

SCORES = {"mae", "rmse", "bias", "mse_scaled", "mape", "dtw_scaled", "mase", "crps", "coverage_80"}
COUNTS = {"n_windows", "n_cells", "n_patients"}
ARM = {
    "arm", "backbone", "method", "seeds", "trainable_parameters", "total_parameters", "train_seconds",
    "forecast_seconds", "peak_memory_bytes", "best_step", "scores", "vs_zero_shot",
}  # fmt: skip


@pytest.fixture(scope="module")
def summary(done: Path) -> dict[str, Any]:
    return json.loads((done / "summary.json").read_text())


def arm(summary: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [entry for entry in summary["arms"] if entry["arm"] == name]
    return found


def test_it_has_the_documented_parts(summary):
    assert {"name", "data", "windows", "checks", "arms"} <= set(summary)
    data, windows = summary["data"], summary["windows"]
    assert data["signals"] == {
        "heart_rate": {"unit": "1/min", "label": "heart rate"},
        "map": {"unit": "mmHg", "label": "mean arterial pressure"},
    }
    assert [data[k] for k in ("source", "simulated", "licence", "grid_seconds")] == ["test", False, "CC0-1.0", 3600]
    assert set(data["patients"]) == {"train", "validation", "test"}
    assert "steps" in data["attrition"]
    assert [windows[k] for k in ("context", "horizon", "stride", "step_seconds", "season")] == [24, 6, 6, 3600, 24]
    assert set(windows["counts"]) == {"train", "validation", "test"}
    assert [arm["arm"] for arm in summary["arms"]] == [
        "last-value",
        "seasonal-naive",
        "context-mean",
        "tiny-t5 zero-shot",
        "tiny-t5 lora r=2",
        "tiny-t5 full",
    ]


def test_every_arm_has_every_score_of_every_signal_with_its_interval(summary):
    for entry in summary["arms"]:
        assert set(entry) >= ARM
        assert set(entry["scores"]) == {"heart_rate", "map"}
        for scores in entry["scores"].values():
            assert SCORES | COUNTS | {"ci95", "by_step"} <= set(scores)
            assert set(scores["ci95"]) == SCORES
            assert all(len(steps) == 6 for steps in scores["by_step"].values())
            low, high = scores["ci95"]["mae"]
            assert low <= scores["mae"] <= high


def test_every_arm_was_scored_on_the_same_targets(summary):
    counts = [
        [(scores[count], name) for name, scores in entry["scores"].items() for count in sorted(COUNTS)]
        for entry in summary["arms"]
    ]
    assert all(found == counts[0] for found in counts)
    windows = sum(scores["n_windows"] for scores in summary["arms"][0]["scores"].values())
    assert windows == summary["windows"]["counts"]["test"]


def test_every_arm_of_a_backbone_is_compared_with_its_zero_shot(summary):
    for entry in summary["arms"]:
        if entry["method"] == "baseline":
            assert entry["vs_zero_shot"] is None
            continue
        zero_shot = arm(summary, "tiny-t5 zero-shot")
        for signal, verdict in entry["vs_zero_shot"].items():
            assert {"mae_difference", "ci95", "verdict", "sentence"} <= set(verdict)
            expected = entry["scores"][signal]["mae"] - zero_shot["scores"][signal]["mae"]
            assert verdict["mae_difference"] == pytest.approx(expected, abs=1e-9)


def test_zero_shot_is_no_different_from_itself(summary):
    for verdict in arm(summary, "tiny-t5 zero-shot")["vs_zero_shot"].values():
        assert (verdict["mae_difference"], verdict["verdict"]) == (0, "no difference shown")


def test_an_arm_lays_its_seeds_together(summary, done):
    entry = arm(summary, "tiny-t5 lora r=2")
    runs = [json.loads((done / "runs" / f"tiny-t5-lora-r-2-s{seed}" / "result.json").read_text()) for seed in (0, 1)]
    assert entry["seeds"] == [0, 1]
    assert entry["best_step"] == [run["best_step"] for run in runs]
    assert entry["train_seconds"] == pytest.approx(np.mean([run["train_seconds"] for run in runs]))
    assert entry["peak_memory_bytes"] == max(run["peak_memory_bytes"] for run in runs)
    mean = np.mean([run["scores"]["map"]["mae"] for run in runs])
    assert entry["scores"]["map"]["mae"] == pytest.approx(mean)


def test_checks_are_numbered_and_give_reasons(summary):
    assert [check["code"] for check in summary["checks"]] == [f"C{i:02d}" for i in range(1, len(summary["checks"]) + 1)]
    for check in summary["checks"]:
        assert check["outcome"] in {"passed", "warning", "not applicable"}
        assert (check["reason"] is None) == (check["outcome"] == "passed")


def test_examples_are_windows_of_the_test_side_for_every_signal(done):
    test = open_windows(done / "data" / "windows").test
    for file in done.glob("runs/*/examples.json"):
        examples = json.loads(file.read_text())
        kinds = [(example["signal"], example["kind"]) for example in examples]
        assert kinds == [(signal, kind) for signal in test.signals for kind in ("best", "typical", "worst")]
        for example in examples:
            assert np.shape(example["quantiles"]) == (6, 9)
            assert (len(example["context"]), len(example["future"]), len(example["last_value"])) == (24, 6, 6)
            assert example["levels"] == list(LEVELS)
            seen = [value for value in example["context"] if value is not None]
            assert example["last_value"] == [seen[-1]] * 6


def test_best_typical_and_worst_are_ordered_by_error():
    future = np.zeros((40, 2))
    windows = SimpleNamespace(
        signals=("a", "b"),
        signal=np.repeat([0, 1], 20),
        batches=lambda size: [slice(0, 40)],
        batch=lambda rows: (None, future[rows]),
    )
    quantiles = np.zeros((40, 2, 9))
    quantiles[:, :, 4] = np.random.default_rng(0).permutation(40)[:, None]
    sized = type("Sized", (SimpleNamespace,), {"__len__": lambda _: 40})(**vars(windows))
    chosen = choose_examples(sized, quantiles)
    assert [kind for kind, _ in chosen] == ["best", "typical", "worst"] * 2
    for start in (0, 3):
        errors = [quantiles[row, 0, 4] for _, row in chosen[start : start + 3]]
        assert errors == sorted(errors)
        assert all(windows.signal[row] == start // 3 for _, row in chosen[start : start + 3])


def result(name: str, method: str, **settings: Any) -> list[dict[str, Any]]:
    return [
        {"arm": name, "backbone": "tiny", "method": method, "settings": {"context": None, "patients": 1.0, **settings}}
    ]


def test_full_fine_tuning_is_a_reference_on_the_same_terms_and_at_its_usual_rate_alone():
    results = {
        "zero": result("zero", "zero-shot"),
        "slow": result("slow", "full", learning_rate=3e-5),
        "few": result("few", "full", patients=0.05),
        "lora": result("lora", "lora"),
        "lora few": result("lora few", "lora", patients=0.05),
    }
    assert references_of(results["lora"][0], results) == {"zero-shot": "zero"}
    assert references_of(results["lora few"][0], results) == {"zero-shot": "zero", "full": "few"}
    results["full"] = result("full", "full")
    assert references_of(results["lora"][0], results)["full"] == "full"


def test_every_arm_is_held_against_the_one_that_errs_least(summary):
    for entry in summary["arms"]:
        for signal, found in entry["vs_best"].items():
            errors = {other["arm"]: other["scores"][signal]["mae"] for other in summary["arms"]}
            assert found["reference"] == min(errors, key=errors.get)
            assert found["mae_difference"] == pytest.approx(errors[entry["arm"]] - min(errors.values()), abs=1e-9)
