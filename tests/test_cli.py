import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REAL = ROOT / ".." / "shared" / "data" / "mimic-iii-demo"
CLI = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))
LORA = {"tiny": 49_152, "mini": 86_016, "small": 147_456, "base": 442_368, "large": 1_179_648}


def call(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "loracast", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_the_page_of_commands_is_fresh():
    assert CLI["PAGE"].read_text(encoding="utf-8") == CLI["page"](), "run python docs/make_cli.py"


@pytest.mark.parametrize("words", CLI["commands"](), ids=" ".join)
def test_every_command_shows_an_example(words):
    assert f"Example: loracast {' '.join(words)}" in CLI["page"]()


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


BAD = {
    "no such folder": (["data", "mimic3", "nowhere", "--out", "v.parquet"], "nowhere"),
    "folder without tables": (["data", "mimic3", ".", "--out", "v.parquet"], "PATIENTS"),
    "unknown signal": (["data", "mimic3", ".", "--out", "v.parquet", "--signals", "pulse"], "heart_rate"),
    "unknown cohort": (["data", "mimic3", ".", "--out", "v.parquet", "--cohort", "angus"], "explicit"),
    "a grid that does not divide a day": (["data", "mimic3", ".", "--out", "v.parquet", "--grid", "7h"], "7h"),
    "no such table": (["adapt", "none.parquet", "--out", "a"], "none.parquet"),
    "a text file as a table": (["evaluate", "text.parquet"], "text.parquet"),
    "no such experiment": (["run", "none.toml"], "none.toml"),
    "a misspelt key": (["run", "misspelt.toml", "--out", "r"], "sedes"),
    "broken TOML": (["run", "broken.toml", "--out", "r"], "TOML"),
    "an empty results folder": (["report", "."], "summary.json"),
    "an unknown backbone": (["params", "--backbone", "chronos-9"], "chronos-t5-tiny"),
    "an unknown method": (["params", "--backbone", "chronos-t5-tiny", "--method", "lore"], "zero-shot"),
    "rank 0": (["params", "--backbone", "chronos-t5-tiny", "--rank", "0"], "rank"),
    "an unknown recipe": (["pretrain", "giant", "--out", "n"], "chronos-t5-nano"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_named_and_nothing_is_left_behind(case, tmp_path):
    write(tmp_path / "text.parquet", "not a table")
    write(tmp_path / "broken.toml", "name = ")
    write(tmp_path / "misspelt.toml", 'name = "x"\nsedes = [0]\n[data]\nsource = "simulate"\n')
    before = sorted(tmp_path.rglob("*"))
    arguments, said = BAD[case]
    result = call(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("size", LORA)
def test_params_counts_the_paper_s_recipe_offline(size, tmp_path):
    if size not in ("tiny", "base"):
        pytest.skip("counted in tests/backbones/test_table.py; two sizes are enough for the command")
    result = call("params", "--backbone", f"amazon/chronos-t5-{size}", "--method", "lora", "--json", cwd=tmp_path)
    found = json.loads(result.stdout)
    assert found["trainable_parameters"] == LORA[size]
    assert found["backbone"] == f"chronos-t5-{size}"


def test_simulated_tables_are_read_and_the_counts_are_json_on_stdout(tmp_path):
    assert call("data", "simulate", "--patients", "12", "--out", "tables", cwd=tmp_path).returncode == 0
    result = call("data", "mimic3", "tables", "--grid", "5min", "--out", "v.parquet", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["table"]["signals"]["heart_rate"]["observed"] > 0
    assert (tmp_path / "v.attrition.json").is_file()


@pytest.mark.skipif(not REAL.is_dir(), reason="the open MIMIC-III demo is not beside the checkout")
@pytest.mark.parametrize(("cohort", "cells"), [("all", 12_739), ("explicit", 3_885)])
def test_the_mimic_iii_demo_gives_the_counted_cells(cohort, cells, tmp_path):
    arguments = ["--cohort", cohort, "--grid", "60min", "--out", "v.parquet", "--json"]
    result = call("data", "mimic3", REAL.resolve(), *arguments, cwd=tmp_path)
    assert json.loads(result.stdout)["table"]["signals"]["heart_rate"]["observed"] == cells
