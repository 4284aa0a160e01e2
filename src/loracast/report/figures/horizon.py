"""Error over the horizon: how fast each arm loses sight."""

import numpy as np

from loracast.report.arms import MANY, chosen
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
from loracast.report.results import Results, by_step, label_of, scored_signals

MOST = 8
"""Lines a panel where arms are many: they lie close together."""


def draw(results: Results) -> Drawing | None:
    """MAE of every arm at every step of the horizon, one panel a signal; None where no arm recorded it."""
    summary = results.summary
    signals = [
        name
        for name in scored_signals(summary)
        if any(by_step(arm, name, "mae") is not None for arm in summary["arms"])
    ]
    if not signals:
        return None
    step = (summary.get("windows") or {}).get("step_seconds") or (summary.get("data") or {}).get("grid_seconds")
    figure, grid = panels(len(signals), columns=columns_for(len(signals)), height=2.0)
    styles, drawn = arm_styles(summary), dict[str, None]()
    arms, told = chosen(summary, MANY if len(summary["arms"]) <= MANY else MOST)
    steps = max(len(errors) for arm in summary["arms"] if (errors := by_step(arm, signals[0], "mae")) is not None)
    scale, unit = _unit(step, steps)
    for axes, signal in zip(grid, signals, strict=True):
        for place, arm in enumerate(arms):
            errors = by_step(arm, signal, "mae")
            if errors is None:
                continue
            style = styles[arm["arm"]]
            drawn[arm["arm"]] = None
            every = max(1, len(errors) // 5)
            marked = (place * every // len(arms), every)
            times = np.arange(1, len(errors) + 1) * scale
            axes.plot(times, errors, color=style.colour, ls=style.dash, marker=style.marker, markevery=marked, ms=3.4)
        panel_title(axes, label_of(summary, signal), len(signals))
        axes.set_ylabel(axis_label(summary, signal, "MAE"))
        if not told:
            axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
    handles, columns = arm_handles(styles, list(drawn))
    finish(figure, results, provenance(results), label=f"time ahead ({unit})", handles=handles, columns=columns)
    return Drawing(
        name="horizon",
        title="Error over the horizon",
        figure=figure,
        alt=f"Mean absolute error against time ahead for {len(drawn)} arms, one panel for each of {len(signals)} "
        "signals.",
        caption="Mean absolute error on observed test values, against the time ahead."
        + (told and f" The axes do not begin at 0.{told}")
        + sample_sizes(summary, signals),
    )


def _unit(step_seconds: float | None, steps: int) -> tuple[float, str]:
    """How long a step is in the unit of the axis, and that unit."""
    if not step_seconds:
        return 1, "steps"
    if step_seconds * steps <= 7200:
        return step_seconds / 60, "min"
    return step_seconds / 3600, "hours"
