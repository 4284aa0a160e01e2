"""What the figures of a large study and of a rank sweep show, for a page and for a phone."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from loracast.report.figures import costs, curves, differences, flow, heatmap, pareto, ranks, save_figure, vector
from loracast.report.figures.style import PAPER, PHONE, RC, Sheet
from loracast.report.frames import signals_in
from loracast.report.results import Results, read_results
from tests.report.study import RANKS, TWO, study_summary, sweep
from tests.report.test_study import labels_of


@pytest.fixture(scope="module")
def study() -> Results:
    return Results(study_summary(), None)


def test_ranks_are_paired_differences_to_the_best_and_filled_where_they_are_within_the_margin() -> None:
    made, found = sweep()
    drawing = ranks.draw(Results(made.summary, None, (), found))
    axes = drawing.figure.axes[1]
    rows = [row for row in found.rows if row.signal == signals_in(found)[1]]
    lowest = min(row.validation.value for row in rows)
    points = {
        float(line.get_xdata()[0]): line for line in axes.lines if line.get_marker() == "o" and line.get_zorder() == 4
    }
    assert len(points) == len(RANKS)
    for row in rows:
        point = points[math.log2(row.rank)]
        assert point.get_ydata()[0] == pytest.approx(100 * row.difference.value / lowest)
        assert (point.get_markerfacecolor() != "white") == row.enough
    assert {row.enough for row in rows} == {True, False}
    levels = [line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    assert levels == [0, 100 * found.margin]


@pytest.mark.parametrize("sheet", [PAPER, PHONE])
def test_the_front_alone_is_named_beside_its_points(study: Results, sheet: Sheet) -> None:
    drawing = pareto.draw_front(study, sheet)
    assert drawing is not None
    for axes, signal in zip(drawing.figure.axes, TWO, strict=True):
        names = [text.get_text() for text in axes.texts]
        assert names == pareto.front(study.summary.arms, signal)
        levels = [text.xy[1] for text in axes.texts]
        assert levels == sorted(levels)  # no two in one line
        assert len(set(levels)) == len(levels)
    [legend] = drawing.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Pareto front", "other arms"]


def test_no_bar_stands_on_a_logarithmic_axis_and_an_arm_without_a_cost_has_no_line(study: Results) -> None:
    with matplotlib.rc_context(RC):
        drawing = costs.draw(study)
    scales = {axes.get_xscale() for axes in drawing.figure.axes}
    assert scales == {"linear", "log"}
    for axes in drawing.figure.axes:
        assert (len(axes.patches) > 0) == (axes.get_xscale() == "linear")
        assert len(axes.patches) + len(axes.lines) == len(labels_of(axes)) > 0
    [training] = [axes for axes in drawing.figure.axes if axes.get_title(loc="left").startswith("training")]
    assert all(study.summary.arm(name).trains for name in labels_of(training))


@pytest.mark.parametrize("draw", [heatmap.draw, curves.draw_horizon, costs.draw, pareto.draw_front, flow.draw])
def test_a_phone_has_one_panel_a_row(study: Results, draw: Any) -> None:
    drawing = draw(study, PHONE)
    assert drawing.figure.get_size_inches()[0] == PHONE.width
    vector(drawing)
    lefts = [axes.get_position().x0 for axes in drawing.figure.axes]
    assert max(lefts) < 0.5
    tops = [axes.get_position().y1 for axes in drawing.figure.axes]
    assert len(set(tops)) == len(tops)


@pytest.mark.parametrize("draw", [differences.draw_to_zero_shot, pareto.draw_front])
def test_a_figure_is_saved_as_three_files_fit_for_a_paper_the_same_to_the_byte_each_time(
    whole_folder: Path, tmp_path: Path, draw: Callable[..., Any]
) -> None:
    results = read_results(whole_folder)
    saved = []
    for place in ("first", "second"):
        with matplotlib.rc_context(RC):
            drawing = draw(results, PAPER)
        assert drawing is not None
        save_figure(drawing, tmp_path / place)
        saved.append({path.name: path.read_bytes() for path in (tmp_path / place).iterdir()})
    assert saved[0] == saved[1]
    assert set(saved[0]) == {f"{drawing.name}.{form}" for form in ("svg", "pdf", "png")}
    vector, portable, image = (saved[0][f"{drawing.name}.{form}"] for form in ("svg", "pdf", "png"))
    assert vector == (whole_folder / "figures" / f"{drawing.name}.svg").read_bytes()
    assert image.startswith(b"\x89PNG")
    assert int.from_bytes(image[16:20], "big") == 2100  # 7 in, a double column, at 300 dpi
    assert portable.startswith(b"%PDF")
    assert b"/Type3" not in portable
    assert b"CreationDate" not in portable
