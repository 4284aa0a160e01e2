"""Learning curves: what training did, and which step was kept."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from loracast.report.arms import MANY, chosen, is_scratch
from loracast.report.figures.style import (
    DASHES,
    Drawing,
    arm_styles,
    columns_for,
    finish,
    panel_title,
    panels,
    provenance,
)
from loracast.report.readable import plural
from loracast.report.results import Results, Run


def draw(results: Results) -> Drawing | None:
    """Training and validation loss of the trained arms with all their seeds; None where nothing was recorded."""
    summary = results.summary
    runs = {arm["arm"]: _recorded(results, arm["arm"]) for arm in summary["arms"]}
    runs = {arm: found for arm, found in runs.items() if found}
    if not runs:
        return None
    told = ""
    if len(runs) > MANY:
        arms, _ = chosen({**summary, "arms": [arm for arm in summary["arms"] if arm["arm"] in runs]})
        told = (
            f" {len(arms)} of {len(runs)} trained arms, as far as there is room: the best network from scratch, of "
            "each backbone the best adapted arm and full fine-tuning, then the lowest errors; the others are on their "
            "arms' pages."
        )
        runs = {arm["arm"]: runs[arm["arm"]] for arm in arms}
    return _drawing(results, runs, told)


def draw_arm(results: Results, arm: str) -> Drawing | None:
    """The learning curves of all seeds of one arm; None where none was recorded."""
    runs = _recorded(results, arm)
    return _drawing(results, {arm: runs}, "") if runs else None


def _drawing(results: Results, runs: dict[str, list[Run]], told: str) -> Drawing:
    summary = results.summary
    kinds = {is_scratch(arm) for arm in summary["arms"] if arm["arm"] in runs}
    backbones = {arm.get("backbone") for arm in summary["arms"] if arm["arm"] in runs}
    figure, grid = panels(len(runs), columns=columns_for(len(runs)), height=2.15, sharey=len(backbones) == 1)
    styles = arm_styles(summary)
    for axes, (arm, found) in zip(grid, runs.items(), strict=True):
        for place, run in enumerate(found):
            _curves(axes, run.learning or {}, styles[arm].colour, DASHES[place % len(DASHES)])
        panel_title(axes, arm, len(runs))
    for axes in grid[:: columns_for(len(runs))]:
        axes.set_ylabel("loss")
    handles = _handles([run.seed for run in max(runs.values(), key=len)])
    patients = (summary.get("data") or {}).get("patients") or {}
    windows = (summary.get("windows") or {}).get("counts") or {}
    finish(figure, results, provenance(results), label="training step", handles=handles, columns=min(len(handles), 7))
    sizes = ", ".join(
        f"{part}: {plural(patients[part], 'patient')}, {plural(windows[part], 'window')}"
        for part in ("train", "validation")
        if patients.get(part) is not None and windows.get(part) is not None
    )
    return Drawing(
        name="learning",
        title="Learning curves",
        figure=figure,
        alt=f"Training and validation loss against training step for {plural(len(runs), 'trained arm')}, one line a "
        "seed, with the kept step marked.",
        caption="Pale: training loss. Strong: validation loss, scored before the first step as well (step 0, open "
        f"circle). Star: the step that was kept; at step 0 training did not help and {_start(kinds)} were kept."
        + told
        + (f" {sizes[0].upper()}{sizes[1:]}." if sizes else ""),
    )


def _start(kinds: set[bool]) -> str:
    """What stands at step 0 of networks of which some, all or none are from scratch."""
    names = {False: "the pretrained weights", True: "the random weights that networks from scratch start with"}
    return " or ".join(names[kind] for kind in sorted(kinds))


def _recorded(results: Results, arm: str) -> list[Run]:
    return [
        run
        for run in results.runs_of(arm)
        if run.learning and (run.learning.get("validation") or run.learning.get("train"))
    ]


def _points(recorded: Any) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses, each of shape (point,); a null loss becomes a gap."""
    steps = np.array([point["step"] for point in recorded or ()], dtype=float)
    return steps, np.array(
        [np.nan if point["loss"] is None else point["loss"] for point in recorded or ()], dtype=float
    )


def _curves(axes: Axes, learning: dict[str, Any], colour: str, dash: Any) -> None:
    axes.plot(*_points(learning.get("train")), color=colour, ls=dash, lw=0.9, alpha=0.35, zorder=2)
    steps, losses = _points(learning.get("validation"))
    axes.plot(steps, losses, color=colour, ls=dash, marker=".", ms=3.5, zorder=3)
    start = steps == 0
    axes.plot(steps[start], losses[start], color=colour, lw=0, marker="o", ms=5, mfc="white", mew=1.1, zorder=4)
    best = learning.get("best_step")
    kept = steps == best if best is not None else np.zeros(len(steps), dtype=bool)
    axes.plot(steps[kept], losses[kept], color=colour, lw=0, marker="*", ms=10, mec="white", mew=0.6, zorder=5)


def _handles(seeds: list[int]) -> list[Line2D]:
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
