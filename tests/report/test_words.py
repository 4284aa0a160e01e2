import pytest

from loracast.report.words import verdict_of_arm


def summary_with(verdicts):
    compared = {
        signal: {"mae_difference": -0.5, "ci95": [-0.9, -0.1], "verdict": verdict, "sentence": ""}
        for signal, verdict in verdicts.items()
    }
    arm = {
        "arm": "nano lora r=2",
        "backbone": "nano",
        "method": "lora",
        "trainable_parameters": 100,
        "total_parameters": 1000,
        "scores": {signal: {"mae": 1.0} for signal in verdicts},
        "vs_zero_shot": compared,
    }
    return {"data": {"signals": {s: {"label": s, "unit": "x"} for s in verdicts}}, "arms": [arm]}


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ({"a": "better", "b": "better"}, "better than zero-shot on a and b."),
        ({"a": "better", "b": "no difference shown"}, "better than zero-shot on a; on b no difference is shown."),
        ({"a": "better", "b": "worse"}, "better than zero-shot on a and worse than zero-shot on b."),
        ({"a": "no difference shown"}, "No difference to zero-shot is shown on a."),
        ({"a": "no difference shown", "b": "no difference shown"}, "shown on any of 2 signals."),
    ],
)
def test_the_verdict_of_an_arm_names_every_signal_once(verdicts, said):
    summary = summary_with(verdicts)
    assert verdict_of_arm(summary, summary["arms"][0]).endswith(said)
