"""The commands that read data: made from the fields of the readers, for those of strangers too."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from loracast.cli import app
from loracast.data.readers import readers
from loracast.data.table import Table
from loracast.errors import ConfigError
from loracast.spec import described
from tests.data.readers.test_readers import WardReader, installed  # noqa: F401  a fixture

every_reader = pytest.mark.parametrize("name", readers())


def command(name: str) -> Any:
    return typer.main.get_command(app).commands["data"].commands[name]  # type: ignore[attr-defined]


@every_reader
def test_every_field_is_an_option_that_is_explained(name):
    kind = readers()[name]
    options = {option.name: option for option in command(name).params}
    assert options["out"].required
    if name == "simulate":  # it writes tables, which another command reads
        assert set(options) == {"out", "overwrite", "patients", "seed"}
        return
    assert set(options) == {*kind.model_fields, "out", "overwrite", "temp", "as_json"} - {"source"}
    for field, about in kind.model_fields.items():
        if field != "source":
            assert options[field].help.removesuffix(" Repeatable.").endswith(described(kind)[field])
            assert options[field].required == (about.is_required() or field in kind.required)


@every_reader
def test_the_example_of_a_reader_is_a_command_that_is_understood(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in readers()[name].example.split(" && "):
        program, data, source, *arguments = shlex.split(line)
        assert (program, data) == ("loracast", "data")
        assert command(source).make_context(source, arguments).params["out"]


def test_what_is_given_reaches_the_reader_with_lists_taken_apart(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("loracast.data.readers.mimic3.Mimic3Reader.read", lambda reader, out, say: asked.append(reader))
    arguments = [
        "data",
        "mimic3",
        "tables",
        "--signals",
        "map, spo2",
        "--min-age",
        "0",
        "--out",
        str(tmp_path / "x.parquet"),
    ]
    CliRunner().invoke(app, arguments)
    (reader,) = asked
    assert (reader.path, reader.signals, reader.min_age, reader.grid) == (Path("tables"), ("map", "spo2"), 0, "60min")


@pytest.mark.parametrize(
    ("given", "unit"),
    [
        (["mmol/L"], "mmol/L"),
        (["lactate=mmol/L", "creatinine = mg/dL"], {"lactate": "mmol/L", "creatinine": "mg/dL"}),
        ([], None),
    ],
)
def test_an_option_that_takes_a_dictionary_is_repeated(monkeypatch, tmp_path, given, unit):
    asked = []
    monkeypatch.setattr("loracast.data.readers.table.TableReader.read", lambda reader, out, say: asked.append(reader))
    words = [word for one in given for word in ("--unit", one)]
    CliRunner().invoke(app, ["data", "table", "own.csv", "--grid", "1h", *words, "--out", str(tmp_path / "x.parquet")])
    assert [reader.unit for reader in asked] == [unit]


@pytest.mark.parametrize("given", [["mmol/L", "mg/dL"], ["a=x", "a=y"], ["a=x", "mg/dL"], ["=x"], ["a="]])
def test_an_option_that_says_two_things_or_half_a_thing_is_refused(tmp_path, given):
    words = [word for one in given for word in ("--unit", one)]
    arguments = ["data", "table", "own.csv", "--grid", "1h", *words, "--out", str(tmp_path / "x.parquet")]
    with pytest.raises(ConfigError, match=r"--unit .* given\. Give one value, or KEY=VALUE for each key once"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_what_to_notice_is_said_beside_the_table_and_beside_json(tmp_path):
    own = tmp_path / "own.csv"
    own.write_text("patient,time,value\np,2024-03-01 08:00,5\np,2024-03-01 09:00,6\n")
    words = ["data", "table", str(own), "--grid", "1h", "--signal", "glucose", "--unit", "mmol/L"]
    told = "Note: 2 measurements of glucose, of 1 patient, converted from mmol/L to mg/dL."
    plain = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "x.parquet")])
    assert told in plain.stdout
    as_json = CliRunner().invoke(app, [*words, "--json", "--out", str(tmp_path / "y.parquet")])
    assert told in as_json.stderr
    assert json.loads(as_json.stdout)["notes"][0]["rows"] == 2


def test_a_strangers_reader_gets_its_command(installed, tmp_path):  # noqa: F811
    installed(WardReader)
    assert "ward      Read the pulse of one ward." in CliRunner().invoke(app, ["data", "--help"]).stdout
    told = CliRunner().invoke(app, ["data", "ward", "--help"]).stdout
    assert "Example: loracast data ward beds.csv --beds 3,4" in told
    assert "Comma-separated: numbers of the beds." in told
    out = tmp_path / "ward.parquet"
    done = CliRunner().invoke(app, ["data", "ward", "beds.csv", "--beds", "3,4", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert f"Wrote {out}" in done.stdout
    assert Table.open(out).source == "ward"
