"""README's own path, command by command: read, adapt, evaluate, forecast.

On the open MIMIC-III demo where it is at hand, whose septic patients are so few that a split by all of them left nobody
to test; on simulated tables everywhere.
"""

import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from loracast.cli import main
from loracast.data.simulator import simulate
from loracast.tuning.card import TrainedCard, read_card

ROOT = Path(__file__).parents[2]
DEMO = ROOT.parent / "shared" / "data" / "mimic-iii-demo"
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = {"data mimic3": "", "adapt": "--steps 2", "evaluate": "--samples 4", "forecast": "--samples 4"}
"""The commands of the path, in order, with what makes them quick."""


def command_of(verb: str, tables: Path) -> list[str]:
    """The first such command that README prints, in words, on the septic patients of these tables."""
    line = re.search(rf"^ *loracast ({verb} [^#\n]*)", README, re.MULTILINE)[1]
    words = shlex.split(line)
    if verb.startswith("data"):
        words[2], words[words.index("--cohort") + 1] = str(tables), "explicit"
    return [*words, *QUICK[verb].split()]


def run(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0, words


def walk(tables: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> str:
    monkeypatch.chdir(folder)
    for verb in QUICK:
        run(command_of(verb, tables))
    assert pq.read_metadata("forecast.parquet").num_rows > 0
    assert min(read_card(Path("adapter"), TrainedCard).patients.values()) > 0
    return capsys.readouterr().out


def test_the_readmes_commands_work_on_simulated_tables(tmp_path, monkeypatch, capsys):
    tables = simulate(tmp_path / "tables", patients=40)
    said = walk(tables, tmp_path, monkeypatch, capsys)
    assert "Trained 12,288 numbers" in said
    assert "chronos-t5-nano zero-shot" in said


@pytest.mark.skipif(not DEMO.is_dir(), reason="the MIMIC-III demo is not at hand")
def test_the_readmes_commands_work_on_the_open_mimic_demo(tmp_path, monkeypatch, capsys):
    said = walk(DEMO, tmp_path, monkeypatch, capsys)
    assert read_card(Path("adapter"), TrainedCard).patients == {"train": 11, "validation": 2, "test": 2}
    assert "Trained 12,288 numbers on 11 training patients" in said
    assert "those with some are shared out alone" in said
