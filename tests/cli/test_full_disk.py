"""A disk without room ends every command with 2, one line and nothing half-written, whichever library finds it full."""

import os
import resource
from contextlib import contextmanager
from unittest import mock

import pytest

from loracast.cli import main
from tests.cli.test_kills import TABLE, left, place  # noqa: F401  a fixture

ADAPT = "adapt inputs/vitals.parquet --backbone inputs/tiny --context 24 --horizon 6 --steps 2 --out out"
FORECAST = "forecast inputs/vitals.parquet --backbone inputs/tiny --samples 2 --out out.parquet"
MERGE = "merge inputs/adapter --backbone inputs/tiny --out out"
# Bytes that a file may have. Each command fails at the file that is the first to need more.
LIMITS = {
    TABLE: [0, 10_000],
    "data simulate --patients 10 --out out": [0, 10_000],
    FORECAST: [0, 10_000],
    MERGE: [0, 10_000],
    ADAPT: [0, 1_000, 4_000, 12_000],
    f"{ADAPT} --method full": [60_000, 100_000],
    "pretrain inputs/recipe.toml --out out": [0, 4_000, 20_000],
}


@contextmanager
def files_of_at_most(size: int):
    """Let the system refuse what would make a file larger, as it does on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("command", "size"),
    [(command, size) for command, sizes in LIMITS.items() for size in sizes],
    ids=lambda value: " ".join(value.split()[:2]) if isinstance(value, str) else str(value),
)
def test_a_full_disk_is_one_line_and_leaves_what_stands(command, size, place, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs").symlink_to(place)
    with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end, files_of_at_most(size):
        main(command.split())
    _, err = capsys.readouterr()
    assert end.value.code == 2, err
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("Error: ")
    assert any(word in err for word in ("File too large", "No room left", "is full"))
    assert not left(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"inputs", "out.work"}
