"""A table as its reader asks for it, and what the shell offers while a command is typed."""

import csv
import io
import json
import sys

import pandas as pd
import pytest
import typer
from typer.completion import completion_init
from typer.core import TyperGroup

from loracast.cli import app, main
from loracast.cli.app import asked
from loracast.report.render import Column, table_of
from loracast.report.render import as_json as json_of
from loracast.report.render import csv as csv_of

ROWS = [
    {"name": "=1+1", "value": 0.1 + 0.2, "count": 3, "gone": None},
    {"name": 'a, "b"', "value": float("nan"), "count": 12_288, "gone": None},
]


def printed(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_csv_holds_raw_numbers_nothing_where_one_is_missing_and_no_formula():
    lines = csv_of([ROWS[0]]).splitlines()
    assert lines == ["name,value,count,gone", "'=1+1,0.30000000000000004,3,"]
    assert csv_of([]) == "\n"


def test_csv_of_a_frame_is_that_of_its_rows():
    frame = pd.DataFrame(ROWS).astype({"count": "Int64"})
    assert csv_of(frame) == csv_of([{**ROWS[0]}, {**ROWS[1], "value": None}])
    assert csv_of(frame[:0]) == "name,value,count,gone\n"


def test_json_holds_null_where_a_number_is_missing_or_none():
    assert json.loads(json_of(ROWS)) == [ROWS[0], {**ROWS[1], "value": None}]
    assert json.loads(json_of(pd.DataFrame(ROWS))) == [ROWS[0], {**ROWS[1], "value": None}]


def test_a_list_without_a_frame_is_the_same_table():
    columns = (Column("name", lambda row: row["name"], words=True), Column("count", lambda row: str(row["count"])))
    assert table_of(ROWS, columns) == table_of(pd.DataFrame(ROWS), columns)


@pytest.mark.parametrize("words", ["backbones", "methods --backbone chronos-t5-nano", "params --backbone chronos-2"])
def test_each_form_holds_the_same_rows(capsys, words):
    found = json.loads(printed(capsys, *words.split(), "--format", "json"))
    rows = list(csv.DictReader(io.StringIO(printed(capsys, *words.split(), "--format", "csv"))))
    told = [{key: "" if value is None else str(value) for key, value in row.items()} for row in found]
    assert rows == told
    lines = printed(capsys, *words.split(), "--format", "markdown").splitlines()
    first = next(iter(found[0].values()))
    assert any(line.startswith("| ") and str(first) in line for line in lines)
    assert lines[1].startswith("|--")


@pytest.mark.parametrize("words", ["backbones", "methods --backbone chronos-t5-nano"])
def test_json_of_a_list_is_its_rows_by_either_option(capsys, words):
    assert printed(capsys, *words.split(), "--json") == printed(capsys, *words.split(), "--format", "json")


def test_another_form_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(["backbones", "--format", "xml"])
    assert end.value.code == 2
    assert "Choose one of: table, csv, json, markdown" in capsys.readouterr().err


def offered(words: str, monkeypatch) -> list[str]:
    """What bash is offered where the last of `words` is begun."""
    completion_init()
    command = typer.main.get_command(app)
    monkeypatch.setenv("_LORACAST_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"loracast {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit):
        command(prog_name="loracast", complete_var="_LORACAST_COMPLETE", args=[])
    return out.getvalue().split()


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ("adapt --method lo", ["lora"]),
        ("params --method peft:h", ["peft:hira", "peft:hra"]),
        ("forecast --backbone chronos-2", ["chronos-2-nano", "chronos-2"]),
        ("sweep ranks --backbone moirai-n", ["moirai-nano"]),
        ("methods --backbone lag-llama-", ["lag-llama-nano"]),
        ("data mimic3 x --cohort ", ["explicit", "all"]),
        ("run x.toml --engine r", ["ray"]),
        ("run x.toml --track ml", ["mlflow"]),
        ("bench --methods full,lo", ["full,lora"]),
        ("backbones --format m", ["markdown"]),
        ("status --format ", ["table", "csv", "json", "markdown"]),
        ("pretrain lag", ["lag-llama-nano"]),
    ],
)
def test_the_shell_offers_what_fits(words, some, monkeypatch):
    assert offered(words, monkeypatch) == some


def test_a_report_names_the_options_that_its_command_was_given():
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    evaluate = command.commands["evaluate"]
    with evaluate.make_context("loracast evaluate", ["v.parquet", "--samples", "7", "--adapter", "a/b"]) as context:
        assert asked(context) == "evaluate v.parquet --adapter b --samples 7".replace("evaluate", context.command_path)
