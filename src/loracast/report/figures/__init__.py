"""Every figure of the report: drawn from a results folder, and saved fit for a paper."""

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg

from loracast.files import written
from loracast.report.figures import costs, fans, flow, forest, heatmap, horizon, learning, paired, pareto, ranks
from loracast.report.figures.style import RC, Drawing
from loracast.report.results import Results

FIGURES: tuple[Callable[[Results], Drawing | None], ...] = (
    fans.draw,
    forest.draw,
    heatmap.draw,
    paired.draw,
    horizon.draw,
    pareto.draw,
    ranks.draw,
    costs.draw,
    learning.draw,
    flow.draw,
)
"""In the order of the page; each returns None where the folder holds nothing to draw."""

# No dates: a report that is written again differs in nothing that a reader could see.
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def draw_figures(results: Results) -> tuple[Drawing, ...]:
    """Draw all figures for which the folder holds something."""
    with matplotlib.rc_context(RC):
        drawings = [draw(results) for draw in FIGURES]
    return tuple(drawing for drawing in drawings if drawing is not None)


def save_figure(drawing: Drawing, folder: Path) -> str:
    """Save a drawing as `folder/NAME.{svg,pdf,png}` (vector with its fonts, 300 dpi) and return the SVG text."""
    FigureCanvasAgg(drawing.figure)
    vector = ""
    with matplotlib.rc_context(RC):
        drawing.figure.draw_without_rendering()
        drawing.figure.set_layout_engine("none")  # laid out once, not again for each format
        for form, metadata in METADATA.items():
            buffer = io.BytesIO()
            drawing.figure.savefig(buffer, format=form, dpi=300, metadata=metadata)
            with written(folder / f"{drawing.name}.{form}") as temporary:
                temporary.write_bytes(buffer.getvalue())
            if form == "svg":
                vector = buffer.getvalue().decode()
    return vector
