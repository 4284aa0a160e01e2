"""The package says that it is typed: a checker knows every public name, and finds what is misspelt."""

import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]
USER, MISSPELT = (ROOT / "tests" / "typing" / name for name in ("user.py", "misspelt.py"))


@pytest.fixture(scope="module")
def faults() -> dict[tuple[str, int], set[str]]:
    """What mypy --strict finds in both files, by file and line: one run, with the cache of the project."""
    told, failed, _ = api.run(["--strict", "--config-file", str(ROOT / "pyproject.toml"), str(USER), str(MISSPELT)])
    assert not failed, failed
    found: dict[tuple[str, int], set[str]] = {}
    for file, line, code in re.findall(r"^(.+?):(\d+): error: .*\[([\w-]+)\]$", told, re.MULTILINE):
        found.setdefault((Path(file).name, int(line)), set()).add(code)
    return found


def test_what_a_user_types_passes_strictly(faults):
    assert {place: codes for place, codes in faults.items() if place[0] == USER.name} == {}


def test_every_mistyped_line_is_found_and_no_other(faults):
    lines = MISSPELT.read_text(encoding="utf-8").splitlines()
    wanted = {number: line.split("# fault: ")[1] for number, line in enumerate(lines, 1) if "# fault: " in line}
    assert len(wanted) > 12
    found = {number: codes for (file, number), codes in faults.items() if file == MISSPELT.name}
    assert {number: {code} for number, code in wanted.items()} == found
