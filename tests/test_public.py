"""What `import loracast` offers, and what it leaves alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import loracast

LIGHT = [
    *("loracast", "loracast.cli", "loracast.spec", "loracast.errors", "loracast.data.schema", "loracast.data.readers"),
    *("loracast.models.registry", "loracast.tuning.methods", "loracast.tuning.arm", "loracast.study.experiment"),
]


@pytest.mark.parametrize("name", loracast.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    found = getattr(loracast, name)
    assert found.__doc__ or name == "LEVELS"
    assert name in dir(loracast)


def test_what_a_checker_reads_is_what_is_resolved_at_run_time():
    tree = ast.parse(Path(loracast.__file__).read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If) and isinstance(node.body[0], ast.ImportFrom)]
    told = {alias.name: node.module for node in checked.body for alias in node.names if alias.asname == alias.name}
    assert told == loracast._HOME
    assert loracast.__all__ == sorted(told)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'adapt_tabel'"):
        _ = loracast.adapt_tabel


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_importing_what_is_light_loads_nothing_that_is_heavy():
    found = run(
        "-c",
        f"import sys, {', '.join(LIGHT)}; "
        "print(sorted({'torch', 'transformers', 'peft', 'chronos', 'matplotlib', 'duckdb'} & set(sys.modules)))",
    )
    assert found.stdout.strip() == "[]", found.stderr


def test_the_front_door_opens_onto_nothing():
    heavy = "{'torch', 'pandas', 'pyarrow', 'pydantic', 'numpy'} & set(sys.modules)"
    found = run(
        "-c", f"import sys, loracast as lc; print(sorted({heavy})); lc.LoRA, lc.Table; print('torch' in sys.modules)"
    )
    assert found.stdout.split() == ["[]", "False"], found.stderr


def test_data_and_scores_load_no_torch():
    rooms = ["loracast.data.windows", "loracast.data.series", "loracast.scoring.compare", "loracast.report.terminal"]
    found = run("-c", f"import sys, {', '.join(rooms)}; print('torch' in sys.modules)")
    assert found.stdout.strip() == "False", found.stderr


def test_importing_sets_no_handler_no_filter_and_no_variable():
    code = (
        "import logging, os, warnings; before = dict(os.environ), list(warnings.filters); import loracast.cli; "
        "print((dict(os.environ), list(warnings.filters)) == before, logging.getLogger().handlers)"
    )
    assert run("-c", code).stdout.strip() == "True []"


def test_it_runs_as_a_module():
    found = run("-m", "loracast", "--help")
    assert found.returncode == 0, found.stderr
    assert "Usage: loracast" in found.stdout
