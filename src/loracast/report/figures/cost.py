"""Trained numbers against error: what each arm paid, and what it got for it."""

import math

import numpy as np
from matplotlib.axes import Axes

from loracast.report.figures.style import (
    Drawing,
    arm_handles,
    arm_styles,
    axis_label,
    columns_for,
    finish,
    panel_title,
    panels,
    provenance,
    sample_sizes,
)
from loracast.report.results import Arm, Results, interval_of, label_of, score, scored_signals

SLOT = 1.5
"""Decades of axis given to the arms that train nothing."""


def draw(results: Results) -> Drawing | None:
    """MAE with its interval against the count of trained numbers, one panel a signal; None where nothing is scored."""
    summary = results.summary
    signals = scored_signals(summary)
    arms = [arm for arm in summary["arms"] if arm.get("trainable_parameters") is not None]
    if not signals or not arms:
        return None
    styles = arm_styles(summary)
    figure, grid = panels(len(signals), columns=columns_for(len(signals)), height=2.15)
    places, ticks, split = _places(arms)
    for axes, signal in zip(grid, signals, strict=True):
        for arm in arms:
            value, bounds = score(arm, signal, "mae"), interval_of(arm, signal, "mae")
            if value is None:
                continue
            style, place = styles[arm["arm"]], places[arm["arm"]]
            if bounds is not None:
                axes.plot([place, place], bounds, color=style.colour, lw=1.2, solid_capstyle="butt", zorder=2)
            axes.plot([place], [value], color=style.colour, marker=style.marker, ms=5, lw=0, mew=1.2, zorder=3)
        panel_title(axes, label_of(summary, signal), len(signals))
        axes.set_ylabel(axis_label(summary, signal, "MAE"))
        _axis(axes, ticks, split)
    handles, columns = arm_handles(styles, [arm["arm"] for arm in arms], lines=False)
    label = "trained numbers (logarithmic; 0 apart)"
    finish(figure, results, provenance(results), label=label, handles=handles, columns=columns)
    return Drawing(
        name="cost",
        title="Trained numbers against error",
        figure=figure,
        alt=f"Mean absolute error with 95 % intervals against the count of trained numbers for {len(arms)} arms, one "
        f"panel for each of {len(signals)} signals.",
        caption="Lower is better, further left is cheaper. Bars are 95 % intervals bootstrapped over patients: they "
        "tell how sure each level is; whether an arm differs from zero-shot is told by the paired differences. "
        "The shaded slot holds the arms that train nothing." + sample_sizes(summary, signals),
    )


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
