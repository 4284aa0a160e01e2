"""The house rules that a machine can see."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "loracast"
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES, MOST_LINES_A_FUNCTION, MOST_POSITIONAL = 400, 80, 6
named = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


@named
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


@named
def test_a_function_fits_a_screen(path):
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(path)}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES_A_FUNCTION} == {}


@named
def test_a_function_takes_few_things_by_position(path):
    wide = [f.name for f in functions(path) if len(f.args.args + f.args.posonlyargs) > MOST_POSITIONAL]
    # A command's options stand in its signature: that is how typer reads them.
    assert path.parent.name == "cli" or wide == []


@named
def test_a_room_says_what_it_is_for(path):
    assert not path.read_text().strip() or ast.get_docstring(ast.parse(path.read_text()))


@named
def test_nothing_is_unpickled(path):
    assert not re.search(r"\btorch\.load\(|\bpickle\b|allow_pickle=True|\bjoblib\b", path.read_text())


@named
def test_nothing_is_promised_for_later(path):
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text())


def test_no_file_is_called_after_nothing():
    assert not {"utils", "util", "helpers", "common", "misc", "manager"} & {path.stem for path in FILES}
