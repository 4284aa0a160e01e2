"""One self-contained page, and one for every arm: facts are prepared here, the templates make HTML of them."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from loracast.files import written
from loracast.report import frames, score_tables, sweeps, tables, words
from loracast.report.answers import answer_table
from loracast.report.doubts import note_of, rule_of, sizes_of, told_of
from loracast.report.figures import Shown, draw_arm_figures, draw_figures, save_figure, shown
from loracast.report.figures.style import Drawing
from loracast.report.readable import plural, span
from loracast.report.render import Table, csv, latex, templates
from loracast.report.results import (
    MANY,
    Results,
    backbone_of,
    chosen,
    heading_of,
    is_baseline,
    label_of,
    missing_of,
    only,
    read_results,
    scored_signals,
    slugs_of,
    source_of,
)
from loracast.scoring.facts import Outcome
from loracast.study.ranks.result import RankSweep
from loracast.study.summary import ArmSummary, Sides, Summary

PLACES = {"ranks": 0, "flow": 2}
"""Figures that stand in the section of their tables: before the others, or after them."""
FEW_SENTENCES = 6
"""Trained arms that the verdict names one by one; of more it says how many are better."""
SETTINGS = {
    "learning_rate": "learning rate", "patients": "share of the training patients", "context": "steps of context seen",
    "block_size": "block size", "sites": "tuned matrices",
}  # fmt: skip


def write_page(folder: Path) -> Path:
    """Write `folder/figures/*`, `tables/*`, `arms/*.html` and then `report.html`, each whole or not at all.

    Returns the page's path. Raises ConfigError where `folder` is not a results folder.
    """
    folder = Path(folder)
    results = read_results(folder)
    vectors = {drawing.name: (drawing, save_figure(drawing, folder / "figures")) for drawing in draw_figures(results)}
    files = write_tables(results, folder / "tables")
    write_arm_pages(results, folder / "arms")
    page = folder / "report.html"
    _write(page, templates().get_template("page.html").render(page_facts(results, vectors, files)))
    return page


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
        _write(folder / name, text)
    return [f"tables/{name}" for name in made]


def write_arm_pages(results: Results, folder: Path) -> None:
    """Write `folder/SLUG.html` for every arm of the summary, each whole or not at all."""
    slugs, template = slugs_of(results.summary), templates().get_template("arm.html")
    for arm in results.summary.arms:
        _write(folder / f"{slugs[arm.arm]}.html", template.render(arm_facts(results, arm)))


def _write(path: Path, text: str) -> None:
    with written(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def labels_of(summary: Summary) -> dict[str, str]:
    """What people call each signal."""
    return {name: facts.label for name, facts in summary.data.signals.items()}


def page_facts(results: Results, vectors: dict[str, tuple[Drawing, str]], files: list[str]) -> dict[str, Any]:
    """What `page.html` is made of; `vectors` holds each figure with its SVG text, `files` the tables' names."""
    summary = results.summary
    ordered = sorted(vectors, key=lambda name: PLACES.get(name, 1))  # numbered as they stand on the page
    figures = {
        name: shown(
            *vectors[name],
            label=f"Figure {number}.",
            file=f"figures/{name}.svg, .pdf, .png",
            head=name != "flow",
        )
        for number, name in enumerate(ordered, start=1)
    }
    flow, ranks = figures.pop("flow", None), figures.pop("ranks", None)
    arms, told = chosen(summary)
    missing = missing_of(summary)
    return {
        "name": summary.name,
        "lead": f"{plural(len(summary.arms), 'arm')} on {plural(len(summary.data.signals), 'signal')} of "
        f"{source_of(summary)}, scored on the same windows of patients that no arm was trained on.",
        "simulated": summary.data.simulated,
        "verdict": _verdict(summary),
        "facts": _facts(summary),
        "results": tables.main_table(summary),
        "sentences": _sentences(summary),
        "choices": words.choices_told(summary),
        "costs": tables.cost_table(summary),
        "machines": words.machines_of(results),
        "files": files,
        "missing": [(words.seeds_of(one), one.reason) for one in missing],
        "missing_told": _missing_told(len({one.arm for one in missing})),
        "sweep": _sweep(results.sweep, labels_of(summary), ranks),
        "full": tables.full_table(summary),
        "figures": list(figures.values()),
        "paper": tables.paper_table(summary),
        "many": len(summary.arms) > MANY,
        "flow": flow,
        "attrition": tables.attrition_table(summary),
        "notes": summary.data.notes or [],
        "checks": told_of(summary),
        "checks_told": _tally(summary),
        "steps_told": told.strip().replace("are drawn", "are shown"),
        "steps": _steps(summary, arms),
        **_reproduce(results),
    }


def _verdict(summary: Summary) -> dict[str, Any]:
    """The answer, the reasons for doubt, then the trained arms in words, or how many are better, and each signal."""
    single = [words.verdict_of_arm(summary, arm) for arm in summary.arms if arm.trains]
    many = len(single) > FEW_SENTENCES
    return {
        "answer": answer_table(summary),
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


def _steps(summary: Summary, arms: Iterable[ArmSummary]) -> list[tuple[str, list[Table]]]:
    return [(words.capital(heading), made) for heading, made in score_tables.step_tables(summary, list(arms))]


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


def arm_facts(results: Results, arm: ArmSummary) -> dict[str, Any]:
    """What `arm.html` is made of."""
    summary = results.summary
    seeds = f"Means over {plural(len(arm.seeds), 'seed')}. " if arm.trains else ""
    warned = [check for check in summary.checks if check.outcome == "warning"]
    own = told_of(summary, arm.arm)
    missing = [one.reason for one in missing_of(summary) if one.arm == arm.arm]
    alone = replace(results, summary=only(summary, [arm]))
    return {
        "arm": arm.arm,
        "name": summary.name,
        "lead": _arm_lead(summary, arm),
        "simulated": summary.data.simulated,
        "scores": score_tables.score_table(summary, arm),
        "scores_told": f"{seeds}Intervals are bootstrapped over patients and training seeds.",
        "comparisons": tables.comparison_table(summary, arm),
        "sentences": words.sentences_of(summary, arm, *tables.AGAINST),
        "settings": tables.pairs(_settings(arm), "How it was set"),
        "costs": tables.costs_of(summary, arm),
        "machines": words.machines_of(alone),
        "figures": draw_arm_figures(results, arm),
        "steps": _steps(summary, [arm]) if scored_signals(summary) else [],
        "checks": own,
        "missing": missing,
        "others": _others(len(warned) - len(own), told=bool(own or missing)),
        "snippet": snippet(arm),
    }


def _arm_lead(summary: Summary, arm: ArmSummary) -> str:
    where = source_of(summary)
    if arm.trains:
        return f"{words.verdict_of_arm(summary, arm)} On {where}."
    if is_baseline(arm):
        return f"A forecast that needs no training, on {where}."
    return f"The pretrained weights as they are, on {where}."


def _settings(arm: ArmSummary) -> list[tuple[str, str]]:
    found = [(SETTINGS.get(key, key.replace("_", " ")), str(value)) for key, value in _set(arm).items()]
    found += [("seeds", ", ".join(map(str, arm.seeds)))] if arm.trains else []
    return found + ([("licence of the weights", arm.licence)] if arm.licence else [])


def _set(arm: ArmSummary) -> dict[str, Any]:
    """The arm's entry in an experiment, without what was left empty; model and method first."""
    found = {"model": arm.model, "method": arm.method} | arm.settings
    return {key: value for key, value in found.items() if value is not None and value != {}}


def _others(number: int, *, told: bool) -> str:
    if not number:
        return "" if told else "No check warns."
    before = "Warnings that speak of all arms or of others" if told else "No check warns of this arm by name. Others"
    return f"{before}: {number}, on the main page."


def snippet(arm: ArmSummary) -> str:
    """The TOML that makes one arm of an experiment; a naive forecast is part of every one."""
    if arm.kind == "naive":
        return "# a naive forecast: it is part of every experiment"
    seeds = [f"# seeds = {_toml(arm.seeds)}"] if arm.trains else []
    return "\n".join([*seeds, "[[arms]]", *(f"{key} = {_toml(value)}" for key, value in _set(arm).items())])


def _toml(value: Any) -> str:
    """A number, a truth value, a string or a list as TOML: as in JSON, whose string escapes are TOML's too; a table."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_toml(key)} = {_toml(one)}' for key, one in value.items())} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
