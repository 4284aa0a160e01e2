"""The parts of the page as HTML. Every text that comes from a file is escaped here."""

from collections.abc import Sequence
from html import escape
from typing import Any

from loracast.report.arms import MANY, chosen, slugs_of
from loracast.report.figures.flow import dropped
from loracast.report.markup import bullets, capital, folded, long_text, small, strong, table, verdict_mark
from loracast.report.readable import ABSENT, count, decimals_for, number, percent, plural, span
from loracast.report.results import (
    Results,
    Summary,
    by_step,
    is_simulated,
    is_trained,
    label_of,
    score,
    scored_signals,
    signals_of,
    unit_of,
)
from loracast.report.tables import cells, heading
from loracast.report.words import doubts, lowest_of_signal, sentences, verdict_of_arm, verdict_of_many

BADGES = {"passed": "✓", "warning": "!", "not applicable": "·"}
FEW_SENTENCES = 6
"""Trained arms that the verdict names one by one; of more it says how many are better."""
STEP_SCORES = {"mae": "MAE", "rmse": "RMSE", "bias": "Bias", "coverage_80": "80 % coverage"}


def banner(summary: Summary) -> str:
    """The label of simulated data; empty for real data."""
    if not is_simulated(summary):
        return ""
    return (
        '<p class="banner" role="note"><strong>SIMULATED DATA</strong> No real patient stands behind any number or '
        "figure on this page. It shows that the path works, not that a model is good.</p>"
    )


def verdict(summary: Summary) -> str:
    """The verdict: the trained arms, or how many of many are better, then each signal, then the reasons for doubt."""
    single = [verdict_of_arm(summary, arm) for arm in summary["arms"] if is_trained(arm)]
    many = len(single) > FEW_SENTENCES
    told = [f"<p>{escape(text)}</p>" for text in (verdict_of_many(summary) if many else single)]
    lines = []
    for signal in signals_of(summary):
        text, floor_won = lowest_of_signal(summary, signal)
        mark = ' class="floor"' if floor_won else ""
        lines.append(f"<li{mark}><strong>{escape(capital(label_of(summary, signal)))}:</strong> {escape(text)}</li>")
    doubted = doubts(summary)
    caution = f'<p class="doubt">{escape(" ".join(doubted))}</p>' if doubted else ""
    fold = folded(f"Each of {len(single)} trained arms in a sentence", bullets(single)) if many else ""
    return "\n".join(told) + f"<ul>{''.join(lines)}</ul>" + caution + fold


def facts(summary: Summary) -> str:
    """What the numbers were made from: data, patients, windows."""
    data, windows = summary.get("data") or {}, summary.get("windows") or {}
    step = windows.get("step_seconds") or data.get("grid_seconds")
    patients, counts = data.get("patients") or {}, windows.get("counts") or {}
    signals = ", ".join(heading(summary, name).replace(", ", " in ") for name in signals_of(summary))
    pairs = [
        ("Data", str(data.get("source") or ABSENT) + (" (simulated)" if is_simulated(summary) else "")),
        ("Signals", signals),
        ("Patients", _split(patients)),
        ("Windows", _split(counts)),
        ("Grid", span(data.get("grid_seconds") or step)),
        ("Context", _steps(windows.get("context"), step)),
        ("Horizon", _steps(windows.get("horizon"), step)),
        ("Stride", _steps(windows.get("stride"), step)),
        ("Season", _steps(windows.get("season"), step)),
        ("Licence of the data", str(data.get("licence") or "not recorded")),
        ("Licence of the weights", _licences(summary)),
    ]
    shown = [(name, text) for name, text in pairs if text != ABSENT]
    return '<dl class="facts">' + "".join(f"<div><dt>{a}</dt><dd>{escape(b)}</dd></div>" for a, b in shown) + "</dl>"


def _licences(summary: Summary) -> str:
    """The licence of each backbone, where the summary records it."""
    found = {arm["backbone"]: arm["licence"] for arm in summary["arms"] if arm.get("backbone") and arm.get("licence")}
    return " · ".join(f"{backbone}: {licence}" for backbone, licence in found.items()) or ABSENT


def _split(counts: dict[str, Any]) -> str:
    parts = [
        f"{count(counts[part])} {part}" for part in ("train", "validation", "test") if counts.get(part) is not None
    ]
    return " · ".join(parts) or ABSENT


def _steps(steps: float | None, step_seconds: float | None) -> str:
    if steps is None:
        return ABSENT
    return plural(int(steps), "step") + (f" = {span(steps * step_seconds)}" if step_seconds else "")


def main_table(summary: Summary) -> str:
    """Errors in physical units, arm by arm under each signal; the lowest of each column is bold."""
    heads = ("arm", "trained numbers", "MAE", "95 %", "RMSE", "bias", "MASE", "CRPS", "80 % coverage",
             "MAE − zero-shot", "95 %", "verdict")  # fmt: skip
    rows: list[Sequence[str]] = []
    slugs = slugs_of(summary)
    for signal in signals_of(summary):
        rows.append((escape(heading(summary, signal)),))
        lowest = {name: _lowest(summary, signal, name) for name in ("mae", "rmse", "mase", "crps")}
        for arm in summary["arms"]:
            row = cells(summary, arm, signal)
            bold = {name: arm["arm"] in lowest[name] for name in lowest}
            name = f'<a href="arms/{slugs[arm["arm"]]}.html">{escape(row.arm)}</a>'
            rows.append((
                name, row.trained, strong(row.mae, bold["mae"]), small(row.mae_interval),
                strong(row.rmse, bold["rmse"]), row.bias, strong(row.mase, bold["mase"]),
                strong(row.crps, bold["crps"]), row.coverage, row.difference, small(row.difference_interval),
                verdict_mark(row.verdict),
            ))  # fmt: skip
    return table(
        heads, rows, caption="Errors on the test patients, in the unit of each signal", kind="main", texts=(0, 11)
    )


def _lowest(summary: Summary, signal: str, name: str) -> set[str]:
    found = {arm["arm"]: value for arm in summary["arms"] if (value := score(arm, signal, name)) is not None}
    return {arm for arm, value in found.items() if value == min(found.values())} if len(found) > 1 else set()


def paper_table(summary: Summary) -> str:
    """The three scores of the paper, in its scaled space; empty where no signal has them."""
    heads = ("arm", "MSE (×10<sup>−4</sup>)", "MAPE (%)", "DTW (×10<sup>−3</sup>)")
    rows: list[Sequence[str]] = []
    for signal in signals_of(summary):
        names = ("mse_scaled", "mape", "dtw_scaled")
        if not any(score(arm, signal, name) is not None for arm in summary["arms"] for name in names):
            continue
        rows.append((escape(label_of(summary, signal)),))
        for arm in summary["arms"]:
            row = cells(summary, arm, signal)
            rows.append((escape(row.arm), row.mse_scaled, row.mape, row.dtw_scaled))
    if not rows:
        return '<p class="note">No signal of this experiment has the fixed range that the paper scales with.</p>'
    body = table(heads, rows, caption="The three scores of the paper, after its fixed min–max scaling", kind="narrow")
    return folded("Every arm and signal", body) if len(summary["arms"]) > MANY else body


def step_tables(summary: Summary) -> str:
    """Every score that was recorded step by step, folded away, one fold a signal; of many arms a few."""
    arms, chosen_how = chosen(summary)
    summary = {**summary, "arms": arms}
    told = f'<p class="note">{escape(chosen_how.strip().replace("are drawn", "are shown"))}</p>' if chosen_how else ""
    step = (summary.get("windows") or {}).get("step_seconds")
    folds = []
    for signal in scored_signals(summary):
        found = [_step_table(summary, signal, name, title, step) for name, title in STEP_SCORES.items()]
        if any(found):
            name = escape(heading(summary, signal))
            folds.append(f"<details><summary>{capital(name)}, step by step</summary>{''.join(found)}</details>")
    return told + "\n".join(folds) if folds else '<p class="note">No score was recorded step by step.</p>'


def _step_table(summary: Summary, signal: str, name: str, title: str, step: float | None) -> str:
    found = {arm["arm"]: values for arm in summary["arms"] if (values := by_step(arm, signal, name)) is not None}
    if not found:
        return ""
    decimals = decimals_for(score(arm, signal, "mae") for arm in summary["arms"])

    def written(value: float) -> str:
        return percent(value) if name == "coverage_80" else number(value, decimals, sign=name == "bias")

    rows = [
        [span(step * (place + 1)) if step else f"step {place + 1}"]
        + [written(values[place]) if place < len(values) else ABSENT for values in found.values()]
        for place in range(max(map(len, found.values())))
    ]
    unit = "" if name == "coverage_80" or not unit_of(summary, signal) else f", {escape(unit_of(summary, signal))}"
    return table(["ahead", *map(escape, found)], rows, caption=f"{title}{unit}", kind="steps")


def recorded_sentences(summary: Summary) -> str:
    """The sentences that go with the differences to zero-shot; those of many arms stand on the arms' pages."""
    found = sentences(summary)
    if not found or len(summary["arms"]) > MANY:
        return ""
    lines = "".join(f"<li><strong>{escape(arm)}</strong>: {escape(sentence)}</li>" for arm, sentence in found)
    return folded("The differences in words", f"<ul>{lines}</ul>")


def attrition_table(results: Results) -> str:
    """The attrition in numbers, with what is left of each signal; empty where nothing was recorded."""
    steps = results.attrition
    keys = [
        key
        for key in ("patients", "stays", "series", "rows", "windows")
        if any(step.get(key) is not None for step in steps)
    ]
    names = [
        name for name in signals_of(results.summary) if any((step.get("signals") or {}).get(name) for step in steps)
    ]
    if not keys:
        return ""
    heads = ["step", *keys, "dropped", *(escape(label_of(results.summary, name)) for name in names)]
    rows = [
        [escape(str(step.get("step")))] + [count(step.get(key)) for key in keys] + [dropped(step) or ABSENT]
        + [count((step.get("signals") or {}).get(name)) for name in names]
        for step in steps
    ]  # fmt: skip
    body = table(heads, rows, caption="What was left after each step; rows of each signal", kind="flow")
    return f"<details><summary>The same in numbers, signal by signal</summary>{body}</details>"


def checks(summary: Summary) -> str:
    """The numbered reasons not to believe, each with its outcome."""
    listed = summary.get("checks") or ()
    if not listed:
        return '<p class="note">No checks were recorded.</p>'
    lines = []
    for check in listed:
        outcome = str(check.get("outcome") or "not applicable")
        kind = outcome.split()[0] if outcome in BADGES else "not"
        reason = f'<div class="reason">{long_text(str(check["reason"]))}</div>' if check.get("reason") else ""
        lines.append(
            f'<li class="{kind}"><span class="badge">{BADGES.get(outcome, "·")} {escape(outcome)}</span>'
            f'<span class="code">{escape(str(check.get("code", "")))}</span>'
            f"<div>{escape(capital(str(check.get('title', ''))))}{reason}</div></li>"
        )
    tally = {outcome: sum(check.get("outcome") == outcome for check in listed) for outcome in BADGES}
    said = ", ".join(f"{number} {outcome}" for outcome, number in tally.items() if number)
    told = f"<p>Each check looks for one reason not to believe the result: {said}.</p>"
    return f'{told}<ol class="checks">{"".join(lines)}</ol>'
