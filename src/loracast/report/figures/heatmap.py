"""Methods by backbones: where adapting paid, in percent of what zero-shot errs."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from loracast.report.figures.style import PAPER, Drawing, Sheet, finish, provenance, sample_sizes
from loracast.report.readable import number, plural
from loracast.report.results import (
    Results,
    by_error,
    in_percent,
    is_adapted,
    label_of,
    missing_of,
    scored_signals,
    short_name,
)
from loracast.study.summary import ArmSummary, Summary

COLOURS = LinearSegmentedColormap.from_list("difference", ["#0072B2", "#ffffff", "#D55E00"])
MOST_ROWS = 40
MOST_PANELS = 3
"""With more signals there is one panel, the mean over them."""
FEWEST_FOR_BAR = 6
"""Rows from which a colour bar has room; every cell says its number anyway."""
REACH = 15.0
"""Percent at which colours end at most: one arm that went astray must not bleach the others."""

Cell = tuple[float, str]
"""A difference in percent of zero-shot's MAE, and its mark."""


def draw(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """Differences to zero-shot, a row a method and a column a backbone; None with one backbone and few methods."""
    summary = results.summary
    arms = [arm for arm in summary.arms if is_adapted(arm) and _compared(summary, arm)]
    backbones = list(dict.fromkeys(arm.model for arm in arms))
    if not arms or (len(backbones) < 2 and len({arm.method for arm in arms}) < 4):
        return None
    rows, left_out = _rows(summary, arms)
    panels = _panels(summary)
    wide = max(map(len, rows)) * 0.062 + 0.1
    beside = len(panels) if sheet.most > 1 else 1
    lines = len(panels) // beside
    figure = Figure(figsize=(sheet.width, lines * (0.195 * len(rows) + 0.85)), layout="constrained")
    grid = list(figure.subplots(lines, beside, squeeze=False, sharey="row").flat)
    drawn = {key for cells in panels.values() for key in cells}
    reasons = _reasons(summary, [(row, b) for row in rows for b in backbones if (row, b) not in drawn])
    values = [cell[0] for cells in panels.values() for cell in cells.values()]
    norm = Normalize(-(reach := min(REACH, max(1.0, float(np.abs(values).max())))), reach)
    for axes, (title, cells) in zip(grid, panels.items(), strict=True):
        _panel(axes, cells, rows, backbones, norm=norm, reasons=reasons)
        axes.set_title(textwrap.fill(title, max(14, int((sheet.width - wide) / beside / 0.085))), fontsize=8)
    for axes in grid[::beside]:
        axes.set_yticks(range(len(rows)), rows, fontsize=7)
    if len(rows) >= FEWEST_FOR_BAR and sheet.most > 1:
        _bar(figure, grid, norm)
    finish(figure, results, _note(results, reasons))
    return Drawing(
        name="heatmap",
        title="Methods by backbones",
        figure=figure,
        alt=f"Heat map of the difference in mean absolute error to zero-shot in percent, {len(rows)} methods by "
        f"{plural(len(backbones), 'backbone')}, {plural(len(panels), 'panel')}; shown differences are marked.",
        caption="The paired difference in MAE to zero-shot of the same backbone on the same windows, in percent of "
        "zero-shot's MAE; below 0 (blue) is better. ▼ shown better, ▲ shown worse (95 % interval over patients "
        "excludes 0); without a mark no difference is shown. Over all signals the percent are averaged, and a mark "
        "means: on at least one signal. Grey: not compared, with the reason below."
        + (f" {plural(left_out, 'row')} with higher errors are left to the tables." if left_out else "")
        + sample_sizes(summary, scored_signals(summary)),
    )


def _bar(figure: Figure, grid: list[Axes], norm: Normalize) -> None:
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=grid, shrink=0.8, aspect=30, pad=0.015)
    bar.set_label("MAE against zero-shot (%)", fontsize=7)
    bar.ax.tick_params(labelsize=6.5)


def _compared(summary: Summary, arm: ArmSummary) -> bool:
    return any(_cell(arm, signal) is not None for signal in scored_signals(summary))


def _cell(arm: ArmSummary, signal: str) -> Cell | None:
    found = in_percent(arm, signal)
    return None if found is None else (found.value, {"better": "▼", "worse": "▲"}.get(found.verdict, ""))


def _rows(summary: Summary, arms: list[ArmSummary]) -> tuple[list[str], int]:
    """The names of the rows in the order of the arms, and how many with higher errors were left out."""
    names = list(dict.fromkeys(short_name(arm) for arm in arms))
    kept = set(list(dict.fromkeys(short_name(arm) for arm in by_error(summary, arms)))[:MOST_ROWS])
    return [name for name in names if name in kept], len(names) - len(kept)


def _panels(summary: Summary) -> dict[str, dict[tuple[str, str], Cell]]:
    """Title of each panel to its cells by (row, backbone): all signals where there are several, then each."""
    signals = scored_signals(summary)
    single: dict[str, dict[tuple[str, str], Cell]] = {}
    for signal in signals:
        cells = {(short_name(arm), arm.model): _cell(arm, signal) for arm in summary.arms}
        single[label_of(summary, signal)] = {key: cell for key, cell in cells.items() if cell is not None}
    if len(signals) == 1:
        return single
    keys = dict.fromkeys(key for cells in single.values() for key in cells)
    whole = {"all signals": {key: _mean([c[key] for c in single.values() if key in c]) for key in keys}}
    return whole | single if len(signals) <= MOST_PANELS else whole


def _mean(cells: list[Cell]) -> Cell:
    marks = {mark for _, mark in cells}
    return sum(value for value, _ in cells) / len(cells), "".join(mark for mark in "▼▲" if mark in marks)


def _reasons(summary: Summary, empty: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """Why (row, backbone) is empty, as (letter, reason), for those that are not simply not part of the experiment."""
    told = {one.arm: one.reason for one in missing_of(summary)}
    letters: dict[str, str] = {}
    found = {}
    for row, backbone in empty:
        reason = told.get(f"{backbone} {row}")
        if reason is not None:
            found[row, backbone] = (letters.setdefault(reason, chr(ord("a") + len(letters) % 26)), reason)
    return found


def _panel(
    axes: Axes, cells: dict[tuple[str, str], Cell], rows: list[str], backbones: list[str], *, norm: Normalize,
    reasons: dict[tuple[str, str], tuple[str, str]],
) -> None:  # fmt: skip
    for line, row in enumerate(rows):
        for place, backbone in enumerate(backbones):
            cell = cells.get((row, backbone))
            colour: Any = "#d9d9d9" if cell is None else COLOURS(norm(cell[0]))
            axes.add_patch(Rectangle((place - 0.5, line - 0.5), 1, 1, fc=colour, ec="white", lw=0.8))
            if cell is None:
                text, ink = reasons.get((row, backbone), ("not run", ""))[0], "#555555"
            else:
                text = f"{number(cell[0], 1, sign=True)} {cell[1]}".strip()
                ink = "white" if abs(float(norm(cell[0])) - 0.5) > 0.36 else "#222222"
            axes.text(place, line, text, ha="center", va="center", fontsize=5.5 if text == "not run" else 6, color=ink)
    axes.set(xlim=(-0.5, len(backbones) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    slanted = len(backbones) * max(map(len, backbones)) > 24
    turn, side_of = (30, "right") if slanted else (0, "center")
    axes.set_xticks(range(len(backbones)), backbones, fontsize=6.5, rotation=turn, ha=side_of)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)


def _note(results: Results, reasons: dict[tuple[str, str], tuple[str, str]]) -> str:
    legend = dict(sorted(set(reasons.values())))
    told = "; ".join(
        f"{letter}: {textwrap.shorten(reason, 110, placeholder=' …')}" for letter, reason in legend.items()
    )
    return (f"Grey: {told}. " if told else "") + provenance(results)
