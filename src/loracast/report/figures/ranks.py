"""Error against rank: how few numbers are enough, and where more of them stop helping."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from loracast.report.figures.style import Drawing, columns_for, finish, panel_title, panels
from loracast.report.readable import plural
from loracast.report.results import Results, bounds_of, is_simulated, label_of, unit_of

SIDES = {"validation": ("#0072B2", "o", -0.06), "test": ("#D55E00", "s", 0.06)}
"""Colour, marker and shift (in doublings of the rank, so that intervals stand side by side) of each side."""
LEVELS = {"zero_shot": ("#555555", (0, (4, 1.5)), "zero-shot"), "full": ("#009E73", (0, (1.2, 1.2)), "full")}

Sweep = dict[str, Any]


def draw(results: Results) -> Drawing | None:
    """Validation and test error against rank with 95 % intervals, one panel for all signals and each; else None."""
    summary, sweep = results.summary, results.sweep
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in sweep.get("rows") or ():
        rows.setdefault(str(row["signal"]), []).append(row)
    signals = sorted(rows, key=lambda name: name != "all")
    if not signals:
        return None
    columns = columns_for(len(signals))
    figure, grid = panels(len(signals), columns=columns, height=2.45)
    for axes, signal in zip(grid, signals, strict=True):
        found = sorted(rows[signal], key=lambda row: int(row["rank"]))
        _levels(axes, sweep, signal)
        for side in SIDES:
            _curve(axes, found, side)
        _threshold(axes, (sweep.get("thresholds") or {}).get(signal) or {})
        panel_title(axes, "all signals" if signal == "all" else label_of(summary, signal), len(signals))
        axes.set_ylabel(_unit(results, signal, found[0]))
        _ticks(axes, [int(row["rank"]) for row in found])
    handles = _handles(sweep)
    label = "rank (each step doubles it)"
    finish(figure, results, _note(results), label=label, handles=handles, columns=5)
    what = f"{sweep.get('method') or 'the method'} on {sweep.get('backbone') or 'the backbone'}"
    return Drawing(
        name="ranks",
        title="Error against rank",
        figure=figure,
        alt=f"Validation and test error of {what} against {plural(len(sweep.get('ranks') or ()), 'rank')} on a "
        f"logarithmic axis, {len(signals)} panels, with intervals, the threshold rank, zero-shot and full fine-tuning.",
        caption=_caption(sweep, what),
    )


def sizes(sweep: Sweep) -> str:
    """How many patients, windows and seeds stand behind a sweep: `validation: 75 patients, 902 windows; …`."""
    parts = []
    for side in SIDES:
        counts = [(sweep.get(key) or {}).get(side) for key in ("patients", "windows")]
        told = [plural(int(n), noun) for n, noun in zip(counts, ("patient", "window"), strict=True) if n is not None]
        if told:
            parts.append(f"{side}: {', '.join(told)}")
    if sweep.get("seeds"):
        parts.append(f"{plural(len(sweep['seeds']), 'seed')} a rank")
    return "; ".join(parts)


def _caption(sweep: Sweep, what: str) -> str:
    text = (
        f"The error of {what} at each rank. Circles: validation patients, on which ranks are compared; squares: test "
        "patients, which choose nothing. Whiskers: 95 % intervals of the level; they are wide because patients differ, "
        "while ranks are compared in pairs, on the same patients. Dashed vertical line: the threshold; small triangles "
        "at the bottom: the threshold of each seed alone. Horizontal: zero-shot and full fine-tuning on the test "
        "patients, shaded with their 95 % interval, and thin, in the colour of the validation curve, on the validation "
        "patients."
    )
    if any((row.get("overfit") or {}).get("flagged") for row in sweep.get("rows") or ()):
        text += " Ringed: ranks that are flagged for overfitting."
    rule = str(sweep.get("rule") or "")
    text += f" Rule: {rule[:1].upper()}{rule[1:].rstrip('.')}." if rule else ""
    told = sizes(sweep)
    return text + (f" {told[:1].upper()}{told[1:]}." if told else "")


def _note(results: Results) -> str:
    summary = results.summary
    source = str(results.sweep.get("data") or (summary.get("data") or {}).get("source") or "unnamed")
    return ("SIMULATED DATA: " if is_simulated(summary) else "Data: ") + "; ".join(
        part for part in (source, sizes(results.sweep)) if part
    ) + "."  # fmt: skip


def _unit(results: Results, signal: str, row: dict[str, Any]) -> str:
    metric = str(row.get("metric") or "error").upper()
    unit = unit_of(results.summary, signal) if metric == "MAE" else ""
    return f"{metric} ({unit})" if unit else metric


def _curve(axes: Axes, rows: list[dict[str, Any]], side: str) -> None:
    colour, marker, shift = SIDES[side]
    places = np.array([math.log2(int(row["rank"])) + shift for row in rows])
    values = np.array([_value(row.get(side)) for row in rows])
    axes.plot(places, values, color=colour, marker=marker, ms=3.8, zorder=4)
    for place, row in zip(places, rows, strict=True):
        bounds = bounds_of((row.get(side) or {}).get("ci95"))
        if bounds is not None:
            axes.plot([place, place], bounds, color=colour, lw=0.9, alpha=0.55, solid_capstyle="butt", zorder=3)
    flagged = np.array([bool((row.get("overfit") or {}).get("flagged")) for row in rows])
    if side == "validation" and flagged.any():
        axes.plot(
            places[flagged], values[flagged], lw=0, marker="o", ms=8, mfc="none", mec="#B00020", mew=1.0, zorder=5
        )


def _value(entry: dict[str, Any] | None) -> float:
    value = (entry or {}).get("value")
    return math.nan if value is None else float(value)


def _levels(axes: Axes, sweep: Sweep, signal: str) -> None:
    for key, (colour, dash, _) in LEVELS.items():
        found = (sweep.get(key) or {}).get(signal) or {}
        bounds = bounds_of((found.get("test") or {}).get("ci95"))
        if bounds is not None:
            axes.axhspan(*bounds, color=colour, alpha=0.09, lw=0, zorder=0)
        for side, look, width in (("test", colour, 1.2), ("validation", SIDES["validation"][0], 0.7)):
            if math.isfinite(value := _value(found.get(side))):
                axes.axhline(value, color=look, ls=dash, lw=width, zorder=2)


def _threshold(axes: Axes, threshold: dict[str, Any]) -> None:
    if threshold.get("rank"):
        place = math.log2(int(threshold["rank"]))
        axes.axvline(place, color="#222222", ls=(0, (5, 2)), lw=1.0, zorder=2)
        axes.annotate(
            f"r = {threshold['rank']}", (place, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
            textcoords="offset points", va="top", fontsize=7, zorder=6,
        )  # fmt: skip
    across = axes.get_xaxis_transform()
    for rank, times in _tally(threshold.get("by_seed") or ()).items():
        places = np.linspace(-0.05, 0.05, times) * (times > 1) + math.log2(rank)
        axes.plot(places, np.full(times, 0.025), lw=0, marker="^", ms=3.2, color="#222222", transform=across, zorder=6)


def _tally(ranks: Any) -> dict[int, int]:
    found = [int(rank) for rank in ranks if rank]
    return {rank: found.count(rank) for rank in sorted(set(found))}


def _ticks(axes: Axes, ranks: list[int]) -> None:
    axes.set_xticks([math.log2(rank) for rank in ranks], [str(rank) for rank in ranks])
    axes.set_xlim(math.log2(ranks[0]) - 0.4, math.log2(ranks[-1]) + 0.4)
    axes.grid(visible=False, axis="x")


def _handles(sweep: Sweep) -> list[Any]:
    handles: list[Any] = [Line2D([], [], color=c, marker=m, ms=3.8, label=side) for side, (c, m, _) in SIDES.items()]
    for key, (colour, dash, name) in LEVELS.items():
        if sweep.get(key):
            handles.append(Line2D([], [], color=colour, ls=dash, lw=1.2, label=f"{name}, test"))
            handles.append(Patch(color=colour, alpha=0.18, lw=0, label=f"{name}, test: 95 %"))
            handles.append(Line2D([], [], color=SIDES["validation"][0], ls=dash, lw=0.7, label=f"{name}, validation"))
    handles.append(Line2D([], [], color="#222222", ls=(0, (5, 2)), lw=1.0, label="threshold"))
    handles.append(Line2D([], [], color="#222222", lw=0, marker="^", ms=3.2, label="threshold of a seed"))
    if any((row.get("overfit") or {}).get("flagged") for row in sweep.get("rows") or ()):
        handles.append(Line2D([], [], lw=0, marker="o", ms=8, mfc="none", mec="#B00020", label="overfitting"))
    return handles
