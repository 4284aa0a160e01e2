"""The experiments that come with the package, as a user lists, prints and runs them."""

import json
import tomllib
from pathlib import Path

import click
import pytest
import typer

from loracast.cli import app, main
from loracast.cli.app import asked
from loracast.errors import DataError
from loracast.study.experiment import read_experiment, refuse_absent
from loracast.study.packaged import packaged, packaged_text


@pytest.fixture
def loracast(capfd, tmp_path, monkeypatch):
    """Run a command in this process, in an empty folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_a_command_lists_them_and_prints_one_as_a_start_of_ones_own(loracast):
    code, out, _ = loracast("experiments")
    assert code == 0
    assert all(name in out for name in packaged())
    rows = json.loads(loracast("experiments", "--json")[1])
    assert [row["experiment"] for row in rows] == list(packaged())
    _, printed, _ = loracast("experiments", "mimic3-demo")
    assert tomllib.loads(printed)["name"] == "mimic3-demo"
    assert printed == packaged_text("mimic3-demo")


@pytest.mark.parametrize("words", [("run", "mimic3-demos"), ("experiments", "mimic3-demos")])
def test_an_unknown_name_is_refused_with_the_nearest_and_nothing_is_written(loracast, words):
    code, out, err = loracast(*words)
    assert (code, out) == (2, "")
    assert "Did you mean mimic3-demo?" in err
    assert list(Path().iterdir()) == []


def test_data_that_are_not_here_are_refused_with_the_place_where_they_were_looked_for(loracast):
    code, _, err = loracast("run", "mimic3-demo")
    assert code == 2
    assert "mimic-iii-clinical-database-demo-1.4, where nothing is. Give the place of its data with --data." in err
    assert list(Path().iterdir()) == []


def test_data_that_were_read_before_need_not_be_there_again(tmp_path):
    spec = read_experiment("mimic3-demo")
    with pytest.raises(DataError, match="where nothing is"):
        refuse_absent(spec, tmp_path / "out")
    (tmp_path / "out" / "data").mkdir(parents=True)
    (tmp_path / "out" / "data" / "vitals.parquet").touch()
    refuse_absent(spec, tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "told"), [("paper/lora", "loracast run paper/lora"), ("jane/mine.toml", "loracast run mine.toml")]
)
def test_a_report_repeats_a_name_whole_and_of_a_file_its_last_name_alone(loracast, given, told):
    Path("jane").mkdir()
    Path("jane/mine.toml").touch()
    command = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    parent = click.Context(click.Command("loracast"), info_name="loracast")
    assert asked(command.make_context("run", [given], parent=parent)) == told


def test_a_name_is_completed(loracast):
    Path("mine.toml").touch()
    command = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    (argument,) = (one for one in command.params if one.name == "experiment")
    found = argument.shell_complete(click.Context(command), "mi")
    assert [item.value for item in found] == ["mimic3-demo", "mimic3-sepsis", "mine.toml"]
