"""The page of one arm: its scores, what it was compared with, how it was set, what it cost, its figures and doubts."""

import json
from dataclasses import replace
from typing import Any

from loracast.report import cost_tables, score_tables, tables, words
from loracast.report.doubts import told_of
from loracast.report.figures import dark_colours, draw_arm_figures
from loracast.report.readable import plural
from loracast.report.results import Results, is_baseline, missing_of, only, scored_signals, source_of
from loracast.study.summary import ArmSummary, Summary

SETTINGS = {
    "learning_rate": "learning rate", "patients": "share of the training patients", "context": "steps of context seen",
    "block_size": "block size", "sites": "tuned matrices",
}  # fmt: skip


def arm_facts(results: Results, arm: ArmSummary) -> dict[str, Any]:
    """What `arm.html` is made of."""
    summary = results.summary
    seeds = f"Means over {plural(len(arm.seeds), 'seed')}. " if arm.trains else ""
    warned = [check for check in summary.checks if check.outcome == "warning"]
    own = told_of(summary, arm.arm)
    missing = [one.reason for one in missing_of(summary) if one.arm == arm.arm]
    alone = replace(results, summary=only(summary, [arm]))
    figures = draw_arm_figures(results, arm)
    return {
        "arm": arm.arm,
        "name": summary.name,
        "lead": _lead(summary, arm),
        "simulated": summary.data.simulated,
        "scores": score_tables.score_table(summary, arm),
        "scores_told": f"{seeds}Intervals are bootstrapped over patients and training seeds.",
        "comparisons": tables.comparison_table(summary, arm),
        "sentences": words.sentences_of(summary, arm, *tables.AGAINST),
        "settings": tables.pairs(_settings(arm), "How it was set"),
        "costs": cost_tables.costs_of(summary, arm),
        "machines": words.machines_of(alone),
        "figures": figures,
        "dark": dark_colours(figures),
        "steps": steps_of(summary, [arm]) if scored_signals(summary) else [],
        "checks": own,
        "missing": missing,
        "others": _others(len(warned) - len(own), told=bool(own or missing)),
        "snippet": snippet(arm),
    }


def steps_of(summary: Summary, arms: list[ArmSummary]) -> list[tuple[str, list[Any]]]:
    """The scores step by step under a heading a signal."""
    return [(words.capital(heading), made) for heading, made in score_tables.step_tables(summary, arms)]


def _lead(summary: Summary, arm: ArmSummary) -> str:
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
