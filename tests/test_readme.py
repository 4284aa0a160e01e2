import re
import runpy
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_committed_results():
    made = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    for page in made["PAGES"]:
        text = page.read_text(encoding="utf-8")
        assert "<!-- end -->" in text
        assert made["filled"](text) == text, f"{page.name} is stale: python docs/make_tables.py"


def test_the_python_example_is_under_ten_lines_and_runs(tmp_path, monkeypatch, capsys):
    example = re.search(r"<!-- example -->\n```python\n(.*?)```", README, re.DOTALL)[1]
    assert len([line for line in example.splitlines() if line.strip()]) < 10
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "chronos-t5-nano lora r=2" in printed
    assert "best naive" in printed


def test_it_is_short_and_says_how_to_install_to_cite_and_where_the_open_data_are():
    assert len(README.splitlines()) < 120
    for told in ("pip install", "CITATION.cff", "physionet.org/content/mimiciii-demo", "make demo", "make test"):
        assert told in README


def test_the_extras_of_the_package_are_those_that_are_told():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "howto" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `loracast\[(\w+)\]` \|", page, re.MULTILINE)) == set(extras)
    assert all(f"`{extra}`" in README or f"[{extra}]" in README for extra in extras)
