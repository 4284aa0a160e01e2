"""A page of its own for every arm: settings, costs, scores, learning curves of all seeds, forecasts, its checks."""

import io
import re
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg

from loracast.files import written
from loracast.report import sections
from loracast.report.arms import is_scratch, missing_of, slugs_of, without_seeds
from loracast.report.compared import AGAINST, comparison_rows
from loracast.report.costs import costs_of
from loracast.report.figures import METADATA, fans, learning
from loracast.report.figures.style import RC, Drawing
from loracast.report.hardware import hardware_of
from loracast.report.markup import bullets, figure, long_text, small, table
from loracast.report.readable import ABSENT, count, decimals_for, interval, number, percent, plural
from loracast.report.reproduce import settings_of, snippet
from loracast.report.results import (
    Arm,
    Results,
    Summary,
    difference_of,
    interval_of,
    is_baseline,
    is_trained,
    score,
    scored_signals,
    signals_of,
    source_of,
)
from loracast.report.tables import heading
from loracast.report.words import verdict_of_arm

SCORES = {
    "mae": "MAE", "rmse": "RMSE", "bias": "Bias", "mase": "MASE", "crps": "CRPS", "coverage_80": "80 % coverage",
    "mse_scaled": "MSE of the paper (×10⁻⁴)", "mape": "MAPE (%)", "dtw_scaled": "DTW of the paper (×10⁻³)",
}  # fmt: skip
SCALES = {"mse_scaled": 1e4, "dtw_scaled": 1e3}
PHYSICAL = ("mae", "rmse", "bias", "crps")
NAMES = {
    "learning_rate": "learning rate", "patients": "share of the training patients", "context": "steps of context seen",
    "block_size": "block size", "sites": "tuned matrices",
}  # fmt: skip


def write_arm_pages(results: Results, folder: Path) -> None:
    """Write `folder/SLUG.html` for every arm of the summary, each whole or not at all."""
    slugs = slugs_of(results.summary)
    room = resources.files("loracast.report")
    style = room.joinpath("page.css").read_text(encoding="utf-8")
    page = Template(room.joinpath("arm.html").read_text(encoding="utf-8"))
    for arm in results.summary["arms"]:
        with written(folder / f"{slugs[arm['arm']]}.html") as temporary:
            temporary.write_text(page.substitute(_parts(results, arm), style=style), encoding="utf-8")


def _parts(results: Results, arm: Arm) -> dict[str, str]:
    """What stands at each place of the page, as HTML."""
    summary, alone = results.summary, {**results.summary, "arms": [arm]}
    return {
        "arm": escape(str(arm["arm"])),
        "name": escape(str(summary.get("name") or "results")),
        "kind": f"loracast report · {escape(str(summary.get('name') or 'results'))}",
        "lead": escape(_lead(summary, arm)),
        "banner": sections.banner(summary),
        "scores": _scores(summary, arm),
        "comparisons": _comparisons(summary, arm),
        "settings": _settings(results, arm),
        "costs": _facts("What it cost", costs_of(arm)) + _machine(alone, results, arm),
        "figures": _figures(results, arm),
        "steps": sections.step_tables(alone),
        "checks": _checks(summary, str(arm["arm"])),
        "reproduce": _reproduce(results, arm),
    }


def _lead(summary: Summary, arm: Arm) -> str:
    where = source_of(summary)
    if is_trained(arm):
        return f"{verdict_of_arm(summary, arm)} On {where}."
    if is_baseline(arm):
        return f"A forecast that needs no training, on {where}."
    return f"The pretrained weights as they are, on {where}."


def _facts(caption: str, pairs: list[tuple[str, str]]) -> str:
    if not pairs:
        return ""
    rows = [(escape(name), escape(text)) for name, text in pairs]
    return table(("what", "value"), rows, caption=caption, kind="narrow", texts=(0, 1))


def _settings(results: Results, arm: Arm) -> str:
    found = settings_of(results, arm)
    pairs = [(NAMES.get(key, key.replace("_", " ")), str(value)) for key, value in found.items()]
    pairs += [("seeds", ", ".join(map(str, arm["seeds"])))] if arm.get("seeds") and is_trained(arm) else []
    pairs += [("licence of the weights", str(arm["licence"]))] if arm.get("licence") else []
    return _facts("How it was set", pairs) or '<p class="note">It has no settings.</p>'


def _machine(alone: Summary, results: Results, arm: Arm) -> str:
    own = Results(alone, {}, results.runs_of(arm["arm"]), ())
    machine = hardware_of(own)
    return f'<p class="note">Measured on {escape(machine)}.</p>' if machine else ""


def _scores(summary: Summary, arm: Arm) -> str:
    """Every score with its interval, a row a score and two columns a signal."""
    signals = [name for name in signals_of(summary) if (arm.get("scores") or {}).get(name)]
    if not signals:
        return '<p class="note">It has no scores.</p>'
    heads = ["score"]
    for signal in signals:
        heads += [escape(heading(summary, signal)), "95 %"]
    rows = []
    for name, title in SCORES.items():
        cells = [cell for signal in signals for cell in _score(summary, arm, signal, name)]
        if any(cell not in ("", ABSENT) for cell in cells):
            rows.append((title, *cells))
    for name, title in (("n_patients", "patients"), ("n_windows", "windows"), ("n_cells", "observed targets")):
        rows.append((title, *(cell for signal in signals for cell in (count(score(arm, signal, name)), ""))))
    note = f"Means over {plural(len(arm['seeds']), 'seed')}. " if arm.get("seeds") and is_trained(arm) else ""
    note += "Intervals are bootstrapped over patients."
    return table(heads, rows, caption="Scores on the test patients") + f'<p class="note">{note}</p>'


def _score(summary: Summary, arm: Arm, signal: str, name: str) -> tuple[str, str]:
    value, bounds, scale = score(arm, signal, name), interval_of(arm, signal, name), SCALES.get(name, 1.0)
    if name == "coverage_80":
        return percent(value), small(f"[{percent(bounds[0])}, {percent(bounds[1])}]" if bounds else "")
    decimals = decimals_for(score(other, signal, "mae") for other in summary["arms"]) if name in PHYSICAL else 3
    scaled = None if value is None else scale * value
    return (
        number(scaled, decimals, sign=name == "bias"),
        small(interval((scale * bounds[0], scale * bounds[1]) if bounds else None, decimals)),
    )


def _comparisons(summary: Summary, arm: Arm) -> str:
    rows = comparison_rows(summary, arm)
    if not rows:
        return ""
    heads = ("signal", "compared with", "MAE − its MAE", "95 %", "verdict")
    body = table(heads, rows, caption="Paired differences on the same windows; below 0 is better", texts=(0, 1, 4))
    told = dict.fromkeys(
        difference.sentence
        for key in AGAINST
        for signal in scored_signals(summary)
        if (difference := difference_of(arm, signal, key)) is not None and difference.sentence
    )
    return body + bullets(told)


def _figures(results: Results, arm: Arm) -> str:
    """Learning curves and forecasts, with their head; empty where the folder holds neither."""
    parts = []
    for title, draw in (("Learning curves", learning.draw_arm), ("Example forecasts", fans.draw_arm)):
        with matplotlib.rc_context(RC):
            drawing = draw(results, arm["arm"])
            if drawing is not None:
                shown = figure("", drawing, _vector(drawing), head=False)
                parts.append(f"<section>\n<h2>{title}</h2>\n{shown}\n</section>")
    return "\n".join(parts)


def _vector(drawing: Drawing) -> str:
    """The SVG text of a drawing, with the letters as text: many pages hold many figures."""
    FigureCanvasAgg(drawing.figure)
    engine = drawing.figure.get_layout_engine()
    if engine is not None:
        # Margins by hand: to find them for each of many figures would take as long as to draw them.
        _, bottom, _, height = engine.get()["rect"]
        inch = 1 / drawing.figure.get_size_inches()[1]
        drawing.figure.set_layout_engine(None)
        low, high = bottom + 0.22 * inch, bottom + height - 0.24 * inch
        drawing.figure.subplots_adjust(left=0.1, right=0.985, bottom=low, top=high, wspace=0.22, hspace=0.4)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        drawing.figure.savefig(buffer, format="svg", metadata=METADATA["svg"])
    return buffer.getvalue().decode()


def _checks(summary: Summary, arm: str) -> str:
    """The checks whose reason names this arm, with what they say of it; the others are only counted."""
    whole = re.compile(rf"(?<![\w.=-]){re.escape(arm)}(?! ?[\w.]*=|[\w.-])")
    told, others = [], 0
    for check in summary.get("checks") or ():
        parts = [part for part in str(check.get("reason") or "").split("; ") if whole.search(part)]
        if parts and check.get("outcome") == "warning":
            head = f"<strong>{escape(str(check.get('code', '')))} {escape(str(check.get('title', '')))}</strong>"
            told.append(f"<li>{head}: {long_text('; '.join(parts))}</li>")
        elif check.get("outcome") == "warning":
            others += 1
    missing = [reason for name, reason in missing_of(summary) if without_seeds(name) == arm]
    told += [f"<li><strong>not complete</strong>: {escape(reason)}</li>" for reason in missing]
    rest = "Warnings that speak of all arms or of others" if told else "No check warns of this arm by name. Others"
    tail = f'<p class="note">{rest}: {others}, on the main page.</p>' if others else ""
    if told:
        return f"<ul>{''.join(told)}</ul>{tail}"
    return tail or '<p class="note">No check warns.</p>'


def _reproduce(results: Results, arm: Arm) -> str:
    text = snippet(results, arm)
    own = "This network is" if is_scratch(arm) else "This arm is"
    return (
        f"<p>{own} made by these lines of the experiment; data, windows, split and training are those of the whole, on "
        f"the main page.</p><pre><code>{escape(text)}</code></pre>"
    )
