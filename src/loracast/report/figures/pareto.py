"""Trained numbers against error: what each arm paid, what it got for it, and which arms nobody beats at their price."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from loracast.report.arms import MANY
from loracast.report.figures.style import (
    ArmStyle,
    Drawing,
    arm_handles,
    arm_styles,
    axis_label,
    columns_for,
    family_handles,
    finish,
    in_families,
    panel_title,
    panels,
    provenance,
    sample_sizes,
)
from loracast.report.results import Arm, Results, Summary, interval_of, label_of, score, scored_signals

SLOT = 1.5
"""Decades of axis given to the arms that train nothing."""
FRONT = "#333333"

Points = dict[str, tuple[float, float]]
"""Arm to its place on the axis and its error."""


def draw(results: Results) -> Drawing | None:
    """MAE against the count of trained numbers with the Pareto front, one panel a signal; None without scores."""
    summary = results.summary
    signals = scored_signals(summary)
    arms = [arm for arm in summary["arms"] if arm.get("trainable_parameters") is not None]
    if not signals or not arms:
        return None
    crowded, styles = len(arms) > MANY, arm_styles(summary)
    figure, grid = panels(len(signals), columns=columns_for(len(signals)), height=2.7 if crowded else 2.15)
    places, ticks, split = _places(arms)
    fronts = {signal: front(arms, signal) for signal in signals}
    numbers = {name: place for place, name in enumerate(dict.fromkeys(n for f in fronts.values() for n in f), start=1)}
    hidden = 0
    for axes, signal in zip(grid, signals, strict=True):
        points = {arm["arm"]: (places[arm["arm"]], v) for arm in arms if (v := score(arm, signal, "mae")) is not None}
        drawn = [arm for arm in arms if not crowded or arm["arm"] in fronts[signal]]
        _intervals(axes, drawn, signal, points, styles)
        _axis(axes, ticks, split)
        _front(axes, fronts[signal], points)
        if crowded:
            low, high = axes.get_ylim()
            axes.set_ylim(low - 0.13 * (high - low), high)  # room for the numbers
            _numbers(axes, [arm for arm in drawn if arm["arm"] in points], signal, points, numbers)
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


def front(arms: list[Arm], signal: str) -> list[str]:
    """The arms that no arm with as few or fewer trained numbers matches, from the cheapest to the dearest."""
    scored = [
        (arm["trainable_parameters"], v, arm["arm"]) for arm in arms if (v := score(arm, signal, "mae")) is not None
    ]
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
        "(bootstrapped over patients). "
        if crowded
        else "Bars are 95 % intervals bootstrapped over patients: they tell how sure each level is. "
    )
    if hidden:
        text += f"Triangles at the upper edge: {hidden} errors above the range that is drawn. "
    return text + "The shaded slot holds the arms that train nothing."


def _intervals(axes: Axes, arms: list[Arm], signal: str, points: Points, styles: dict[str, ArmStyle]) -> None:
    width = 1.2 if len(points) <= MANY else 0.7
    for arm in arms:
        bounds = interval_of(arm, signal, "mae")
        if bounds is not None and arm["arm"] in points:
            place = points[arm["arm"]][0]
            colour = styles[arm["arm"]].colour
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


def _numbers(axes: Axes, arms: list[Arm], signal: str, points: Points, numbers: dict[str, int]) -> None:
    """The number of each arm under its interval, in three rows by turns, for neighbours stand close."""
    for turn, arm in enumerate(sorted(arms, key=lambda arm: points[arm["arm"]][0])):
        place, value = points[arm["arm"]]
        low, _ = interval_of(arm, signal, "mae") or (value, value)
        axes.annotate(
            str(numbers[arm["arm"]]), (place, low), xytext=(0, -2 - 7 * (turn % 3)), textcoords="offset points",
            ha="center", va="top", fontsize=6.5, weight="bold", zorder=6,
        )  # fmt: skip


def _legend(
    summary: Summary, arms: list[Arm], styles: dict[str, ArmStyle], numbers: dict[str, int]
) -> tuple[list[Line2D], int]:
    line = Line2D([], [], color=FRONT, lw=0.9, label="Pareto front")
    named = [
        Line2D([], [], ls="", marker=f"${number}$", color=FRONT, label=n, ms=4 if number < 10 else 7)
        for n, number in numbers.items()
    ]
    if in_families(summary):
        handles, _ = family_handles(summary, arms)
    else:
        handles, _ = arm_handles(styles, [arm["arm"] for arm in arms], lines=False)
    handles = [*handles, line, *named]
    longest = max(len(str(handle.get_label())) for handle in handles)
    return handles, max(1, min(len(handles), int(118 / (longest + 7))))


def _places(arms: list[Arm]) -> tuple[dict[str, float], list[int], float | None]:
    """Where each arm stands on the axis (decades), the decades to label, and the right edge of the slot for 0."""
    trained = [arm for arm in arms if arm["trainable_parameters"] > 0]
    free = [arm for arm in arms if arm["trainable_parameters"] <= 0]
    places = {arm["arm"]: math.log10(arm["trainable_parameters"]) for arm in trained}
    low = math.floor(min(places.values(), default=1.0))
    high = max(math.ceil(max(places.values(), default=1.0)), low + 1)
    for arm, place in zip(free, np.linspace(low - SLOT, low - 0.25 * SLOT, len(free) + 2)[1:-1], strict=True):
        places[arm["arm"]] = float(place)
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
