"""Pages and schemas that are made from the code are those that the code makes; what the pages show runs."""

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest
import typer
import yaml

import loracast
from loracast.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def told(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_the_schemas_of_a_results_folder_are_fresh():
    made = runpy.run_path(str(DOCS / "make_schemas.py"))
    for name, text in made["schemas"]().items():
        assert (made["FOLDER"] / name).read_text(encoding="utf-8") == text, "run python docs/make_schemas.py"


@pytest.mark.parametrize("script", ["make_checks.py", "make_api.py"])
def test_the_pages_of_checks_and_of_public_names_are_fresh(script):
    made = runpy.run_path(str(DOCS / script))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), f"run python docs/{script}"


def test_the_gallery_shows_what_is_drawn_today():
    made = runpy.run_path(str(DOCS / "make_figures.py"))
    assert made["GALLERY"].read_text(encoding="utf-8") == made["gallery"](), "run python docs/make_figures.py"


def test_every_figure_is_shown_on_some_page_and_none_is_large():
    shown = {name for page in PAGES for name in re.findall(r"\]\((?:\.\./|docs/)?figures/([^)]+)\)", page.read_text())}
    assert shown == {path.name for path in (DOCS / "figures").iterdir()}
    assert max(path.stat().st_size for path in (DOCS / "figures").iterdir()) < 300_000


@pytest.mark.parametrize("page", PAGES, ids=told)
def test_every_file_that_a_page_links_to_exists(page):
    for path in set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))):
        assert (page.parent / path).exists(), f"{page.name} links to {path}"


def commands_of(page: Path) -> list[str]:
    """Every line of a block of shell that calls loracast."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.removeprefix("$ ").startswith("loracast ")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=told)
def test_every_command_of_a_page_is_one_with_options_that_it_has(page):
    for line in commands_of(page):
        command: click.Command = typer.main.get_command(app)
        words = shlex.split(line.removeprefix("$ "), comments=True)[1:]
        while words and words[0] in (inner := getattr(command, "commands", {})):
            command = inner[words.pop(0)]
        assert not getattr(command, "commands", {}), f"{page.name}: no such command: {line}"
        known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
        unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]
        assert not unknown, f"{page.name}: {line}"


def test_the_examples_of_the_tutorial_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"<!-- example -->\n```python\n(.*?)```", (DOCS / "tutorial.md").read_text(), re.DOTALL)
    here: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "tutorial.md", "exec"), here)
    assert len(blocks) > 4
    assert capsys.readouterr().out, "the answer is printed"
    assert (tmp_path / "adapter" / "README.md").is_file()
    assert list(here["ahead"].columns[:4]) == ["patient", "stay", "signal", "time"]  # type: ignore[attr-defined]


def test_how_to_cite_is_valid_and_of_this_version():
    """What the Citation File Format 1.2.0 requires, of the whole and of each reference."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["cff-version"], cited["version"]) == ("1.2.0", loracast.__version__)
    assert cited["license"] == "Apache-2.0"
    assert any("2405.10216" in one["url"] for one in cited["references"])
    for one in cited["references"]:
        assert {"type", "title", "authors"} <= set(one)
        assert all({"family-names", "given-names"} <= set(author) for author in one["authors"])
