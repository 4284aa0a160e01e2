"""Measure the processor time of every command that needs no network of weights: help, lists, status, refusals.

    python benchmarks/startup.py [--repeats 5] [--only WORD] [--json benchmarks/startup.json]

User and system time of the process that the command is, median over repeats, so that company on the machine counts
little; run each once before it counts, so that files lie in the system's cache, compiled as an installed package is
(whatever PYTHONDONTWRITEBYTECODE says: else every call compiles loracast again). What a command imports is asserted by
tests/cli/test_startup.py; the seconds are for this machine alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

AT_ONCE, SOON = 1.0, 3.0
"""Most seconds of processor time: of what needs no network, and of what counts on empty ones."""

LISTS = ("--help", "--version", "backbones", "backbones --json", "status demo", "status demo --json")
COUNTS = (
    "methods",
    "methods --json",
    "methods --backbone chronos-t5-tiny",
    "params --backbone chronos-t5-base --method lora --rank 2",
    "params --backbone moirai-1.1-R-base --method fourierft",
)
HELP = (
    "adapt", "backbones", "bench", "data", "data mimic3", "data simulate", "demo", "evaluate", "forecast", "merge",
    "methods", "params", "pretrain", "report", "run", "status", "sweep", "sweep ranks", "sweep relate",
)  # fmt: skip
REFUSED = (
    "adapt gone.parquet --out adapter",
    "adapt bare.parquet --out adapter",
    "adapt vitals.parquet --out taken",
    "adapt vitals.parquet --out adapter --method lorra",
    "adapt vitals.parquet --out adapter --method zero-shot",
    "adapt vitals.parquet --out adapter --backbone chronos-t5-nanno",
    "adapt vitals.parquet --out adapter --rank 0",
    "adapt vitals.parquet --out adapter --steps 0",
    "adapt vitals.parquet --out adapter --context 2",
    "bench --backbones nothing --out bench.json",
    "bench --compare bench.json",
    "data mimic3 gone --out v.parquet",
    "data mimic3 tables --out vitals.parquet",
    "data table bare.parquet --out v.parquet",
    "data simulate --out taken",
    "evaluate gone.parquet",
    "evaluate bare.parquet",
    "evaluate vitals.parquet --adapter gone",
    "evaluate vitals.parquet --backbone chronos-t5-nanno",
    "forecast gone.parquet --out f.parquet",
    "forecast vitals.parquet --out vitals.parquet",
    "forecast vitals.parquet --out f.parquet --adapter gone",
    "forecast vitals.parquet --out f.parquet --backbone chronos-t5-nanno",
    "forecast vitals.parquet --out f.parquet --quantiles 2",
    "merge gone --out merged",
    "merge gone --out taken",
    "methods --backbone chronos-t5-nanno",
    "params --backbone chronos-t5-nanno",
    "params --backbone chronos-t5-base --method lorra",
    "params --backbone chronos-t5-base --rank 0",
    "pretrain gone.toml --out nano",
    "pretrain chronos-t5-nano --out taken",
    "report gone",
    "run gone.toml",
    "run bad.toml",
    "run good.toml --jobs 0",
    "run good.toml --engine rey",
    "status gone",
    "sweep ranks --backbone chronos-t5-nano --data gone.parquet --out ranks",
    "sweep ranks --backbone chronos-t5-nano --data vitals.parquet --ranks 0 --out ranks",
    "sweep relate gone --out thresholds.json",
)
"""In the folder that `prepare` fills; each ends with 2."""


def commands() -> list[tuple[str, float, int]]:
    """Every command with its ceiling in seconds and the code that it ends with."""
    listed = [(words, AT_ONCE, 0) for words in LISTS] + [(words, SOON, 0) for words in COUNTS]
    return [*listed, *((f"{words} --help", AT_ONCE, 0) for words in HELP), *((words, AT_ONCE, 2) for words in REFUSED)]


def prepare(folder: Path) -> None:
    """Put into `folder` what the refused commands are given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from loracast.data.readers.mimic3 import Mimic3Reader
    from loracast.data.simulator import simulate
    from loracast.study.demo import DEMO
    from loracast.study.runs import claim_of
    from loracast.study.summary import EXPERIMENT, write_facts

    simulate(folder / "tables", patients=12)
    Mimic3Reader(path=folder / "tables", grid="60min", cohort="all").read(folder / "vitals.parquet")
    pq.write_table(pa.table({"who": ["a"], "what": [1.0]}), folder / "bare.parquet")
    (folder / "taken").mkdir()
    (folder / "taken" / "mine.txt").write_text("mine", encoding="utf-8")
    (folder / "bench.json").write_text("{}", encoding="utf-8")
    (folder / "demo").mkdir()
    write_facts(claim_of(DEMO, folder / "demo"), folder / "demo" / EXPERIMENT, overwrite=False)
    arms = "".join(f'[[arms]]\nmodel = "chronos-t5-nano"\nmethod = "{name}"\n' for name in ("zero-shot", "lora"))
    spec = f'name = "{{}}"\n{{}}[data]\nsource = "simulate"\n{arms}'
    (folder / "good.toml").write_text(spec.format("good", ""), encoding="utf-8")
    (folder / "bad.toml").write_text(spec.format("bad", "sede = 1\n"), encoding="utf-8")


def seconds(words: str, folder: Path, code: int) -> float:
    """User and system seconds of one call; raises RuntimeError where it ends with another code."""
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **compiled}
    call = [sys.executable, "-m", "loracast", *words.split()]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(call, cwd=folder, stdout=said, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if process.returncode != code:
            raise RuntimeError(f"{words}: {process.returncode}, not {code}:\n{said.read().decode()}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print; ends with 1 where a command is above its ceiling."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="a part of a command")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as work:
        prepare(Path(work))
        for words, ceiling, code in commands():
            if arguments.only in words:
                found = [seconds(words, Path(work), code) for _ in range(arguments.repeats + (arguments.repeats > 1))]
                used = round(median(found[arguments.repeats > 1 :]), 2)
                rows.append({"command": words, "seconds": used, "ceiling": ceiling})
                print(f"{used:6.2f} s  of {ceiling:g}  {words}{'  ABOVE' if used > ceiling else ''}", flush=True)
    if arguments.json:
        from loracast.training import cost as costs

        result = {"repeats": arguments.repeats, "hardware": costs.hardware(), "rows": rows}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(row["seconds"] > row["ceiling"] for row in rows))


if __name__ == "__main__":
    main()
