"""The rank sweep as tables: how few numbers are enough for each signal, and the error at each rank.

One set of cells, for Markdown, for LaTeX and for the page.
"""

from collections.abc import Mapping
from typing import Any

from loracast.report.readable import ABSENT, count, decimals_for, duration, interval, number
from loracast.report.results import bounds_of

Sweep = Mapping[str, Any]
Labels = Mapping[str, str]
"""Signal to what people call it."""

RANK_HEADS = (
    "signal", "rank", "trained numbers", "validation error [95 %]", "test error [95 %]",
    "validation error − that of the best rank [95 %]", "overfitting", "train time",
)  # fmt: skip
THRESHOLD_HEADS = (
    "signal", "error", "rank of the lowest validation error", "threshold", "threshold by seed",
    "test error at the threshold", "test error − that of the best rank [95 %]",
)  # fmt: skip


def rank_markdown(sweep: Sweep) -> str:
    """The thresholds, the rule that gives them, and the error by rank as Markdown, for a README or documentation."""
    return threshold_markdown(sweep) + "\n" + "\n".join(_markdown_table(RANK_HEADS, rank_rows(sweep), texts=1)) + "\n"


def threshold_markdown(sweep: Sweep) -> str:
    """The thresholds and the rule that gives them as Markdown."""
    lines = [f"{_who(sweep)}. {_escaped(rule_of(sweep))}".strip(), ""]
    lines += _markdown_table(THRESHOLD_HEADS, threshold_rows(sweep), texts=2)
    return "\n".join(lines) + "\n"


def relation_markdown(relation: Mapping[str, Any]) -> str:
    """Thresholds beside what the series are like as Markdown, with what may not be concluded."""
    properties = list(relation["properties"])
    heads = ("data", "signal", "threshold", "better than zero-shot", *(name.replace("_", " ") for name in properties))
    rows = [
        (
            str(row["data"]), plain_label(row["signal"]), str(row["rank"]), SHOWN[row["beats_zero_shot"]],
            *(_property(row[name]) for name in properties),
        )
        for row in relation["rows"]
    ]  # fmt: skip
    told = [f"- {name.replace('_', ' ')}: {text}" for name, text in relation["properties"].items()]
    table = _markdown_table(heads, rows, texts=2)
    return "\n".join([*table, "", _escaped(relation["warning"]), "", *map(_escaped, told)]) + "\n"


SHOWN = {True: "shown", False: "not shown", None: ABSENT}


def _property(value: float | None) -> str:
    return ABSENT if value is None else f"{value:#.3g}".rstrip(".")


def rule_of(sweep: Sweep) -> str:
    """The rule that gives a threshold, as a sentence; empty where none is recorded."""
    rule = str(sweep.get("rule") or "").strip().rstrip(".")
    return f"Rule: {rule}." if rule else ""


def rank_rows(sweep: Sweep, labels: Labels | None = None) -> list[tuple[str, ...]]:
    """Cells under `RANK_HEADS`: each signal's zero-shot, its ranks from the lowest, and full fine-tuning."""
    rows: list[tuple[str, ...]] = []
    for signal in signals_in(sweep):
        found = _rows_of(sweep, signal)
        decimals = _decimals(sweep, signal)
        name = _label(signal, labels, found)
        rows += [_level(sweep, key, signal, name, decimals) for key in ("zero_shot",) if _has(sweep, key, signal)]
        for row in found:
            difference, overfit = row.get("difference") or {}, row.get("overfit") or {}
            said = "worse" if difference.get("worse") else "not worse"
            rows.append((
                name, str(row["rank"]), count(row.get("trainable_parameters")),
                _measured(row.get("validation"), decimals), _measured(row.get("test"), decimals),
                f"{_signed(difference, decimals + 1)} {said}" if difference.get("value") is not None else ABSENT,
                _overfit(overfit), duration(row.get("train_seconds")),
            ))  # fmt: skip
        rows += [_level(sweep, key, signal, name, decimals) for key in ("full",) if _has(sweep, key, signal)]
    return rows


def threshold_rows(sweep: Sweep, labels: Labels | None = None) -> list[tuple[str, ...]]:
    """Cells under `THRESHOLD_HEADS`, a row a signal."""
    rows: list[tuple[str, ...]] = []
    for signal, found in (sweep.get("thresholds") or {}).items():
        decimals = _decimals(sweep, signal)
        own = _rows_of(sweep, signal)
        at = next((row.get("test") for row in own if row["rank"] == found.get("rank")), None)
        seeds = ", ".join(ABSENT if rank is None else str(rank) for rank in found.get("by_seed") or ())
        metric = str(own[0].get("metric") or "").upper() if own else ABSENT
        rows.append((
            _label(signal, labels, []), metric, _rank(found.get("best_rank")), _rank(found.get("rank")),
            seeds or ABSENT, _measured(at, decimals), _signed(found.get("test_difference") or {}, decimals + 1),
        ))  # fmt: skip
    return rows


def signals_in(sweep: Sweep) -> list[str]:
    """The signals of a sweep, all of them together first."""
    names = list(dict.fromkeys(str(row["signal"]) for row in sweep.get("rows") or ()))
    return sorted(names, key=lambda name: name != "all")


def plain_label(signal: str) -> str:
    """A signal where nothing better than its key is known."""
    return "all signals" if signal == "all" else signal.replace("_", " ")


def _label(signal: str, labels: Labels | None, rows: list[Any]) -> str:
    name = (labels or {}).get(signal) or plain_label(signal)
    metric = str(rows[0].get("metric") or "").upper() if rows else ""
    return f"{name} ({metric})" if metric else name


def _rows_of(sweep: Sweep, signal: str) -> list[dict[str, Any]]:
    return sorted((row for row in sweep.get("rows") or () if row["signal"] == signal), key=lambda row: int(row["rank"]))


def _decimals(sweep: Sweep, signal: str) -> int:
    values = [(row.get(side) or {}).get("value") for row in _rows_of(sweep, signal) for side in ("validation", "test")]
    return max(3, decimals_for(values))


def _has(sweep: Sweep, key: str, signal: str) -> bool:
    return bool((sweep.get(key) or {}).get(signal))


def _level(sweep: Sweep, key: str, signal: str, name: str, decimals: int) -> tuple[str, ...]:
    found = sweep[key][signal]
    title = {"zero_shot": "zero-shot", "full": "full"}[key]
    trained = "0" if key == "zero_shot" else count(found.get("trainable_parameters"))
    sides = [_measured(found.get(side), decimals) for side in ("validation", "test")]
    return (name, title, trained, *sides, ABSENT, ABSENT, duration(found.get("train_seconds")))


def _measured(entry: Mapping[str, Any] | None, decimals: int) -> str:
    found = entry or {}
    return f"{number(found.get('value'), decimals)} {interval(bounds_of(found.get('ci95')), decimals)}".strip()


def _signed(entry: Mapping[str, Any], decimals: int) -> str:
    value = number(entry.get("value"), decimals, sign=True)
    return f"{value} {interval(bounds_of(entry.get('ci95')), decimals)}".strip()


def _overfit(found: Mapping[str, Any]) -> str:
    if not found:
        return ABSENT
    return f"flagged (gap {number(found.get('gap'), 3, sign=True)})" if found.get("flagged") else "no"


def _rank(value: Any) -> str:
    return ABSENT if value is None else str(value)


def _who(sweep: Sweep) -> str:
    who = f"{sweep.get('backbone') or 'a backbone'} with {sweep.get('method') or 'a method'}"
    data = f" on {sweep['data']}" if sweep.get("data") else ""
    seeds = len(sweep.get("seeds") or ())
    told = f", {seeds} seed{'' if seeds == 1 else 's'} a rank" if seeds else ""
    return _escaped(f"Ranks of {who}{data}{told}")


def _markdown_table(heads: tuple[str, ...], rows: list[tuple[str, ...]], *, texts: int) -> list[str]:
    """A table whose first `texts` columns are words."""
    sides = "|" + "---|" * texts + "--:|" * (len(heads) - texts)
    return [_line(heads), sides, *map(_line, rows)]


def _line(texts: tuple[str, ...]) -> str:
    return "| " + " | ".join(_escaped(text) for text in texts) + " |"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
