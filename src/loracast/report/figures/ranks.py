"""Error against rank: how few numbers are enough, and where more of them stop helping."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from loracast.report.doubts import rule_of, sizes_of
from loracast.report.figures.style import Drawing, columns_for, finish, panel_title, panels
from loracast.report.frames import signals_in
from loracast.report.readable import plural
from loracast.report.results import Results, label_of, unit_of
from loracast.report.words import capital
from loracast.study.ranks.result import ALL, Beside, Measured, RankRow, RankSweep, Threshold

SIDES = {"validation": ("#0072B2", "o", -0.06), "test": ("#D55E00", "s", 0.06)}
"""Colour, marker and shift (in doublings of the rank, so that intervals stand side by side) of each side."""
LEVELS = {"zero-shot": ("#555555", (0, (4, 1.5))), "full": ("#009E73", (0, (1.2, 1.2)))}


def draw(results: Results) -> Drawing | None:
    """Validation and test error against rank with 95 % intervals, one panel for all signals and each; else None."""
    sweep = results.sweep
    if sweep is None or not sweep.rows:
        return None
    signals = signals_in(sweep)
    figure, grid = panels(len(signals), columns=columns_for(len(signals)), height=2.45)
    for axes, signal in zip(grid, signals, strict=True):
        found = sorted((row for row in sweep.rows if row.signal == signal), key=lambda row: row.rank)
        _levels(axes, sweep, signal)
        for side in SIDES:
            _curve(axes, found, side)
        if signal in sweep.thresholds:
            _threshold(axes, sweep.thresholds[signal])
        label = "all signals" if signal == ALL else label_of(results.summary, signal)
        panel_title(axes, label, len(signals))
        axes.set_ylabel(_unit(results, found[0]))
        _ticks(axes, [row.rank for row in found])
    note = f"{'SIMULATED DATA' if results.summary.data.simulated else 'Data'}: {sweep.data}; {sizes_of(sweep)}."
    finish(figure, results, note, label="rank (each step doubles it)", handles=_handles(sweep), columns=5)
    what = f"{sweep.method} on {sweep.model}"
    return Drawing(
        name="ranks",
        title="Error against rank",
        figure=figure,
        alt=f"Validation and test error of {what} against {plural(len(sweep.ranks), 'rank')} on a logarithmic axis, "
        f"{len(signals)} panels, with intervals, the threshold rank, zero-shot and full fine-tuning.",
        caption=_caption(sweep, what),
    )


def _caption(sweep: RankSweep, what: str) -> str:
    text = (
        f"The error of {what} at each rank. Circles: validation patients, on which ranks are compared; squares: test "
        "patients, which choose nothing. Whiskers: 95 % intervals of the level; they are wide because patients differ, "
        "while ranks are compared in pairs, on the same patients. Dashed vertical line: the threshold; small triangles "
        "at the bottom: the threshold of each seed alone. Horizontal: zero-shot and full fine-tuning on the test "
        "patients, shaded with their 95 % interval, and thin, in the colour of the validation curve, on the validation "
        "patients."
    )
    if any(row.overfit.flagged for row in sweep.rows):
        text += " Ringed: ranks that are flagged for overfitting."
    return f"{text} Rule: {rule_of(sweep)} {capital(sizes_of(sweep))}."


def _unit(results: Results, row: RankRow) -> str:
    metric = row.metric.upper()
    return f"{metric} ({unit_of(results.summary, row.signal)})" if row.metric == "mae" else metric


def _side(row: RankRow | Beside, side: str) -> Measured:
    return row.validation if side == "validation" else row.test


def _value(found: Measured) -> float:
    return math.nan if found.value is None else found.value


def _curve(axes: Axes, rows: Sequence[RankRow], side: str) -> None:
    colour, marker, shift = SIDES[side]
    places = np.array([math.log2(row.rank) + shift for row in rows])
    values = np.array([_value(_side(row, side)) for row in rows])
    axes.plot(places, values, color=colour, marker=marker, ms=3.8, zorder=4)
    for place, row in zip(places, rows, strict=True):
        bounds = _side(row, side).ci95
        if bounds is not None:
            axes.plot([place, place], bounds, color=colour, lw=0.9, alpha=0.55, solid_capstyle="butt", zorder=3)
    flagged = np.array([row.overfit.flagged for row in rows])
    if side == "validation" and flagged.any():
        axes.plot(
            places[flagged], values[flagged], lw=0, marker="o", ms=8, mfc="none", mec="#B00020", mew=1.0, zorder=5
        )


def _beside(sweep: RankSweep) -> dict[str, Mapping[str, Beside]]:
    return {"zero-shot": sweep.zero_shot, "full": sweep.full}


def _levels(axes: Axes, sweep: RankSweep, signal: str) -> None:
    for name, found in _beside(sweep).items():
        if signal not in found:
            continue
        level, (colour, dash) = found[signal], LEVELS[name]
        if level.test.ci95 is not None:
            axes.axhspan(*level.test.ci95, color=colour, alpha=0.09, lw=0, zorder=0)
        for side, look, width in (("test", colour, 1.2), ("validation", SIDES["validation"][0], 0.7)):
            if math.isfinite(value := _value(_side(level, side))):
                axes.axhline(value, color=look, ls=dash, lw=width, zorder=2)


def _threshold(axes: Axes, threshold: Threshold) -> None:
    place = math.log2(threshold.rank)
    axes.axvline(place, color="#222222", ls=(0, (5, 2)), lw=1.0, zorder=2)
    axes.annotate(
        f"r = {threshold.rank}", (place, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
        textcoords="offset points", va="top", fontsize=7, zorder=6,
    )  # fmt: skip
    across = axes.get_xaxis_transform()
    for rank, times in sorted(Counter(threshold.by_seed).items()):
        places = np.linspace(-0.05, 0.05, times) * (times > 1) + math.log2(rank)
        axes.plot(places, np.full(times, 0.025), lw=0, marker="^", ms=3.2, color="#222222", transform=across, zorder=6)


def _ticks(axes: Axes, ranks: list[int]) -> None:
    axes.set_xticks([math.log2(rank) for rank in ranks], [str(rank) for rank in ranks])
    axes.set_xlim(math.log2(ranks[0]) - 0.4, math.log2(ranks[-1]) + 0.4)
    axes.grid(visible=False, axis="x")


def _handles(sweep: RankSweep) -> list[Any]:
    handles: list[Any] = [Line2D([], [], color=c, marker=m, ms=3.8, label=side) for side, (c, m, _) in SIDES.items()]
    for name, found in _beside(sweep).items():
        if found:
            colour, dash = LEVELS[name]
            handles.append(Line2D([], [], color=colour, ls=dash, lw=1.2, label=f"{name}, test"))
            handles.append(Patch(color=colour, alpha=0.18, lw=0, label=f"{name}, test: 95 %"))
            handles.append(Line2D([], [], color=SIDES["validation"][0], ls=dash, lw=0.7, label=f"{name}, validation"))
    handles.append(Line2D([], [], color="#222222", ls=(0, (5, 2)), lw=1.0, label="threshold"))
    handles.append(Line2D([], [], color="#222222", lw=0, marker="^", ms=3.2, label="threshold of a seed"))
    if any(row.overfit.flagged for row in sweep.rows):
        handles.append(Line2D([], [], lw=0, marker="o", ms=8, mfc="none", mec="#B00020", label="overfitting"))
    return handles
