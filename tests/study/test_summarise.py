"""All runs side by side: summary.json as documented, and the examples that the report draws."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from loracast.data.windows import open_windows
from loracast.errors import ConfigError
from loracast.scoring.checks import CHECKS
from loracast.study.summarise import choose_examples, references_of
from loracast.study.summary import ArmFacts, Example, RunResult, Summary, read_facts


@pytest.fixture(scope="module")
def summary(done: Path) -> Summary:
    return read_facts(Summary, done / "summary.json")


def test_it_says_what_data_windows_and_arms_there_are(summary):
    data, windows = summary.data, summary.windows
    assert {name: (signal.unit, signal.label) for name, signal in data.signals.items()} == {
        "heart_rate": ("1/min", "heart rate"),
        "map": ("mmHg", "mean arterial pressure"),
    }
    assert (data.source, data.simulated, data.licence, data.grid_seconds) == ("test", False, "CC0-1.0", 3600)
    assert (windows.context, windows.horizon, windows.stride, windows.season) == (24, 6, 6, 24)
    assert set(windows.counts) == set(data.patients) == {"train", "validation", "test"}
    assert [(arm.arm, arm.kind, arm.method) for arm in summary.arms] == [
        ("last-value", "naive", "as-is"),
        ("seasonal-naive", "naive", "as-is"),
        ("context-mean", "naive", "as-is"),
        ("tiny-t5 zero-shot", "pretrained", "zero-shot"),
        ("tiny-t5 lora r=2", "pretrained", "lora"),
        ("tiny-t5 full", "pretrained", "full"),
    ]


def test_every_arm_was_scored_on_the_same_targets_with_an_interval(summary):
    counts = [[(s.n_windows, s.n_cells, s.n_patients) for s in arm.scores.values()] for arm in summary.arms]
    assert all(found == counts[0] for found in counts)
    assert sum(found[0] for found in counts[0]) == summary.windows.counts["test"]
    for arm in summary.arms:
        for scores in arm.scores.values():
            assert all(len(steps) == 6 for steps in scores.by_step.values())
            low, high = scores.ci95["mae"]
            assert low <= scores.mae <= high


def test_every_arm_of_a_backbone_is_compared_with_its_zero_shot_and_with_full_fine_tuning(summary):
    references = {"vs_zero_shot": "tiny-t5 zero-shot", "vs_full": "tiny-t5 full"}
    for arm in summary.arms:
        for key, name in references.items():
            found = getattr(arm, key)
            assert bool(found) == (arm.kind == "pretrained" and arm.arm != name)
            for signal, difference in found.items():
                expected = arm.scores[signal].mae - summary.arm(name).scores[signal].mae
                assert difference.mae_difference == pytest.approx(expected, abs=1e-9)
                assert difference.reference == name


def test_every_arm_but_the_naive_ones_is_held_against_the_best_of_those(summary):
    for arm in summary.arms:
        assert bool(arm.vs_naive) == (arm.kind != "naive")
        for signal, difference in arm.vs_naive.items():
            floor = {one.arm: one.scores[signal].mae for one in summary.arms if one.kind == "naive"}
            assert difference.reference == min(floor, key=floor.get)


def test_every_arm_is_held_against_the_one_that_errs_least_but_not_that_one_itself(summary):
    for signal in ("heart_rate", "map"):
        errors = {arm.arm: arm.scores[signal].mae for arm in summary.arms}
        best = min(errors, key=errors.get)
        for arm in summary.arms:
            found = arm.vs_best.get(signal)
            assert (found is None) == (arm.arm == best)
            if found is not None:
                assert found.reference == best
                assert found.mae_difference == pytest.approx(errors[arm.arm] - errors[best], abs=1e-9)


def test_an_arm_lays_its_seeds_together(summary, done):
    arm = summary.arm("tiny-t5 lora r=2")
    runs = [read_facts(RunResult, done / "runs" / f"tiny-t5-lora-r-2-s{seed}" / "result.json") for seed in (0, 1)]
    assert arm.seeds == [0, 1]
    assert arm.best_step == [run.best_step for run in runs]
    assert arm.costs.train_seconds == pytest.approx(np.mean([run.costs.train_seconds for run in runs]))
    assert arm.costs.peak_memory_bytes == max(run.costs.peak_memory_bytes for run in runs)
    assert arm.scores["map"].mae == pytest.approx(np.mean([run.scores["map"].mae for run in runs]))
    drawn = [run.forecasts["map"] for run in runs]
    assert arm.forecasts["map"].steps == sum(one.steps for one in drawn)
    assert arm.forecasts["map"].drawing_mae == pytest.approx(np.mean([one.drawing_mae for one in drawn]))
    assert arm.forecasts["map"].drawing_mae != drawn[0].drawing_mae
    assert summary.arm("last-value").forecasts["map"].drawing_mae is None


def test_every_check_was_made(summary):
    assert [check.code for check in summary.checks] == sorted(CHECKS)


def test_a_summary_that_was_changed_or_is_of_another_version_is_refused(done, tmp_path):
    content = json.loads((done / "summary.json").read_text())
    for change, says in (
        ({"format": 2}, r"another version of loracast \(format 2, this one reads 3\)"),
        ({"arms": [{"arm": "x"}]}, r"is no Summary of loracast: arms\.0\.\w+"),
        ({"surprise": 1}, r"surprise: Extra inputs"),
    ):
        (tmp_path / "summary.json").write_text(json.dumps(content | change))
        with pytest.raises(ConfigError, match=says):
            read_facts(Summary, tmp_path / "summary.json")


def test_examples_are_windows_of_the_test_side_for_every_signal(done):
    test = open_windows(done / "data" / "windows").test
    for file in done.glob("runs/*/examples.json"):
        examples = [Example.model_validate(one) for one in json.loads(file.read_text())]
        kinds = [(example.signal, example.kind) for example in examples]
        assert kinds == [(signal, kind) for signal in test.signals for kind in ("best", "typical", "worst")]
        for example in examples:
            assert np.shape(example.quantiles) == (6, 9)
            assert (len(example.context), len(example.future), len(example.last_value)) == (24, 6, 6)
            seen = [value for value in example.context if value is not None]
            assert example.last_value == [seen[-1]] * 6


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


def facts(name: str, method: str, **settings: Any) -> ArmFacts:
    return ArmFacts(
        arm=name,
        model="tiny",
        family="chronos-t5",
        kind="pretrained",
        method=method,
        settings={"context": None, "patients": 1.0, **settings},
        licence=None,
        trainable_parameters=1,
        total_parameters=1,
    )


def test_full_fine_tuning_is_a_reference_on_the_same_terms_and_at_its_usual_settings_alone():
    others = [
        facts("zero", "zero-shot"),
        facts("slow", "full", learning_rate=3e-5),
        facts("long", "full", training={"steps": 9}),
        facts("few", "full", patients=0.05),
    ]
    lora, few = facts("lora", "lora"), facts("lora few", "lora", patients=0.05)
    assert references_of(lora, others) == {"zero-shot": "zero"}
    assert references_of(few, others) == {"zero-shot": "zero", "full": "few"}
    assert references_of(lora, [*others, facts("full", "full")])["full"] == "full"
