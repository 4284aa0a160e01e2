"""Forecast fans: what the forecasts of single patients look like, zero-shot beside adapted."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from loracast.report.figures.style import PAPER, ArmStyle, Drawing, Sheet, arm_styles, finish, provenance
from loracast.report.readable import plural
from loracast.report.results import MANY, Results, Run, by_error, is_adapted, is_baseline, label_of, unit_of
from loracast.study.summary import ArmSummary, Example

KINDS = ("best", "typical", "worst")
COLUMNS = 4
"""At most this many fans a signal stand side by side."""
FEWEST = 100
"""Sample paths of which a fan is drawn at least: the edges of fewer are chance."""


def draw(results: Results, sheet: Sheet = PAPER) -> Drawing | None:
    """Fans of the windows that the shown arm recorded; None where no run recorded any of at least `FEWEST` paths.

    Zero-shot of the same backbone is laid over a fan where it recorded the very same window.
    """
    shown = _shown_arm(results)
    if shown is None:
        return None
    many = len(results.summary.arms) > MANY
    return _drawing(results, *shown, sheet, more=" Every arm's own forecasts are on its page." if many else "")


def draw_of(results: Results, arm: ArmSummary, sheet: Sheet = PAPER) -> Drawing | None:
    """The fans of one arm; None where none of its runs recorded any of at least `FEWEST` paths."""
    run = next((run for run in results.runs_of(arm.arm) if _drawable(run)), None)
    return None if run is None else _drawing(results, arm, run, sheet)


def left_out(results: Results) -> str:
    """Why no fan is drawn of runs that recorded some, as a sentence; empty where one is, or none was recorded."""
    paths = [run.result.samples for run in results.runs if run.examples and not _drawable(run)]
    if not paths or _shown_arm(results) is not None:
        return ""
    most = max(number or 0 for number in paths)
    return (
        f"No forecast is drawn: those of this folder come from {plural(most, 'sample path')} a window, and the edges "
        f"of a fan of fewer than {FEWEST} are chance (samples = {FEWEST} under [forecast])."
    )


def _drawable(run: Run) -> bool:
    """Whether a run recorded examples, of enough paths where its model draws them."""
    return bool(run.examples) and (run.result.samples is None or run.result.samples >= FEWEST)


def _drawing(results: Results, arm: ArmSummary, run: Run, sheet: Sheet, more: str = "") -> Drawing:
    rows = {signal: _examples(run, signal) for signal in results.summary.data.signals}
    rows = {signal: examples for signal, examples in rows.items() if examples}
    reference = _reference(results, arm)
    alone = sheet.most == 1
    columns = 1 if alone else max(len(examples) for examples in rows.values())
    lines = sum(map(len, rows.values())) if alone else len(rows)
    figure = Figure(figsize=(sheet.width, 1.55 * lines + 0.15), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    style, overlaid, above = arm_styles(results.summary)[arm.arm], False, 0
    for line, (signal, examples) in enumerate(rows.items()):
        label, unit = label_of(results.summary, signal), unit_of(results.summary, signal)
        own, above = grid[above:, 0] if alone else grid[line], above + len(examples)
        for axes, example in zip(own, examples, strict=False):
            twin = reference.get(_window(example))
            overlaid = overlaid or twin is not None
            fan(axes, example, style, twin)
            axes.set_title(f"{label}: {example.kind}" if alone else example.kind, color="#444444")
        for spare in [] if alone else own[len(examples) :]:
            spare.remove()
        own[0].set_ylabel(f"{label}\n({unit})" if unit else label)
    handles = handles_of(arm.arm, style, next(iter(rows.values()))[0], overlaid=overlaid)
    note = provenance(results, runs=f"forecasts of one run (seed {run.result.seed})")
    finish(figure, results, note, label="hours from the start of the forecast", handles=handles)
    kinds = ", ".join(kind for kind in KINDS if any(item.kind == kind for row in rows.values() for item in row))
    return Drawing(
        name="fans",
        title="What the forecasts look like",
        figure=figure,
        alt=f"Forecast fans of {arm.arm} for {len(rows)} signals ({kinds} test windows): observed values before and "
        "after the forecast start, with the median and the band of the forecast.",
        caption=f"Test windows of each signal with a low, the middle and the highest error ({kinds}; by the error of "
        f"one run, the same windows for every arm), as recorded by the run of {arm.arm} with seed {run.result.seed}. "
        "Gaps are cells without an observation."
        + more
        + (f" The band is made of {run.result.samples} sample paths." if run.result.samples else "")
        + (" Dashed: the median of zero-shot on the same window." if overlaid else ""),
    )


def _shown_arm(results: Results) -> tuple[ArmSummary, Run] | None:
    """The first LoRA arm with examples, or else any trained arm, zero-shot, and a baseline where there is no other.

    Of many arms the adapted one with the lowest error goes first: the first in the list would be shown by chance.
    """

    def rank(arm: ArmSummary) -> int:
        return 0 if arm.method == "lora" else 1 if arm.trains else 3 if is_baseline(arm) else 2

    arms = sorted(results.summary.arms, key=rank)
    if len(arms) > MANY:
        arms = [arm for arm in by_error(results.summary, arms) if is_adapted(arm)] + arms
    found = [(arm, run) for arm in arms for run in results.runs_of(arm.arm) if run.examples]
    alone = all(is_baseline(arm) for arm, _ in found)
    return next(((arm, run) for arm, run in found if _drawable(run) and (alone or not is_baseline(arm))), None)


def _reference(results: Results, shown: ArmSummary) -> dict[Any, Example]:
    """The windows that zero-shot of the same model recorded, by their content."""
    if shown.method == "zero-shot":
        return {}
    same = [arm for arm in results.summary.arms if arm.method == "zero-shot" and arm.model == shown.model]
    return {_window(item): item for arm in same[:1] for run in results.runs_of(arm.arm) for item in run.examples}


def _window(example: Example) -> tuple[Any, ...]:
    return example.signal, tuple(example.context), tuple(example.future)


def _examples(run: Run, signal: str) -> list[Example]:
    def order(example: Example) -> int:
        return KINDS.index(example.kind) if example.kind in KINDS else len(KINDS)

    return sorted((item for item in run.examples if item.signal == signal), key=order)[:COLUMNS]


def band_levels(levels: list[float]) -> tuple[int, int]:
    """Positions of the quantile levels next to 0.1 and 0.9, between which the band lies."""
    array = np.array(levels)
    return int(abs(array - 0.1).argmin()), int(abs(array - 0.9).argmin())


def fan(axes: Axes, example: Example, style: ArmStyle, twin: Example | None) -> None:
    """Draw one window with its forecast, and over it that of `twin`, zero-shot on the same window."""
    hours = example.step_seconds / 3600
    context, future = _floats(example.context), _floats(example.future)
    context = context[-max(4 * len(future), 24) :]
    before = hours * np.arange(1 - len(context), 1)
    after = hours * np.arange(1, len(future) + 1)
    quantiles, levels = np.array(example.quantiles), example.levels
    low, high = band_levels(levels)
    axes.fill_between(after, quantiles[:, low], quantiles[:, high], color=style.colour, alpha=0.25, lw=0, zorder=2)
    axes.plot(after, quantiles[:, levels.index(0.5)], color=style.colour, zorder=5)
    if twin is not None:
        median = np.array(twin.quantiles)[:, twin.levels.index(0.5)]
        axes.plot(after, median, color="#000000", ls=(0, (4, 1.5)), lw=1.0, zorder=4)
    dense = len(context) > 40
    axes.plot(before, context, color="#555555", lw=1.0, marker="." if not dense else "", ms=3.5, zorder=4)
    if dense:
        _lone_points(axes, before, context)
    axes.plot(after, future, color="#222222", lw=0.6, marker="o", ms=2.2, mfc="white", mew=0.7, zorder=6)
    axes.axvline(0, color="#777777", lw=0.7, zorder=1)
    axes.margins(x=0.02)


def _floats(values: list[float | None]) -> np.ndarray:
    """Values of shape (step,) with NaN where nothing was observed."""
    return np.array(values, dtype=float)


def _lone_points(axes: Axes, times: np.ndarray, values: np.ndarray) -> None:
    """Mark observed cells between two gaps: a line alone would not show them."""
    seen = np.concatenate([[False], np.isfinite(values), [False]])
    lone = seen[1:-1] & ~seen[:-2] & ~seen[2:]
    axes.plot(times[lone], values[lone], color="#555555", lw=0, marker=".", ms=3, zorder=4)


def handles_of(arm: str, style: ArmStyle, example: Example, *, overlaid: bool) -> list[Any]:
    """What the legend of a fan says; the band by the share that it should hold."""
    low, high = band_levels(example.levels)
    width = round(100 * (example.levels[high] - example.levels[low]))
    handles: list[Any] = [
        Line2D([], [], color="#555555", lw=1.0, label="observed before"),
        Line2D([], [], color="#222222", lw=0.6, marker="o", ms=2.6, mfc="white", mew=0.7, label="observed after"),
        Line2D([], [], color=style.colour, label=f"{arm}: median"),
        Patch(color=style.colour, alpha=0.25, lw=0, label=f"{arm}: {width} % band"),
    ]
    if overlaid:
        handles.append(Line2D([], [], color="#000000", ls=(0, (4, 1.5)), lw=1.0, label="zero-shot: median"))
    return handles
