"""Every figure of the report: drawn from a results folder, saved fit for a paper, and shown on a page."""

import html
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from loracast.files import written
from loracast.report.figures import costs, curves, differences, fans, flow, heatmap, pareto, ranks
from loracast.report.figures.style import PAPER, PHONE, RC, Drawing, Sheet
from loracast.report.results import Results
from loracast.study.summary import ArmSummary

FIGURES: tuple[Callable[[Results, Sheet], Drawing | None], ...] = (
    fans.draw,
    differences.draw_to_zero_shot,
    heatmap.draw,
    differences.draw_to_best,
    curves.draw_horizon,
    pareto.draw_front,
    ranks.draw,
    costs.draw,
    curves.draw_learning,
    flow.draw,
)
"""In the order of the page; each returns None where the folder holds nothing to draw."""

FORMS = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
"""As what a figure is saved, the first is what a page shows; and what is not said of it.

Without dates a report that is written again differs in nothing that a reader could see.
"""


@dataclass(frozen=True)
class Shown:
    """A figure as a page shows it: its SVG for a wide screen and for a narrow one, and the files beside the page."""

    name: str
    title: str
    alt: str
    caption: str
    wide: str
    narrow: str
    label: str = ""
    files: tuple[str, ...] = ()
    """Their paths from the page, the first where the figure leads; none where there are none."""


def shown(drawing: Drawing, wide: str, narrow: str, *, label: str = "", files: tuple[str, ...] = ()) -> Shown:
    """A drawing for a page, from the texts of its two SVG; `label` numbers it and `files` lie beside the page."""
    return Shown(
        drawing.name, drawing.title, drawing.alt, drawing.caption, _inline(wide, drawing, f"{drawing.name}-wide"),
        _inline(narrow, drawing, f"{drawing.name}-narrow"), label, files,
    )  # fmt: skip


def draw_figures(results: Results, sheet: Sheet = PAPER) -> tuple[Drawing, ...]:
    """Draw all figures for which the folder holds something."""
    with matplotlib.rc_context(RC):
        drawings = [draw(results, sheet) for draw in FIGURES]
    return tuple(drawing for drawing in drawings if drawing is not None)


def draw_arm_figures(results: Results, arm: ArmSummary) -> list[Shown]:
    """Learning curves and forecasts of one arm, as far as its runs recorded them."""
    found = []
    with matplotlib.rc_context(RC):
        for draw in (curves.draw_learning_of, fans.draw_of):
            wide, narrow = draw(results, arm), draw(results, arm, PHONE)
            if wide is not None and narrow is not None:
                found.append(shown(wide, _quickly(wide), _quickly(narrow)))
    return found


def save_figure(drawing: Drawing, folder: Path) -> str:
    """Save a drawing as `folder/NAME.{svg,pdf,png}` (vector with its fonts, 300 dpi) and return the SVG text."""
    text = ""
    with matplotlib.rc_context(RC):
        _lay_out(drawing.figure)
        for form, metadata in FORMS.items():
            buffer = io.BytesIO()
            told = metadata | {"Title": drawing.title}
            drawing.figure.savefig(buffer, format=form, dpi=300, metadata=told)
            with written(folder / f"{drawing.name}.{form}", overwrite=True) as temporary:
                temporary.write_bytes(buffer.getvalue())
            if form == "svg":
                text = buffer.getvalue().decode()
    return text


def vector(drawing: Drawing) -> str:
    """The SVG text of a drawing that is saved nowhere, laid out as `save_figure` does."""
    with matplotlib.rc_context(RC):
        _lay_out(drawing.figure)
        return _svg(drawing.figure)


def _lay_out(figure: Figure) -> None:
    """Find the place of every panel, once and not again for each format."""
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
    for axes in figure.axes:
        # The solver's last digits change from call to call; what is written again shall be the same to the byte.
        axes.set_position(tuple(round(edge, 6) for edge in axes.get_position().bounds))


def _quickly(drawing: Drawing) -> str:
    """The SVG text with margins by hand: to find them for each of many figures takes as long as to draw them."""
    figure = drawing.figure
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        width, height = figure.get_size_inches()
        _, bottom, _, room = engine.get()["rect"]
        figure.set_layout_engine(None)
        low, high = bottom + 0.22 / height, bottom + room - 0.24 / height
        figure.subplots_adjust(left=0.7 / width, right=1 - 0.1 / width, bottom=low, top=high, wspace=0.22, hspace=0.42)
    with matplotlib.rc_context(RC):
        return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=FORMS["svg"])
    return buffer.getvalue().decode()


COLOUR = re.compile(r"#([0-9a-f]{6})\b")


def _inline(text: str, drawing: Drawing, name: str) -> str:
    """An SVG as a part of a page: its own ids, a title and words for those who cannot see it, colours by variables."""
    inner = text[text.index("<svg") :].split(">", 1)[1].rsplit("</svg>", 1)[0]
    inner = re.sub(r"<(metadata|title|style)\b.*?</\1>", "", inner, flags=re.DOTALL)
    inner = re.sub(r"<defs>\s*</defs>\s*", "", inner)
    inner = re.sub(r'\bid="', f'id="{name}-', inner)
    inner = re.sub(r'(url\(|xlink:href=")#', rf"\1#{name}-", inner)
    inner = inner.replace("xlink:href", "href")
    # Colours stand in styles alone, and names of arms in texts alone: these may hold the like of a colour.
    inner = re.sub(r'style="[^"]*"', lambda found: COLOUR.sub(r"var(--c\1, #\1)", found[0]), inner)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert box is not None  # every SVG of matplotlib has one
    width, height = (round(float(side) * 96 / 72) for side in box.groups())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="{box[0][9:-1]}" width="{width}" '
        f'height="{height}" aria-labelledby="{name}-title {name}-words"><title id="{name}-title">'
        f'{html.escape(drawing.title)}</title><desc id="{name}-words">{html.escape(drawing.alt)}</desc>{inner}</svg>'
    )


def dark_colours(figures: Iterable[Shown]) -> dict[str, str]:
    """For every colour `rrggbb` in some figures, the one that stands for it on a dark page."""
    found = {colour for one in figures for text in (one.wide, one.narrow) for colour in COLOUR.findall(text)}
    return {colour: _dark(colour) for colour in sorted(found | {"000000"})}


def _dark(colour: str) -> str:
    """A colour `rrggbb` of the same hue with its lightness turned over: white as a dark page, black nearly white."""
    import colorsys

    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4))
    hue, light, full = colorsys.rgb_to_hls(red, green, blue)
    turned = colorsys.hls_to_rgb(hue, 0.09 + 0.84 * (1 - light), 0.85 * full)
    return "#" + "".join(f"{round(255 * part):02x}" for part in turned)
