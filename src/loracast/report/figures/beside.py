"""Studies beside each other: of every arm they share, the difference to zero-shot on each study's own windows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from loracast.report.figures.style import (
    MARKERS,
    PALETTE,
    PAPER,
    Drawing,
    Sheet,
    columns_for,
    finish,
    panel_title,
    panels,
)
from loracast.report.readable import plural
from loracast.report.results import Percent, in_percent, label_of

if TYPE_CHECKING:
    from loracast.report.beside_tables import Study

MOST = 24
"""Arms at most: those behind are left to the table."""
SPREAD = 0.5
"""What part of an arm's line the studies take."""

Found = dict[tuple[str, str], Percent]
"""Arm and letter of the study to the difference."""


def draw(
    studies: Sequence["Study"], names: Sequence[str], signals: Sequence[str], sheet: Sheet = PAPER
) -> Drawing | None:
    """Differences to zero-shot in percent with 95 % intervals, a panel a signal; None where nothing was compared."""
    found = {signal: _found(studies, names, signal) for signal in signals}
    found = {signal: cells for signal, cells in found.items() if cells}
    if not found:
        return None
    drawn = [name for name in names if any(name in {arm for arm, _ in cells} for cells in found.values())]
    drawn, left_out = drawn[:MOST], max(0, len(drawn) - MOST)
    columns = columns_for(len(found), sheet)
    height = 0.6 + max(0.2, 0.1 * len(studies)) * len(drawn)
    figure, grid = panels(len(found), sheet, columns=columns, height=height)
    first = studies[0]
    for place, (axes, (signal, cells)) in enumerate(zip(grid, found.items(), strict=True)):
        _panel(axes, cells, drawn, studies)
        panel_title(axes, label_of(first.summary, signal), len(found), sheet)
        if place % columns:
            axes.tick_params(labelleft=False)
    handles = [
        Line2D([], [], color=_colour(place), marker=_marker(place), lw=1.4, label=f"{one.letter}: {one.summary.name}")
        for place, one in enumerate(studies)
    ]
    label = "MAE against zero-shot of the same study (%); left of 0 is better than zero-shot"
    note = "; ".join(f"{one.letter}: {one.summary.data.source}" for one in studies)
    finish(figure, first.results, f"Data: {note}.", label=label, handles=handles)
    return Drawing(
        name="beside",
        title="The same arms in each study",
        figure=figure,
        alt=f"Difference in mean absolute error to zero-shot in percent with 95 % intervals for "
        f"{plural(len(drawn), 'arm')} in {len(studies)} studies, one panel for each of "
        f"{plural(len(found), 'signal')}.",
        caption="Each study's own paired difference to zero-shot on its own windows, in percent of what zero-shot "
        "errs; 95 % intervals. Filled: the interval excludes zero; open: no difference is shown. Studies are not "
        "tested against each other." + (f" {plural(left_out, 'arm')} more in the table." if left_out else ""),
    )


def _found(studies: Sequence["Study"], names: Sequence[str], signal: str) -> Found:
    return {
        (arm.arm, one.letter): told
        for one in studies
        for arm in one.summary.arms
        if arm.arm in names and (told := in_percent(arm, signal)) is not None
    }


def _panel(axes: Axes, cells: Found, names: Sequence[str], studies: Sequence["Study"]) -> None:
    axes.axvline(0, color="#333333", lw=0.9, zorder=1)
    for line, name in enumerate(names):
        for place, one in enumerate(studies):
            found = cells.get((name, one.letter))
            if found is None:
                continue
            level = line + SPREAD * ((place + 0.5) / len(studies) - 0.5)
            if found.ci95 is not None:
                axes.plot(found.ci95, [level, level], color=_colour(place), lw=1.3, solid_capstyle="butt", zorder=2)
            face = "white" if found.verdict == "no difference shown" else _colour(place)
            axes.plot([found.value], [level], color=_colour(place), marker=_marker(place), ms=4, mfc=face, zorder=3)
    axes.set_yticks(range(len(names)), names, fontsize=6.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=5)


def _colour(place: int) -> str:
    return PALETTE[place % len(PALETTE)]


def _marker(place: int) -> str:
    return MARKERS[place % len(MARKERS)]
