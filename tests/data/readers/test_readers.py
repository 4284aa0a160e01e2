"""Every reader, whoever brought it: what it says of itself, what it takes, and that it survives being written down."""

import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
import pytest

from loracast.data.attrition import Attrition
from loracast.data.readers import GROUP, AnyReader, Reader, quiet, read, reader_named, reader_of, readers
from loracast.data.readers.simulate import SimulatedReader
from loracast.data.readers.table import TableReader, write_table
from loracast.data.table import Table
from loracast.errors import ConfigError, DataError
from loracast.spec import Frozen, described, parse
from tests.conftest import bring

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
every_reader = pytest.mark.parametrize("name", readers())


class WardReader(Reader):
    """A stranger's reader of one pulse."""

    summary: ClassVar[str] = "Read the pulse of one ward."
    example: ClassVar[str] = "loracast data ward beds.csv --beds 3,4 --out ward.parquet"

    source: Literal["ward"] = "ward"
    path: Path
    """The ward's file."""
    beds: tuple[int, ...] = (1,)
    """numbers of the beds."""

    def read(self, out, say=quiet) -> Attrition:
        frame = pd.DataFrame({"patient": [f"bed {bed}" for bed in self.beds for _ in range(2)], "value": 70.0})
        frame["time"] = ["2150-01-01 00:00", "2150-01-01 01:00"] * len(self.beds)
        return write_table(
            frame, out, grid="60min", patient="patient", time="time", value="value", signal="heart_rate", source="ward"
        )


@pytest.fixture
def installed(monkeypatch):
    """Bring a reader by an entry point."""
    return lambda found: bring(monkeypatch, GROUP, found)


class Asked(Frozen):
    """A spec that holds a reader, as an experiment does."""

    data: AnyReader


def reader(name: str) -> Reader:
    """The reader with what it cannot do without."""
    kind = reader_named(name)
    return reader_of({"source": name, **{field: f"somewhere/{field}" for field in kind.paths()}})


@every_reader
def test_a_reader_says_what_it_reads_and_what_each_setting_is(name):
    kind = readers()[name]
    assert kind.source_name() == name
    assert kind.summary.endswith(".")
    assert kind.example.startswith(f"loracast data {name} ")
    assert set(kind.model_fields) - set(described(kind)) <= {"source"}


@every_reader
def test_a_reader_survives_json_alone_and_in_a_spec(name):
    one = reader(name)
    assert reader_of(one.model_dump(mode="json")) == one
    spec = Asked(data=one)
    content = spec.model_dump(mode="json")
    assert list(content["data"]) == list(type(one).model_fields)
    assert parse(Asked, content, "It") == spec == Asked.model_validate_json(spec.model_dump_json())


@every_reader
def test_no_path_is_in_what_a_result_file_says(name):
    one = reader(name)
    assert "somewhere" not in str(one.as_json())
    assert one.as_json()["source"] == name


@every_reader
def test_an_unknown_setting_is_refused_with_the_known_ones(name):
    one, keys = reader(name), ", ".join(reader_named(name).model_fields)
    content = one.model_dump(mode="json", exclude_defaults=True) | {"source": name, "gird": "5min"}
    with pytest.raises(ConfigError, match=rf"gird: Extra inputs are not permitted\. Keys: {keys}$"):
        reader_of(content)
    with pytest.raises(ConfigError, match=rf"data\.gird: Extra inputs are not permitted\. Keys: {keys} "):
        parse(Asked, {"data": content}, "It")


@every_reader
def test_a_source_that_is_not_there_is_refused_and_leaves_no_table(name, tmp_path):
    kind = reader_named(name)
    if not kind.paths():
        pytest.skip("it reads no file")
    content = {"source": name, **dict.fromkeys(kind.paths(), tmp_path / "none"), **dict.fromkeys(kind.required, "1h")}
    with pytest.raises(DataError, match="none"):
        reader_of(content).open(tmp_path / "data")
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"source": "mimc3"}, "Unknown source: 'mimc3'. Give source = one of mimic3, cinc2019, table, simulate"),
        ({"source": ["mimic3"]}, "Unknown source: .'mimic3'."),
        ({}, "No source given. Give source = one of mimic3"),
        ({"source": "mimic3"}, "path: Field required"),
        ({"source": "simulate", "patients": 9}, r"patients: .* greater than or equal to 10 \(9 given\)"),
        ({"source": "simulate", "min_age": float("nan")}, "min_age: Input should be a finite number"),
        ({"source": "simulate", "min_hours": -1}, "min_hours: .* greater than or equal to 0"),
        ({"source": "table", "path": "x", "signals": []}, "signals: .* at least 1 item"),
    ],
)
def test_a_mistake_is_told_by_its_place_alone_and_in_a_spec(content, says):
    with pytest.raises(ConfigError, match=says):
        reader_of(content)
    with pytest.raises(ConfigError, match=rf"\n  data(\.|: ){says}"):
        parse(Asked, {"data": content}, "It")


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse(Asked, {"data": {"source": "simulate", "patients": 1, "seed": -1}, "dta": 1}, "It")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "  data.patients",
        "  data.seed",
        "  dta",
    ]


def test_what_describes_no_source_at_all_is_refused():
    with pytest.raises(ConfigError, match="data: No source given"):
        parse(Asked, {"data": "mimic3"}, "It")


def test_the_paths_of_a_reader_are_its_fields_that_hold_one():
    assert {name: kind.paths() for name, kind in readers().items()} == {
        "mimic3": ("path",),
        "cinc2019": ("path",),
        "table": ("path",),
        "simulate": (),
    }


def test_a_strangers_reader_is_listed_and_reads(installed, tmp_path):
    installed(WardReader)
    assert list(readers()) == ["mimic3", "cinc2019", "table", "simulate", "ward"]
    spec = parse(Asked, {"data": {"source": "ward", "path": "beds.csv", "beds": [3, 4]}}, "It")
    table = spec.data.open(tmp_path)
    assert isinstance(table, Table)
    assert (table.source, table.signals) == ("ward", ("heart_rate",))
    assert read("ward", "beds.csv", tmp_path / "other.parquet").attrition.steps[0].patients == 1
    assert spec.data.as_json() == {"source": "ward", "beds": [3, 4]}


class Unfinished(Reader):
    """A reader without a source or a summary, that reads nothing."""


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (ImportError("no module named ward"), r"cannot be loaded \(ImportError: no module named ward\)"),
        (print, "is no class that inherits from loracast.data.readers.Reader"),
        (Table, "is no class that inherits from loracast.data.readers.Reader"),
        (Unfinished, "lacks summary, example, source, read"),
        (TableReader, "reads source 'table', which loracast.data.readers.table reads already"),
    ],
)
def test_an_entry_point_that_brings_no_reader_is_refused_with_its_package(installed, found, says):
    installed(found)
    with pytest.raises(ConfigError, match=f"The reader ward:Brought of the package loracast-ward {says}"):
        reader_of({"source": "simulate"})


def test_entry_points_are_those_of_installed_packages(tmp_path, monkeypatch):
    (tmp_path / "ward-1.dist-info").mkdir()
    (tmp_path / "ward-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ward\nVersion: 1\n")
    (tmp_path / "ward-1.dist-info" / "entry_points.txt").write_text(f"[{GROUP}]\nward = no_such_ward:WardReader\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match="The reader no_such_ward:WardReader of the package ward cannot be loaded"):
        readers()


def test_a_setting_that_is_no_source_s_path_is_refused():
    with pytest.raises(ConfigError, match=r"path: Extra inputs are not permitted\. Keys: source, signals"):
        read("simulate", "somewhere", "out.parquet")
    assert SimulatedReader() == SimulatedReader(source="simulate")


def test_listing_readers_loads_nothing_that_reads_and_reading_loads_no_torch(tmp_path):
    code = (
        "import sys; from loracast.data.readers import read, readers; readers()\n"
        "print(sorted({'duckdb', 'pyarrow', 'pandas', 'torch'} & set(sys.modules)))\n"
        "read('simulate', None, sys.argv[1], patients=10, cohort='all'); print('torch' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out.parquet"], capture_output=True, text=True, check=False
    )
    assert found.stdout.split("\n")[:2] == ["[]", "False"], found.stderr


def test_the_readers_of_the_documentation_read_and_are_offered(installed, tmp_path, monkeypatch):
    first, second = re.findall(r"<!-- reader -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "loracast_ward.py").write_text(first)
    (tmp_path / "loracast_ward_large.py").write_text(second)
    monkeypatch.syspath_prepend(tmp_path)
    kind = importlib.import_module("loracast_ward").WardReader
    large = importlib.import_module("loracast_ward_large").LargeWardReader
    installed(kind)
    for bed in (1, 2):
        rows = "".join(f"2150-01-01 00:0{minute}:00,{70 + minute}\n" for minute in (1, 2, 4))
        (tmp_path / f"bed-{bed}.csv").write_text(f"time,pulse\n{rows}2150-01-01 00:05:00,{400 if bed == 1 else ''}\n")
    content = {"source": "ward", "path": tmp_path}
    attrition = reader_of(content).read(tmp_path / "ward.parquet")
    assert large(**content).read(tmp_path / "large.parquet") == replace(attrition, reading=None)
    assert (tmp_path / "large.parquet").read_bytes() == (tmp_path / "ward.parquet").read_bytes()
    assert [step.rows for step in attrition.steps] == [8, 7, 6, 6, 6, 6]
    assert described(kind)["grid"] == "Step of the regular grid."
    with pytest.raises(DataError, match=r"No bed-\*.csv in"):
        kind(path=tmp_path / "none").read(tmp_path / "none.parquet")
