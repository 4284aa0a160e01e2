"""The notebook of the documentation runs as it stands, and leaves nothing in its cells but what it shows."""

from pathlib import Path

import nbformat
import pytest

FILE = Path(__file__).parents[2] / "docs" / "notebooks" / "first-steps.ipynb"
FASTER = """
from loracast.report import arm_page, figures
for form in ("pdf", "png"):
    del figures.FORMS[form]
figures.FIGURES = figures.FIGURES[1:2]
arm_page.draw_arm_figures = lambda results, arm: []
"""
BARS = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def committed() -> nbformat.NotebookNode:
    return nbformat.read(FILE, as_version=4)


@pytest.fixture(scope="module")
def run(committed: nbformat.NotebookNode, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook with its outputs, carried out in an empty folder, after a cell that has its report drawn faster."""
    from nbclient import NotebookClient

    notebook = nbformat.from_dict(committed)
    notebook.cells = [nbformat.v4.new_code_cell(FASTER), *notebook.cells]
    place = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    # The kernel finds loracast as this process does, and waits for no cell: how long one takes is the machine's affair.
    NotebookClient(notebook, timeout=None, kernel_name="python3", resources=place).execute()
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_it_is_committed_without_outputs(committed):
    assert outputs(committed) == []
    assert not any(cell.get("execution_count") for cell in committed.cells)


def test_it_leaves_no_bar_and_no_chatter(run):
    assert [output.text for output in outputs(run) if output.output_type == "stream" and output.name == "stderr"] == []
    assert not [output for output in outputs(run) if BARS in output.get("data", {})]


def test_objects_show_themselves_and_figures_are_drawn(run):
    shown = [output.data for output in outputs(run) if output.output_type == "execute_result"]
    for name in ("Table(", "Adapted(", "Result("):
        assert [data for data in shown if data["text/plain"].startswith(name) and "text/html" in data], name
    assert len([data for data in shown if "image/png" in data]) == 2
    assert max(len(data["text/plain"]) for data in shown) < 4000


def test_it_ends_in_a_verdict(run):
    tables = [output.data["text/plain"] for output in outputs(run) if output.output_type == "execute_result"]
    verdicts = [table for table in tables if "verdict" in table]
    assert len(verdicts) == 2
    assert all("better" in table or "worse" in table or "no difference shown" in table for table in verdicts)
