"""The words: verdicts, sentences and reasons, made of facts."""

import pytest

from loracast.report.doubts import note_of, reason_of, told_of
from loracast.report.results import MissingArm, missing_of
from loracast.report.words import (
    choices_told,
    doubts,
    lowest_of_signal,
    seeds_of,
    sentence_of,
    sentences_of,
    verdict_of_arm,
    verdict_of_many,
)
from loracast.scoring.checks import CHECKS
from loracast.scoring.facts import Checked, Difference, Finding
from loracast.study.ranks.result import Note
from loracast.study.summary import Missing, Summary
from tests.report.conftest import BACKBONE, LORA, changed, difference, summary_of
from tests.report.study import study_summary

HALF = {"better": -1.0, "worse": 1.0, "no difference shown": 0.0}


def with_verdicts(*verdicts: str) -> Summary:
    found = dict(zip(("heart_rate", "map", "resp_rate"), verdicts, strict=False))
    compared = {signal: difference(HALF[verdict], 0.5, f"{BACKBONE} zero-shot") for signal, verdict in found.items()}
    return changed(summary_of(), LORA, vs_zero_shot=compared)


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (("better", "better"), "better than zero-shot on heart rate and mean arterial pressure."),
        (
            ("better", "no difference shown"),
            "better than zero-shot on heart rate; on mean arterial pressure no difference is shown.",
        ),
        (
            ("better", "worse"),
            "better than zero-shot on heart rate and worse than zero-shot on mean arterial pressure.",
        ),
        (("no difference shown",), "No difference to zero-shot is shown on heart rate."),
        (("no difference shown", "no difference shown"), "shown on any of 2 signals."),
        ((), "It was not compared with zero-shot."),
    ],
)
def test_the_verdict_of_an_arm_names_every_signal_once(verdicts, said):
    summary = with_verdicts(*verdicts)
    told = verdict_of_arm(summary, summary.arm(LORA))
    assert told.startswith(f"{LORA} trains 12,288 numbers (0.36 % of the 3,452,160 of full fine-tuning). ")
    assert told.endswith(said)


@pytest.mark.parametrize(
    ("value", "bounds", "patients", "said"),
    [
        (-0.316, (-0.58, -0.05), 92, "better than zero-shot. The mean absolute error is 0.316/min lower (95 % interval "
         "0.58 lower to 0.05 lower; 92 patients)."),
        (0.2, (-0.1, 0.5), 92, "no difference to zero-shot shown. The mean absolute error is 0.2/min higher (95 % "
         "interval 0.1 lower to 0.5 higher; 92 patients)."),
        (-1.0, (-2.0, -0.5), 5, "no difference to zero-shot shown, 5 patients are too few to tell. The mean absolute "
         "error is 1/min lower (95 % interval 2 lower to 0.5 lower; 5 patients)."),
        (0.0, None, 1, "not compared with zero-shot: 1 patient cannot speak for others."),
        (0.0, None, 7, "no difference to zero-shot shown, 7 patients cannot give an interval. The mean absolute error "
         "is the same."),
        (None, None, 3, "no target was observed, so nothing can be said against zero-shot."),
    ],
)  # fmt: skip
def test_a_difference_is_told_with_its_numbers(value, bounds, patients, said):
    verdict = "better" if said.startswith("better") else "no difference shown"
    found = Difference(
        reference=f"{BACKBONE} zero-shot", mae_difference=value, ci95=bounds, verdict=verdict, patients=patients
    )
    assert sentence_of(found, "heart rate", "1/min", summary_of().arm(LORA)) == f"Heart rate: {said}"


def test_a_sentence_names_full_fine_tuning_and_a_stranger_by_its_name():
    summary = changed(summary_of(), LORA, vs_best={"map": difference(-1.0, 0.5, "theta")})
    told = sentences_of(summary, summary.arm(LORA), "vs_full", "vs_best")
    assert any("full fine-tuning" in one for one in told)
    assert told[-1].startswith("Mean arterial pressure: better than theta. The mean absolute error is 1 mmHg lower")


def test_many_arms_are_counted_and_networks_are_held_against_the_naive_forecast():
    adapted, networks = verdict_of_many(study_summary())
    count = sum(arm.kind == "pretrained" and arm.trains for arm in study_summary().arms)
    assert adapted.startswith(f"{count} adapted arms compared with zero-shot of their backbone:")
    assert networks.startswith("3 scratch networks compared with the best naive forecast:")
    summary = study_summary()
    assert "all its 900,000 numbers are trained here" in verdict_of_arm(summary, summary.arm("tft"))


def test_the_lowest_error_stands_beside_zero_shot_and_the_naive_floor():
    summary = summary_of()
    text, floor_won = lowest_of_signal(summary, "map")
    own, zero_shot, naive = (summary.arm(name).scores["map"] for name in (LORA, f"{BACKBONE} zero-shot", "last-value"))
    low, high = own.ci95["mae"]
    assert text.startswith(f"lowest error with {LORA}, MAE {own.mae:.2f} mmHg [{low:.2f}, {high:.2f}]")
    told = f"{BACKBONE} zero-shot {zero_shot.mae:.2f}, shown worse, last-value {naive.mae:.2f}, shown worse"
    assert f"(for comparison: {told})." in text
    assert not floor_won


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("theta", "No network is shown better than this statistical model"),
        ("last-value", "No model is shown better than this naive forecast"),
    ],
)
def test_a_floor_that_wins_is_called_what_it_is(name, said):
    summary = study_summary()
    won = summary.arm(name).scores["map"].model_copy(update={"mae": 0.1})
    summary = changed(summary, name, scores={"map": won})
    told, floor_won = lowest_of_signal(summary, "map")
    assert floor_won
    assert said in told
    assert "other arms" in told


def test_of_many_arms_that_kept_a_step_a_few_are_named():
    summary = study_summary()
    steps = [one for one in summary.choices if one.what == "step"]
    told = choices_told(summary)[0]
    assert f"({steps[0].arms[0]}: {', '.join(f'{step:g}' for step in steps[0].kept)}; " in told
    assert told.endswith(f"; and {len(steps) - 4} more arms).")
    assert sum(one.arms[0] in told for one in steps) == 4


def test_doubts_name_one_seed_few_patients_and_the_checks_that_warn():
    summary = summary_of(seeds=(3,))
    few = summary.data.model_copy(update={"patients": {"train": 5, "validation": 1, "test": 1}})
    told = doubts(summary.model_copy(update={"data": few}))
    warned = [check for check in summary.checks if check.outcome == "warning"]
    [fragile] = [len(check.findings) for check in warned if check.code == "C10"]
    assert [one.split(",")[0] for one in told] == [
        "There is one seed only",
        "There is only 1 test patient: read the intervals as rough.",
        f"{fragile} verdicts would be another without one single patient.",
        f"{len(warned)} checks warn ({warned[0].code}",
    ]


def test_every_check_has_a_title_and_words_for_what_it_finds_and_for_when_it_does_not_apply():
    finding = Finding(arm=LORA, signal="map", value=2, of=3, reference="mape", verdict="worse")
    for code in CHECKS:
        warned = Checked(code=code, outcome="warning", findings=(finding,))
        [told] = told_of(summary_of().model_copy(update={"checks": [warned]}))
        assert told.title != code
        assert told.reason.head
        if code not in ("C01", "C07"):
            assert reason_of(summary_of(), Checked(code=code, outcome="not applicable")).head
        assert not reason_of(summary_of(), Checked(code=code, outcome="passed"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("C03", f"{LORA} on mean arterial pressure (worse, last-value)"),
        ("C04", f"{LORA} (2 of 3 seeds)"),
        ("C08", "2 of 3 windows of mean arterial pressure from LAST-VALUE"),
    ],
)
def test_a_finding_is_told_with_its_facts(code, said):
    finding = Finding(arm=LORA, signal="map", value=2, of=3, reference="last-value", verdict="worse")
    check = Checked(code=code, outcome="warning", findings=(finding, finding.model_copy(update={"arm": "other"})))
    assert said in reason_of(summary_of(), check).parts
    assert reason_of(summary_of(), check, LORA).parts == (said,)


def test_the_seeds_of_a_missing_arm_are_told_together():
    runs = [Missing(arm="y", seed=seed, state="failed", reason="e") for seed in (0, 2)]
    runs.append(Missing(arm="y", seed=3, state="waiting", reason=None))
    found = missing_of(summary_of().model_copy(update={"missing": runs}))
    assert found == [MissingArm("y", (0, 2), "e"), MissingArm("y", (3,), "waiting")]
    assert [seeds_of(one) for one in found] == ["y (seeds 0, 2)", "y (seed 3)"]


def test_every_note_of_a_sweep_has_its_words():
    for code in Note.model_fields["code"].annotation.__args__:
        told = note_of(Note(code=code, signal="map", rank=2, count=4, names=["1"]), str)
        assert told.endswith(".")
        assert "None" not in told
