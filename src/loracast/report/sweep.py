"""The rank sweep and the signals' properties on the page."""

from html import escape
from typing import Any

from loracast.report.figures.ranks import sizes
from loracast.report.markup import bullets, capital, folded, table
from loracast.report.ranks import RANK_HEADS, THRESHOLD_HEADS, plain_label, rank_rows, rule_of, threshold_rows
from loracast.report.readable import ABSENT, count, number, percent
from loracast.report.results import Results, label_of

PROPERTIES = {
    "length": "steps", "missing": "not observed", "noise": "noise", "seasonality": "seasonality",
    "scale_distance": "distance of scales",
}  # fmt: skip


def sweep_section(results: Results, figure: str) -> str:
    """Thresholds, the figure, the error by rank and what the signals are like; empty without a sweep."""
    sweep = results.sweep
    notes = bullets(str(note) for note in sweep.get("notes") or ())
    if not sweep.get("rows"):
        return f'<section id="rank-sweep">\n<h2>How few numbers are enough</h2>{notes}\n</section>' if notes else ""
    labels = _labels(results)
    who = f"{sweep.get('method') or 'the method'} on {sweep.get('backbone') or 'the backbone'}"
    told = [f"How many ranks are enough for {who}?", rule_of(sweep)]
    told.append(f"{capital(sizes(sweep))}." if sizes(sweep) else "")
    rows = [tuple(map(escape, row)) for row in threshold_rows(sweep, labels)]
    thresholds = table(THRESHOLD_HEADS, rows, caption="The threshold of each signal", texts=(0, 1))
    rows = [tuple(map(escape, row)) for row in rank_rows(sweep, labels)]
    errors = table(RANK_HEADS, rows, caption="The error at each rank", kind="ranks", texts=(0,))
    fold = folded("The error at each rank in numbers", errors)
    return (
        f'<section id="rank-sweep">\n<h2>How few numbers are enough</h2>\n<p>{escape(" ".join(filter(None, told)))}</p>'
        f"{thresholds}{notes}{figure}{fold}{_series(sweep, labels)}\n</section>"
    )


def _labels(results: Results) -> dict[str, str]:
    known = (results.summary.get("data") or {}).get("signals") or {}
    return {name: label_of(results.summary, name) for name in known}


def _series(sweep: dict[str, Any], labels: dict[str, str]) -> str:
    """What the series of each signal are like, beside their thresholds; empty where it was not recorded."""
    series = sweep.get("series") or {}
    keys = [key for key in PROPERTIES if any((facts or {}).get(key) is not None for facts in series.values())]
    keys += [key for key in dict.fromkeys(k for facts in series.values() for k in facts or ()) if key not in PROPERTIES]
    if not keys:
        return ""
    thresholds = sweep.get("thresholds") or {}
    rows = [
        (
            escape(labels.get(signal) or plain_label(signal)),
            *(_property(key, (facts or {}).get(key)) for key in keys),
            str((thresholds.get(signal) or {}).get("rank") or ABSENT),
        )
        for signal, facts in series.items()
    ]  # fmt: skip
    heads = ["signal", *(escape(PROPERTIES.get(key) or key.replace("_", " ")) for key in keys), "threshold"]
    note = (
        '<p class="note">Of the training series, beside the rank that was enough. Noise: 0 for a smooth series, 1 for '
        "white noise. Seasonality: the autocorrelation at the season. Distance of scales: log10 of the spread within "
        "a context over that of the synthetic pretraining corpus. A handful of signals shows no law.</p>"
    )
    return f"<h3>What the series are like</h3>{table(heads, rows, caption='Properties of the series')}{note}"


def _property(key: str, value: Any) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ABSENT if value is None else escape(str(value))
    if key == "missing":
        return percent(value)
    return count(value) if key == "length" else number(value, 3)
