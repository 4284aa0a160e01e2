"""How to run it again: the command, what it was run with, and the lines of TOML that make one arm."""

import json
from html import escape
from typing import Any

from loracast.report.markup import folded, table
from loracast.report.results import Arm, Results, is_baseline

SETTINGS = (
    "backbone", "method", "revision", "rank", "alpha", "sites", "frequencies", "block_size", "learning_rate",
    "patients", "context",
)  # fmt: skip


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
        parts.append(folded("The whole spec", f"<pre><code>{text}</code></pre>"))
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


def settings_of(results: Results, arm: Arm) -> dict[str, Any]:
    """What was set for an arm, without what was left empty; backbone and method at least where they are known."""
    recorded = arm.get("settings") or next((run.result.get("settings") for run in results.runs_of(arm["arm"])), None)
    known = recorded or {key: arm.get(key) for key in ("backbone", "method")}
    ordered = sorted(known, key=lambda key: SETTINGS.index(key) if key in SETTINGS else len(SETTINGS))
    return {key: known[key] for key in ordered if known[key] is not None}


def snippet(results: Results, arm: Arm) -> str:
    """The TOML that makes one arm of an experiment: an `[[arms]]` entry, or the name among its baselines."""
    name, seeds = str(arm["arm"]), arm.get("seeds") or ()
    if is_baseline(arm) or arm.get("method") == "scratch":
        if name in ("last-value", "seasonal-naive", "context-mean"):
            return "# a naive forecast: it is part of every experiment"
        lines = [f"baselines = {_toml([name])}"]
    else:
        lines = ["[[arms]]", *(f"{key} = {_toml(value)}" for key, value in settings_of(results, arm).items())]
        if not arm.get("settings") and not any(run.result.get("settings") for run in results.runs_of(name)):
            lines.insert(0, f"# rank, alpha and the like were not recorded with the result; the arm is called {name!r}")
    head = [f"# seeds = {_toml(list(seeds))}"] if seeds and arm.get("trainable_parameters") else []
    return "\n".join([*head, *lines])


def _toml(value: Any) -> str:
    """A number, a truth value, a string or a list of them as TOML: as in JSON, whose string escapes are TOML's too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
