"""What each arm cost, a panel a cost, with the arms for which it was measured and no others."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loracast.report.figures.style import PAPER, ArmStyle, Drawing, Sheet, arm_styles, finish, provenance
from loracast.report.readable import duration, energy, memory, moment, plural, size
from loracast.report.results import Results, chosen
from loracast.report.words import machines_of
from loracast.study.summary import ArmSummary, Costs

MOST = 10
COLUMNS = 2
WIDE = 30.0
"""From this ratio of the largest to the smallest on, an axis is logarithmic."""


@dataclass(frozen=True)
class Measure:
    """A cost that a run may have measured: its name, where it stands, and how it is written."""

    name: str
    of: Callable[[Costs], float | None]
    written: Callable[[float | None], str]


def _seconds_a_window(costs: Costs) -> float | None:
    milliseconds = costs.forecast_milliseconds_per_window
    return None if milliseconds is None else milliseconds / 1000


A_WINDOW = Measure("a window's forecast", _seconds_a_window, moment)
ALL_FORECASTS = Measure("all test forecasts", lambda costs: costs.forecast_seconds, duration)
MEASURES = (
    Measure("training", lambda costs: costs.train_seconds, duration),
    Measure("a training step", lambda costs: costs.seconds_per_step, moment),
    Measure("energy of training", lambda costs: costs.energy_joules, energy),
    Measure("peak memory, process", lambda costs: costs.peak_memory_bytes, memory),
    Measure("peak memory, GPU", lambda costs: costs.peak_gpu_memory_bytes, memory),
    Measure("what is saved", lambda costs: costs.adapter_bytes, size),
    A_WINDOW,
    ALL_FORECASTS,
)
"""In the order of the panels; the whole of the forecasts is drawn only where the time of a window is not known."""


def draw(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """A panel for each cost that any arm recorded, with the arms that did; None where none did."""
    summary = results.summary
    arms, told = chosen(summary, MOST)
    known = {m: [arm for arm in arms if cost(arm, m) is not None] for m in MEASURES}
    known = {m: own for m, own in known.items() if own}
    if A_WINDOW in known:
        known.pop(ALL_FORECASTS, None)
    if not known:
        return None
    columns = min(COLUMNS, sheet.most, len(known))
    rows = [list(known.items())[place : place + columns] for place in range(0, len(known), columns)]
    heights = [0.42 + 0.15 * max(len(own) for _, own in row) for row in rows]
    figure = Figure(figsize=(sheet.width, sum(heights)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    styles = arm_styles(summary)
    for line, row in zip(grid, rows, strict=True):
        for axes, (measure, own) in zip(line, row, strict=False):
            _panel(axes, own, measure, styles)
        for spare in line[len(row) :]:
            spare.remove()
    finish(figure, results, provenance(results))
    machines = machines_of(results)
    return Drawing(
        name="costs",
        title="What each arm cost",
        figure=figure,
        alt=f"{plural(len(known), 'cost')} ({', '.join(m.name for m in known)}) of {plural(len(arms), 'arm')}, a panel "
        "each: bars from zero, and points where the axis is logarithmic.",
        caption="Means over the seeds; memory is the most over the seeds. Bars begin at 0; where costs lie far apart, "
        "the axis is logarithmic and has points. Arms for which a cost was not measured, or is nothing, are not in "
        "its panel." + told + (f" Measured on {machines}." if machines else ""),
    )


def cost(arm: ArmSummary, measure: Measure) -> float | None:
    """A cost in the unit that `measure.written` takes, None where it is unknown or nothing."""
    value = measure.of(arm.costs)
    return float(value) if value else None


def _panel(axes: Axes, arms: Sequence[ArmSummary], measure: Measure, styles: dict[str, ArmStyle]) -> None:
    """Bars from 0 or, where costs lie far apart, points: the length of a bar on a logarithmic axis says nothing."""
    values = [value for arm in arms if (value := cost(arm, measure)) is not None]
    wide = max(values) / min(values) > WIDE
    for place, (arm, value) in enumerate(zip(arms, values, strict=True)):
        colour = styles[arm.arm].colour
        if wide:
            axes.plot([value], [place], color=colour, marker="o", ms=4.5, lw=0, zorder=2)
        else:
            axes.barh(place, value, height=0.66, color=colour, alpha=0.85, lw=0, zorder=2)
        axes.annotate(
            measure.written(value), (value, place), xytext=(5 if wide else 2, 0), textcoords="offset points",
            va="center", fontsize=6, color="#333333", zorder=3,
        )  # fmt: skip
    low, high = min(values), max(values)
    if wide:
        axes.set_xscale("log")
        # Room for the longest number behind its point, in decades of an axis that is about two inches wide.
        axes.set_xlim(low / 1.6, high * (high / low) ** 0.3)
        decades = range(math.ceil(math.log10(low / 1.6)), math.floor(math.log10(high)) + 1)
        axes.set_xticks([10.0**decade for decade in decades], [""] * len(decades))
        axes.minorticks_off()
    else:
        axes.set_xlim(0, 1.3 * high)
        axes.grid(visible=False, axis="x")
    axes.set_title(f"{measure.name} (log)" if wide else measure.name, fontsize=7.5)
    axes.set_yticks(range(len(arms)), [arm.arm for arm in arms], fontsize=6.5)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", which="both", labelbottom=False, length=0)
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=wide, axis="y")
