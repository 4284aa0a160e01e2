"""What each arm cost, and what it got for it: bars of every cost, and the error against the trained numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle

from loracast.report.figures.style import (
    WIDTH,
    ArmStyle,
    Drawing,
    arm_handles,
    arm_styles,
    axis_label,
    columns_for,
    family_handles,
    finish,
    in_families,
    legend_columns,
    panel_title,
    panels,
    provenance,
    sample_sizes,
)
from loracast.report.readable import duration, energy, memory, moment, plural, size
from loracast.report.results import MANY, Results, chosen, label_of, mae_interval, mae_of, scored_signals
from loracast.report.words import machines_of
from loracast.study.summary import ArmSummary, Costs, Summary

MOST = 24
COLUMNS = 4
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


def draw(results: Results) -> Drawing | None:
    """A small panel of bars for each cost that any arm recorded; None where none did."""
    summary = results.summary
    arms, told = chosen(summary, MOST)
    measures = [m for m in MEASURES if any(cost(arm, m) for arm in arms)]
    if A_WINDOW in measures:
        measures = [m for m in measures if m is not ALL_FORECASTS]
    arms = [arm for arm in arms if any(cost(arm, m) for m in measures)]
    if not measures:
        return None
    columns = min(COLUMNS if len(measures) != 6 else 3, len(measures))
    lines = math.ceil(len(measures) / columns)
    figure = Figure(figsize=(WIDTH, lines * (0.6 + 0.14 * len(arms))), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    styles = arm_styles(summary)
    for place, axes in enumerate(grid.flat):
        if place >= len(measures):
            axes.remove()
            continue
        _bars(axes, arms, measures[place], styles, names=place % columns == 0)
    finish(figure, results, provenance(results))
    machines = machines_of(results)
    return Drawing(
        name="costs",
        title="What each arm cost",
        figure=figure,
        alt=f"Bars of {plural(len(measures), 'cost')} ({', '.join(m.name for m in measures)}) for "
        f"{plural(len(arms), 'arm')}.",
        caption="Means over the seeds; memory is the most over the seeds. Axes with a wide spread are logarithmic, "
        "there compare the numbers, not the lengths. A missing bar: not recorded, or nothing to pay." + told
        + (f" Measured on {machines}." if machines else ""),
    )  # fmt: skip


def cost(arm: ArmSummary, measure: Measure) -> float | None:
    """A cost in the unit that `measure.written` takes, None where it is unknown or nothing."""
    value = measure.of(arm.costs)
    return float(value) if value else None


def _bars(
    axes: Axes, arms: Sequence[ArmSummary], measure: Measure, styles: dict[str, ArmStyle], *, names: bool
) -> None:
    known = {place: value for place, arm in enumerate(arms) if (value := cost(arm, measure)) is not None}
    low, high = min(known.values()), max(known.values())
    wide = high / low > WIDE
    start = low / 2 if wide else 0.0
    for place, value in known.items():
        colour = styles[arms[place].arm].colour
        axes.barh(place, value - start, left=start, height=0.66, color=colour, alpha=0.85, lw=0, zorder=2)
        axes.annotate(
            measure.written(value), (value, place), xytext=(2, 0), textcoords="offset points", va="center",
            fontsize=5.4, color="#333333", zorder=3,
        )  # fmt: skip
    if wide:
        axes.set_xscale("log")
        # Room for the longest number behind its bar, in decades of an axis that is about an inch wide.
        axes.set_xlim(start, high * (high / start) ** 0.75)
    else:
        axes.set_xlim(0, 1.7 * high)
    axes.set_title(f"{measure.name} (log)" if wide else measure.name, fontsize=6.8)
    axes.set_yticks(range(len(arms)), [arm.arm for arm in arms] if names else [""] * len(arms), fontsize=6)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="x", which="both", labelbottom=False, length=0)
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)


SLOT = 1.5
"""Decades of axis given to the arms that train nothing."""
FRONT = "#333333"

Points = dict[str, tuple[float, float]]
"""Arm to its place on the axis and its error."""


def draw_front(results: Results) -> Drawing | None:
    """MAE against the count of trained numbers with the Pareto front, one panel a signal; None without scores."""
    summary = results.summary
    signals = scored_signals(summary)
    arms = summary.arms
    if not signals:
        return None
    crowded, styles = len(arms) > MANY, arm_styles(summary)
    figure, grid = panels(len(signals), columns=columns_for(len(signals)), height=2.7 if crowded else 2.15)
    places, ticks, split = _places(arms)
    fronts = {signal: front(arms, signal) for signal in signals}
    numbers = {name: place for place, name in enumerate(dict.fromkeys(n for f in fronts.values() for n in f), start=1)}
    hidden = 0
    for axes, signal in zip(grid, signals, strict=True):
        points = {arm.arm: (places[arm.arm], v) for arm in arms if (v := mae_of(arm, signal)) is not None}
        drawn = [arm for arm in arms if not crowded or arm.arm in fronts[signal]]
        _intervals(axes, drawn, signal, points, styles)
        _axis(axes, ticks, split)
        _front(axes, fronts[signal], points)
        if crowded:
            low, high = axes.get_ylim()
            axes.set_ylim(low - 0.13 * (high - low), high)  # room for the numbers
            _numbers(axes, [arm for arm in drawn if arm.arm in points], signal, points, numbers)
        hidden += _points(axes, points, styles, ceiling=_ceiling(points) if crowded else None)
        panel_title(axes, label_of(summary, signal), len(signals))
        axes.set_ylabel(axis_label(summary, signal, "MAE"))
    handles, columns = _legend(summary, arms, styles, numbers if crowded else {})
    label = "trained numbers (logarithmic; 0 apart)"
    finish(figure, results, provenance(results), label=label, handles=handles, columns=columns)
    return Drawing(
        name="pareto",
        title="Trained numbers against error",
        figure=figure,
        alt=f"Mean absolute error against the count of trained numbers for {len(arms)} arms, one panel for each of "
        f"{len(signals)} signals, with the Pareto front from the arms that train nothing to those that train most.",
        caption=_caption(crowded, hidden) + sample_sizes(summary, signals),
    )


def front(arms: Sequence[ArmSummary], signal: str) -> list[str]:
    """The arms that no arm with as few or fewer trained numbers matches, from the cheapest to the dearest."""
    scored = [(arm.trainable_parameters, v, arm.arm) for arm in arms if (v := mae_of(arm, signal)) is not None]
    kept: list[str] = []
    lowest = math.inf
    for _, value, name in sorted(scored, key=lambda point: point[:2]):
        if value < lowest:
            lowest = value
            kept.append(name)
    return kept


def _caption(crowded: bool, hidden: int) -> str:
    text = (
        "Lower is better, further left is cheaper. Stepped line: the Pareto front, the lowest error for as many "
        "trained numbers or fewer. It goes by the errors as measured: neighbours on it need not differ beyond chance, "
        "which the paired differences tell. "
    )
    text += (
        "Colour: method; marker: backbone; numbers name the arms on a front, which alone carry their 95 % intervals "
        "(bootstrapped over patients and training seeds). "
        if crowded
        else "Bars are 95 % intervals over patients and training seeds: they tell how sure each level is. "
    )
    if hidden:
        text += f"Triangles at the upper edge: {hidden} errors above the range that is drawn. "
    return text + "The shaded slot holds the arms that train nothing."


def _intervals(
    axes: Axes, arms: Sequence[ArmSummary], signal: str, points: Points, styles: dict[str, ArmStyle]
) -> None:
    width = 1.2 if len(points) <= MANY else 0.7
    for arm in arms:
        bounds = mae_interval(arm, signal)
        if bounds is not None and arm.arm in points:
            place = points[arm.arm][0]
            colour = styles[arm.arm].colour
            axes.plot([place, place], bounds, color=colour, lw=width, alpha=0.8, solid_capstyle="butt", zorder=2)


def _points(axes: Axes, points: Points, styles: dict[str, ArmStyle], *, ceiling: float | None) -> int:
    """Draw every arm; those above `ceiling` at the upper edge. Returns how many those are."""
    above = {name for name, (_, value) in points.items() if ceiling is not None and value > ceiling}
    if above:
        axes.set_ylim(top=ceiling)
    top = axes.get_ylim()[1]
    for name, (place, value) in points.items():
        style = styles[name]
        if name in above:
            axes.plot([place], [top], color=style.colour, marker="^", ms=3.5, lw=0, clip_on=False, zorder=3)
        else:
            axes.plot([place], [value], color=style.colour, marker=style.marker, ms=5, lw=0, mew=1.2, zorder=3)
    return len(above)


def _ceiling(points: Points) -> float | None:
    """An error above which arms would press all others together: far outside the middle half; None where none is."""
    values = np.array([value for _, value in points.values()])
    low, high = np.quantile(values, [0.25, 0.75]) if len(values) else (0.0, 0.0)
    ceiling = float(high + 2.5 * (high - low))
    return ceiling if len(values) and high > low and values.max() > ceiling else None


def _front(axes: Axes, names: list[str], points: Points) -> None:
    if not names:
        return
    right = axes.get_xlim()[1]
    across = [*(points[name][0] for name in names), right]
    down = [*(points[name][1] for name in names), points[names[-1]][1]]
    axes.plot(across, down, color=FRONT, lw=0.9, drawstyle="steps-post", zorder=2.5)
    axes.set_xlim(right=right)


def _numbers(axes: Axes, arms: Sequence[ArmSummary], signal: str, points: Points, numbers: dict[str, int]) -> None:
    """The number of each arm under its interval, in three rows by turns, for neighbours stand close."""
    for turn, arm in enumerate(sorted(arms, key=lambda arm: points[arm.arm][0])):
        place, value = points[arm.arm]
        low, _ = mae_interval(arm, signal) or (value, value)
        axes.annotate(
            str(numbers[arm.arm]), (place, low), xytext=(0, -2 - 7 * (turn % 3)), textcoords="offset points",
            ha="center", va="top", fontsize=6.5, weight="bold", zorder=6,
        )  # fmt: skip


def _legend(
    summary: Summary, arms: Sequence[ArmSummary], styles: dict[str, ArmStyle], numbers: dict[str, int]
) -> tuple[list[Line2D], int]:
    line = Line2D([], [], color=FRONT, lw=0.9, label="Pareto front")
    with matplotlib.rc_context({"text.parse_math": True}):
        markers = {number: MarkerStyle(f"${number}$") for number in numbers.values()}
    named = [
        Line2D([], [], ls="", marker=markers[number], color=FRONT, label=n, ms=4 if number < 10 else 7)
        for n, number in numbers.items()
    ]
    if in_families(summary):
        handles = family_handles(summary, arms)
    else:
        handles, _ = arm_handles(styles, [arm.arm for arm in arms], lines=False)
    handles = [*handles, line, *named]
    return handles, legend_columns(handles)


def _places(arms: Sequence[ArmSummary]) -> tuple[dict[str, float], list[int], float | None]:
    """Where each arm stands on the axis (decades), the decades to label, and the right edge of the slot for 0."""
    trained = [arm for arm in arms if arm.trainable_parameters > 0]
    free = [arm for arm in arms if arm.trainable_parameters <= 0]
    places = {arm.arm: math.log10(arm.trainable_parameters) for arm in trained}
    low = math.floor(min(places.values(), default=1.0))
    high = max(math.ceil(max(places.values(), default=1.0)), low + 1)
    for arm, place in zip(free, np.linspace(low - SLOT, low - 0.25 * SLOT, len(free) + 2)[1:-1], strict=True):
        places[arm.arm] = float(place)
    return places, list(range(low, high + 1)) if trained else [], low - 0.2 * SLOT if free else None


def _axis(axes: Axes, decades: list[int], split: float | None) -> None:
    marks, names = [float(decade) for decade in decades], [_decade(decade) for decade in decades]
    if split is not None:
        left = split - 0.85 * SLOT
        axes.axvspan(left, split, color="#f2f2f2", lw=0, zorder=0)
        marks, names = [(left + split) / 2, *marks], ["0", *names]
    axes.set_xticks(marks, names)
    axes.set_xlim(split - 0.85 * SLOT if split is not None else None, decades[-1] + 0.15 if decades else split)
    axes.grid(visible=False, axis="x")


def _decade(exponent: int) -> str:
    """A power of ten as people say it: 100, 10k, 1M."""
    unit, rest = {0: ("", 0), 1: ("k", 3), 2: ("M", 6), 3: ("G", 9)}[min(max(exponent, 0) // 3, 3)]
    return f"{10 ** (exponent - rest):,g}{unit}"
