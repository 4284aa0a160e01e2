"""A study in one table: a line an arm, a pair of columns a signal; for a README, where the whole table is too long."""

from collections.abc import Collection

from loracast.report.readable import ABSENT, count, decimals_for, duration, interval, number
from loracast.report.results import (
    Arm,
    Summary,
    difference_of,
    interval_of,
    label_of,
    score,
    scored_signals,
    seeds_of,
    source_of,
    unit_of,
)

MARKS = {"better": "▼", "worse": "▲"}


def compact_markdown(summary: Summary, methods: Collection[str] | None = None) -> str:
    """Error and difference to zero-shot of every arm (or of those with one of `methods`) as Markdown.

    ▼ and ▲ stand where the 95 % interval of the paired difference excludes 0. The last column tells on how many
    signals the arm is shown better (▼) or worse (▲) than full fine-tuning of its backbone.
    """
    signals = scored_signals(summary)
    arms = [arm for arm in summary["arms"] if methods is None or {arm["method"], arm["arm"]} & set(methods)]
    heads = ["arm", "trained numbers", "train time"]
    for signal in signals:
        unit = unit_of(summary, signal)
        heads += [f"{label_of(summary, signal)}, {unit}: MAE [95 %]", "− zero-shot"]
    lines = [
        f"Data: {source_of(summary)}; {_sizes(summary)}; seeds {', '.join(map(str, seeds_of(summary)))}.",
        "",
        f"| {' | '.join([*heads, 'against full'])} |",
        "|---|" + "--:|" * len(heads),
    ]
    lines += [f"| {' | '.join(_row(summary, arm, signals))} |" for arm in arms]
    return "\n".join(lines) + "\n"


def _sizes(summary: Summary) -> str:
    patients, windows = summary["data"]["patients"], summary["windows"]["counts"]
    return f"{patients['test']:,} test patients, {windows['test']:,} test windows"


def _row(summary: Summary, arm: Arm, signals: Collection[str]) -> list[str]:
    trained = arm.get("trainable_parameters")
    cells = [str(arm["arm"]), count(trained), duration(arm.get("train_seconds")) if trained else ABSENT]
    for signal in signals:
        decimals = decimals_for(score(other, signal, "mae") for other in summary["arms"])
        error = f"{number(score(arm, signal, 'mae'), decimals)} {interval(interval_of(arm, signal, 'mae'), decimals)}"
        difference = difference_of(arm, signal)
        value = None if difference is None else difference.value
        mark = "" if difference is None else MARKS.get(difference.verdict, "")
        cells += [error.strip(), f"{number(value, decimals + 1, sign=True)} {mark}".strip()]
    return [*cells, _against_full(arm, signals)]


def _against_full(arm: Arm, signals: Collection[str]) -> str:
    found = [difference for signal in signals if (difference := difference_of(arm, signal, "vs_full")) is not None]
    if not found:
        return ABSENT
    told = [
        f"{sum(d.verdict == verdict for d in found)} {mark}"
        for verdict, mark in MARKS.items()
        if any(d.verdict == verdict for d in found)
    ]
    return ", ".join(told) or "none shown"
