"""The answer comes first: a line a comparison, with interval, patients, and what one patient could change."""

import pytest

from loracast.report import frames
from loracast.report.answers import answer_table, answers, drawing_told, heavy_windows, subjects_of
from loracast.report.terminal import told_of_result
from loracast.scoring.facts import Checked, Difference, Finding, Forecasts, WorstWindow
from loracast.study.summary import Choice
from tests.report.conftest import ARMS, BACKBONE, LORA, SIGNALS, summary_of

SIGNAL = "heart_rate"
WINDOWS = summary_of().arm(LORA).scores[SIGNAL].n_windows


def asked(summary=None, **changes):
    """A summary whose LoRA arm has these differences on heart rate."""
    summary = summary or summary_of()
    arms = [
        arm.model_copy(update={name: {SIGNAL: one} if one else {} for name, one in changes.items()})
        if arm.arm == LORA
        else arm
        for arm in summary.arms
    ]
    return summary.model_copy(update={"arms": arms})


def difference(verdict="better", *, reference=f"{BACKBONE} zero-shot", patients=24, **more):
    return Difference(
        reference=reference, mae_difference=-0.4, ci95=(-0.7, -0.1), verdict=verdict, patients=patients, **more
    )


def rows_of(table):
    return [[cell.text for cell in row] for group in table.groups for row in group.rows]


def texts_of(table):
    return [*rows_of(table), *table.notes, table.title]


def test_the_three_questions_come_in_order_each_with_interval_and_patients():
    summary = asked(
        vs_zero_shot=difference(left_out=(-0.6, -0.2), flips=0),
        vs_full=difference("no difference shown", reference=f"{BACKBONE} full", left_out=(-0.5, 0.1), flips=2),
        vs_naive=difference("worse", reference="last-value", left_out=(-0.5, -0.3), flips=0),
    )
    table = answer_table(summary)
    assert [column.head for column in table.columns][:2] == ["against", "answer"]
    assert rows_of(table)[:3] == [
        ["best naive: last-value", "worse", "−0.400 [−0.700, −0.100]", f"24, {WINDOWS}", "−0.500 to −0.300"],
        ["zero-shot", "better", "−0.400 [−0.700, −0.100]", f"24, {WINDOWS}", "−0.600 to −0.200"],
        [
            "full fine-tuning",
            "not shown",
            "−0.400 [−0.700, −0.100]",
            f"24, {WINDOWS}",
            "−0.500 to +0.100\nturns without 2 of 24",
        ],
    ]
    assert [group.title for group in table.groups] == ["heart rate, /min"]


def test_the_question_is_asked_of_adapters_or_else_of_what_is_trained_or_else_of_zero_shot():
    summary = summary_of()
    assert [arm.arm for arm in subjects_of(summary)] == [LORA]
    for left_out, asked_of in (({LORA}, f"{BACKBONE} full"), ({LORA, f"{BACKBONE} full"}, f"{BACKBONE} zero-shot")):
        arms = [arm for arm in summary.arms if arm.arm not in left_out]
        assert [arm.arm for arm in subjects_of(summary.model_copy(update={"arms": arms}))] == [asked_of]
    naive = summary.model_copy(update={"arms": [arm for arm in summary.arms if arm.kind == "naive"]})
    assert "nothing was adapted" in answer_table(naive).title
    assert not answer_table(naive)


def test_one_patient_is_no_comparison_and_his_difference_is_not_told():
    summary = asked(vs_zero_shot=difference("no difference shown", patients=1), vs_full={}, vs_naive={})
    arms = [
        arm.model_copy(update={"scores": {s: x.model_copy(update={"n_patients": 1}) for s, x in arm.scores.items()}})
        for arm in summary.arms
    ]
    summary = summary.model_copy(update={"arms": arms})
    table = answer_table(summary)
    [row] = rows_of(table)
    assert row[:3] == ["zero-shot", "not compared", "–"]
    assert "There is one test patient" in table.notes[0]
    found = frames.results(summary).query("arm == @LORA and signal == @SIGNAL").iloc[0]
    assert found[["vs_zero_shot_difference", "vs_zero_shot_low", "vs_zero_shot_verdict"]].isna().all()


def test_fewer_than_six_patients_are_said_to_be_too_few():
    arms = [
        arm.model_copy(update={"scores": {s: x.model_copy(update={"n_patients": 5}) for s, x in arm.scores.items()}})
        for arm in summary_of().arms
    ]
    notes = answer_table(summary_of().model_copy(update={"arms": arms})).notes
    assert any("5 patients are too few: nothing is called better or worse below 6" in note for note in notes)


def test_of_many_arms_it_is_counted_how_many_and_none_is_picked():
    summary = summary_of()
    lora = summary.arm(LORA)
    many = [
        lora.model_copy(update={"arm": f"{BACKBONE} lora r={rank}", "vs_zero_shot": {SIGNAL: difference(verdict)}})
        for rank, verdict in ((1, "better"), (2, "better"), (4, "better"), (8, "no difference shown"), (16, "worse"))
    ]
    summary = summary.model_copy(update={"arms": [*(arm for arm in summary.arms if arm.arm != LORA), *many]})
    table = answer_table(summary)
    assert rows_of(table)[1][:6] == ["zero-shot", "3", "1", "1", "24", str(WINDOWS)]
    assert "any of 5 arms of chronos-t5-nano better?" in table.title
    assert not any("r=1" in str(text) for text in texts_of(table))
    assert len(answers(summary)) == 5 * (1 + 2 * 3)


def test_a_window_that_carries_much_of_the_error_is_told_with_the_error_without_it():
    summary = summary_of()
    arms = [
        arm.model_copy(update={"scores": arm.scores | {SIGNAL: arm.scores[SIGNAL].model_copy(update={
            "mae": 18.57 if arm.arm == LORA else 11.0,
            "worst_window": WorstWindow(share=0.48 if arm.arm == LORA else 0.2, mae_without=9.96),
        })}})
        for arm in summary.arms
    ]  # fmt: skip
    summary = summary.model_copy(update={"arms": arms})
    told = heavy_windows(summary)[0]
    assert told == (
        f"Heart rate in /min: one of {WINDOWS} windows carries 48 % of the error of lora r=2 (MAE 18.57, without it "
        "9.96). Look at it before you believe the numbers."
    )
    assert told in answer_table(summary).notes


def test_what_drawing_paths_adds_is_told_with_the_error_of_the_arm_where_it_is_most():
    def told(added):
        arms = []
        for arm in summary_of().arms:
            drawn = {SIGNAL: Forecasts(steps=9, beyond_range=0, drawing_mae=added.get(arm.arm))}
            scores = {SIGNAL: arm.scores[SIGNAL].model_copy(update={"mae": 8.0})}
            arms.append(arm.model_copy(update={"scores": scores, "forecasts": drawn}))
        return summary_of().model_copy(update={"arms": arms})

    summary = told({LORA: 0.12, f"{BACKBONE} zero-shot": 0.04})
    assert drawing_told(summary) == [
        "Drawing 100 sample paths, and not ever more, adds at most about 1.5 % on heart rate to the MAE of an arm that "
        "draws; the others have no such part."
    ]
    assert drawing_told(summary)[0] in answer_table(summary).notes
    assert "about 0.0 % on heart rate" in drawing_told(told({LORA: -0.01}))[0]
    assert drawing_told(told({})) == []


def test_of_many_arms_with_one_heavy_window_the_heaviest_is_named_and_the_others_are_counted():
    summary = summary_of()
    lora = summary.arm(LORA)
    heavy = [
        lora.model_copy(update={"arm": f"{BACKBONE} lora r={rank}", "scores": {SIGNAL: lora.scores[SIGNAL].model_copy(
            update={"mae": 20.0, "worst_window": WorstWindow(share=0.6 if rank == 5 else 0.4, mae_without=9.0)}
        )}})
        for rank in range(1, 41)
    ]  # fmt: skip
    [told] = heavy_windows(summary.model_copy(update={"arms": heavy}))
    assert "carries 60 % of the error of lora r=5 (MAE 20.00, without it 9.00); " in told
    assert f"and more than 20 % of the error of {len(heavy) - 1} other arms. Look" in told


def test_a_single_window_leaves_nothing_to_tell_without_it():
    summary = summary_of()
    one = {
        SIGNAL: summary.arm(LORA)
        .scores[SIGNAL]
        .model_copy(update={"worst_window": WorstWindow(share=1, mae_without=None)})
    }
    arms = [arm.model_copy(update={"scores": one}) if arm.arm == LORA else arm for arm in summary.arms]
    assert "without it –" in heavy_windows(summary.model_copy(update={"arms": arms}))[0]


def test_the_terminal_begins_with_the_answer_and_ends_with_the_checks_that_warn():
    summary = summary_of().model_copy(update={
        "checks": [
            Checked(code="C01", outcome="passed"),
            Checked(code="C10", outcome="warning", findings=(
                Finding(arm=LORA, signal=SIGNAL, value=1, of=24, reference=f"{BACKBONE} zero-shot", verdict="better"),
            )),
        ],
        "choices": [
            Choice(what="step", arms=[LORA], tried=[0, 30, 60], kept=[60], side="validation", patients=11, windows=99),
        ],
    })  # fmt: skip
    answer, scores, costs, searched, checks = told_of_result(summary)
    assert [column.head for column in costs.columns][1:] == ["trained numbers", "train time", "peak memory"]
    assert answer.title.startswith(f"The answer: is {LORA} better? Data: ")
    assert answer.loud
    assert "SIMULATED" in answer.title
    counted = [summary.arm(LORA).scores[signal].n_windows for signal in SIGNALS]
    assert [group.title.split("\n")[1] for group in scores.groups] == [f"24 patients, {n} windows" for n in counted]
    assert "of 0, 30, 60 the one with the lowest loss on 11 validation patients (99 windows)" in searched
    assert checks.startswith("1 check of 2 warns.\n! C10 A verdict that one patient decides. ")
    assert (
        f"{LORA} on heart rate against {BACKBONE} zero-shot (better; 1 of 24 patients would each change it)" in checks
    )


@pytest.mark.parametrize("arm", ARMS, ids=ARMS)
def test_an_error_is_bold_where_it_is_lowest_or_not_shown_worse(arm):
    from loracast.report.tables import main_table

    summary = summary_of()
    best = difference("worse", reference=LORA), difference("no difference shown", reference=LORA)
    arms = [
        one.model_copy(update={"vs_best": {} if one.arm == LORA else {SIGNAL: best[one.arm == f"{BACKBONE} full"]}})
        for one in summary.arms
    ]
    group = main_table(summary.model_copy(update={"arms": arms})).groups[0]
    looks = {row[0].text: [cell.look for cell in row].count("best") for row in group.rows}
    assert looks[arm] == (1 if arm in (LORA, f"{BACKBONE} full") else 0)
