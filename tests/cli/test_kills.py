"""Killed at chosen moments, no command loses what stood, leaves a half for a whole, or keeps a rerun from its work."""

import os
import signal
from unittest import mock

import pytest

from loracast.cli import main
from loracast.data.table import Table
from loracast.study.steps.adapting import adapt_table
from tests.processes import Child, child

PAUSED = """
import contextlib, importlib, sys
from loracast.cli import main
module, name, *arguments = sys.argv[1:]
module = importlib.import_module(module)
real = getattr(module, name)
def paused(*given, **named):
    pipe.send("here")
    with contextlib.suppress(EOFError):
        pipe.recv()
    return real(*given, **named)
setattr(module, name, paused)
main(arguments)
"""
"""A command that waits where it calls a function, so that it can be killed there."""

RECIPE = """
name = "tiny"
seed = 3
[model]
family = "chronos-t5"
d_model = 32
d_kv = 16
d_ff = 32
num_layers = 1
num_heads = 4
n_tokens = 256
low_limit = -6
high_limit = 6
context_length = 32
prediction_length = 8
[training]
batch_size = 4
learning_rate = 1e-3
warmup_steps = 2
weight_decay = 0.01
gradient_clip = 1.0
label_width = 1.0
checkpoint_every = 2
stages = [{ steps = 4, contexts = [24], horizons = [8] }]
"""
LOOP = {"steps": 2, "batch_size": 8, "evaluate_every": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory, vitals, tiny):
    """A folder with a table, measurements, a backbone, an adapter and a recipe; none of them may change."""
    folder = tmp_path_factory.mktemp("kills") / "inputs"
    folder.mkdir()
    (folder / "vitals.parquet").write_bytes(vitals.path.read_bytes())
    (folder / "tiny").symlink_to(tiny)
    lines = [f"p{n},2021-01-01 {hour:02d}:00:00,{100 + n}" for n in range(4) for hour in range(20)]
    (folder / "own.csv").write_text("\n".join(["patient,time,value", *lines]) + "\n")
    (folder / "recipe.toml").write_text(RECIPE)
    arm, window = {"model": str(tiny), "method": "lora"}, {"context": 24, "horizon": 6}
    adapt_table(folder / "vitals.parquet", folder / "adapter", arm=arm, window=window, training=LOOP, progress=False)
    return folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left(folder):
    return [path for path in folder.rglob("*") if ".loracast." in path.name]


def killed(moment: str, command: list[str], cwd, how=signal.SIGKILL) -> int:
    with child(PAUSED, *moment.split(":"), *command, cwd=cwd, said=cwd.with_name(f"{cwd.name}-said")) as one:
        here(one)
        one.signal(how)
        return one.ended()


def here(one: Child) -> None:
    """Wait until it is at the moment."""
    try:
        assert one.pipe.recv() == "here"
    except EOFError:
        pytest.fail(one.said())


def again(command: list[str], code: int = 0) -> None:
    with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end:
        main(command)
    assert (end.value.code or 0) == code


TABLE = "data table inputs/own.csv --grid 60min --signal glucose --out out.parquet"
CASES = {
    f"{TABLE} --temp temp": ["loracast.data.readers.table:_names", "loracast.data.gridding:_copy"],
    f"{TABLE} ": ["loracast.data.gridding:write_attrition"],
    "data simulate --patients 10 --out out": ["loracast.data.simulator:_write_truth"],
    "forecast inputs/vitals.parquet --adapter inputs/adapter --backbone inputs/tiny --samples 2 --out out.parquet": [
        "pyarrow.parquet:ParquetWriter"
    ],
    "merge inputs/adapter --backbone inputs/tiny --out out": ["loracast.tuning.adapter:write_json"],
    "adapt inputs/vitals.parquet --backbone inputs/tiny --context 24 --horizon 6 --steps 2 --out out": [
        "loracast.training.checkpoint:write_json",
        "loracast.tuning.adapter:save_adapter",
    ],
    "pretrain inputs/recipe.toml --out out": ["loracast.training.pretrain.measure:synthetic_scores"],
}
MOMENTS = [(command.split(), moment) for command, moments in CASES.items() for moment in moments]


@pytest.mark.parametrize(("command", "moment"), MOMENTS, ids=[f"{c[0]}-{m}" for c, m in MOMENTS])
def test_a_killed_command_loses_nothing_and_can_be_repeated(command, moment, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("loracast.training.pretrain.measure.synthetic_scores", lambda *_, **__: {})
    monkeypatch.setattr("loracast.training.pretrain.card.write_card", lambda folder, *_: folder / "README.md")
    (tmp_path / "inputs").symlink_to(place)
    (tmp_path / "temp").mkdir()
    out = tmp_path / command[command.index("--out") + 1]
    old = out / "old" if out.suffix == "" else out
    old.parent.mkdir(exist_ok=True)
    old.write_text("old")
    inputs = content(place)
    assert killed(moment, [*command, "--overwrite"], tmp_path) == -signal.SIGKILL
    assert old.read_text() == "old", "what stood still stands"
    assert left(tmp_path), "something half-written is there to be swept"
    resume = ["--resume"] if command[0] in ("adapt", "pretrain") else []
    again([*command, "--overwrite", *resume])
    assert not left(tmp_path), "what the dead process left is swept"
    assert not old.is_file() or old.read_bytes() != b"old", "the new has taken its place"
    assert content(place) == inputs


def test_rows_of_patients_that_a_killed_reading_left_go_with_the_next_one_of_another_name(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs").symlink_to(place)
    killed("loracast.data.gridding:_copy", TABLE.split(), tmp_path)
    assert list(tmp_path.rglob("work.duckdb"))
    again([*TABLE.split()[:-1], "other.parquet"])
    assert not left(tmp_path)
    assert Table.open(tmp_path / "other.parquet").signals == ("glucose",)


def test_sigterm_ends_in_one_line_with_143_and_leaves_nothing(place, tmp_path):
    (tmp_path / "inputs").symlink_to(place)
    assert killed("loracast.data.gridding:_copy", TABLE.split(), tmp_path, signal.SIGTERM) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["inputs"]


FIRST = {
    TABLE: "loracast.data.gridding:_copy",
    "merge inputs/adapter --backbone inputs/tiny --out out": "loracast.tuning.adapter:write_json",
}


@pytest.mark.parametrize("command", FIRST, ids=lambda command: command.split()[0])
def test_a_second_process_at_the_same_place_is_refused_and_the_first_ends_well(
    command, place, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs").symlink_to(place)
    said = tmp_path.with_name(f"{tmp_path.name}-said")
    with child(PAUSED, *FIRST[command].split(":"), *command.split(), cwd=tmp_path, said=said) as first:
        here(first)
        again(command.split(), 2)
        assert "Another process is at" in capfd.readouterr().err
        assert first.ended() == 0, first.said()
    assert not left(tmp_path)
