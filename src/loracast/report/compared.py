"""Comparisons besides zero-shot on the page: adapters against full fine-tuning, and what is missing."""

from collections.abc import Sequence
from html import escape

from loracast.report.arms import missing_of, without_seeds
from loracast.report.markup import long_text, small, table, verdict_mark
from loracast.report.readable import count, decimals_for, interval, number, plural, share
from loracast.report.results import Arm, Summary, difference_of, label_of, score, scored_signals, unit_of

AGAINST = {
    "vs_zero_shot": "zero-shot", "vs_full": "full fine-tuning", "vs_naive": "the best naive forecast",
    "vs_best": "the best arm",
}  # fmt: skip


def full_table(summary: Summary) -> str:
    """Adapters against full fine-tuning of the same backbone; empty where nothing was compared with it."""
    rows: list[Sequence[str]] = []
    for signal in scored_signals(summary):
        own = [
            (arm, difference)
            for arm in summary["arms"]
            if (difference := difference_of(arm, signal, "vs_full")) is not None
            and difference.value is not None
            and arm.get("trainable_parameters")
        ]
        if own:
            unit = unit_of(summary, signal)
            rows.append((escape(label_of(summary, signal) + (f", {unit}" if unit else "")),))
        decimals = decimals_for(score(arm, signal, "mae") for arm in summary["arms"]) + 1
        for arm, difference in own:
            rows.append((
                escape(str(arm["arm"])), count(arm.get("trainable_parameters")), _part_of_full(summary, arm),
                number(difference.value, decimals, sign=True), small(interval(difference.bounds, decimals)),
                verdict_mark(difference.verdict),
            ))  # fmt: skip
    if not rows:
        return ""
    heads = ("arm", "trained numbers", "of full fine-tuning", "MAE − full", "95 %", "verdict")
    body = table(heads, rows, caption="Adapters against full fine-tuning of the same backbone", texts=(0, 5))
    return (
        f"<section>\n<h2>Adapters against full fine-tuning</h2>\n{body}"
        '<p class="note">Paired on the same windows, with the same training patients and context. “No difference '
        "shown” is not “equal”: the interval says how large a difference is still possible.</p>\n</section>"
    )


def _part_of_full(summary: Summary, arm: Arm) -> str:
    whole = next(
        (
            other.get("trainable_parameters")
            for other in summary["arms"]
            if other.get("method") == "full" and other.get("backbone") == arm.get("backbone")
        ),
        None,
    )
    return share(arm.get("trainable_parameters"), whole)


def missing_section(summary: Summary) -> str:
    """The arms that are not done, with the reason; empty where all are."""
    missing = missing_of(summary)
    if not missing:
        return ""
    arms = len({without_seeds(name) for name, _ in missing})
    lines = "".join(f"<li><strong>{escape(name)}</strong>: {long_text(reason)}</li>" for name, reason in missing)
    return (
        f'<section id="missing">\n<h2>What is missing</h2>\n<p>{plural(arms, "arm")} of the experiment '
        f"{'is' if arms == 1 else 'are'} not, or not with all seeds, in these results.</p>"
        f"<ul>{lines}</ul>\n</section>"
    )


def comparison_rows(summary: Summary, arm: Arm) -> list[tuple[str, ...]]:
    """Every comparison of one arm as finished cells: signal, with whom, difference, interval, verdict."""
    rows: list[tuple[str, ...]] = []
    for signal in scored_signals(summary):
        decimals = decimals_for(score(other, signal, "mae") for other in summary["arms"]) + 1
        for key, name in AGAINST.items():
            difference = difference_of(arm, signal, key)
            if difference is None or difference.value is None:
                continue
            rows.append((
                escape(label_of(summary, signal)),
                escape(f"{name} ({difference.reference})" if difference.reference else name),
                f"{number(difference.value, decimals, sign=True)} {escape(unit_of(summary, signal))}".strip(),
                small(interval(difference.bounds, decimals)), verdict_mark(difference.verdict),
            ))  # fmt: skip
    return rows
