"""A package that brings a model, a method and a reader: they work everywhere, in worker processes too."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from loracast.study.summary import Summary, read_facts

PLUGIN = Path(__file__).parent / "plugin"

EXPERIMENT = """
name = "with-a-plugin"
seeds = [0, 1]
baselines = ["drift"]
[data]
source = "walks"
patients = 15
[windows]
context = 24
horizon = 6
[split]
shares = [0.5, 0.2, 0.3]
[training]
steps = 4
evaluate_every = 2
[forecast]
samples = 2
[[arms]]
model = "TINY"
method = "zero-shot"
[[arms]]
model = "TINY"
method = "norm-scales"
layers = 3
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the package as an installer leaves it: its module, and its entry points."""
    folder = tmp_path_factory.mktemp("site-packages")
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copy(PLUGIN / "loracast_example.py", folder)
    facts = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {place}" for name, place in found.items()) for group, found in groups
    ]
    (facts / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def loracast(installed: Path, folder: Path, *arguments: str) -> str:
    """What a command prints, with the package on the path."""
    ended = subprocess.run(
        [sys.executable, "-m", "loracast", *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def test_two_processes_run_a_strangers_reader_model_and_method(installed, tiny, tmp_path):
    (tmp_path / "plugin.toml").write_text(EXPERIMENT.replace("TINY", str(tiny)))
    said = loracast(installed, tmp_path, "run", "plugin.toml", "--out", "out", "--jobs", "2")
    assert "norm-scales" in said
    summary = read_facts(Summary, tmp_path / "out" / "summary.json")
    arms = {arm.arm: arm for arm in summary.arms}
    assert list(arms)[3:] == ["drift", "tiny-t5 zero-shot", "tiny-t5 norm-scales layers=3"]
    assert (arms["drift"].kind, arms["drift"].method) == ("naive", "as-is")
    assert arms["tiny-t5 norm-scales layers=3"].trainable_parameters == 3 * 16
    assert arms["tiny-t5 norm-scales layers=3"].seeds == [0, 1]
    assert summary.data.source == "walks"


def test_the_commands_know_them_too(installed, tmp_path):
    assert "--patients" in loracast(installed, tmp_path, "data", "walks", "--help")
    read = json.loads(loracast(installed, tmp_path, "data", "walks", "--out", "walks.parquet", "--json"))
    assert read["table"]["signals"]["heart_rate"]["observed"] == 20 * 60
    counted = ["params", "--backbone", "chronos-t5-nano", "--method", "norm-scales", "--set", "layers=1", "--json"]
    assert json.loads(loracast(installed, tmp_path, *counted))["trainable_parameters"] == 128
