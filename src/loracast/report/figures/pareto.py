"""The error against the trained numbers: what each further number buys, and the front that nothing beats."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from loracast.report.figures.style import (
    PAPER,
    ArmStyle,
    Drawing,
    Sheet,
    arm_styles,
    axis_label,
    columns_for,
    finish,
    panel_title,
    panels,
    provenance,
    sample_sizes,
)
from loracast.report.results import MANY, Results, label_of, mae_interval, mae_of, scored_signals
from loracast.study.summary import ArmSummary

SLOT = 1.5
"""Decades of axis given to the arms that train nothing."""
FRONT = "#333333"
REST = "#9a9a9a"
"""Of the arms behind the front."""
SIGN = 0.052
"""Inches that a letter of a name is wide, about."""
LINE = 0.115
"""Inches from the name of an arm on the front to the next."""

Points = dict[str, tuple[float, float]]
"""Arm to its place on the axis and its error."""


def draw_front(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """MAE against the count of trained numbers with the Pareto front, one panel a signal; None without scores.

    Arms on the front are named beside their points, in lines below all others; those behind it are grey.
    """
    summary = results.summary
    signals, arms = scored_signals(summary), summary.arms
    if not signals:
        return None
    styles, columns = arm_styles(summary), columns_for(len(signals), sheet)
    fronts = {signal: front(arms, signal) for signal in signals}
    most = max(map(len, fronts.values()))
    height = 2.15 + LINE * most
    figure, grid = panels(len(signals), sheet, columns=columns, height=height)
    places, ticks, split = _places(arms)
    hidden = 0
    for axes, signal in zip(grid, signals, strict=True):
        points = {arm.arm: (places[arm.arm], v) for arm in arms if (v := mae_of(arm, signal)) is not None}
        named = [arm for arm in arms if arm.arm in fronts[signal]]
        _intervals(axes, named, signal, points, styles)
        _axis(axes, ticks, split)
        _front(axes, fronts[signal], points)
        ceiling = _ceiling(points) if len(arms) > MANY else None
        hidden += _points(axes, points, styles, ceiling=ceiling, named=fronts[signal])
        _names(axes, fronts[signal], points, wide=sheet.width / columns - 0.75, share=LINE * most / (height - 0.6))
        panel_title(axes, label_of(summary, signal), len(signals), sheet)
        axes.set_ylabel(axis_label(summary, signal, "MAE"))
    handles = [
        Line2D([], [], color=FRONT, lw=0.9, marker="o", ms=4, label="Pareto front"),
        Line2D([], [], color=REST, ls="", marker="o", ms=3, label="other arms"),
    ]
    label = "trained numbers (logarithmic; 0 apart)"
    finish(figure, results, provenance(results), label=label, handles=handles)
    return Drawing(
        name="pareto",
        title="Trained numbers against error",
        figure=figure,
        alt=f"Mean absolute error against the count of trained numbers for {len(arms)} arms, one panel for each of "
        f"{len(signals)} signals, with the Pareto front from the arms that train nothing to those that train most.",
        caption=_caption(hidden) + sample_sizes(summary, signals),
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


def _caption(hidden: int) -> str:
    text = (
        "Lower is better, further left is cheaper. Stepped line: the Pareto front, the lowest error for as many "
        "trained numbers or fewer. It goes by the errors as measured: neighbours on it need not differ beyond chance, "
        "which the paired differences tell. The arms on it are named below their points and carry their 95 % intervals "
        "(over patients and training seeds); the others are grey. "
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


def _points(
    axes: Axes, points: Points, styles: dict[str, ArmStyle], *, ceiling: float | None, named: Sequence[str]
) -> int:
    """Draw every arm; those above `ceiling` at the upper edge. Returns how many those are."""
    above = {name for name, (_, value) in points.items() if ceiling is not None and value > ceiling}
    if above:
        axes.set_ylim(top=ceiling)
    top = axes.get_ylim()[1]
    for name, (place, value) in points.items():
        if name in above:
            axes.plot([place], [top], color=REST, marker="^", ms=3.5, lw=0, clip_on=False, zorder=3)
        elif name in named:
            axes.plot([place], [value], color=styles[name].colour, marker="o", ms=5, lw=0, zorder=4)
        else:
            axes.plot([place], [value], color=REST, marker="o", ms=2.6, lw=0, zorder=2.2)
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


def _names(axes: Axes, names: Sequence[str], points: Points, *, wide: float, share: float) -> None:
    """Name each arm of the front in a line of its own below all that is drawn, with a thread up to its point.

    The cheapest stands lowest: a name runs to the right, and no thread right of it goes down so far. Where it would
    leave a panel of `wide` inches, of which the names take a `share`, it runs to the left.
    """
    low, high = axes.get_ylim()
    bottom = high - (high - low) / (1 - share)
    axes.set_ylim(bottom, high)
    left, right = axes.get_xlim()
    line = (low - bottom) / len(names)
    for turn, name in enumerate(names):
        place, value = points[name]
        level = bottom + (turn + 0.45) * line
        axes.plot([place, place], [level, value], color=FRONT, lw=0.4, alpha=0.6, zorder=1.5)
        inch = (place - left) / (right - left) * wide
        onward = inch + SIGN * len(name) < wide or inch < wide / 2
        axes.annotate(
            name, (place, level), xytext=(2 if onward else -2, 0), textcoords="offset points",
            ha="left" if onward else "right", va="center", fontsize=6.2, zorder=6,
            bbox={"fc": "white", "ec": "none", "pad": 0.3, "alpha": 0.85},
        )  # fmt: skip


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
