"""The result table on the terminal and in Markdown."""

import copy
import io
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from loracast.report.tables import result_markdown, result_table
from tests.report.conftest import ARMS, SIGNALS, summary_of


@pytest.fixture
def summary() -> dict[str, Any]:
    return summary_of(simulated=True, seeds=[0, 1])


def printed(summary: dict[str, Any], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(result_table(summary))
    return console.export_text()


def test_the_table_fits_eighty_columns_without_cutting_a_number(summary: dict[str, Any]) -> None:
    text = printed(summary, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for arm in summary["arms"]:
        for signal in SIGNALS:
            low, high = arm["scores"][signal]["ci95"]["mae"]
            assert f"{arm['scores'][signal]['mae']:.2f}" in text
            assert f"[{low:.2f}, {high:.2f}]" in text


def test_the_table_names_simulated_data_every_arm_and_signal(summary: dict[str, Any]) -> None:
    text = printed(summary, 200)
    assert "SIMULATED DATA" in text
    for name, *_ in ARMS:
        assert name in text
    for label, *_ in SIGNALS.values():
        assert label in text
    assert "12,288" in text
    assert "1 min 12 s" in text
    assert "1.2 GB" in text


def test_names_are_no_markup(summary: dict[str, Any]) -> None:
    summary["arms"][4]["arm"] = "[red]lora[/red]"
    summary["name"] = "[bold]name[/nothing]"
    assert "[red]lora[/red]" in printed(summary, 200)
    assert "[bold]name[/nothing]" in printed(summary, 200)


def test_the_markdown_has_one_line_for_each_arm_and_signal(summary: dict[str, Any]) -> None:
    lines = [line for line in result_markdown(summary).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(ARMS) * len(SIGNALS)
    assert len({line.count("|") for line in lines}) == 1
    lora = next(line for line in lines if "lora r=2" in line)
    scores = summary["arms"][4]["scores"]["heart_rate"]
    low, high = scores["ci95"]["mae"]
    assert f"| {scores['mae']:.2f} [{low:.2f}, {high:.2f}] |" in lora
    assert lora.endswith("| better |")


def test_the_markdown_names_simulated_data_and_only_those(summary: dict[str, Any]) -> None:
    assert "SIMULATED DATA" in result_markdown(summary)
    assert "SIMULATED" not in result_markdown(summary_of(simulated=False, seeds=[0]))


def test_a_bar_in_a_name_does_not_break_the_markdown(summary: dict[str, Any]) -> None:
    spoiled = copy.deepcopy(summary)
    spoiled["arms"][0]["arm"] = "a|b"
    assert "| a\\|b |" in result_markdown(spoiled)


def test_what_does_not_exist_is_a_dash(summary: dict[str, Any]) -> None:
    summary["arms"][0]["scores"] = {}
    summary["arms"][0]["vs_zero_shot"] = None
    line = next(line for line in result_markdown(summary).splitlines() if "| last-value |" in line)
    assert line.split("| last-value |")[1] == " 0 | – | – | – | – | – | – | – | – | – |"


def test_the_tables_need_neither_torch_nor_matplotlib() -> None:
    code = "import sys, loracast.report.tables as t; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
