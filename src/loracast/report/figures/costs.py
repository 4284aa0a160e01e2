"""What each arm cost: time, memory, energy and the size of what must be kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loracast.report.arms import chosen
from loracast.report.figures.style import WIDTH, ArmStyle, Drawing, arm_styles, finish, provenance
from loracast.report.hardware import hardware_of
from loracast.report.readable import duration, energy, memory, moment, plural, size
from loracast.report.results import Arm, Results

MOST = 24
COLUMNS = 4
WIDE = 30.0
"""From this ratio of the largest to the smallest on, an axis is logarithmic."""


@dataclass(frozen=True)
class Measure:
    """A cost that a summary may hold: its key, its name, how it is written, and the scale to a number in `written`."""

    key: str
    name: str
    written: Callable[[float | None], str]
    scale: float = 1.0


MEASURES = (
    Measure("train_seconds", "training", duration),
    Measure("seconds_per_step", "a training step", moment),
    Measure("energy_joules", "energy of training", energy),
    Measure("peak_memory_bytes", "peak memory, process", memory),
    Measure("peak_gpu_memory_bytes", "peak memory, GPU", memory),
    Measure("adapter_bytes", "what is saved", size),
    Measure("forecast_milliseconds_per_window", "a window's forecast", moment, 1e-3),
    Measure("forecast_seconds", "all test forecasts", duration),
)
"""In the order of the panels; the whole of the forecasts is drawn only where the time of a window is not known."""


def draw(results: Results) -> Drawing | None:
    """A small panel of bars for each cost that any arm recorded; None where none did."""
    summary = results.summary
    arms, told = chosen(summary, MOST)
    measures = [m for m in MEASURES if any(cost(arm, m) for arm in arms)]
    if any(m.key == "forecast_milliseconds_per_window" for m in measures):
        measures = [m for m in measures if m.key != "forecast_seconds"]
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
        _panel(axes, arms, measures[place], styles, names=place % columns == 0)
    finish(figure, results, provenance(results))
    machines = hardware_of(results)
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


def cost(arm: Arm, measure: Measure) -> float | None:
    """A cost in the unit that `measure.written` takes, None where it is unknown or nothing."""
    value = arm.get(measure.key)
    return measure.scale * float(value) if value is not None and math.isfinite(value) and value > 0 else None


def _panel(axes: Axes, arms: list[Arm], measure: Measure, styles: dict[str, ArmStyle], *, names: bool) -> None:
    known = {place: value for place, arm in enumerate(arms) if (value := cost(arm, measure)) is not None}
    low, high = min(known.values()), max(known.values())
    wide = high / low > WIDE
    start = low / 2 if wide else 0.0
    for place, value in known.items():
        colour = styles[arms[place]["arm"]].colour
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
    axes.set_yticks(range(len(arms)), [arm["arm"] for arm in arms] if names else [""] * len(arms), fontsize=6)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="x", which="both", labelbottom=False, length=0)
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
