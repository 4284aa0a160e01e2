"""Against the best: which arms are not shown to be worse than the arm with the lowest error."""

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loracast.report.figures.style import WIDTH, ArmStyle, Drawing, arm_styles, finish, provenance, sample_sizes
from loracast.report.readable import decimals_for, number, plural
from loracast.report.results import Difference, Results, Summary, difference_of, label_of, scored_signals, unit_of

MOST = 24
"""Arms a panel at most."""

Row = tuple[str, Difference]


def draw(results: Results) -> Drawing | None:
    """Paired differences in MAE to the best arm of each signal, from the lowest; None where nothing was compared."""
    summary = results.summary
    found = {signal: rows for signal in scored_signals(summary) if (rows := _rows(summary, signal))}
    if not found:
        return None
    columns = min(2, len(found))
    lines = math.ceil(len(found) / columns)
    most = max(min(MOST, len(rows)) for rows in found.values()) + 1
    figure = Figure(figsize=(WIDTH, lines * (0.72 + 0.165 * most)), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for spare in grid[len(found) :]:
        spare.remove()
    styles = arm_styles(summary)
    told = [
        _panel(axes, summary, signal, rows, styles) for axes, (signal, rows) in zip(grid, found.items(), strict=False)
    ]
    label = "MAE − MAE of the best arm on the same windows; further right is worse"
    finish(figure, results, provenance(results), label=label)
    return Drawing(
        name="paired",
        title="Difference to the best arm",
        figure=figure,
        alt=f"Paired differences in mean absolute error to the best arm with 95 % intervals, one panel for each of "
        f"{len(found)} signals, sorted; the arms that are not shown worse than the best are shaded.",
        caption="Paired on the same windows, 95 % intervals bootstrapped over patients. Shaded: the best arm and those "
        "that are not shown to be worse than it; open circles there mean that their interval holds 0. The best is "
        "chosen on these test patients, so it is favoured a little, and the shaded arms cannot be ranked from these "
        "data. " + " ".join(told) + sample_sizes(summary, list(found)),
    )


def _rows(summary: Summary, signal: str) -> list[Row]:
    """The differences of all arms to the best of a signal, from the lowest."""
    found = [(arm["arm"], difference_of(arm, signal, "vs_best")) for arm in summary["arms"]]
    rows = [(name, difference) for name, difference in found if difference is not None and difference.value is not None]
    return sorted(rows, key=lambda row: row[1].value or 0.0)


def _panel(axes: Axes, summary: Summary, signal: str, rows: list[Row], styles: dict[str, ArmStyle]) -> str:
    """Draw the best arm and its followers; returns what is said of the signal below the figure."""
    best, even = rows[0][1].reference, sum(difference.verdict != "worse" for _, difference in rows)
    rows, further = rows[:MOST], rows[MOST:]
    names = [best or "the best arm", *(name for name, _ in rows)]
    alike = [place for place, (_, difference) in enumerate(rows, start=1) if difference.verdict != "worse"]
    for place in (0, *alike):
        axes.axhspan(place - 0.5, place + 0.5, color="#e8f1f8", lw=0, zorder=0)
    axes.axvline(0, color="#333333", lw=0.9, zorder=1)
    colour = styles[best].colour if best in styles else "#000000"
    axes.plot([0], [0], color=colour, marker="o", ms=4.5, lw=0, zorder=3)
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
    text = f"{label[:1].upper()}{label[1:]}: {plural(even, 'arm')} beside the best not shown worse"
    return text + (f", {plural(len(further), 'arm')} further behind not drawn." if further else ".")


def _row(axes: Axes, place: int, difference: Difference, colour: str, ceiling: float | None) -> None:
    value = difference.value or 0.0
    if ceiling is not None and value > ceiling:
        text = f"{number(value, decimals_for([value]), sign=True)} ▸"
        axes.annotate(
            text, (1, place), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=6, color=colour
        )
        return
    if difference.bounds is not None:
        axes.plot(difference.bounds, [place, place], color=colour, lw=1.3, solid_capstyle="butt", zorder=2)
    shown = difference.verdict in ("better", "worse")
    axes.plot([value], [place], color=colour, marker="o", ms=4.2, mfc=colour if shown else "white", mew=1.1, zorder=3)


def _ceiling(rows: list[Row]) -> float | None:
    """Where the axis ends if single arms lie so far off that the others would be pressed together; else None."""
    ends = np.array([difference.bounds[1] if difference.bounds else difference.value or 0.0 for _, difference in rows])
    ceiling = 3.0 * float(np.median(ends))
    return ceiling if ceiling > 0 and ends.max() > 1.5 * ceiling else None
