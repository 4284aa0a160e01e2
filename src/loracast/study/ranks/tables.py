"""The two tables of a rank sweep for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from loracast.study.ranks.properties import PROPERTIES
from loracast.study.ranks.sums import ALL

_ABSENT = "–"
_SHORT = {"seasonality": "season", "scale_distance": "scale"}


def threshold_table(sweep: Mapping[str, Any]) -> Table:
    """Every rank on every signal; the threshold is marked, and rows that the rule rules out are dim."""
    seeds, patients = len(sweep["seeds"]), sweep["patients"]
    table = _table(
        f"{sweep['data']}: {sweep['backbone']} {sweep['method']}, {seeds} seed{'' if seeds == 1 else 's'}, "
        f"{patients['validation']} validation and {patients['test']} test patients",
        "[ ] is a 95 % interval over patients and seeds. → marks the threshold: the smallest rank not shown worse than "
        "the one with the lowest validation error (*).",
    )
    table.add_column("rank", min_width=9)
    for head in ("trained", "validation\n[95 %]", "− best\n[95 %]", "test\n[95 %]", "overfits\nseeds, gap"):
        table.add_column(head, justify="right")
    for signal, threshold in sweep["thresholds"].items():
        table.add_row(Text("all, MASE" if signal == ALL else f"{signal}, MAE", style="bold cyan"))
        for kind in ("zero_shot", "full"):
            entry = (sweep[kind] or {}).get(signal)
            if entry is not None:
                name = kind.replace("_", "-")
                table.add_row(name, "", _value(entry["validation"]), _ABSENT, _value(entry["test"]), "")
        for row in sweep["rows"]:
            if row["signal"] == signal:
                table.add_row(*_cells(row, threshold), style="dim" if row["difference"]["worse"] else "")
        table.add_row(Text(f"by seed: {', '.join(str(rank) for rank in threshold['by_seed'])}", style="italic"))
        table.add_section()
    return table


def _cells(row: Mapping[str, Any], threshold: Mapping[str, Any]) -> tuple[str, ...]:
    mark = "→" if row["rank"] == threshold["rank"] else " "
    best = row["rank"] == threshold["best_rank"]
    overfit = row["overfit"]
    worse = "worse " if row["difference"]["worse"] else ""
    return (
        f"{mark} {row['rank']}{' *' if best else ''}",
        f"{row['trainable_parameters']:,}",
        _value(row["validation"]),
        _ABSENT if best else f"{worse}{_value(row['difference'], sign=True)}",
        _value(row["test"]),
        f"{'yes' if overfit['flagged'] else 'no'}\n{overfit['seeds']}, {overfit['gap']:.0%}",
    )


def relation_table(relation: Mapping[str, Any]) -> Table:
    """The threshold of every signal beside what its series are like; Spearman's coefficients in the last row.

    `gain` says whether the threshold is shown better than zero-shot on the test patients.
    """
    table = _table("Thresholds and what the series are like", relation["warning"])
    for head in ("data", "signal"):
        table.add_column(head, overflow="fold", min_width=8)
    for head in ("rank", "trained", "gain", *(_SHORT.get(name, name) for name in PROPERTIES)):
        table.add_column(head, justify="right")
    for row in relation["rows"]:
        gain = {True: "shown", False: "not shown", None: _ABSENT}[row["beats_zero_shot"]]
        properties = [_number(row[name]) for name in PROPERTIES]
        trained = f"{row['trainable_parameters']:,}"
        table.add_row(row["data"], row["signal"], str(row["rank"]), trained, gain, *properties)
    table.add_section()
    found = [relation["correlations"][name] for name in PROPERTIES]
    spearman = [f"{_number(one['spearman'], sign=True)}\nn={one['rows']}" for one in found]
    table.add_row("Spearman", "", "", "", "", *spearman, style="bold")
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
    shown = "" if bounds is None else f"\n[{', '.join(_number(bound, sign=sign) for bound in bounds)}]"
    return _number(entry["value"], sign=sign) + shown


def _number(value: float | None, *, sign: bool = False) -> str:
    """Three significant digits, zeros at the end too: 1.30."""
    if value is None:
        return _ABSENT
    return f"{value:{'+' if sign else ''}#.3g}".rstrip(".")
