"""What needs no network of weights loads none of the libraries that take seconds: help, lists, status, refusals.

The commands are those that `benchmarks/startup.py` takes the time of; here nobody looks at the clock.
"""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "startup.py"
HEAVY = (
    *("torch", "transformers", "peft", "chronos", "accelerate", "safetensors.torch", "statsforecast"),
    *("matplotlib", "scipy", "duckdb", "jinja2", "rich.markdown"),
)
OF_WORK = ("numpy", "pandas", "pyarrow", "narwhals", "jaxtyping", "asyncio", "rich")
"""Of what takes tenths of a second, what help and a refusal have no use for, but where a table is read to refuse it."""
READING = ("adapt bare.parquet --out adapter", "evaluate bare.parquet")
EVERY_ONE = """
import contextlib, io, json, sys
from loracast.cli import main

found = []
for words, heavy in json.load(sys.stdin):
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(words.split())
    except SystemExit as end:
        found.append([words, end.code or 0, [name for name in heavy if name in sys.modules], said.getvalue()])
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Every command with its exit code, what it has loaded, and what it said; all in one process, one after another."""
    startup, folder = runpy.run_path(str(SCRIPT)), tmp_path_factory.mktemp("startup")
    startup["prepare"](folder)
    codes = {words: code for words, _, code in startup["commands"]()}
    told = [words for words, code in codes.items() if (code or words.endswith("--help")) and words not in READING]
    asked = [[words, HEAVY + OF_WORK] for words in told] + [[words, HEAVY] for words in codes if words not in told]
    child = subprocess.run(
        [sys.executable, "-c", EVERY_ONE],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    return codes, json.loads(child.stdout)


def test_each_command_ends_as_it_should(done):
    codes, found = done
    assert [(words, said) for words, code, _, said in found if code != codes[words]] == []
    assert len(found) == len(codes)


def test_none_of_them_loads_torch_nor_help_and_refusals_what_tables_and_numbers_need(done):
    first = next(((words, loaded) for words, _, loaded, _ in done[1] if loaded), None)
    assert first is None


def test_every_refusal_says_what_was_given_and_what_to_do(done):
    refused = {words: said for words, code, _, said in done[1] if code == 2}
    assert len(refused) > 30
    assert [words for words, said in refused.items() if "Error: " not in said or "Traceback" in said] == []
