"""The forest of differences: is an arm better than zero-shot on the same windows?"""

from matplotlib.axes import Axes

from loracast.report.arms import by_error
from loracast.report.figures.style import (
    ArmStyle,
    Drawing,
    arm_styles,
    columns_for,
    finish,
    panel_title,
    panels,
    provenance,
    sample_sizes,
)
from loracast.report.results import Difference, Results, difference_of, is_baseline, label_of, scored_signals, unit_of

MOST = 36
"""Arms at most: beyond, the figure no longer fits a page."""
ROOMY = 12


def draw(results: Results) -> Drawing | None:
    """Paired differences in MAE to zero-shot with 95 % intervals; None where nothing was compared.

    The naive floor is left to the table where there is a model to show: its differences would dwarf the models'.
    """
    summary = results.summary
    found = {signal: _differences(results, signal) for signal in scored_signals(summary)}
    compared = [arm for arm in summary["arms"] if any(arm["arm"] in rows for rows in found.values())]
    names = [arm["arm"] for arm in compared if not is_baseline(arm)] or [arm["arm"] for arm in compared]
    names, left_out = _lowest(results, names)
    found = {signal: rows for signal, rows in found.items() if any(name in rows for name in names)}
    if not found:
        return None
    styles = arm_styles(summary)
    columns = columns_for(len(found))
    figure, grid = panels(
        len(found), columns=columns, height=0.72 + (0.26 if len(names) <= ROOMY else 0.165) * len(names)
    )
    for place, (axes, (signal, rows)) in enumerate(zip(grid, found.items(), strict=True)):
        _panel(axes, names, rows, styles)
        panel_title(axes, label_of(summary, signal), len(found))
        axes.set_xlabel(unit_of(summary, signal))
        if place % columns:
            axes.tick_params(labelleft=False)
    label = "MAE − MAE of zero-shot on the same windows; left of 0 is better than zero-shot"
    finish(figure, results, provenance(results), label=label)
    return Drawing(
        name="forest",
        title="Difference to zero-shot",
        figure=figure,
        alt=f"Forest plot of the paired difference in mean absolute error to zero-shot for {len(names)} arms on "
        f"{len(found)} signals, with 95 % intervals and a line at zero.",
        caption="Paired on the same windows, 95 % intervals bootstrapped over patients. Filled: the interval excludes "
        "zero; open: no difference is shown."
        + (f" The {len(names)} arms with the lowest errors; {left_out} more are in the tables." if left_out else "")
        + sample_sizes(summary, list(found)),
    )


def _lowest(results: Results, names: list[str]) -> tuple[list[str], int]:
    """The names of the `MOST` arms with the lowest relative errors, in their order, and how many were left out."""
    arms = [arm for arm in results.summary["arms"] if arm["arm"] in names]
    kept = {arm["arm"] for arm in by_error(results.summary, arms)[:MOST]}
    return [name for name in names if name in kept], len(names) - len(kept)


def _differences(results: Results, signal: str) -> dict[str, Difference]:
    rows = {}
    for arm in results.summary["arms"]:
        difference = difference_of(arm, signal)
        if difference is not None and difference.value is not None:
            rows[arm["arm"]] = difference
    return rows


def _panel(axes: Axes, names: list[str], rows: dict[str, Difference], styles: dict[str, ArmStyle]) -> None:
    axes.axvline(0, color="#333333", lw=0.9, zorder=1)
    for place, name in enumerate(names):
        row, colour = rows.get(name), styles[name].colour
        if row is None or row.value is None:
            continue
        if row.bounds is not None:
            axes.plot(row.bounds, [place, place], color=colour, lw=1.5, solid_capstyle="butt", zorder=2)
        shown = row.verdict in ("better", "worse")
        axes.plot(
            [row.value], [place], color=colour, marker="o", ms=5 if len(names) <= ROOMY else 4,
            mfc=colour if shown else "white", mew=1.2, zorder=3,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=7.5 if len(names) <= ROOMY else 6.2)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    reach = max(abs(edge) for edge in axes.get_xlim())
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.08 * reach), max(high, 0.08 * reach))
    axes.locator_params(axis="x", nbins=5)
