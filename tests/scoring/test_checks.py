"""Each check passes on a clean summary, and warns, with numbers, on the one thing it looks for."""

from copy import deepcopy

import pytest

from loracast.scoring.checks import CHECKS, run_checks

SPLITS = {"train": {"a", "b"}, "validation": {"c"}, "test": {"d"}}


def scores(coverage=0.8, patients=40, mase_windows=0, mape_cells=0):
    excluded = {"mase_windows": mase_windows, "mape_cells": mape_cells}
    return {
        "heart_rate": {
            "mae": 1.0,
            "coverage_80": coverage,
            "n_patients": patients,
            "n_windows": 50,
            "n_cells": 300,
            "excluded": excluded,
        }
    }


def an_arm(name, method, **changes):
    found = {"heart_rate": {"verdict": "better", "reference": "last-value"}}
    arm = {"arm": name, "method": method, "seeds": [0, 1], "best_step": None, "scores": scores(), "vs_naive": found}
    return arm | changes


CLEAN = {
    "data": {"simulated": False},
    "adapters_of_other_tables": False,
    "arms": [
        an_arm("last-value", "baseline", vs_naive=None, scores=scores(coverage=0.5)),
        an_arm("nano zero-shot", "zero-shot", best_step=[None]),
        an_arm("nano lora r=2", "lora", best_step=[100, 50]),
    ],
}


def changed(position=2, **changes):
    summary = deepcopy(CLEAN)
    summary["arms"][position] |= changes
    return summary


def outcome(code, summary, splits=SPLITS):
    return next(check for check in run_checks(summary, splits=splits) if check["code"] == code)


def test_a_clean_summary_passes_every_check_in_order_of_code():
    found = run_checks(CLEAN, splits=SPLITS)
    assert [check["code"] for check in found] == [f"C{k:02}" for k in range(1, len(CHECKS) + 1)]
    assert {check["outcome"] for check in found} == {"passed"}
    assert {check["reason"] for check in found} == {None}


LESS = {"heart_rate": {"verdict": "no difference shown", "reference": "context-mean"}}
WARNINGS = [
    ("C02", changed(scores=scores(patients=19)), "19 for heart_rate"),
    ("C03", changed(vs_naive=LESS), "nano lora r=2 on heart_rate (no difference shown, context-mean)"),
    ("C04", changed(best_step=[0, 50]), "nano lora r=2 (1 of 2 seeds)"),
    ("C05", changed(scores=scores(coverage=0.69)), "nano lora r=2 on heart_rate 69.0%"),
    ("C05", changed(scores=scores(coverage=0.91)), "nano lora r=2 on heart_rate 91.0%"),
    ("C06", changed(seeds=[0]), "nano lora r=2"),
    ("C07", {**CLEAN, "data": {"simulated": True}}, "No patient lived these data"),
    ("C08", changed(scores=scores(mase_windows=3)), "3 of 50 windows of heart_rate from MASE"),
    ("C08", changed(scores=scores(mape_cells=2)), "2 of 300 targets of heart_rate from MAPE"),
    ("C09", {**CLEAN, "adapters_of_other_tables": True}, "trained on another table"),
]


@pytest.mark.parametrize(("code", "summary", "reason"), WARNINGS)
def test_a_planted_fault_is_found_and_no_other(code, summary, reason):
    found = outcome(code, summary)
    assert found["outcome"] == "warning"
    assert reason in found["reason"]
    others = [check for check in run_checks(summary, splits=SPLITS) if check["code"] != code]
    assert {check["outcome"] for check in others} == {"passed"}


def test_a_shared_patient_is_counted_but_not_named():
    found = outcome("C01", CLEAN, {**SPLITS, "test": {"patient-b", "b"}, "train": {"patient-b", "b", "a"}})
    assert found["outcome"] == "warning"
    assert "2 in both train and test" in found["reason"]
    assert "patient-b" not in found["reason"]


def test_checks_that_cannot_look_say_so():
    naive = {**CLEAN, "arms": CLEAN["arms"][:1]}
    for code in ("C03", "C04", "C05", "C06"):
        assert outcome(code, naive)["outcome"] == "not applicable"
    assert outcome("C01", CLEAN, {})["outcome"] == "not applicable"
    nothing = run_checks({"data": {"simulated": False}, "arms": []}, splits={})
    assert {check["code"] for check in nothing if check["outcome"] == "passed"} == {"C07"}
    assert all(check["reason"] for check in nothing if check["outcome"] == "not applicable")


def test_a_coverage_that_does_not_exist_is_no_fault():
    assert outcome("C05", changed(scores=scores(coverage=None)))["outcome"] == "passed"
