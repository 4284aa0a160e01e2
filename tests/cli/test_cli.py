"""The command line from outside: what it prints where, how it ends, and what it leaves behind."""

import gzip
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

import loracast
from loracast.cli import main
from loracast.data.simulator import simulate
from loracast.files import sweep
from tests.conftest import cohort, save_backbone, write_long

ROOT = Path(__file__).parents[2]
REAL = ROOT / ".." / "shared" / "data" / "mimic-iii-demo"
CLI = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))
LORA = {"tiny": 49_152, "mini": 86_016, "small": 147_456, "base": 442_368, "large": 1_179_648}

EXPERIMENT = """
name = "small"
[data]
source = "table"
path = "vitals.parquet"
[windows]
context = 24
horizon = 6
[training]
steps = 4
evaluate_every = 2
[forecast]
samples = 2
[[arms]]
model = "tiny"
method = "zero-shot"
[[arms]]
model = "tiny"
method = "lora"
"""


@pytest.fixture(scope="session")
def bench(tmp_path_factory, vitals):
    """A folder with everything that a command may be given, right and wrong."""
    folder = tmp_path_factory.mktemp("bench")
    save_backbone(folder / "tiny")
    rows = cohort(14)
    (folder / "vitals.parquet").write_bytes(vitals.path.read_bytes())
    write_long(folder / "five.parquet", rows, step=300)
    write_long(folder / "short.parquet", {key: values[:10] for key, values in rows.items()})
    write_long(folder / "two.parquet", cohort(2))
    simulate(folder / "tables", patients=10, seed=1)
    for name in ("missing", "truncated", "column"):
        (folder / name).mkdir()
        for table in (folder / "tables").glob("*.csv.gz"):
            (folder / name / table.name).write_bytes(table.read_bytes())
    events = folder / "tables" / "CHARTEVENTS.csv.gz"
    (folder / "missing" / events.name).unlink()
    (folder / "truncated" / events.name).write_bytes(events.read_bytes()[:20_000])
    header, rest = gzip.decompress(events.read_bytes()).split(b"\n", 1)
    renamed = header.replace(b"CHARTTIME", b"CHRTTIME") + b"\n" + rest
    (folder / "column" / events.name).write_bytes(gzip.compress(renamed))
    (folder / "text.parquet").write_text("not a table")
    (folder / "cut.parquet").write_bytes(vitals.path.read_bytes()[:2000])
    (folder / "other.parquet").write_bytes((folder / "tables" / "corrupted.parquet").read_bytes())
    for name, line in (("sound", "101"), ("word", "LOW"), ("infinite", "inf"), ("latin", "5\xb5")):
        text = f"patient,time,value\np,2021-01-01 00:00:00,100\np,2021-01-01 00:15:00,{line}\n"
        (folder / f"{name}.csv").write_text(text, encoding="latin-1")
    (folder / "good.toml").write_text(EXPERIMENT)
    changes = {
        "broken": ('"small"', "small"),
        "misspelt": ("steps", "stepps"),
        "mistyped": ("steps = 4", 'steps = "four"'),
        "source": ('"table"', '"tabel"'),
        "twice": ("lora", "zero-shot"),
        "alone": ("zero-shot", "full"),
        "method": ('"lora"', '"lorra"'),
        "backbone": ('"tiny"', '"tinny"'),
        "rank": ('"lora"', '"lora"\nrank = 999'),
        "gone": ("vitals.parquet", "gone.parquet"),
        "long": ("context = 24", "context = 49"),
    }
    for name, (old, new) in changes.items():
        (folder / f"{name}.toml").write_text(EXPERIMENT.replace(old, new))
    (folder / "empty").mkdir()
    (folder / "taken.json").write_text("{}")
    return folder


def elsewhere(bench):
    """The experiment for a TOML that lies outside the bench."""
    text = EXPERIMENT.replace("vitals.parquet", str(bench / "vitals.parquet"))
    return text.replace('"tiny"', json.dumps(str(bench / "tiny")))


@pytest.fixture
def loracast_in(bench, monkeypatch, capfd):
    """Run a command in the bench, in this process; return its exit code, stdout and stderr."""
    monkeypatch.chdir(bench)

    def run(*arguments):
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return end.value.code or 0, out, err

    return run


def files_in(folder):
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()), sorted(
        path for path in folder.rglob("*") if path.is_dir()
    )


MIMIC, OUT = "data mimic3", "--out x.parquet"
TABLE = f"--grid 15min --signal glucose {OUT}"
ADAPT = "adapt vitals.parquet --backbone tiny --steps 2"
FORECAST = "forecast vitals.parquet --backbone tiny"
BAD = {
    f"{MIMIC} nowhere {OUT}": "No folder nowhere",
    f"{MIMIC} missing {OUT}": "Missing table: CHARTEVENTS. Looked in missing",
    f"{MIMIC} column {OUT}": "has no column CHARTTIME. It has: row_id",
    f"{MIMIC} truncated {OUT} --cohort all": "truncated or damaged",
    f"{MIMIC} tables {OUT} --min-age 130": "aged 130 years or more at INTIME",
    f"{MIMIC} tables {OUT} --min-age nan": "min_age: Input should be a finite number (nan given)",
    f"{MIMIC} tables {OUT} --min-hours -1": "greater than or equal to 0 (-1.0 given)",
    f"{MIMIC} tables {OUT} --signals hr": "Unknown signal: hr. Known signals: heart_rate, map",
    f"{MIMIC} tables {OUT} --cohort angus": "Known cohorts: 'explicit'",
    f"{MIMIC} tables {OUT} --grid 7h": "Give a step that divides a day",
    f"{MIMIC} tables --out tables": "--out tables is a folder",
    f"{MIMIC} tables --out x.csv": "Give one that ends in .parquet",
    f"{MIMIC} tables --out vitals.parquet/x.parquet": "is a file, not a folder",
    f"data cinc2019 tables {OUT}": "No .psv file in tables",
    f"data table word.csv {TABLE}": "1 of 2 rows have text instead of a number",
    f"data table infinite.csv {TABLE}": "1 of 2 rows have an infinite value",
    f"data table latin.csv {TABLE}": "the text is not UTF-8",
    f"data table gone.csv {TABLE}": "No file gone.csv",
    f"data table word.csv {TABLE} --value mg": "No column 'mg' (value)",
    f"data table sound.csv {TABLE} --unit mmHg": "is kept in mg/dL",
    f"data table sound.csv --grid 15min --signal lactate {OUT}": "State its unit",
    "data table vitals.parquet --grid 60min --out vitals.parquet": "vitals.parquet exists already",
    "data table vitals.parquet --grid 60min --out vitals.parquet --overwrite": "is what is read",
    f"{MIMIC} tables {OUT} --temp nowhere": "--temp nowhere is no folder",
    "data simulate --out tables": "tables exists already",
    "data simulate --out tables/ADMISSIONS.csv.gz": "is a file. Give a folder",
    "data simulate --out x --seed -1": "a seed of at least 0",
    "data simulate --out x --patients 3": "greater than or equal to 10",
    "adapt gone.parquet --out x": "No such table: gone.parquet",
    "adapt text.parquet --out x": "not a readable Parquet file",
    "adapt cut.parquet --out x": "not a readable Parquet file",
    "adapt other.parquet --out x": "has no column",
    "adapt short.parquet --backbone tiny --out x": "42 are shorter than a window",
    "adapt two.parquet --backbone tiny --out x": "2 patients cannot be split into 3 parts",
    f"{ADAPT} --out tiny": "tiny exists already",
    f"{ADAPT} --out vitals.parquet": "is a file. Give a folder",
    f"{ADAPT} --out x --context 49": "longer than tiny takes (48)",
    f"{ADAPT} --out x --horizon 0": "greater than or equal to 1 (0 given)",
    f"{ADAPT} --out x --rank 0": "greater than or equal to 1 (0 given)",
    f"{ADAPT} --out x --rank 17": "have rank 16 at most",
    f"{ADAPT} --out x --alpha 0": "greater than 0 (0.0 given)",
    f"{ADAPT} --out x --alpha inf": "finite number (inf given)",
    f"{ADAPT} --out x --steps 0": "greater than or equal to 1 (0 given)",
    f"{ADAPT} --out x --seed -1": "greater than or equal to 0 (-1 given)",
    f"{ADAPT} --out x --seed 4294967296": "less than 4294967296",
    f"{ADAPT} --out x --method lorra": "zero-shot, full, head, lora",
    f"{ADAPT} --out x --method zero-shot": "adapts nothing",
    f"{ADAPT} --out x --backbone nope": "Known: pretrained: chronos-t5-nano",
    f"{ADAPT} --out x --backbone tables": "holds no config.json",
    f"{FORECAST} {OUT} --context 49": "longer than tiny takes (48)",
    f"{FORECAST} {OUT} --samples 1": "greater than or equal to 2 (1 given)",
    f"{FORECAST} {OUT} --adapter tables": "tables holds no adapter",
    f"{FORECAST} --out vitals.parquet": "vitals.parquet exists already",
    f"{FORECAST} --out vitals.parquet --overwrite": "is what is read",
    f"{FORECAST} --out five.parquet": "five.parquet exists already",
    "evaluate vitals.parquet --adapter gone": "gone holds no adapter",
    "run gone.toml --out x": "gone.parquet, where nothing is. Give the place of its data with --data",
    "run none.toml --out x": "No experiment file none.toml",
    "run vitals.parquet --out x": "is not UTF-8",
    "run broken.toml --out x": "not valid TOML",
    "run misspelt.toml --out x": "training.stepps: Extra inputs are not permitted. Keys: steps",
    "run mistyped.toml --out x": "('four' given)",
    "run source.toml --out x": "mimic3",
    "run twice.toml --out x": "these arms stand twice",
    "run alone.toml --out x": "no zero-shot arm for",
    "run method.toml --out x": "zero-shot, full, head, lora",
    "run backbone.toml --out x": "No model 'tinny'",
    "run rank.toml --out x": "have rank 16 at most",
    "run long.toml --out x": "longer than tiny takes (48)",
    "run good.toml --out tables": "is not empty and holds no experiment",
    "report empty": "holds no summary.json",
    "report gone": "no folder 'gone'",
    "params --backbone chronos-9": "chronos-t5-tiny",
    "params --backbone chronos-t5-tiny --rank 0": "rank",
    "params --backbone chronos-t5-tiny --rank 9999": "have rank 256 at most",
    "params --backbone chronos-t5-tiny --method full --rank 2": "'full' takes no rank. It has no settings",
    "params --backbone chronos-t5-tiny --method full --sites qv": "'full' takes no sites",
    "params --backbone chronos-t5-tiny --method bitfit": "has no bias terms",
    "params --backbone chronos-t5-tiny --sites atention": "Known: attention, qkvo, qv, feed-forward",
    "params --backbone chronos-t5-tiny --sites (": "is not a regular expression",
    "params --backbone chronos-t5-tiny --method fourierft --frequencies 65537": "have 65536 at most",
    "params --backbone chronos-t5-tiny --method oft --block-size 24": "block_size to one of: 2, 4, 8, 16, 32",
    "params --backbone moirai-1.1-R-small --sites head": "'lora' cannot tune head of moirai-1.1-R-small",
    "methods --backbone gone": "Known: chronos-t5-nano",
    "merge tables --out x": "tables holds no adapter",
    "merge tables --out tiny": "tiny exists already",
    "pretrain chronos-t5-nano --out tables": "tables exists already",
    "sweep relate tables --out taken.json": "taken.json exists already",
    "bench --backbones tiny --methods lora --out taken.json": "taken.json is taken",
    "status tables": "tables holds no experiment",
    "run good.toml --out x --jobs 0": "at least 1 is needed",
    "run good.toml --out x --engine spark": "Engines: processes, ray",
    "run good.toml --out x --gpus 1": "add --engine ray",
    "run good.toml --out x --max-hours 0": "must be more than 0",
    "run good.toml --out x --track mlfow": "Trackers: mlflow, tensorboard, wandb",
    "pretrain giant --out x": "chronos-t5-nano",
    "nonsense": "No such command 'nonsense'",
    "adapt": "Missing argument",
}


@pytest.mark.parametrize("command", BAD)
def test_a_mistake_is_named_and_leaves_nothing_behind(command, loracast_in, bench):
    before = files_in(bench)
    code, out, err = loracast_in(*command.split(" "))
    assert BAD[command] in err
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert files_in(bench) == before


def test_a_mistake_of_ours_ends_with_1_and_asks_for_a_report(loracast_in, monkeypatch):
    monkeypatch.setattr("loracast.report.read_summary", lambda folder: 1 // 0)
    code, _, err = loracast_in("report", "tables")
    assert code == 1
    assert "ZeroDivisionError" in err
    assert "Please report it" in err


def test_a_mistake_of_ours_says_where_it_was_made_and_no_value(loracast_in, monkeypatch):
    monkeypatch.setattr("loracast.report.read_summary", lambda folder: {}["pat-Zq7x"])
    _, _, err = loracast_in("report", "tables")
    assert "KeyError" in err
    assert "test_cli.py" in err
    # The line of code above it names the key: it is of this test, and no data.
    assert "KeyError: 'pat-Zq7x'" not in err
    monkeypatch.setenv("LORACAST_TRACEBACK", "1")
    assert "KeyError: 'pat-Zq7x'" in loracast_in("report", "tables")[2]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0"), "No room left on the disk"),
        (PermissionError(13, "Permission denied", "out"), "Permission denied: out"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "Lower batch_size"),
    ],
)
def test_a_full_disk_or_memory_is_told_without_a_traceback(loracast_in, monkeypatch, error, says):
    def fail(folder):
        raise error

    monkeypatch.setattr("loracast.report.read_summary", fail)
    code, _, err = loracast_in("report", "tables")
    assert code == 2
    assert says in err
    assert "Traceback" not in err


def test_the_version_is_the_package_s(loracast_in):
    assert loracast_in("--version") == (0, f"loracast {loracast.__version__}\n", "")


def test_the_page_of_commands_is_fresh():
    assert CLI["PAGE"].read_text(encoding="utf-8") == CLI["page"](), "run python docs/make_cli.py"


@pytest.mark.parametrize("words", CLI["commands"](), ids=" ".join)
def test_every_command_shows_an_example(words):
    assert f"Example: loracast {' '.join(words)}" in CLI["page"]()


@pytest.mark.parametrize("size", LORA)
def test_params_counts_the_paper_s_recipe_offline(size, loracast_in):
    code, out, err = loracast_in("params", "--backbone", f"amazon/chronos-t5-{size}", "--rank", "2", "--json")
    found = json.loads(out)
    assert (code, err, found["backbone"], found["trainable_parameters"]) == (0, "", f"chronos-t5-{size}", LORA[size])


@pytest.mark.parametrize(("method", "share"), [("zero-shot", 0), ("full", 1)])
def test_params_of_the_other_methods_are_nothing_and_everything(method, share, loracast_in):
    _, out, _ = loracast_in("params", "--backbone", "chronos-t5-tiny", "--method", method, "--json")
    found = json.loads(out)
    assert found["trainable_parameters"] == share * found["total_parameters"]


def test_a_table_in_a_pipe_is_not_cut_short(loracast_in):
    _, out, _ = loracast_in("params", "--backbone", "chronos-t5-small")
    assert "chronos-t5-small" in out
    assert "46,154,240" in out


def test_adapt_forecast_and_evaluate_print_results_to_stdout_and_progress_to_stderr(loracast_in, tmp_path):
    folder, out = tmp_path / "adapter", tmp_path / "forecast.parquet"
    code, said, noted = loracast_in(*ADAPT.split(" "), "--out", folder)
    assert code == 0, noted
    assert said.startswith("Trained 1,536 numbers on ")
    assert "Validation loss on " in said
    assert " windows): " in said
    code, said, _ = loracast_in(*FORECAST.split(" "), "--adapter", folder, "--samples", "2", "--out", out)
    assert (code, said) == (0, f"Forecast 42 series. Quantiles: {out}\n")
    assert pq.read_metadata(out).num_rows == 42 * 6
    code, said, noted = loracast_in(
        *f"evaluate vitals.parquet --backbone tiny --samples 2 --json --adapter {folder}".split(" ")
    )
    assert code == 0, noted
    arms = [arm["arm"] for arm in json.loads(said, parse_constant=pytest.fail)["arms"]]
    assert arms == ["last-value", "seasonal-naive", "context-mean", "tiny zero-shot", "adapter"]
    code, _, err = loracast_in("forecast", "five.parquet", "--adapter", folder, "--backbone", "tiny", *OUT.split())
    assert code == 2
    assert "trained on steps of 3600 s" in err
    code, _, err = loracast_in(*FORECAST.split(" "), "--backbone", "chronos-t5-nano", "--adapter", folder, *OUT.split())
    assert code == 2
    assert "holds other weights" in err


@pytest.mark.usefixtures("one_figure")
def test_an_experiment_runs_once_and_its_folder_takes_no_other(loracast_in, bench, tmp_path, monkeypatch):
    out = tmp_path / "results"
    with monkeypatch.context() as patched:
        # Drawing takes seconds, and `report` draws below.
        patched.setattr("loracast.report.write_report", lambda folder: folder / "report.html")
        assert loracast_in("run", "good.toml", "--out", out)[0] == 0
        code, said, noted = loracast_in("run", "good.toml", "--out", out)
    assert code == 0
    assert "5 of 5 runs were done before" in noted
    assert f"Report: {out / 'report.html'}" in said
    before = files_in(out)
    (tmp_path / "other.toml").write_text(elsewhere(bench).replace("steps = 4", "steps = 3"))
    code, _, err = loracast_in("run", tmp_path / "other.toml", "--out", out)
    assert code == 2
    assert "holds results of another spec" in err
    assert files_in(out) == before
    code, said, noted = loracast_in("report", out)
    assert (code, noted) == (0, "Writing the report\n")
    assert "tiny lora r=2" in said
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("grid", ["5min", "60min"])
def test_simulated_tables_are_read_and_the_counts_are_json_on_stdout(grid, loracast_in, tmp_path):
    out = tmp_path / "v.parquet"
    code, said, _ = loracast_in("data", "mimic3", "tables", "--cohort", "all", "--grid", grid, "--out", out, "--json")
    assert code == 0
    found = json.loads(said)
    assert set(found["table"]["signals"]) == {"heart_rate", "map", "resp_rate"}
    assert found["table"]["signals"]["heart_rate"]["observed"] > 0
    assert json.loads((tmp_path / "v.attrition.json").read_text())["steps"] == found["steps"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the open MIMIC-III demo is not beside the checkout")
@pytest.mark.parametrize(("cohort", "cells"), [("all", 12_739), ("explicit", 3_885)])
def test_the_mimic_iii_demo_gives_the_counted_cells(cohort, cells, loracast_in, tmp_path):
    arguments = ["--cohort", cohort, "--grid", "60min", "--out", tmp_path / "v.parquet", "--json"]
    _, said, _ = loracast_in("data", "mimic3", REAL.resolve(), *arguments)
    assert json.loads(said)["table"]["signals"]["heart_rate"]["observed"] == cells


def process(*arguments, cwd):
    words = [sys.executable, "-m", "loracast", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    # A shell starts background jobs deaf to Ctrl-C, and a child inherits that.
    hearing = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(words, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)
    finally:
        signal.signal(signal.SIGINT, hearing)


def test_ctrl_c_ends_in_one_line_with_130_and_resume_continues(bench, tmp_path):
    text = elsewhere(bench).replace("steps = 4", "steps = 100000").replace("= 2\n[f", "= 5\npatience = 10000\n[f")
    (tmp_path / "endless.toml").write_text(text)
    child = process("run", "endless.toml", "--out", "r", cwd=tmp_path)
    while not list(tmp_path.glob("r/runs/*/checkpoints/*/complete.json")):
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    assert (child.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("Interrupted.")
    assert "--resume" in err.splitlines()[-1]
    assert not [word for word in ("Traceback", "Warning", "Loading weights") if word in err]
    sweep(tmp_path / "r", deep=True)  # as the next start does, where the key was struck within a removal
    assert not list(tmp_path.rglob("*.partial"))
    assert list(tmp_path.glob("r/runs/*/checkpoints/*/complete.json"))
    assert not list(tmp_path.glob("r/runs/*lora*/result.json"))


def test_a_name_of_the_hub_without_cache_or_network_is_refused_at_once(loracast_in, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "f.parquet"
    code, said, err = loracast_in("forecast", "vitals.parquet", "--backbone", "amazon/chronos-t5-tiny", "--out", out)
    assert (code, said) == (2, "")
    assert "hf download amazon/chronos-t5-tiny" in err
    assert not out.exists()


def test_help_needs_no_torch(tmp_path):
    words = [sys.executable, "-X", "importtime", "-m", "loracast", "--help"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "adapt" in ended.stdout
    assert not {"torch", "transformers", "duckdb", "matplotlib"} & {
        line.split("|")[-1].strip() for line in ended.stderr.splitlines()
    }
