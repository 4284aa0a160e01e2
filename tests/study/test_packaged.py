"""Experiments come with the package, and are found by their names from wherever one stands."""

import fnmatch
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from loracast.errors import ConfigError
from loracast.study.experiment import read_experiment
from loracast.study.packaged import find_experiment, listed_experiments, packaged, packaged_text

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_experiment_is_found_by_its_name_and_its_data_are_looked_for_where_one_stands(elsewhere):
    spec = read_experiment("mimic3-demo")
    assert spec.name == "mimic3-demo"
    assert spec.data.path == elsewhere / "mimic-iii-clinical-database-demo-1.4"
    assert read_experiment("paper/lora").name == "paper-lora"
    assert read_experiment(Path("paper/lora"), data=Path("here")).data.path == elsewhere / "here"


def test_the_file_of_a_packaged_experiment_reads_as_its_name_does(elsewhere):
    assert read_experiment(packaged()["mimic3-demo"]) == read_experiment("mimic3-demo")


def test_a_file_wins_over_a_name_and_a_folder_does_not(elsewhere):
    (elsewhere / "mimic3-demo").mkdir()
    assert find_experiment("mimic3-demo") == packaged()["mimic3-demo"]
    (elsewhere / "mimic3-demo").rmdir()
    (elsewhere / "mimic3-demo").write_text(packaged_text("mimic3-demo").replace("mimic3-demo", "mine"))
    assert read_experiment("mimic3-demo").name == "mine"


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("mimic3-demos", "mimic3-demo"),
        ("experiments/mimic3-demo.toml", "mimic3-demo"),
        ("lora", "paper/lora"),
        ("paper-lora", "paper/lora"),
        ("papers/lora.toml", "paper/lora"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_the_list(asked, meant):
    with pytest.raises(ConfigError, match=rf"No experiment file {asked}.* Did you mean {meant}\?") as caught:
        find_experiment(asked)
    assert all(name in str(caught.value) for name in packaged())


def test_what_is_like_nothing_is_refused_with_the_list_alone():
    with pytest.raises(ConfigError, match=r"comes with loracast\. Give a \.toml, or one of: cinc2019-sepsis, mimic3"):
        packaged_text("zzz")


def test_the_list_says_of_each_what_it_asks_in_one_line():
    rows = {row["experiment"]: row for row in listed_experiments()}
    assert list(rows) == list(packaged())
    assert all(row["asks"][-1] in ".?" and len(row["asks"]) < 120 for row in rows.values())
    assert rows["mimic3-demo"]["source"] == "mimic3"
    assert rows["mimic3-demo"]["seeds"] == 3


def test_no_packaged_experiment_names_a_place_outside_the_folder_one_stands_in():
    for name in packaged():
        path = Path(tomllib.loads(packaged_text(name))["data"]["path"])
        assert not path.is_absolute()
        assert ".." not in path.parts


def test_every_file_beside_the_code_is_packaged():
    """What a wheel holds, without building one: setuptools takes the globs of `package-data` and nothing else."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    globs = [glob.replace("**/", "*") for glob in settings["package-data"]["loracast"]]
    source = ROOT / "src" / "loracast"
    files = [
        file.relative_to(source).as_posix()
        for file in source.rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc") and not file.name.startswith(".")
    ]
    assert "study/experiments/paper/lora.toml" in files
    assert [file for file in files if not any(fnmatch.fnmatch(file, glob) for glob in globs)] == []


def test_every_folder_of_code_is_a_package_so_that_a_wheel_holds_it():
    source = ROOT / "src" / "loracast"
    folders = {file.parent for file in source.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_what_is_packaged_is_found_as_a_resource_of_the_package():
    package = resources.files("loracast")
    for place in ("study/experiments/mimic3-demo.toml", "report/templates/page.html", "py.typed"):
        assert package.joinpath(place).is_file()
