"""Curves: the error over the horizon, and what training did and which step was kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from loracast.report.figures.style import (
    DASHES,
    PAPER,
    Drawing,
    Sheet,
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
from loracast.report.readable import plural
from loracast.report.results import MANY, Results, chosen, label_of, only, scored_signals
from loracast.study.summary import ArmSummary, Learning, Summary

MOST = 8
"""Lines a panel where arms are many: they lie close together."""


def draw_horizon(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """MAE of every arm at every step of the horizon, one panel a signal; None where no arm recorded it."""
    summary = results.summary
    signals = [name for name in scored_signals(summary) if any(len(_by_step(arm, name)) for arm in summary.arms)]
    if not signals:
        return None
    figure, grid = panels(len(signals), sheet, columns=columns_for(len(signals), sheet), height=2.0)
    styles, drawn = arm_styles(summary), dict[str, None]()
    arms, told = chosen(summary, MANY if len(summary.arms) <= MANY else MOST)
    scale, unit = _unit(summary)
    for axes, signal in zip(grid, signals, strict=True):
        for place, arm in enumerate(arms):
            errors = _by_step(arm, signal)
            if not len(errors):
                continue
            style = styles[arm.arm]
            drawn[arm.arm] = None
            every = max(1, len(errors) // 5)
            marked = (place * every // len(arms), every)
            times = np.arange(1, len(errors) + 1) * scale
            axes.plot(times, errors, color=style.colour, ls=style.dash, marker=style.marker, markevery=marked, ms=3.4)
        panel_title(axes, label_of(summary, signal), len(signals), sheet)
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


def _by_step(arm: ArmSummary, signal: str) -> np.ndarray:
    """The MAE of each step, shape (horizon,), NaN where a step has none; empty where none was recorded."""
    recorded = arm.scores[signal].by_step if signal in arm.scores else {}
    return np.array(recorded.get("mae", ()), dtype=float)


def _unit(summary: Summary) -> tuple[float, str]:
    """How long a step is in the unit of the axis, and that unit."""
    step = summary.windows.step_seconds
    return (step / 60, "min") if step * summary.windows.horizon <= 7200 else (step / 3600, "hours")


Recorded = dict[str, list[tuple[int, Learning]]]
"""Arm to its seeds with their curves."""


def draw_learning(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """Training and validation loss of the trained arms with all their seeds; None where nothing was recorded."""
    summary = results.summary
    found = {arm.arm: _recorded(results, arm.arm) for arm in summary.arms}
    found = {name: curves for name, curves in found.items() if curves}
    if not found:
        return None
    told = ""
    if len(found) > MANY:
        recorded = [arm for arm in summary.arms if arm.arm in found]
        arms, _ = chosen(only(summary, recorded))
        told = (
            f" {len(arms)} of {len(found)} trained arms, as far as there is room: the best network from scratch, of "
            "each backbone the best adapted arm and full fine-tuning, then the lowest errors; the others are on their "
            "arms' pages."
        )
        found = {arm.arm: found[arm.arm] for arm in arms}
    return _drawing(results, found, told, sheet)


def draw_learning_of(results: Results, arm: ArmSummary, sheet: Sheet = PAPER) -> Drawing | None:
    """The learning curves of all seeds of one arm; None where none was recorded."""
    found = _recorded(results, arm.arm)
    return _drawing(results, {arm.arm: found}, "", sheet) if found else None


def _drawing(results: Results, found: Recorded, told: str, sheet: Sheet) -> Drawing:
    summary = results.summary
    arms = [arm for arm in summary.arms if arm.arm in found]
    one_scale = len({arm.model for arm in arms}) == 1
    columns = columns_for(len(found), sheet)
    figure, grid = panels(len(found), sheet, columns=columns, height=2.15, sharey=one_scale)
    styles = arm_styles(summary)
    for axes, (name, curves) in zip(grid, found.items(), strict=True):
        for place, (_, learning) in enumerate(curves):
            draw_curves(axes, learning, styles[name].colour, DASHES[place % len(DASHES)])
        panel_title(axes, name, len(found), sheet)
    for axes in grid[::columns]:
        axes.set_ylabel("loss")
    handles = handles_of([seed for seed, _ in max(found.values(), key=len)])
    finish(figure, results, provenance(results), label="training step", handles=handles, columns=min(len(handles), 7))
    patients, windows = summary.data.patients, summary.windows.counts
    sizes = ", ".join(
        f"{part}: {plural(patients[part], 'patient')}, {plural(windows[part], 'window')}"
        for part in ("train", "validation")
        if part in patients and part in windows
    )
    return Drawing(
        name="learning",
        title="Learning curves",
        figure=figure,
        alt=f"Training and validation loss against training step for {plural(len(found), 'trained arm')}, one line a "
        "seed, with the kept step marked.",
        caption="Pale: training loss. Strong: validation loss, scored before the first step as well (step 0, open "
        f"circle). Star: the step that was kept; at step 0 training did not help and {_start(arms)} were kept."
        + told
        + (f" {sizes[0].upper()}{sizes[1:]}." if sizes else ""),
    )


def _start(arms: Sequence[ArmSummary]) -> str:
    """What stands at step 0 of networks of which some, all or none are from scratch."""
    names = {False: "the pretrained weights", True: "the random weights that networks from scratch start with"}
    return " or ".join(names[scratch] for scratch in sorted({arm.kind == "network" for arm in arms}))


def _recorded(results: Results, arm: str) -> list[tuple[int, Learning]]:
    """The seeds of an arm with their curves, those that have any."""
    return [
        (run.result.seed, run.learning)
        for run in results.runs_of(arm)
        if run.learning is not None and (run.learning.validation or run.learning.train)
    ]


def _points(recorded: Sequence[dict[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses, each of shape (point,)."""
    return tuple(np.array([point[key] for point in recorded], dtype=float) for key in ("step", "loss"))  # type: ignore[return-value]


def draw_curves(axes: Axes, learning: Learning, colour: str, dash: Any) -> None:
    """Draw the losses of one training, with step 0 and the step that was kept."""
    axes.plot(*_points(learning.train), color=colour, ls=dash, lw=0.9, alpha=0.35, zorder=2)
    steps, losses = _points(learning.validation)
    axes.plot(steps, losses, color=colour, ls=dash, marker=".", ms=3.5, zorder=3)
    start = steps == 0
    axes.plot(steps[start], losses[start], color=colour, lw=0, marker="o", ms=5, mfc="white", mew=1.1, zorder=4)
    kept = steps == learning.best_step
    axes.plot(steps[kept], losses[kept], color=colour, lw=0, marker="*", ms=10, mec="white", mew=0.6, zorder=5)


def handles_of(seeds: Sequence[int]) -> list[Line2D]:
    """The legend of learning curves."""
    grey = "#333333"
    handles = [
        Line2D([], [], color=grey, alpha=0.35, lw=0.9, label="training"),
        Line2D([], [], color=grey, marker=".", ms=3.5, label="validation"),
        Line2D([], [], color=grey, lw=0, marker="o", ms=5, mfc="white", label="step 0"),
        Line2D([], [], color=grey, lw=0, marker="*", ms=9, mec="white", label="kept step"),
    ]
    if len(seeds) > 1:
        handles += [
            Line2D([], [], color=grey, ls=DASHES[place % len(DASHES)], label=f"seed {seed}")
            for place, seed in enumerate(seeds)
        ]
    return handles
