"""Every figure of the report: drawn from a results folder, saved fit for a paper, and shown on a page."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg

from loracast.files import written
from loracast.report.figures import costs, curves, differences, fans, flow, heatmap, ranks
from loracast.report.figures.style import RC, Drawing
from loracast.report.results import Results
from loracast.study.summary import ArmSummary

FIGURES: tuple[Callable[[Results], Drawing | None], ...] = (
    fans.draw,
    differences.draw_to_zero_shot,
    heatmap.draw,
    differences.draw_to_best,
    curves.draw_horizon,
    costs.draw_front,
    ranks.draw,
    costs.draw,
    curves.draw_learning,
    flow.draw,
)
"""In the order of the page; each returns None where the folder holds nothing to draw."""

# No dates: a report that is written again differs in nothing that a reader could see.
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


@dataclass(frozen=True)
class Shown:
    """A figure as a page shows it: `data` is its SVG in base 64, sizes are in pixels; `head` puts the title above."""

    name: str
    title: str
    alt: str
    caption: str
    data: str
    width: int
    height: int
    label: str = ""
    file: str = ""
    head: bool = False


def shown(drawing: Drawing, vector: str, *, label: str = "", file: str = "", head: bool = False) -> Shown:
    """A drawing whose SVG text is `vector`, for a page; `label` numbers it and `file` says where else it lies."""
    width, height = (round(96 * inches) for inches in drawing.figure.get_size_inches())
    data = base64.b64encode(vector.encode()).decode()
    return Shown(drawing.name, drawing.title, drawing.alt, drawing.caption, data, width, height, label, file, head)


def draw_figures(results: Results) -> tuple[Drawing, ...]:
    """Draw all figures for which the folder holds something."""
    with matplotlib.rc_context(RC):
        drawings = [draw(results) for draw in FIGURES]
    return tuple(drawing for drawing in drawings if drawing is not None)


def draw_arm_figures(results: Results, arm: ArmSummary) -> list[Shown]:
    """Learning curves and forecasts of one arm, as far as its runs recorded them."""
    with matplotlib.rc_context(RC):
        drawings = [curves.draw_learning_of(results, arm), fans.draw_of(results, arm)]
        return [shown(drawing, _vector(drawing)) for drawing in drawings if drawing is not None]


def save_figure(drawing: Drawing, folder: Path) -> str:
    """Save a drawing as `folder/NAME.{svg,pdf,png}` (vector with its fonts, 300 dpi) and return the SVG text."""
    FigureCanvasAgg(drawing.figure)
    vector = ""
    with matplotlib.rc_context(RC):
        drawing.figure.draw_without_rendering()
        drawing.figure.set_layout_engine("none")  # laid out once, not again for each format
        for axes in drawing.figure.axes:
            # The solver's last digits change from call to call; what is written again shall be the same to the byte.
            axes.set_position(tuple(round(edge, 6) for edge in axes.get_position().bounds))
        for form, metadata in METADATA.items():
            buffer = io.BytesIO()
            drawing.figure.savefig(buffer, format=form, dpi=300, metadata=metadata)
            with written(folder / f"{drawing.name}.{form}", overwrite=True) as temporary:
                temporary.write_bytes(buffer.getvalue())
            if form == "svg":
                vector = buffer.getvalue().decode()
    return vector


def _vector(drawing: Drawing) -> str:
    """The SVG text of a drawing, with the letters as text: many pages hold many figures."""
    FigureCanvasAgg(drawing.figure)
    engine = drawing.figure.get_layout_engine()
    if engine is not None:
        # Margins by hand: to find them for each of many figures would take as long as to draw them.
        _, bottom, _, height = engine.get()["rect"]
        inch = 1 / drawing.figure.get_size_inches()[1]
        drawing.figure.set_layout_engine(None)
        low, high = bottom + 0.22 * inch, bottom + height - 0.24 * inch
        drawing.figure.subplots_adjust(left=0.1, right=0.985, bottom=low, top=high, wspace=0.22, hspace=0.4)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        drawing.figure.savefig(buffer, format="svg", metadata=METADATA["svg"])
    return buffer.getvalue().decode()
