import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_committed_results():
    made = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    for page in made["PAGES"]:
        text = page.read_text(encoding="utf-8")
        assert "<!-- compact:" in text
        assert made["filled"](text) == text, f"{page.name} is stale: python docs/make_tables.py"


def test_the_python_example_is_under_ten_lines_and_runs(tmp_path, monkeypatch, capsys):
    example = re.search(r"<!-- example -->\n```python\n(.*?)```", README, re.DOTALL)[1]
    assert len([line for line in example.splitlines() if line.strip()]) < 10
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "chronos-t5-nano zero-shot" in printed
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_file_that_the_readme_links_to_exists(path):
    assert (ROOT / path).exists()


def test_every_figure_of_the_study_is_there_and_none_besides():
    text = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\]\(figures/([^)]+)\)", text))
    assert shown == {path.name for path in (ROOT / "docs" / "figures").iterdir()}
