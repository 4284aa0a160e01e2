"""How many planted faults the tests notice: mutmut on scoring, the split and tuning, with its last figure beside it.

    nice python benchmarks/mutation.py --json benchmarks/mutation.json

mutmut (settings: `[tool.mutmut]` in pyproject.toml) plants one fault at a time in a copy, `mutants/`, and runs the
tests that reach it. All faults of the split are tried, and of scoring and of tuning a seeded choice each, so that it
takes an hour and not three; with enough for `--of-scoring` and `--of-tuning`, all of them. Counted as noticed is what a
test fails on, or what makes it hang. Not planted are other words of a message that is raised, and other constants of a
module or a class, which tests of their own hold.
"""

import argparse
import json
import platform
import random
import shutil
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WORK = ROOT / "mutants"
WHOLE, SAMPLED = "loracast.data.split.", {"of_scoring": "loracast.scoring.", "of_tuning": "loracast.tuning."}
MEANING = {1: "killed", 3: "killed", 0: "survived", 5: "no tests", 33: "no tests"} | dict.fromkeys(
    (36, 24, -24, 152, 255), "hung"
)
"""mutmut's code of a fault; any other is a process that crashed, which is not counted as noticed."""


def mutmut(*names: str, jobs: int) -> None:
    """Plant the faults of these names (`*` stands for anything), `jobs` at a time."""
    subprocess.run([sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs), *names], cwd=ROOT, check=True)


def codes() -> dict[str, int | None]:
    """mutmut's code of every fault that it knows, None where it was not planted."""
    files = sorted(WORK.glob("src/**/*.meta"))
    return {name: code for file in files for name, code in json.loads(file.read_text())["exit_code_by_key"].items()}


def room(name: str) -> str:
    """The file of a fault: `scoring/bootstrap`."""
    return "/".join(name.split(".")[1:3])


def figure(chosen: dict[str, int | None], known: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What was noticed, in all and by file, with the names of the rest; "waiting" is what has not been tried yet."""
    by_file: dict[str, Counter[str]] = {}
    for name, code in chosen.items():
        by_file.setdefault(room(name), Counter())["waiting" if code is None else MEANING.get(code, "crashed")] += 1
    total = sum(by_file.values(), Counter())
    found = {name: code for name, code in chosen.items() if code is not None}
    return {
        "known": known,
        "chosen": len(chosen),
        "tried": len(found),
        **total,
        "noticed": round((total["killed"] + total["hung"]) / len(found), 4) if found else None,
        "by_file": {name: dict(counted) for name, counted in sorted(by_file.items())},
        "not_noticed": sorted(name for name, code in found.items() if MEANING.get(code) not in ("killed", "hung")),
        "of_scoring": arguments.of_scoring,
        "of_tuning": arguments.of_tuning,
        "seed": arguments.seed,
        "command": "python benchmarks/mutation.py " + " ".join(sys.argv[1:]),
        "versions": {name: version(name) for name in ("loracast", "mutmut", "pytest", "torch", "peft", "numpy")}
        | {"python": platform.python_version()},
    }


def main() -> None:
    """Plant, run and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of-scoring", type=int, default=400, help="faults of scoring to choose (default 400)")
    parser.add_argument("--of-tuning", type=int, default=200, help="faults of tuning to choose (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of these choices")
    parser.add_argument("--jobs", type=int, default=1, help="faults at a time (default 1)")
    parser.add_argument("--json", type=Path, help="file to write the figure to")
    parser.add_argument("--resume", action="store_true", help="keep what an earlier call has tried")
    parser.add_argument("--count", action="store_true", help="try nothing: count what an earlier call has tried")
    arguments = parser.parse_args()
    if not (arguments.resume or arguments.count):
        shutil.rmtree(WORK, ignore_errors=True)
    if not arguments.count:
        mutmut(f"{WHOLE}*", jobs=arguments.jobs)  # which also makes those of the other rooms
    known, chosen = codes(), set[str]()
    for option, part in SAMPLED.items():
        names = sorted(name for name in known if name.startswith(part))
        chosen |= set(random.Random(arguments.seed).sample(names, min(getattr(arguments, option), len(names))))
    waiting = sorted(name for name in chosen if known[name] is None)
    if waiting and not arguments.count:
        mutmut(*waiting, jobs=arguments.jobs)
        known = codes()
    tried = {name: code for name, code in known.items() if name in chosen or name.startswith(WHOLE)}
    told = json.dumps(figure(tried, len(known), arguments), indent=2)
    print(told)
    if arguments.json:
        arguments.json.write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
