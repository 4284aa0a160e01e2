"""The house rules that a machine can see."""

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "loracast"
FILES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
ROOMS = [
    *("errors", "files", "spec", "types"),
    *("scoring", "data", "models", "tuning", "training", "study", "report", "doorway", "cli"),
]
"""Each imports only from those before it."""
WITHOUT_TORCH = ("scoring", "data")


def imported(tree: ast.AST) -> set[str]:
    """Every module that a file imports, whether at its top or within a function."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "loracast" and parts[1] in ROOMS else ""


def told(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_imports_go_one_way():
    wrong = [
        f"{told(path)} imports {module}"
        for path, tree in FILES.items()
        if (own := path.relative_to(SOURCE).parts[0].removesuffix(".py")) in ROOMS
        for module in imported(tree)
        if room_of(module) and ROOMS.index(room_of(module)) > ROOMS.index(own)
    ]
    assert wrong == []


def test_data_and_scores_know_no_torch():
    wrong = [
        f"{told(path)} imports {module}"
        for path, tree in FILES.items()
        if path.relative_to(SOURCE).parts[0] in WITHOUT_TORCH
        for module in imported(tree)
        if module.split(".")[0] in ("torch", "transformers", "peft", "chronos")
    ]
    assert wrong == []


def test_no_two_files_import_each_other_at_their_top():
    names = {".".join(("loracast", *path.relative_to(SOURCE).with_suffix("").parts)): path for path in FILES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}

    def at_top(name: str, path: Path) -> set[str]:
        # Functions, and what stands under TYPE_CHECKING, are not carried out when a file is imported.
        run = [node for node in FILES[path].body if isinstance(node, ast.Import | ast.ImportFrom)]
        return {module for node in run for module in imported(node) if module in names} - {name, "loracast"}

    arrows = {name: at_top(name, path) for name, path in names.items()}
    done: set[str] = set()

    def circle(name: str, way: tuple[str, ...]) -> tuple[str, ...]:
        if name in way:
            return (*way[way.index(name) :], name)
        if name in done:
            return ()
        found = next((c for other in sorted(arrows[name]) if (c := circle(other, (*way, name)))), ())
        done.add(name)
        return found

    assert [found for name in names if (found := circle(name, ()))] == []


def test_the_top_floor_has_sixteen_entries_at_most():
    assert len([path for path in SOURCE.iterdir() if path.name != "__pycache__"]) <= 16


def test_files_and_functions_can_be_read_in_one_sitting():
    long = [told(path) for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    for path, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                places = len(node.args.args + node.args.posonlyargs)
                # A command's options stand in its signature: that is how typer reads them.
                if lines > 80 or (places > 6 and path.parent.name != "cli"):
                    long.append(f"{told(path)}:{node.name} has {lines} lines and {places} arguments by position")
    assert long == []


def test_every_file_says_what_it_is_for_and_nothing_is_promised_or_unpickled():
    wrong = []
    for path, tree in FILES.items():
        text = path.read_text(encoding="utf-8")
        if text.strip() and not ast.get_docstring(tree):
            wrong.append(f"{told(path)} has no docstring")
        if re.search(r"\b(TODO|FIXME|XXX)\b", text):
            wrong.append(f"{told(path)} promises something for later")
        if re.search(r"\btorch\.load\(|\bpickle\b|allow_pickle=True|\bjoblib\b", text):
            wrong.append(f"{told(path)} unpickles")
    wrong += [told(path) for path in FILES if path.stem in {"utils", "util", "helpers", "common", "misc", "manager"}]
    assert wrong == []
