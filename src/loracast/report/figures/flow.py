"""The attrition flow: who and what was left after each step, and what the step dropped."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from loracast.report.figures.style import PAPER, Drawing, Sheet, finish
from loracast.report.frames import LEFT as COUNTS
from loracast.report.frames import attrition
from loracast.report.readable import plural
from loracast.report.render import Row, records
from loracast.report.results import Results, source_of
from loracast.report.words import dropped, kept

LINE = 0.14
"""Inches a line of text takes."""
GAP = 0.17


class Plan(NamedTuple):
    """Inches from the left edge: the boxes of what was kept, and of what was dropped, beside them or below."""

    kept: tuple[float, float]
    dropped: tuple[float, float]
    below: bool

    def signs(self, box: tuple[float, float], size: float) -> int:
        """How many signs of a size in points fit a line of a box."""
        return int((box[1] - box[0] - 0.15) * 114 / size)


def _plan(sheet: Sheet) -> Plan:
    if sheet.most == 1:
        return Plan((0.05, sheet.width - 0.05), (0.45, sheet.width - 0.05), below=True)
    return Plan((0.05, 4.35), (4.75, 6.95), below=False)


def draw(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """The flow of patients, stays and rows as boxes, in inches; None where no attrition was recorded."""
    every = records(attrition(results.summary))
    steps = _telling(every)
    if not steps:
        return None
    silent, plan = len(every) - len(steps), _plan(sheet)
    heights = [_height(step, plan) for step in steps]
    total = sum(heights) + GAP * (len(steps) - 1) + 0.1
    figure = Figure(figsize=(sheet.width, total))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, sheet.width), ylim=(-total, 0))
    axes.set_axis_off()
    top = -0.05
    for place, (step, height) in enumerate(zip(steps, heights, strict=True)):
        _kept(axes, step, top, plan)
        if place:
            _arrow(axes, (0.25, top + GAP), (0.25, top))
        if dropped(step):
            _dropped(axes, step, top, plan)
        if plan.below and dropped(step):  # the way on passes what was dropped
            axes.plot([0.25, 0.25], [top - _kept_height(step, plan), top - height], color="#555555", lw=0.8)
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
        caption="Boxes with a blue edge: what was left after each step; with an orange edge: what the step dropped. A "
        "step that is silent about a count does not change it or cannot know it."
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


def _title(step: Row, plan: Plan) -> list[str]:
    return textwrap.wrap(step["step"], int(0.92 * plan.signs(plan.kept, 7.5)))  # bold letters are wider


def _left(step: Row, plan: Plan) -> list[str]:
    return textwrap.wrap(kept(step), plan.signs(plan.kept, 7.5))


def _gone(step: Row, plan: Plan) -> list[str]:
    return (
        textwrap.wrap("− " + dropped(step).replace(" · ", ", "), plan.signs(plan.dropped, 7)) if dropped(step) else []
    )


def _kept_height(step: Row, plan: Plan) -> float:
    return 0.14 + LINE * (len(_title(step, plan)) + len(_left(step, plan)))


def _gone_height(step: Row, plan: Plan) -> float:
    return 0.1 + LINE * len(_gone(step, plan))


def _height(step: Row, plan: Plan) -> float:
    """What a step takes: its box, and below or beside it that of what it dropped."""
    if plan.below:
        return _kept_height(step, plan) + (_gone_height(step, plan) + 0.06 if dropped(step) else 0)
    return max(_kept_height(step, plan), _gone_height(step, plan) if dropped(step) else 0)


def _box(axes: Axes, sides: tuple[float, float], top: float, height: float, *, face: str, edge: str) -> None:
    shape, (left, right) = "round,pad=0,rounding_size=0.04", sides
    box = FancyBboxPatch((left, top - height), right - left, height, boxstyle=shape, fc=face, ec=edge, lw=0.8)
    axes.add_patch(box)


def _kept(axes: Axes, step: Row, top: float, plan: Plan) -> None:
    _box(axes, plan.kept, top, _kept_height(step, plan), face="#eef4f9", edge="#0072B2")
    left, lines = plan.kept[0] + 0.1, _title(step, plan)
    for place, line in enumerate(lines):
        axes.text(left, top - 0.135 - LINE * place, line, weight="bold", fontsize=7.5, va="center")
    for place, line in enumerate(_left(step, plan), start=len(lines)):
        axes.text(left, top - 0.145 - LINE * place, line, fontsize=7.5, va="center", color="#333333")


def _dropped(axes: Axes, step: Row, top: float, plan: Plan) -> None:
    lines, tall = _gone(step, plan), _gone_height(step, plan)
    high = top - _kept_height(step, plan) - 0.06 if plan.below else top - (_kept_height(step, plan) - tall) / 2
    _box(axes, plan.dropped, high, tall, face="#fdf3ea", edge="#D55E00")
    for place, line in enumerate(lines):
        axes.text(
            plan.dropped[0] + 0.1, high - 0.05 - LINE * (place + 0.5), line, fontsize=7, va="center", color="#5a2a00"
        )
    middle = high - tall / 2
    _arrow(axes, (0.25 if plan.below else plan.kept[1], middle), (plan.dropped[0], middle))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": "#555555", "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
    )
