"""One self-contained page: style, tables and figures in a single file that needs nothing else."""

import base64
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from loracast.files import written
from loracast.report import sections
from loracast.report.figures import draw_figures, save_figure
from loracast.report.figures.style import Drawing
from loracast.report.numbers import plural
from loracast.report.results import Results, Summary, read_results, signals_of, source_of


def write_page(folder: Path) -> Path:
    """Write `folder/figures/*` and then `folder/report.html`, each whole or not at all; return the page's path.

    Raises ConfigError where `folder` is not a results folder.
    """
    folder = Path(folder)
    results = read_results(folder)
    vectors = {drawing.name: (drawing, save_figure(drawing, folder / "figures")) for drawing in draw_figures(results)}
    page = folder / "report.html"
    with written(page) as temporary:
        temporary.write_text(render(results, vectors), encoding="utf-8")
    return page


def render(results: Results, vectors: dict[str, tuple[Drawing, str]]) -> str:
    """The page as HTML; `vectors` holds each figure with its SVG text."""
    summary = results.summary
    numbers = {name: place for place, name in enumerate(vectors, start=1)}
    figures = {name: _figure(numbers[name], *vectors[name]) for name in vectors}
    attrition = figures.pop("flow", '<p class="note">No attrition was recorded for these data.</p>')
    room = resources.files("loracast.report")
    return Template(room.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        style=room.joinpath("page.css").read_text(encoding="utf-8"),
        name=escape(str(summary.get("name") or "results")),
        lead=escape(_lead(summary)),
        banner=sections.banner(summary),
        verdict=sections.verdict(summary),
        facts=sections.facts(summary),
        main_table=sections.main_table(summary),
        sentences=sections.recorded_sentences(summary),
        cost_table=sections.cost_table(summary),
        paper_table=sections.paper_table(summary),
        figures="\n".join(figures.values()) or '<p class="note">The folder holds nothing to draw.</p>',
        attrition=attrition + sections.attrition_table(results),
        steps=sections.step_tables(summary),
        checks=sections.checks(summary),
        reproduce=sections.reproduce(results) + _strangers(results),
    )


def _lead(summary: Summary) -> str:
    arms = plural(len(summary["arms"]), "arm")
    signals = plural(len(signals_of(summary)), "signal")
    where = source_of(summary)
    return f"{arms} on {signals} of {where}, scored on the same windows of patients that no arm was trained on."


def _figure(number: int, drawing: Drawing, vector: str) -> str:
    data = base64.b64encode(vector.encode()).decode()
    width, height = drawing.figure.get_size_inches() * 96
    head = "" if drawing.name == "flow" else f"<h3>{escape(drawing.title)}</h3>"
    return (
        f'<figure id="{drawing.name}">{head}'
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(drawing.title)}">'
        f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(drawing.alt)}" '
        f'width="{width:.0f}" height="{height:.0f}"></div>'
        f"<figcaption><strong>Figure {number}.</strong> {escape(drawing.caption)} "
        f'<span class="file">figures/{drawing.name}.svg, .pdf, .png</span></figcaption></figure>'
    )


def _strangers(results: Results) -> str:
    """Runs in the folder that the summary does not know are named, not silently left out."""
    known = {arm["arm"] for arm in results.summary["arms"]}
    names = dict.fromkeys(f"{run.arm} (seed {run.seed})" for run in results.runs if run.arm not in known)
    if not names:
        return ""
    told = f"Runs in this folder that the summary does not hold, and that are not shown: {', '.join(names)}."
    return f'<p class="note">{escape(told)}</p>'
