"""A package that brings a model, a method and a reader: they work everywhere, in worker processes too."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from loracast.study.summary import Summary, read_facts
from tests.processes import child

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


COMMANDS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from loracast.cli import main
from loracast.report import arm_page, figures

figures.FIGURES = ()  # whom the figures show is the report's affair
arm_page.draw_arm_figures = lambda results, arm: []
for words in map(json.loads, sys.argv[2:]):
    try:
        main(words)
    except SystemExit as end:
        if end.code:
            raise
    print("=== end ===")
"""


def loracast(installed: Path, folder: Path, *commands: str) -> list[str]:
    """What each command prints, with the package on the path of one process and of those that it starts."""
    words = [json.dumps(command.split()) for command in commands]
    with child(COMMANDS, installed, *words, cwd=folder, said=folder / "said", PYTHONPATH=str(installed)) as one:
        assert one.ended() == 0, one.said()[-3000:]
        return one.said("stdout").split("=== end ===\n")[:-1]


def test_two_processes_run_a_strangers_reader_model_and_method(installed, tiny, tmp_path):
    (tmp_path / "plugin.toml").write_text(EXPERIMENT.replace("TINY", str(tiny)))
    [said] = loracast(installed, tmp_path, "run plugin.toml --out out --jobs 2")
    assert "norm-scales" in said
    summary = read_facts(Summary, tmp_path / "out" / "summary.json")
    arms = {arm.arm: arm for arm in summary.arms}
    assert list(arms)[3:] == ["drift", "tiny-t5 zero-shot", "tiny-t5 norm-scales layers=3"]
    assert (arms["drift"].kind, arms["drift"].method) == ("naive", "as-is")
    assert arms["tiny-t5 norm-scales layers=3"].trainable_parameters == 3 * 16
    assert arms["tiny-t5 norm-scales layers=3"].seeds == [0, 1]
    assert summary.data.source == "walks"


def test_the_commands_know_them_too(installed, tmp_path):
    told, read, counted = loracast(
        installed, tmp_path, "data walks --help", "data walks --out walks.parquet --json",
        "params --backbone chronos-t5-nano --method norm-scales --set layers=1 --json",
    )  # fmt: skip
    assert "--patients" in told
    assert json.loads(read)["table"]["signals"]["heart_rate"]["observed"] == 20 * 60
    assert json.loads(counted)["trainable_parameters"] == 128
