"""One self-contained page: style, tables and figures in a single file that needs nothing else."""

from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from loracast.files import written
from loracast.report import sections
from loracast.report.arm_page import write_arm_pages
from loracast.report.compared import full_table, missing_section
from loracast.report.costs import cost_table
from loracast.report.exports import write_tables
from loracast.report.figures import draw_figures, save_figure
from loracast.report.figures.style import Drawing
from loracast.report.markup import figure
from loracast.report.readable import plural
from loracast.report.reproduce import reproduce
from loracast.report.results import Results, Summary, read_results, signals_of, source_of
from loracast.report.sweep import sweep_section

PLACES = {"ranks": 0, "flow": 2}
"""Figures that stand in the section of their tables: before the others, or after them."""


def write_page(folder: Path) -> Path:
    """Write `folder/figures/*`, `tables/*`, `arms/*.html` and then `report.html`, each whole or not at all.

    Returns the page's path. Raises ConfigError where `folder` is not a results folder.
    """
    folder = Path(folder)
    results = read_results(folder)
    vectors = {drawing.name: (drawing, save_figure(drawing, folder / "figures")) for drawing in draw_figures(results)}
    write_tables(results, folder / "tables")
    write_arm_pages(results, folder / "arms")
    page = folder / "report.html"
    with written(page) as temporary:
        temporary.write_text(render(results, vectors), encoding="utf-8")
    return page


def render(results: Results, vectors: dict[str, tuple[Drawing, str]]) -> str:
    """The page as HTML; `vectors` holds each figure with its SVG text."""
    summary = results.summary
    ordered = sorted(vectors, key=lambda name: PLACES.get(name, 1))  # numbered as they stand on the page
    numbers = {name: place for place, name in enumerate(ordered, start=1)}
    figures = {name: _figure(numbers[name], *vectors[name]) for name in ordered}
    attrition = figures.pop("flow", '<p class="note">No attrition was recorded for these data.</p>')
    ranks = figures.pop("ranks", "")
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
        cost_table=cost_table(results),
        files=_files(results),
        versus_full=full_table(summary),
        sweep=sweep_section(results, ranks),
        missing=missing_section(summary),
        paper_table=sections.paper_table(summary),
        figures="\n".join(figures.values()) or '<p class="note">The folder holds nothing to draw.</p>',
        attrition=attrition + sections.attrition_table(results),
        steps=sections.step_tables(summary),
        checks=sections.checks(summary),
        reproduce=reproduce(results) + _strangers(results),
    )


def _lead(summary: Summary) -> str:
    arms = plural(len(summary["arms"]), "arm")
    signals = plural(len(signals_of(summary)), "signal")
    where = source_of(summary)
    return f"{arms} on {signals} of {where}, scored on the same windows of patients that no arm was trained on."


def _figure(number: int, drawing: Drawing, vector: str) -> str:
    file = f"figures/{drawing.name}.svg, .pdf, .png"
    return figure(f"Figure {number}.", drawing, vector, file=file, head=drawing.name != "flow")


def _files(results: Results) -> str:
    """Where the tables lie as files, beside this page."""
    names = ["tables/results.csv", "tables/results.tex"]
    names += ["tables/ranks.csv", "tables/ranks.tex"] if results.sweep.get("rows") else []
    listed = ", ".join(f'<span class="file">{name}</span>' for name in names)
    pages = '<span class="file">arms/</span>'
    return f'<p class="note">The same as files beside this page: {listed}; a page for every arm: {pages}.</p>'


def _strangers(results: Results) -> str:
    """Runs in the folder that the summary does not know are named, not silently left out."""
    known = {arm["arm"] for arm in results.summary["arms"]}
    names = dict.fromkeys(f"{run.arm} (seed {run.seed})" for run in results.runs if run.arm not in known)
    if not names:
        return ""
    told = f"Runs in this folder that the summary does not hold, and that are not shown: {', '.join(names)}."
    return f'<p class="note">{escape(told)}</p>'
