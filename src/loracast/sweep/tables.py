"""The two tables of a rank sweep for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from loracast.sweep.properties import PROPERTIES
from loracast.sweep.sums import ALL

_ABSENT = "–"


def threshold_table(sweep: Mapping[str, Any]) -> Table:
    """Every rank on every signal; the threshold is marked, and rows that the rule rules out are dim."""
    seeds, patients = len(sweep["seeds"]), sweep["patients"]
    table = _table(
        f"{sweep['data']}: {sweep['backbone']} {sweep['method']}, {seeds} seed{'' if seeds == 1 else 's'}, "
        f"{patients['validation']} validation and {patients['test']} test patients",
        "[ ] is a 95 % interval over patients and seeds. → marks the threshold: the smallest rank not shown worse than "
        "the one with the lowest validation error (*).",
    )
    table.add_column("rank", justify="right")
    for head in ("trained", "validation\n[95 %]", "− best\n[95 %]", "test\n[95 %]", "overfits\nseeds, gap"):
        table.add_column(head, justify="right")
    for signal, threshold in sweep["thresholds"].items():
        what = "all signals, MASE" if signal == ALL else f"{signal}, MAE"
        table.add_row("", Text(what, style="bold cyan"))
        for kind in ("zero_shot", "full"):
            entry = (sweep[kind] or {}).get(signal)
            if entry is not None:
                name = kind.replace("_", "-")
                table.add_row(name, "", _value(entry["validation"]), _ABSENT, _value(entry["test"]), "")
        for row in sweep["rows"]:
            if row["signal"] == signal:
                table.add_row(*_cells(row, threshold), style="dim" if row["difference"]["worse"] else "")
        by_seed = ", ".join(str(rank) for rank in threshold["by_seed"])
        table.add_row("", Text(f"by seed: {by_seed}", style="italic"))
        table.add_section()
    return table


def _cells(row: Mapping[str, Any], threshold: Mapping[str, Any]) -> tuple[str, ...]:
    mark = "→ " if row["rank"] == threshold["rank"] else ""
    star = " *" if row["rank"] == threshold["best_rank"] else ""
    overfit = row["overfit"]
    said = f"{'yes' if overfit['flagged'] else 'no'}\n{overfit['seeds']}, {overfit['gap']:.0%}"
    difference = f"{_value(row['difference'], sign=True)}{' worse' if row['difference']['worse'] else ''}"
    return (
        f"{mark}{row['rank']}{star}",
        f"{row['trainable_parameters']:,}",
        _value(row["validation"]),
        difference,
        _value(row["test"]),
        said,
    )


def relation_table(relation: Mapping[str, Any]) -> Table:
    """The threshold of every signal beside what its series are like; Spearman's coefficients in the last row."""
    table = _table("Thresholds and what the series are like", relation["warning"])
    for head in ("data", "signal"):
        table.add_column(head, overflow="fold")
    for head in ("rank", "trained", "better than\nzero-shot"):
        table.add_column(head, justify="right")
    for name in PROPERTIES:
        table.add_column(name.replace("_", " "), justify="right")
    for row in relation["rows"]:
        better = {True: "yes", False: "not shown", None: _ABSENT}[row["beats_zero_shot"]]
        properties = [_number(row[name]) for name in PROPERTIES]
        trained = f"{row['trainable_parameters']:,}"
        table.add_row(row["data"], row["signal"], str(row["rank"]), trained, better, *properties)
    table.add_section()
    found = [relation["correlations"][name] for name in PROPERTIES]
    spearman = [f"{_number(one['spearman'], sign=True)} (n={one['rows']})" for one in found]
    table.add_row("Spearman with the rank", "", "", "", "", *spearman, style="bold")
    return table


def _table(title: str, caption: str) -> Table:
    return Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        caption=Text(caption),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def _value(entry: Mapping[str, Any], *, sign: bool = False) -> str:
    bounds = entry["ci95"]
    shown = "" if bounds is None else f"\n[{_number(bounds[0], sign=sign)}, {_number(bounds[1], sign=sign)}]"
    return _number(entry["value"], sign=sign) + shown


def _number(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return _ABSENT
    return f"{value:+.3g}" if sign else f"{value:.3g}"
