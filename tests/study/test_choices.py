"""What was searched, and on whom, stands beside the result."""

from types import SimpleNamespace

from loracast.scoring.facts import Validated
from loracast.study.choices import choices_of
from loracast.study.summary import Choice

COUNTED = {
    "patients": {"train": 60, "validation": 12, "test": 30},
    "windows": {"train": 600, "validation": 120, "test": 300},
}
NAIVE = {"heart_rate": SimpleNamespace(reference="last-value"), "map": SimpleNamespace(reference="context-mean")}


def an_arm(name, method="lora", *, trains=True, best_step=(60,), vs_naive=None, **settings):
    settings = {"model": "nano", "method": method, **settings}
    return SimpleNamespace(
        arm=name, model="nano", method=method, trains=trains, best_step=list(best_step), settings=settings,
        vs_naive=vs_naive or {},
    )  # fmt: skip


def found(arms, validated=None, **more):
    return choices_of(arms, validated or {}, **COUNTED, **more)


def test_the_step_was_chosen_on_the_validation_windows_that_were_read():
    on = Validated(patients=11, windows=100, steps=[0, 30, 60])
    [choice] = found([an_arm("lora", best_step=(60, 0))], {"lora": [on, on]})
    assert choice == Choice(
        what="step", arms=["lora"], tried=[0, 30, 60], kept=[60, 0], side="validation", patients=11, windows=100
    )


def test_rates_and_ranks_are_compared_on_the_test_patients_unless_a_sweep_decides_on_others():
    arms = [an_arm("r=1", rank=1, learning_rate=None), an_arm("r=2", rank=2, learning_rate=0.01)]
    rank, rate = found(arms)
    assert (rank.what, rank.tried, rank.kept, rank.side, rank.patients) == ("rank", [1, 2], [], "test", 30)
    assert (rate.what, rate.tried, rate.arms) == ("learning_rate", [None, 0.01], ["r=1", "r=2"])
    rank, rate = found(arms, ranks_on_validation=True)
    assert (rank.side, rank.windows, rate.side) == ("validation", 120, "test")


def test_arms_of_other_methods_or_without_training_are_no_search():
    assert found([an_arm("lora", rank=2), an_arm("dora", "dora", rank=4)]) == []
    assert found([an_arm("a", trains=False, context=12), an_arm("b", trains=False, context=24)]) == []


def test_the_best_naive_forecast_is_chosen_on_the_test_patients():
    [choice] = found([an_arm("lora", vs_naive=NAIVE)])
    assert (choice.what, choice.side, choice.windows) == ("naive forecast", "test", 300)
    assert choice.tried == ["last-value", "seasonal-naive", "context-mean"]
    assert choice.kept == ["last-value", "context-mean"]


def test_settings_that_are_no_numbers_are_texts():
    [choice] = found([an_arm("qv", sites="qv", merge=True), an_arm("all", sites="all", merge=True)])
    assert choice.tried == ["qv", "all"]
