"""Models of any kind are scored on the same windows; what was found is ordered, compared, drawn, saved and read."""

import gc

import numpy as np
import pytest

import loracast as lc
from loracast.study.steps.evaluating import evaluate_table
from tests.conftest import PATIENT, STAY
from tests.doorway.conftest import SPLIT, Own

TUNED, ZERO = "chronos-t5-nano lora r=2", "chronos-t5-nano zero-shot"


def test_the_floor_is_always_scored_and_all_on_the_same_windows(result):
    assert result.arms == ["last-value", "seasonal-naive", "context-mean", ZERO, TUNED, "my-median"]
    board = result.leaderboard()
    assert (board.groupby("signal")[["patients", "windows"]].nunique() == 1).all(axis=None)
    assert result.summary.data.patients["test"] == 7


def test_an_adapted_model_is_scored_as_the_command_line_scores_its_folder(result, tuned, table):
    told = evaluate_table(table, adapters=[tuned.folder], forecasting={"samples": 4}, progress=False)
    assert told.arm("adapter").scores == result.summary.arm(TUNED).scores
    assert told.arm("adapter").vs_zero_shot == result.summary.arm(TUNED).vs_zero_shot
    assert told.windows == result.summary.windows


def test_the_leaderboard_has_the_best_first_within_each_signal(result):
    board = result.leaderboard()
    assert board["signal"].unique().tolist() == ["heart_rate", "map"]
    for _, own in board.groupby("signal"):
        assert own["mae"].is_monotonic_increasing
        assert set(own["arm"]) == set(result.arms)
    assert board["mae_low"].dtype == float
    assert result.leaderboard("map")["signal"].unique().tolist() == ["map"]
    by_crps = result.leaderboard("map", metric="crps")
    assert by_crps["crps"].is_monotonic_increasing
    assert "crps_high" in by_crps
    row = board[(board["arm"] == TUNED) & (board["signal"] == "map")].iloc[0]
    assert row["vs_zero_shot_verdict"] == result.summary.arm(TUNED).vs_zero_shot["map"].verdict
    assert row["trainable_parameters"] == 12_288


@pytest.mark.parametrize(("given", "why"), [(("spo2",), "Signals: heart_rate, map"), ((None, "bias"), "No order by")])
def test_a_leaderboard_of_nothing_is_refused(result, given, why):
    with pytest.raises(lc.ConfigError, match=why):
        result.leaderboard(*given)


def test_a_comparison_is_that_of_the_summary_and_turns_its_sign_with_its_sides(result, tuned):
    found = result.compare(tuned, "chronos-t5-nano")
    assert found["signal"].tolist() == ["heart_rate", "map"]
    for row in found.itertuples():
        known = result.summary.arm(TUNED).vs_zero_shot[row.signal]
        assert (row.difference, (row.low, row.high), row.verdict) == (known.mae_difference, known.ci95, known.verdict)
        assert (row.flips, row.patients, row.windows) == (
            known.flips,
            7,
            result.summary.arm(TUNED).scores[row.signal].n_windows,
        )
    back = result.compare(ZERO, TUNED)
    np.testing.assert_allclose(back["difference"], -found["difference"])


def test_any_two_arms_can_be_compared_by_name_or_object_and_by_another_score(result, own):
    found = result.compare(own, "last-value", metric="crps")
    assert found["metric"].unique().tolist() == ["crps"]
    arms = {arm.arm: arm.scores for arm in result.summary.arms}
    wanted = [arms["my-median"][name].crps - arms["last-value"][name].crps for name in ("heart_rate", "map")]
    np.testing.assert_allclose(found["difference"], wanted)


def test_an_arm_or_a_score_that_is_none_is_refused(result):
    with pytest.raises(lc.ConfigError, match=r"No arm 'ets' in this result\. Arms: last-value, .*my-median"):
        result.compare("ets", "last-value")
    with pytest.raises(lc.ConfigError, match="No comparison by 'coverage_80'"):
        result.compare(TUNED, ZERO, metric="coverage_80")


def test_what_is_saved_is_read_again_and_names_no_patient(result, tmp_path):
    folder = result.save(tmp_path / "found")
    again = lc.Result.read(folder)
    assert again.summary == result.summary
    assert again.compare(TUNED, ZERO).equals(result.compare(TUNED, ZERO))
    assert again.plot("my-median").axes
    for file in folder.rglob("*"):
        if file.is_file():
            assert PATIENT.encode() not in file.read_bytes(), file.name
            assert STAY.encode() not in file.read_bytes(), file.name
    with pytest.raises(lc.ConfigError, match="exists already"):
        result.save(folder)


@pytest.mark.usefixtures("one_figure")
def test_a_report_is_written_where_the_caller_says(result, tmp_path):
    with pytest.raises(lc.ConfigError, match="Say where"):
        result.report()
    page = result.report(tmp_path / "page")
    assert page.name == "report.html"
    assert TUNED in page.read_text(encoding="utf-8")
    assert lc.Result.read(tmp_path / "page").report() == page


def test_it_shows_itself_shortly_and_answers_in_words(result):
    windows = result.summary.windows.counts["test"]
    assert repr(result) == f"Result(6 arms, 2 signals, 7 test patients, {windows} windows)"
    assert result.answer.startswith(f"The answer: is {TUNED} better?")
    assert "against" in result._repr_html_()
    assert len(result._repr_html_()) < 15_000
    assert set(result.checks["outcome"]) <= {"passed", "warning", "not applicable"}


def test_the_rows_of_patients_do_not_stay_behind(table, own):
    found = lc.evaluate(table, [own], horizon=6, context=24, split=SPLIT, progress=False)
    place = found.folder
    assert sorted(path.name for path in place.iterdir()) == ["runs", "summary.json"]
    del found
    gc.collect()
    assert not place.exists()


def test_a_pair_is_adapted_first_and_two_of_one_name_are_told_apart(table, tiny, tuned):
    both = [(str(tiny), lc.LoRA(rank=1)), (str(tiny), lc.LoRA(rank=1))]
    found = lc.evaluate(
        table, both, horizon=6, context=24, split=SPLIT, training={"steps": 2, "evaluate_every": 1},
        forecasting={"samples": 2}, progress=False,
    )  # fmt: skip
    assert found.arms[3:] == ["tiny-t5 zero-shot", "tiny-t5 lora r=1", "tiny-t5 lora r=1 (2)"]
    scores = [found.summary.arm(name).scores for name in found.arms[4:]]
    assert scores[0] == scores[1]


def test_what_is_no_model_or_does_not_fit_is_refused(table, tuned, own, tmp_path):
    class Taken(Own):
        class card(Own.card):  # noqa: N801
            name = "last-value"

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    refused = [
        (["chronos-t5-nano", 3], {}, "A int given, which is no model"),
        ([], {}, "Give a list of models"),
        ("chronos-t5-nano", {}, "Give a list of models"),
        (["nhits"], {}, r"Compare it in an lc\.Study"),
        ([own, own], {}, "my-median stands twice"),
        ([Taken()], {}, "'last-value' is a model of loracast"),
        ([tuned], {"split": {"seed": 5}}, "brings its own split of the patients.*seed 5 given, 0 its own"),
        ([own], {"out": tmp_path / "out"}, "exists already"),
    ]
    for models, settings, why in refused:
        with pytest.raises((lc.ConfigError, lc.AdapterError), match=why):
            lc.evaluate(table, models, progress=False, **settings)
