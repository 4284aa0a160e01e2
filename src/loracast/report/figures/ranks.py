"""How much worse each rank is than the best one, in pairs: how few numbers are enough, and by what margin."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from loracast.report.doubts import rule_of, sizes_of
from loracast.report.figures.style import PAPER, Drawing, Sheet, columns_for, finish, panel_title, panels
from loracast.report.frames import signals_in
from loracast.report.readable import plural
from loracast.report.results import Results, label_of
from loracast.report.words import capital
from loracast.scoring.facts import Bounds
from loracast.study.ranks.result import ALL, RankRow, RankSweep, Threshold

COLOUR, MARGIN, FLAG, DARK = "#0072B2", "#009E73", "#B00020", "#222222"


class Paired(NamedTuple):
    """A rank with its paired difference to the best rank, in percent of the validation error of that."""

    row: RankRow
    value: float
    ci95: Bounds | None


def draw(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """Validation error of each rank less that of the best, one panel for all signals and each; None without ranks."""
    sweep = results.sweep
    if sweep is None or not sweep.rows:
        return None
    signals = signals_in(sweep)
    figure, grid = panels(len(signals), sheet, columns=columns_for(len(signals), sheet), height=2.3)
    for axes, signal in zip(grid, signals, strict=True):
        rows = sorted((row for row in sweep.rows if row.signal == signal), key=lambda row: row.rank)
        _panel(axes, paired(rows), sweep)
        if signal in sweep.thresholds:
            _threshold(axes, sweep.thresholds[signal])
        label = "all signals" if signal == ALL else label_of(results.summary, signal)
        panel_title(axes, f"{label} ({rows[0].metric.upper()})", len(signals), sheet)
        axes.set_ylabel("worse than the best rank (%)" if axes in grid[:: columns_for(len(signals), sheet)] else "")
        _ticks(axes, [row.rank for row in rows])
    note = f"{'SIMULATED DATA' if results.summary.data.simulated else 'Data'}: {sweep.data}; {sizes_of(sweep)}."
    finish(figure, results, note, label="rank (each step doubles it)", handles=_handles(sweep), columns=5)
    what = f"{sweep.method} on {sweep.model}"
    return Drawing(
        name="ranks",
        title="How much worse each rank is than the best",
        figure=figure,
        alt=f"Paired difference in validation error of {what} to the best of {plural(len(sweep.ranks), 'rank')}, on a "
        f"logarithmic axis of ranks, {len(signals)} panels, with 95 % intervals, the margin and the threshold rank.",
        caption=_caption(sweep, what),
    )


def paired(rows: Sequence[RankRow]) -> list[Paired]:
    """The ranks of one signal with their differences in percent of the lowest validation error."""
    known = [row.validation.value for row in rows if row.validation.value is not None]
    scale = 100 / min(known) if known and min(known) > 0 else math.nan
    found = []
    for row in rows:
        value, bounds = row.difference.value, row.difference.ci95
        if value is not None and math.isfinite(scale):
            found.append(Paired(row, scale * value, bounds and (scale * bounds[0], scale * bounds[1])))
    return found


def _caption(sweep: RankSweep, what: str) -> str:
    text = (
        f"The validation error of {what} at each rank less that of the rank with the lowest one, paired on the same "
        "patients and in percent of the lowest; whiskers are 95 % intervals of the paired difference. "
    )
    if sweep.margin is not None:
        text += (
            f"Dashed: the margin of {100 * sweep.margin:g} %; filled points are shown to lie below it, open ones are "
            "not. "
        )
    text += (
        "Vertical line: the threshold; small triangles at the bottom: the threshold of each seed alone. The errors "
        "themselves, those of zero-shot and full fine-tuning, and the test patients, who choose nothing, are in the "
        "table."
    )
    if any(row.overfit.flagged for row in sweep.rows):
        text += " Ringed: ranks that are flagged for overfitting."
    return f"{text} Rule: {rule_of(sweep)} {capital(sizes_of(sweep))}."


def _panel(axes: Axes, found: Sequence[Paired], sweep: RankSweep) -> None:
    axes.axhline(0, color=DARK, lw=0.9, zorder=1)
    if sweep.margin is not None:
        axes.axhspan(0, 100 * sweep.margin, color=MARGIN, alpha=0.1, lw=0, zorder=0)
        axes.axhline(100 * sweep.margin, color=MARGIN, ls=(0, (4, 1.5)), lw=1.1, zorder=2)
    for row, value, bounds in found:
        place = math.log2(row.rank)
        if bounds is not None:
            axes.plot([place, place], bounds, color=COLOUR, lw=1.2, solid_capstyle="butt", zorder=3)
        face = COLOUR if row.enough else "white"
        axes.plot([place], [value], color=COLOUR, marker="o", ms=4.6, lw=0, mfc=face, mew=1.2, zorder=4)
        if row.overfit.flagged:
            axes.plot([place], [value], lw=0, marker="o", ms=8.5, mfc="none", mec=FLAG, mew=1.0, zorder=5)


def _threshold(axes: Axes, threshold: Threshold) -> None:
    place = math.log2(threshold.rank)
    axes.axvline(place, color=DARK, ls=(0, (5, 2)), lw=0.9, zorder=1.5)
    axes.annotate(
        f"r = {threshold.rank}", (place, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
        textcoords="offset points", va="top", fontsize=7, zorder=6,
    )  # fmt: skip
    across = axes.get_xaxis_transform()
    for rank, times in sorted(Counter(threshold.by_seed).items()):
        places = np.linspace(-0.05, 0.05, times) * (times > 1) + math.log2(rank)
        axes.plot(places, np.full(times, 0.025), lw=0, marker="^", ms=3.2, color=DARK, transform=across, zorder=6)


def _ticks(axes: Axes, ranks: list[int]) -> None:
    axes.set_xticks([math.log2(rank) for rank in ranks], [str(rank) for rank in ranks])
    axes.set_xlim(math.log2(ranks[0]) - 0.4, math.log2(ranks[-1]) + 0.4)
    axes.grid(visible=False, axis="x")


def _handles(sweep: RankSweep) -> list[Any]:
    handles: list[Any] = []
    if sweep.margin is not None:
        handles += [
            Line2D([], [], color=COLOUR, lw=1.2, marker="o", ms=4.6, label="within the margin"),
            Line2D([], [], color=COLOUR, lw=1.2, marker="o", ms=4.6, mfc="white", label="not shown to be"),
            Patch(color=MARGIN, alpha=0.25, lw=0, label=f"margin: {100 * sweep.margin:g} %"),
        ]
    handles.append(Line2D([], [], color=DARK, ls=(0, (5, 2)), lw=0.9, label="threshold"))
    handles.append(Line2D([], [], color=DARK, lw=0, marker="^", ms=3.2, label="threshold of a seed"))
    if any(row.overfit.flagged for row in sweep.rows):
        handles.append(Line2D([], [], lw=0, marker="o", ms=8, mfc="none", mec=FLAG, label="overfitting"))
    return handles
