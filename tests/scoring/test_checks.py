"""Each check passes on a clean summary, and finds, with numbers, the one thing it looks for."""

from types import SimpleNamespace

import pytest

from loracast.scoring.checks import CHECKS, run_checks
from loracast.scoring.facts import Checked, Difference, Excluded, Finding, Forecasts, Scores, WorstWindow

SPLITS = {"train": {"a", "b"}, "validation": {"c"}, "test": {"d"}}


def scores(coverage=0.8, patients=40, mase_windows=0, mape_cells=0, share=0.1):
    unlooked = dict.fromkeys(("rmse", "bias", "mse_scaled", "mape", "dtw_scaled", "mase", "crps"))
    found = Scores(
        mae=1.0,
        **unlooked,
        coverage_80=coverage,
        n_windows=50,
        n_cells=300,
        n_patients=patients,
        excluded=Excluded(mase_windows=mase_windows, mape_cells=mape_cells),
        ci95={},
        by_step={},
        worst_window=WorstWindow(share=share, mae_without=0.9) if share else None,
    )
    return {"heart_rate": found}


def against(reference, verdict, difference=-0.5, flips=0):
    return {
        "heart_rate": Difference(
            reference=reference, mae_difference=difference, ci95=None, verdict=verdict, patients=40, flips=flips
        )
    }


def noticed(beyond=0, width=1.0, drawing=0.01):
    told = Forecasts(steps=1800, beyond_range=beyond, token_width=width, spread=4.0, drawing_mae=drawing)
    return {"heart_rate": told}


def an_arm(name, kind="pretrained", **changes):
    arm = {"arm": name, "kind": kind, "trains": False, "seeds": [0], "best_step": [None], "scores": scores()}
    arm |= {"samples": 50, "forecasts": noticed()}
    compared = {"vs_naive": against("last-value", "better"), "vs_zero_shot": {}, "vs_full": {}}
    return arm | compared | changes


RULE = {"scores": scores(coverage=0.5), "samples": None, "forecasts": noticed(beyond=9)}
ARMS = [
    an_arm("last-value", "naive", vs_naive={}, **RULE),
    an_arm("ets", "statistical", vs_naive=against("last-value", "worse"), **RULE),
    an_arm("nano zero-shot"),
    an_arm("nhits", "network", trains=True, seeds=[0, 1], best_step=[30, 20]),
    an_arm("nano lora r=2", trains=True, seeds=[0, 1], best_step=[100, 50]),
]


NO_TWINS = {"train and validation": 0, "train and test": 0, "validation and test": 0}


def summary(*, simulated=False, foreign=False, arms=ARMS, twins=NO_TWINS, **changes):
    """A summary of `arms`; `changes` are those of the last."""
    arms = [*arms[:-1], *({**arm, **changes} for arm in arms[-1:])]
    return SimpleNamespace(
        data=SimpleNamespace(simulated=simulated),
        arms=[SimpleNamespace(**arm) for arm in arms],
        adapters_of_other_tables=foreign,
        twins=twins,
    )


def outcome(code, found, splits=SPLITS) -> Checked:
    return next(check for check in run_checks(found, splits=splits) if check.code == code)


def test_a_clean_summary_passes_every_check_in_order_of_code():
    found = run_checks(summary(), splits=SPLITS)
    assert found == [Checked(code=code, outcome="passed") for code in sorted(CHECKS)]


LORA = {"arm": "nano lora r=2"}
RATE = {"signal": "heart_rate"}
WARNINGS = [
    ("C02", {"scores": scores(patients=19)}, Finding(**RATE, value=19)),
    (
        "C03",
        {"vs_naive": against("context-mean", "no difference shown", -0.1)},
        Finding(**LORA, **RATE, value=-0.1, reference="context-mean", verdict="no difference shown"),
    ),
    ("C04", {"best_step": [0, 50]}, Finding(**LORA, value=1, of=2)),
    ("C05", {"scores": scores(coverage=0.69)}, Finding(**LORA, **RATE, value=0.69)),
    ("C05", {"scores": scores(coverage=0.91)}, Finding(**LORA, **RATE, value=0.91)),
    ("C06", {"seeds": [0]}, Finding(**LORA, value=1)),
    ("C07", {"simulated": True}, Finding()),
    ("C08", {"scores": scores(mase_windows=3)}, Finding(**RATE, value=3, of=50, reference="mase")),
    ("C08", {"scores": scores(mape_cells=2)}, Finding(**RATE, value=2, of=300, reference="mape")),
    ("C09", {"foreign": True}, Finding()),
    *(
        (
            "C10",
            {which: against("nano zero-shot", "better", flips=1)},
            Finding(**LORA, **RATE, value=1, of=40, reference="nano zero-shot", verdict="better"),
        )
        for which in ("vs_naive", "vs_zero_shot", "vs_full")
    ),
    ("C11", {"scores": scores(share=0.201)}, Finding(**LORA, **RATE, value=0.201)),
    ("C12", {"twins": {**NO_TWINS, "train and test": 2}}, Finding(value=2, reference="train and test")),
    ("C13", {"samples": 49}, Finding(**LORA, value=49)),
    ("C14", {"forecasts": noticed(width=1.01)}, Finding(**LORA, **RATE, value=1.01, of=4)),
    ("C15", {"forecasts": noticed(beyond=1)}, Finding(**LORA, **RATE, value=1, of=1800)),
    ("C16", {"forecasts": noticed(drawing=0.011)}, Finding(**LORA, **RATE, value=0.011, of=1.0)),
]


@pytest.mark.parametrize(("code", "changes", "finding"), WARNINGS)
def test_a_planted_fault_is_found_and_no_other(code, changes, finding):
    found = outcome(code, summary(**changes))
    assert found == Checked(code=code, outcome="warning", findings=(finding,))
    others = [check for check in run_checks(summary(**changes), splits=SPLITS) if check.code != code]
    assert {check.outcome for check in others} == {"passed"}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("C02", {"scores": scores(patients=20)}),
        ("C05", {"scores": scores(coverage=0.7)}),
        ("C05", {"scores": scores(coverage=0.9)}),
        ("C06", {"seeds": [0, 1]}),
    ],
)
def test_what_stands_on_the_limit_is_within_it(code, changes):
    assert outcome(code, summary(**changes)).outcome == "passed"


def test_every_seed_that_kept_its_start_is_counted():
    assert outcome("C04", summary(best_step=[0, 50, 0, 0])).findings == (Finding(arm="nano lora r=2", value=3, of=4),)


def test_two_sides_are_enough_to_share_a_patient():
    assert outcome("C01", summary(), {"train": {"a"}}).outcome == "not applicable"
    assert outcome("C01", summary(), {"train": {"a"}, "test": {"b"}}).outcome == "passed"
    found = outcome("C01", summary(), {"train": {"a"}, "test": {"a"}})
    assert found.findings == (Finding(value=1, reference="train and test"),)


def test_a_shared_patient_is_counted_but_not_named():
    found = outcome("C01", summary(), {**SPLITS, "test": {"patient-b", "b"}, "train": {"patient-b", "b", "a"}})
    assert found.findings == (Finding(value=2, reference="train and test"),)
    assert "patient-b" not in found.model_dump_json()


def test_checks_that_cannot_look_say_so():
    floor = summary(arms=ARMS[:2])
    for code in ("C03", "C04", "C05", "C06"):
        assert outcome(code, floor) == Checked(code=code, outcome="not applicable")
    assert outcome("C01", summary(), {}).outcome == "not applicable"
    nothing = run_checks(summary(arms=[], foreign=None, twins=None), splits={})
    assert {check.code for check in nothing if check.outcome == "passed"} == {"C07"}
    assert not any(check.findings for check in nothing)


def test_networks_and_pretrained_models_are_looked_at_alike():
    arms = [*ARMS[:3], ARMS[3] | {"seeds": [0], "best_step": [0], "vs_naive": against("last-value", "worse")}]
    found = {check.code: check for check in run_checks(summary(arms=arms), splits=SPLITS)}
    for code in ("C03", "C04", "C06"):
        assert [finding.arm for finding in found[code].findings] == ["nhits"]


def test_a_fifth_of_the_error_in_one_window_is_not_yet_too_much():
    assert outcome("C11", summary(scores=scores(share=0.2))).outcome == "passed"


def test_results_that_do_not_know_influence_do_not_pass_for_good():
    arms = [
        arm | {"scores": scores(share=None), "vs_naive": against("last-value", "better", flips=None)} for arm in ARMS
    ]
    found = summary(arms=arms, twins=None)
    assert {outcome(code, found).outcome for code in ("C10", "C11", "C12")} == {"not applicable"}


def test_of_results_that_do_not_say_how_they_were_forecast_nothing_is_said():
    arms = [arm | {"samples": None, "forecasts": {}} for arm in ARMS]
    for code in ("C13", "C14", "C15", "C16"):
        assert outcome(code, summary(arms=arms)).outcome == "not applicable"
    untold = {"heart_rate": Forecasts(steps=5, beyond_range=0)}
    for code in ("C14", "C16"):
        assert outcome(code, summary(arms=[arm | {"forecasts": untold} for arm in ARMS])).outcome == "not applicable"


def test_a_coverage_that_does_not_exist_is_no_fault():
    assert outcome("C05", summary(scores=scores(coverage=None))).outcome == "passed"
