"""Differences with their intervals: of each arm to zero-shot, and of all to the arm that errs least."""

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loracast.report.figures.style import (
    PAPER,
    ArmStyle,
    Drawing,
    Sheet,
    arm_styles,
    columns_for,
    finish,
    panel_title,
    panels,
    provenance,
    sample_sizes,
)
from loracast.report.readable import decimals_for, number, plural
from loracast.report.results import Results, by_error, difference_of, is_baseline, label_of, scored_signals, unit_of
from loracast.report.words import capital
from loracast.scoring.facts import Difference
from loracast.study.summary import Summary

MOST_ROWS = 36
"""Arms at most: beyond, the figure no longer fits a page."""
ROOMY = 12


def draw_to_zero_shot(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """Paired differences in MAE to zero-shot with 95 % intervals; None where nothing was compared.

    The naive floor is left to the table where there is a model to show: its differences would dwarf the models'.
    """
    summary = results.summary
    found = {signal: _differences(results, signal) for signal in scored_signals(summary)}
    compared = [arm for arm in summary.arms if any(arm.arm in rows for rows in found.values())]
    names = [arm.arm for arm in compared if not is_baseline(arm)] or [arm.arm for arm in compared]
    names, left_out = _lowest(results, names)
    found = {signal: rows for signal, rows in found.items() if any(name in rows for name in names)}
    if not found:
        return None
    styles = arm_styles(summary)
    columns = columns_for(len(found), sheet)
    figure, grid = panels(
        len(found), sheet, columns=columns, height=0.72 + (0.26 if len(names) <= ROOMY else 0.165) * len(names)
    )
    for place, (axes, (signal, rows)) in enumerate(zip(grid, found.items(), strict=True)):
        _zero_shot_panel(axes, names, rows, styles)
        panel_title(axes, label_of(summary, signal), len(found), sheet)
        axes.set_xlabel(unit_of(summary, signal))
        if place % columns:
            axes.tick_params(labelleft=False)
    label = "MAE − MAE of zero-shot on the same windows; left of 0 is better than zero-shot"
    finish(figure, results, provenance(results), label=label)
    return Drawing(
        name="forest",
        title="Difference to zero-shot",
        figure=figure,
        alt=f"Forest plot of the paired difference in mean absolute error to zero-shot for {len(names)} arms on "
        f"{len(found)} signals, with 95 % intervals and a line at zero.",
        caption="Paired on the same windows, 95 % over patients and training seeds. Filled: the interval excludes "
        "zero; open: no difference is shown."
        + (f" The {len(names)} arms with the lowest errors; {left_out} more are in the tables." if left_out else "")
        + sample_sizes(summary, list(found)),
    )


def _lowest(results: Results, names: list[str]) -> tuple[list[str], int]:
    """The names of the `MOST_ROWS` arms with the lowest relative errors, in their order, and how many were left out."""
    arms = [arm for arm in results.summary.arms if arm.arm in names]
    kept = {arm.arm for arm in by_error(results.summary, arms)[:MOST_ROWS]}
    return [name for name in names if name in kept], len(names) - len(kept)


def _differences(results: Results, signal: str) -> dict[str, Difference]:
    rows = {}
    for arm in results.summary.arms:
        difference = difference_of(arm, signal)
        if difference is not None and difference.mae_difference is not None:
            rows[arm.arm] = difference
    return rows


def _zero_shot_panel(axes: Axes, names: list[str], rows: dict[str, Difference], styles: dict[str, ArmStyle]) -> None:
    axes.axvline(0, color="#333333", lw=0.9, zorder=1)
    for place, name in enumerate(names):
        if name in rows:
            _interval(axes, place, rows[name], styles[name].colour, width=1.5, size=5 if len(names) <= ROOMY else 4)
    axes.set_yticks(range(len(names)), names, fontsize=7.5 if len(names) <= ROOMY else 6.2)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    reach = max(abs(edge) for edge in axes.get_xlim())
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.08 * reach), max(high, 0.08 * reach))
    axes.locator_params(axis="x", nbins=5)


MOST_A_PANEL = 24
"""Arms a panel at most."""

Row = tuple[str, Difference]


def draw_to_best(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """Paired differences in MAE to the best arm of each signal, from the lowest; None where nothing was compared."""
    summary = results.summary
    found = {signal: rows for signal in scored_signals(summary) if (rows := _rows(summary, signal))}
    if not found:
        return None
    columns = min(2, len(found), sheet.most)
    lines = math.ceil(len(found) / columns)
    most = max(min(MOST_A_PANEL, len(rows)) for rows in found.values()) + 1
    figure = Figure(figsize=(sheet.width, lines * (0.72 + 0.165 * most)), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for spare in grid[len(found) :]:
        spare.remove()
    styles = arm_styles(summary)
    told = [
        _best_panel(axes, summary, signal, rows, styles)
        for axes, (signal, rows) in zip(grid, found.items(), strict=False)
    ]
    label = "MAE − MAE of the best arm on the same windows; further right is worse"
    finish(figure, results, provenance(results), label=label)
    return Drawing(
        name="paired",
        title="Difference to the best arm",
        figure=figure,
        alt=f"Paired differences in mean absolute error to the best arm with 95 % intervals, one panel for each of "
        f"{len(found)} signals, sorted; the arms that are not shown worse than the best are shaded.",
        caption="Paired on the same windows, 95 % over patients and training seeds. Shaded: the best arm and those "
        "that are not shown to be worse than it; open circles there mean that their interval holds 0. The best is "
        "chosen on these test patients, so it is favoured a little, and the shaded arms cannot be ranked from these "
        "data. " + " ".join(told) + sample_sizes(summary, list(found)),
    )


def _rows(summary: Summary, signal: str) -> list[Row]:
    """The differences of all arms to the best of a signal, from the lowest."""
    found = [(arm.arm, difference_of(arm, signal, "vs_best")) for arm in summary.arms]
    rows = [(name, one) for name, one in found if one is not None and one.mae_difference is not None]
    return sorted(rows, key=lambda row: _value(row[1]))


def _value(difference: Difference) -> float:
    assert difference.mae_difference is not None  # the others are no rows
    return difference.mae_difference


def _best_panel(axes: Axes, summary: Summary, signal: str, rows: list[Row], styles: dict[str, ArmStyle]) -> str:
    """Draw the best arm and its followers; returns what is said of the signal below the figure."""
    best, even = rows[0][1].reference, sum(difference.verdict != "worse" for _, difference in rows)
    rows, further = rows[:MOST_A_PANEL], rows[MOST_A_PANEL:]
    names = [best, *(name for name, _ in rows)]
    alike = [place for place, (_, difference) in enumerate(rows, start=1) if difference.verdict != "worse"]
    for place in (0, *alike):
        axes.axhspan(place - 0.5, place + 0.5, color="#e8f1f8", lw=0, zorder=0)
    axes.axvline(0, color="#333333", lw=0.9, zorder=1)
    axes.plot([0], [0], color=styles[best].colour, marker="o", ms=4.5, lw=0, zorder=3)
    ceiling = _ceiling(rows)
    for place, (name, difference) in enumerate(rows, start=1):
        _row(axes, place, difference, styles[name].colour, ceiling)
    axes.set_yticks(range(len(names)), names, fontsize=6.2)
    axes.set_ylim(len(names) - 0.5, -0.5)
    if ceiling is not None:
        axes.set_xlim(right=ceiling)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=5)
    unit = unit_of(summary, signal)
    label = label_of(summary, signal)
    axes.set_title(textwrap.fill(f"{label} ({unit})" if unit else label, 28), fontsize=8)
    text = f"{capital(label)}: {plural(even, 'arm')} beside the best not shown worse"
    return text + (f", {plural(len(further), 'arm')} further behind not drawn." if further else ".")


def _row(axes: Axes, place: int, difference: Difference, colour: str, ceiling: float | None) -> None:
    value = _value(difference)
    if ceiling is not None and value > ceiling:
        text = f"{number(value, decimals_for([value]), sign=True)} ▸"
        axes.annotate(
            text, (1, place), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=6, color=colour
        )
        return
    _interval(axes, place, difference, colour, width=1.3, size=4.2)


def _interval(axes: Axes, place: int, difference: Difference, colour: str, *, width: float, size: float) -> None:
    """A difference with its interval: filled where it is shown, open where it is not."""
    if difference.ci95 is not None:
        axes.plot(difference.ci95, [place, place], color=colour, lw=width, solid_capstyle="butt", zorder=2)
    face = "white" if difference.verdict == "no difference shown" else colour
    axes.plot([_value(difference)], [place], color=colour, marker="o", ms=size, mfc=face, mew=1.2, zorder=3)


def _ceiling(rows: list[Row]) -> float | None:
    """Where the axis ends if single arms lie so far off that the others would be pressed together; else None."""
    ends = np.array([difference.ci95[1] if difference.ci95 else _value(difference) for _, difference in rows])
    ceiling = 3.0 * float(np.median(ends))
    return ceiling if ceiling > 0 and ends.max() > 1.5 * ceiling else None
