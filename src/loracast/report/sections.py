"""The parts of the page as HTML. Every text that comes from a file is escaped here."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from loracast.report.figures.flow import dropped
from loracast.report.numbers import ABSENT, count, decimals_for, duration, memory, number, percent, plural, share, span
from loracast.report.results import (
    Arm,
    Results,
    Summary,
    by_step,
    is_simulated,
    label_of,
    score,
    scored_signals,
    signals_of,
    unit_of,
)
from loracast.report.tables import cells, heading
from loracast.report.words import doubts, lowest_of_signal, sentences, verdict_of_arm

BADGES = {"passed": "✓", "warning": "!", "not applicable": "·"}
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
    """The verdict: the trained arms, then each signal, then the reasons for doubt."""
    arms = [arm for arm in summary["arms"] if arm.get("trainable_parameters")]
    told = [f"<p>{escape(verdict_of_arm(summary, arm))}</p>" for arm in arms]
    lines = []
    for signal in signals_of(summary):
        text, floor_won = lowest_of_signal(summary, signal)
        mark = ' class="floor"' if floor_won else ""
        lines.append(f"<li{mark}><strong>{escape(_capital(label_of(summary, signal)))}:</strong> {escape(text)}</li>")
    doubted = doubts(summary)
    caution = f'<p class="doubt">{escape(" ".join(doubted))}</p>' if doubted else ""
    return "\n".join(told) + f"<ul>{''.join(lines)}</ul>" + caution


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


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, kind: str = "", texts: tuple[int, ...] = (0,)
) -> str:
    """A table of finished HTML cells in a box that scrolls by itself; the columns `texts` are words, others numbers.

    A row of one cell becomes a heading over the full width.
    """
    top = "".join(f'<th scope="col"{_side(place, texts)}>{head}</th>' for place, head in enumerate(heads))
    body = []
    for row in rows:
        if len(row) == 1:
            body.append(f'<tr class="group"><th scope="colgroup" colspan="{len(heads)}">{row[0]}</th></tr>')
            continue
        rest = "".join(f"<td{_side(place, texts)}>{cell}</td>" for place, cell in enumerate(row[1:], start=1))
        body.append(f'<tr><th scope="row">{row[0]}</th>{rest}</tr>')
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="{kind}">'
        f"<caption>{caption}</caption><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _side(place: int, texts: tuple[int, ...]) -> str:
    return "" if place in texts else ' class="n"'


def main_table(summary: Summary) -> str:
    """Errors in physical units, arm by arm under each signal; the lowest of each column is bold."""
    heads = ("arm", "trained numbers", "MAE", "95 %", "RMSE", "bias", "MASE", "CRPS", "80 % coverage",
             "MAE − zero-shot", "95 %", "verdict")  # fmt: skip
    rows: list[Sequence[str]] = []
    for signal in signals_of(summary):
        rows.append((escape(heading(summary, signal)),))
        lowest = {name: _lowest(summary, signal, name) for name in ("mae", "rmse", "mase", "crps")}
        for arm in summary["arms"]:
            row = cells(summary, arm, signal)
            bold = {name: arm["arm"] in lowest[name] for name in lowest}
            rows.append((
                escape(row.arm), row.trained, _strong(row.mae, bold["mae"]), _small(row.mae_interval),
                _strong(row.rmse, bold["rmse"]), row.bias, _strong(row.mase, bold["mase"]),
                _strong(row.crps, bold["crps"]), row.coverage, row.difference, _small(row.difference_interval),
                _verdict(row.verdict),
            ))  # fmt: skip
    return table(
        heads, rows, caption="Errors on the test patients, in the unit of each signal", kind="main", texts=(0, 11)
    )


def _lowest(summary: Summary, signal: str, name: str) -> set[str]:
    found = {arm["arm"]: value for arm in summary["arms"] if (value := score(arm, signal, name)) is not None}
    return {arm for arm, value in found.items() if value == min(found.values())} if len(found) > 1 else set()


def _strong(text: str, bold: bool) -> str:
    return f"<strong>{text}</strong>" if bold else text


def _small(text: str) -> str:
    return f'<span class="ci">{text}</span>' if text else ""


def _verdict(text: str) -> str:
    if not text:
        return ""
    kind = {"better": "better", "worse": "worse"}.get(text, "open")
    return f'<span class="verdict {kind}">{escape(text)}</span>'


def cost_table(summary: Summary) -> str:
    """What each arm cost: numbers trained, time, memory, and the step that was kept."""
    heads = ("arm", "trained numbers", "of the model", "training", "forecasting", "peak memory", "seeds", "kept step")
    rows = [
        (
            escape(str(arm["arm"])), count(arm.get("trainable_parameters")),
            share(arm.get("trainable_parameters"), arm.get("total_parameters")),
            cells(summary, arm, "").train_time, duration(arm.get("forecast_seconds")),
            memory(arm.get("peak_memory_bytes")), str(len(arm.get("seeds") or ())) if arm.get("seeds") else ABSENT,
            _kept_steps(arm),
        )
        for arm in summary["arms"]
    ]  # fmt: skip
    return table(heads, rows, caption="What each arm cost")


def _kept_steps(arm: Arm) -> str:
    steps = arm.get("best_step")
    if not arm.get("trainable_parameters") or steps is None:
        return ABSENT
    return ", ".join(count(step) for step in (steps if isinstance(steps, list) else [steps])) or ABSENT


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
    return table(heads, rows, caption="The three scores of the paper, after its fixed min–max scaling", kind="narrow")


def step_tables(summary: Summary) -> str:
    """Every score that was recorded step by step, folded away, one fold a signal."""
    step = (summary.get("windows") or {}).get("step_seconds")
    folds = []
    for signal in scored_signals(summary):
        found = [_step_table(summary, signal, name, title, step) for name, title in STEP_SCORES.items()]
        if any(found):
            name = escape(heading(summary, signal))
            folds.append(f"<details><summary>{_capital(name)}, step by step</summary>{''.join(found)}</details>")
    return "\n".join(folds) or '<p class="note">No score was recorded step by step.</p>'


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
    """The sentences that go with the differences to zero-shot."""
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences(summary))
    return f"<details><summary>The differences in words</summary><ul>{lines}</ul></details>" if lines else ""


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
        reason = f'<span class="reason">{escape(str(check["reason"]))}</span>' if check.get("reason") else ""
        lines.append(
            f'<li class="{kind}"><span class="badge">{BADGES.get(outcome, "·")} {escape(outcome)}</span>'
            f'<span class="code">{escape(str(check.get("code", "")))}</span>'
            f"<span>{escape(_capital(str(check.get('title', ''))))}{reason}</span></li>"
        )
    tally = {outcome: sum(check.get("outcome") == outcome for check in listed) for outcome in BADGES}
    said = ", ".join(f"{number} {outcome}" for outcome, number in tally.items() if number)
    told = f"<p>Each check looks for one reason not to believe the result: {said}.</p>"
    return f'{told}<ol class="checks">{"".join(lines)}</ol>'


def reproduce(results: Results) -> str:
    """The command, the versions and the hardware, and the whole spec folded away."""
    experiment, summary = results.experiment, results.summary
    command = str(summary.get("command") or "loracast run EXPERIMENT.toml")
    parts = [f"<pre><code>{escape(command)} --out RESULTS\nloracast report RESULTS</code></pre>"]
    pairs = [("spec digest", str(experiment["digest"]))] if experiment.get("digest") else []
    pairs += [(key, value) for key, value in _united(results, "versions")]
    pairs += [(key, value) for key, value in _united(results, "hardware")]
    data = [run.result.get("data") or {} for run in results.runs]
    for key in ("fingerprint", "table_fingerprint", "split_fingerprint"):
        values = dict.fromkeys(str(item[key]) for item in data if item.get(key))
        pairs += [(key.replace("_", " "), " / ".join(values))] if values else []
    rows = [(escape(key), f"<code>{escape(value)}</code>") for key, value in pairs]
    if rows:
        parts.append(table(("what", "value"), rows, caption="What it was run with", kind="narrow", texts=(0, 1)))
    spec = experiment.get("spec")
    if spec:
        text = escape(json.dumps(spec, indent=2, ensure_ascii=False))
        parts.append(f"<details><summary>The whole spec</summary><pre><code>{text}</code></pre></details>")
    return "\n".join(parts)


def _united(results: Results, key: str) -> list[tuple[str, str]]:
    """The named facts of all runs; where runs differ, all values."""
    found: dict[str, dict[str, None]] = {}
    for run in results.runs:
        facts = run.result.get(key) or {}
        for name, value in facts.items() if isinstance(facts, dict) else [(key, facts)]:
            if value is not None:
                found.setdefault(str(name), {})[str(value)] = None
    return [(name, " / ".join(values)) for name, values in found.items()]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
