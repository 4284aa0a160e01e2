"""One self-contained page, and one for every arm: facts are prepared here, the templates make HTML of them."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from loracast.files import written
from loracast.report import cost_tables, frames, sweeps, tables, words
from loracast.report.answers import answer_table
from loracast.report.arm_page import arm_facts, steps_of
from loracast.report.doubts import note_of, rule_of, sizes_of, told_of
from loracast.report.figures import FORMS, Shown, dark_colours, draw_figures, fans, save_figure, shown, vector
from loracast.report.figures.style import PHONE
from loracast.report.headline import lines_of
from loracast.report.readable import plural, span
from loracast.report.render import csv, latex, templates
from loracast.report.results import (
    MANY,
    Results,
    backbone_of,
    chosen,
    heading_of,
    label_of,
    missing_of,
    read_results,
    slugs_of,
    source_of,
)
from loracast.scoring.facts import Outcome
from loracast.study.ranks.result import RankSweep
from loracast.study.summary import Sides, Summary

PLACES = {"costs": 0, "ranks": 1, "flow": 3}
"""Figures that stand in the section of their tables: before the others (2), or after them."""
FEW_SENTENCES = 6
"""Trained arms that the verdict names one by one; of more it says how many are better."""
SECTIONS = {
    "answer": "Was it worth it?",
    "data": "Data and windows",
    "results": "Results",
    "cost": "What it cost",
    "missing": "What is missing",
    "rank-sweep": "How few numbers are enough",
    "full": "Adapters against full fine-tuning",
    "figures": "Figures",
    "paper": "Scores of the paper",
    "attrition": "From the source to the windows",
    "checks": "Reasons not to believe",
    "steps": "Step by step",
    "reproduce": "How to reproduce",
}
"""The parts of the page in their order; those of a few need something to show."""


def write_page(folder: Path) -> Path:
    """Write `folder/figures/*`, `tables/*`, `arms/*.html` and then `report.html`, each whole or not at all.

    Returns the page's path. Raises ConfigError where `folder` is not a results folder.
    """
    folder = Path(folder)
    results = read_results(folder)
    figures = write_figures(results, folder / "figures")
    files = write_tables(results, folder / "tables")
    write_arm_pages(results, folder / "arms")
    page = folder / "report.html"
    write_text(page, templates().get_template("page.html").render(page_facts(results, figures, files)))
    return page


def write_figures(results: Results, folder: Path) -> dict[str, Shown]:
    """Write each figure as SVG, PDF and PNG; all by name as the page shows them, numbered as they stand there."""
    narrow = {drawing.name: drawing for drawing in draw_figures(results, PHONE)}
    wide = sorted(draw_figures(results), key=lambda drawing: PLACES.get(drawing.name, 2))
    return {
        drawing.name: shown(
            drawing,
            save_figure(drawing, folder),
            vector(narrow[drawing.name]),
            label=f"Figure {number}.",
            files=tuple(f"figures/{drawing.name}.{form}" for form in FORMS),
        )
        for number, drawing in enumerate(wide, start=1)
    }


def write_tables(results: Results, folder: Path) -> list[str]:
    """Write the tables as CSV with raw numbers and as LaTeX, each whole or not; their names, as the page lists them."""
    summary, sweep = results.summary, results.sweep
    made = {
        "results.csv": csv(frames.results(summary)),
        "results.tex": latex(tables.plain_table(summary, grouped=True)),
        "checks.csv": csv(frames.checks(summary)),
    }
    if sweep is not None and sweep.rows:
        labels = labels_of(summary)
        made["ranks.csv"] = csv(frames.ranks(sweep))
        thresholds = latex(sweeps.thresholds_table(sweep, labels, title="thresholds"))
        made["ranks.tex"] = f"{thresholds}\n{latex(sweeps.ranks_table(sweep, labels, title='error by rank'))}"
    for name, text in made.items():
        write_text(folder / name, text)
    return [f"tables/{name}" for name in made]


def write_arm_pages(results: Results, folder: Path) -> None:
    """Write `folder/SLUG.html` for every arm of the summary, each whole or not at all."""
    slugs, template = slugs_of(results.summary), templates().get_template("arm.html")
    for arm in results.summary.arms:
        write_text(folder / f"{slugs[arm.arm]}.html", template.render(arm_facts(results, arm)))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; one that stands there is replaced."""
    with written(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def labels_of(summary: Summary) -> dict[str, str]:
    """What people call each signal."""
    return {name: facts.label for name, facts in summary.data.signals.items()}


def page_facts(results: Results, figures: Mapping[str, Shown], files: list[str]) -> dict[str, Any]:
    """What `page.html` is made of; `figures` by name, `files` are the names of the tables."""
    summary = results.summary
    arms, told = chosen(summary)
    missing = missing_of(summary)
    facts: dict[str, Any] = {
        "name": summary.name,
        "lead": f"{plural(len(summary.arms), 'arm')} on {plural(len(summary.data.signals), 'signal')} of "
        f"{source_of(summary)}, scored on the same windows of patients that no arm was trained on.",
        "simulated": summary.data.simulated,
        "verdict": _verdict(summary),
        "facts": _facts(summary),
        "results": tables.main_table(summary),
        "sentences": _sentences(summary),
        "choices": words.choices_told(summary),
        "cost": {"table": cost_tables.cost_table(summary), "figure": figures.get("costs")},
        "machines": words.machines_of(results),
        "files": files,
        "missing": [(words.seeds_of(one), one.reason) for one in missing],
        "missing_told": _missing_told(len({one.arm for one in missing})),
        "sweep": _sweep(results.sweep, labels_of(summary), figures.get("ranks")),
        "full": tables.full_table(summary),
        "figures": [one for name, one in figures.items() if name not in PLACES],
        "no_fans": fans.left_out(results),
        "paper": tables.paper_table(summary),
        "many": len(summary.arms) > MANY,
        "flow": figures.get("flow"),
        "attrition": tables.attrition_table(summary),
        "notes": summary.data.notes or [],
        "checks": told_of(summary),
        "checks_told": _tally(summary),
        "steps_told": told.strip().replace("are drawn", "are shown"),
        "steps": steps_of(summary, arms),
        "dark": dark_colours(figures.values()),
        **_reproduce(results),
    }
    shown = {"missing": facts["missing"], "rank-sweep": facts["sweep"], "full": facts["full"]}
    return facts | {"titles": SECTIONS, "contents": [name for name in SECTIONS if shown.get(name, True)]}


def _verdict(summary: Summary) -> dict[str, Any]:
    """The answer and the reasons for doubt; then its numbers, the trained arms in words, and each signal."""
    single = [words.verdict_of_arm(summary, arm) for arm in summary.arms if arm.trains]
    many = len(single) > FEW_SENTENCES
    return {
        "lines": lines_of(summary),
        "answer": answer_table(summary),
        "warned": [one for one in told_of(summary) if one.outcome == "warning"],
        "told": words.verdict_of_many(summary) if many else single,
        "signals": [
            (words.capital(label_of(summary, signal)), *words.lowest_of_signal(summary, signal))
            for signal in summary.data.signals
        ],
        "doubts": " ".join(words.doubts(summary)),
        "each": single if many else [],
    }


def _facts(summary: Summary) -> list[tuple[str, str]]:
    """What the numbers were made from: data, patients, windows, licences."""
    data, windows = summary.data, summary.windows
    signals = (heading_of(summary, name).replace(", ", " in ") for name in data.signals)
    licences = {backbone: arm.licence for arm in summary.arms if (backbone := backbone_of(arm)) and arm.licence}
    lengths = {name: getattr(windows, name) for name in ("context", "horizon", "stride", "season")}
    pairs = [
        ("Data", f"{data.source} (simulated)" if data.simulated else data.source),
        ("Signals", ", ".join(signals)),
        ("Patients", _sides(data.patients)),
        ("Windows", _sides(windows.counts)),
        ("Grid", span(data.grid_seconds)),
        *(
            (words.capital(name), f"{plural(steps, 'step')} = {span(steps * windows.step_seconds)}")
            for name, steps in lengths.items()
        ),
        ("Licence of the data", data.licence),
        ("Licence of the weights", " · ".join(f"{name}: {licence}" for name, licence in licences.items())),
    ]
    return [(name, text) for name, text in pairs if text]


def _sides(counts: Sides) -> str:
    return " · ".join(f"{counts[part]:,} {part}" for part in ("train", "validation", "test") if part in counts)


def _sentences(summary: Summary) -> list[tuple[str, str]]:
    """The differences to zero-shot in words; those of many arms stand on the arms' pages."""
    if len(summary.arms) > MANY:
        return []
    return [(arm.arm, told) for arm in summary.arms for told in words.sentences_of(summary, arm, "vs_zero_shot")]


def _missing_told(arms: int) -> str:
    verb = "is" if arms == 1 else "are"
    return f"{plural(arms, 'arm')} of the experiment {verb} not, or not with all seeds, in these results."


def _sweep(sweep: RankSweep | None, labels: dict[str, str], figure: Shown | None) -> dict[str, Any] | None:
    """The rank sweep; None where the folder holds none."""
    if sweep is None:
        return None
    lead = f"How many ranks are enough for {sweep.method} on {sweep.model}? Rule: {rule_of(sweep)}"
    return {
        "lead": f"{lead} {words.capital(sizes_of(sweep))}.",
        "thresholds": sweeps.thresholds_table(sweep, labels, title="The threshold of each signal"),
        "notes": [note_of(note, lambda signal: labels.get(str(signal), str(signal))) for note in sweep.notes],
        "figure": figure,
        "ranks": sweeps.ranks_table(sweep, labels),
        "series": sweeps.series_table(sweep, labels),
    }


def _tally(summary: Summary) -> str:
    """How many checks had each outcome: `8 passed, 1 warning`."""
    counts = Counter(check.outcome for check in summary.checks)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in get_args(Outcome) if counts[outcome])


def _reproduce(results: Results) -> dict[str, Any]:
    """How to run it again: the command, what it was run with, the whole spec, and runs that nobody asked for."""
    experiment, summary = results.experiment, results.summary
    command = summary.command or "loracast run EXPERIMENT.toml"
    pairs = [("spec digest", experiment.digest)] if experiment else []
    pairs += _united([run.result.versions for run in results.runs])
    pairs += _united([run.result.hardware for run in results.runs])
    kept = ("fingerprint", "table_fingerprint", "split_fingerprint")
    recorded = [run.result.data | run.result.windows for run in results.runs]
    pairs += _united([{key.replace("_", " "): facts[key] for key in kept if key in facts} for facts in recorded])
    known = {arm.arm for arm in summary.arms}
    strangers = [f"{run.result.arm} (seed {run.result.seed})" for run in results.runs if run.result.arm not in known]
    return {
        "command": f"{command} --out RESULTS\nloracast report RESULTS",
        "run_with": tables.pairs(pairs, "What it was run with", code=True),
        "spec": json.dumps(experiment.spec, indent=2, ensure_ascii=False) if experiment else "",
        "strangers": list(dict.fromkeys(strangers)),
    }


def _united(all_facts: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The named facts of all runs; where runs differ, all values."""
    found: dict[str, dict[str, None]] = {}
    for facts in all_facts:
        for name, value in facts.items():
            if value is not None:
                found.setdefault(name, {})[str(value)] = None
    return [(name, " / ".join(values)) for name, values in found.items()]
