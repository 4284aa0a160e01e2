"""Figures of one model alone: fans of its forecasts, and its learning curve, drawn as the report draws them."""

from typing import TYPE_CHECKING

import numpy as np

from loracast.data.schema import signal_named
from loracast.data.series import tails_of
from loracast.data.table import Table
from loracast.doorway.quiet import shown
from loracast.errors import ConfigError, DataError
from loracast.study.summary import Example, Learning
from loracast.tuning.card import TrainedCard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from loracast.study.steps.ahead import ForecastPlan

SCREEN = 110
"""Dots an inch of a figure in a notebook."""


def tails(table: Table, plan: "ForecastPlan", *, truth: bool, most: int) -> list[Example]:
    """The ends of the first series that are observed well enough, with their forecasts: `most` at most.

    With `truth` the last steps are what is forecast, and stand beside it. Raises DataError where there is none.
    """
    from loracast.study.steps.ahead import ahead, rows_of_tails

    if most < 1:
        raise ConfigError(f"most={most}: that many series are none. Ask for 1 at least.")
    held = plan.horizon if truth else 0
    found: list[Example] = []
    size = min(plan.settings.batch_size, most)  # what is not drawn need not be forecast
    for part in tails_of(table, plan.context + held, size, joint=plan.window.joint):
        context = part.context[:, : plan.context]
        quantiles = ahead(context, rows_of_tails(part, table.step_seconds, plan), plan)
        future = part.context[:, plan.context :] if truth else np.full((len(context), plan.horizon), np.nan)
        for row in np.flatnonzero(~np.isnan(quantiles).any(axis=(1, 2)))[: most - len(found)]:
            signal = part.series[int(row)].signal
            found.append(
                Example(
                    kind="",
                    signal=signal,
                    unit=signal_named(signal, table.units).unit,
                    step_seconds=table.step_seconds,
                    context=_numbers(context[row]),
                    future=_numbers(future[row]),
                    levels=list(plan.levels),
                    quantiles=np.asarray(quantiles[row], dtype=float).tolist(),
                    last_value=[],
                )
            )
        if len(found) >= most:
            break
    if not found:
        raise DataError(
            f"No series has {plan.window.min_context_observed:.0%} of {plan.context} steps of context observed"
            + (f" before its last {held} steps" if held else "")
            + ". Give a shorter context, or truth=False."
        )
    return found


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def draw_fans(examples: list[Example], name: str, *, simulated: bool) -> "Figure":
    """A panel a series: what was observed before and after, the median of the forecast, and its band, labelled."""
    import matplotlib

    from loracast.report.figures import fans
    from loracast.report.figures.style import PALETTE, PAPER, RC, ArmStyle, columns_for, panel_title, panels
    from loracast.report.results import shown_unit

    style = ArmStyle(PALETTE[0], "o", "-")
    with matplotlib.rc_context({**RC, "figure.dpi": SCREEN}):
        columns = columns_for(len(examples), PAPER)
        figure, grid = panels(len(examples), PAPER, columns=columns, height=1.9)
        for number, (axes, example) in enumerate(zip(grid, examples, strict=True), start=1):
            fans.fan(axes, example, style, None)
            label = signal_named(example.signal, {example.signal: example.unit}).label
            panel_title(axes, f"{label}, series {number}", len(examples), PAPER)
            axes.set_ylabel(shown_unit(example.unit))
        for axes in grid[-columns:]:
            axes.set_xlabel("hours ahead")
        handles = fans.handles_of(name, style, examples[0], overlaid=False)
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        if simulated:
            figure.suptitle("SIMULATED DATA", fontsize=7, color="#9a4a00")
    return shown(figure)


def draw_losses(card: TrainedCard, name: str) -> "Figure":
    """The losses of the training and the validation patients by step, with the step that was kept.

    Raises ConfigError where the card holds none.
    """
    import matplotlib

    from loracast.report.figures import curves
    from loracast.report.figures.style import PALETTE, PAPER, RC, panels

    if card.losses is None:
        raise ConfigError(f"{name} was adapted by a version that kept no losses. Adapt again, or plot a forecast.")
    learning = Learning(
        train=card.losses.train, validation=card.losses.validation, best_step=card.best_step,
        steps=card.best_step, micro_batch=None, accumulation=1,
    )  # fmt: skip
    with matplotlib.rc_context({**RC, "figure.dpi": SCREEN}):
        figure, (axes,) = panels(1, PAPER, columns=1, height=2.6)
        curves.draw_curves(axes, learning, PALETTE[0], "-")
        axes.set_title(name)
        axes.set_xlabel("training step")
        axes.set_ylabel("loss")
        figure.legend(handles=curves.handles_of([card.seed]), loc="outside lower center", ncols=4)
    return shown(figure)
