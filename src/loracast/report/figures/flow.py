"""The attrition flow: who and what was left after each step, and what the step dropped."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from loracast.report.figures.style import WIDTH, Drawing, finish
from loracast.report.frames import LEFT as COUNTS
from loracast.report.frames import attrition
from loracast.report.readable import plural
from loracast.report.render import Row, records
from loracast.report.results import Results, source_of
from loracast.report.words import dropped, kept

LINE = 0.14
"""Inches a line of text takes."""
GAP = 0.17
LEFT, RIGHT = (0.05, 4.35), (4.75, 6.95)
"""Inches from the left edge: the boxes of what was kept, and of what was dropped."""


def draw(results: Results) -> Drawing | None:
    """The flow of patients, stays and rows as boxes, in inches; None where no attrition was recorded."""
    every = records(attrition(results.summary))
    steps = _telling(every)
    if not steps:
        return None
    silent = len(every) - len(steps)
    heights = [_height(step) for step in steps]
    total = sum(heights) + GAP * (len(steps) - 1) + 0.1
    figure = Figure(figsize=(WIDTH, total))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, WIDTH), ylim=(-total, 0))
    axes.set_axis_off()
    top = -0.05
    for place, (step, height) in enumerate(zip(steps, heights, strict=True)):
        _kept(axes, step, top, height)
        if place:
            _arrow(axes, (1.0, top + GAP), (1.0, top))
        if dropped(step):
            _dropped(axes, step, top, height)
        top -= height + GAP
    finish(figure, results, f"Source: {source_of(results.summary)}.")
    axes.set_position((0.0, 1 - total / figure.get_size_inches()[1], 1.0, total / figure.get_size_inches()[1]))
    first, last = kept(steps[0]), kept(steps[-1])
    return Drawing(
        name="flow",
        title="From the source to the windows",
        figure=figure,
        alt=f"Flow diagram of {len(steps)} steps, from “{steps[0]['step']}” ({first}) to "
        f"“{steps[-1]['step']}” ({last}).",
        caption="Left: what was left after each step. Right: what the step dropped. A step that is silent about a "
        "count does not change it or cannot know it."
        + (f" {plural(silent, 'step')} that dropped nothing: see the table." if silent else ""),
    )


def _telling(steps: Sequence[Row]) -> list[Row]:
    """The steps worth a box: the first, the last, those that dropped something or first know a count."""
    known: set[str] = set()
    telling = []
    for place, step in enumerate(steps):
        counts = {key for key in COUNTS if step[key] is not None}
        if place in (0, len(steps) - 1) or dropped(step) or counts - known:
            telling.append(step)
        known |= counts
    return telling


def _title(step: Row) -> list[str]:
    return textwrap.wrap(step["step"], 62)


def _height(step: Row) -> float:
    return 0.14 + LINE * (len(_title(step)) + (1 if kept(step) else 0))


def _box(axes: Axes, left: float, right: float, top: float, height: float, *, face: str, edge: str) -> None:
    shape = "round,pad=0,rounding_size=0.04"
    box = FancyBboxPatch((left, top - height), right - left, height, boxstyle=shape, fc=face, ec=edge, lw=0.8)
    axes.add_patch(box)


def _kept(axes: Axes, step: Row, top: float, height: float) -> None:
    _box(axes, *LEFT, top, height, face="#eef4f9", edge="#0072B2")
    lines = _title(step)
    for place, line in enumerate(lines):
        axes.text(LEFT[0] + 0.1, top - 0.135 - LINE * place, line, weight="bold", fontsize=7.5, va="center")
    axes.text(LEFT[0] + 0.1, top - 0.145 - LINE * len(lines), kept(step), fontsize=7.5, va="center", color="#333333")


def _dropped(axes: Axes, step: Row, top: float, height: float) -> None:
    lines = textwrap.wrap("− " + dropped(step).replace(" · ", ", "), 42)
    tall = 0.1 + LINE * len(lines)
    middle = top - height / 2
    _box(axes, *RIGHT, middle + tall / 2, tall, face="#fdf3ea", edge="#D55E00")
    for place, line in enumerate(lines):
        offset = (len(lines) - 1) / 2 - place
        axes.text(RIGHT[0] + 0.1, middle + LINE * offset, line, fontsize=7, va="center", color="#5a2a00")
    _arrow(axes, (LEFT[1], middle), (RIGHT[0], middle))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": "#555555", "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
    )
