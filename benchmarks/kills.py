"""Is anything lost when a command is killed at a random moment? Every command that writes, N times, seeded.

    OMP_NUM_THREADS=1 python benchmarks/kills.py [--kills 20] [--seed 0] [--only adapt,merge]

A command is first carried out undisturbed, which gives its time and its result. Then it is carried out and killed by
SIGKILL after a random part of that time, half the times with an older result standing and --overwrite. After each kill:

- what it reads is as it was;
- under the final name stands nothing, the older result whole, or the new one whole (an older folder may for a moment
  lie beside its name, from where the next command puts it back);
- the same command (with --resume, where it has it) ends well, with the same bytes as the undisturbed one;
- nothing temporary is left after that.

Prints what stood after the kills, and every rule that was broken; ends with 1 if any was.
"""

import argparse
import contextlib
import functools
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

import loracast.report
import loracast.study.run  # noqa: F401  all that is heavy, once: trials are forks of this process
from loracast.cli import main
from loracast.data.simulator import simulate
from loracast.models.registry import load_backbone
from loracast.training.pretrain import measure as pretrain

EXPERIMENT = """
name = "small"
data = { source = "table", path = "inputs/vitals.parquet" }
windows = { context = 24, horizon = 6, stride = 24 }
training = { steps = 4, evaluate_every = 2, batch_size = 8, validation_windows = 16 }
forecast = { samples = 2 }
arms = [{ model = "inputs/nano", method = "zero-shot" }, { model = "inputs/nano", method = "lora" }]
"""
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
stages = [{ steps = 6, contexts = [24], horizons = [8] }]
"""
WINDOW = "--backbone inputs/nano --context 24 --horizon 6"
COMMANDS = {
    "data mimic3": "data mimic3 inputs/tables --cohort all --grid 60min --out out.parquet",
    "data simulate": "data simulate --patients 20 --out out",
    "forecast": f"forecast inputs/vitals.parquet {WINDOW} --samples 2 --out out.parquet",
    "merge": "merge inputs/adapter --backbone inputs/nano --out out",
    "adapt": f"adapt inputs/vitals.parquet {WINDOW} --steps 4 --batch-size 8 --out out",
    "pretrain": "pretrain inputs/recipe.toml --out out",
    "run": "run inputs/small.toml --out out",
    "report": "report out",
}
RESUMED = ("adapt", "pretrain", "run")
GROWN = ("run", "report")
"""Nothing is replaced whole: they continue what they began, or draw it again."""
VOLATILE = (
    *("measured.json", "README.md", "loss.json", "result.json", "summary.json", "report.html", "experiment.json"),
    *("results.csv", "results.tex"),
)
"""Files that tell of times, or are drawn from such: they are there, with other bytes."""


def digest_of(path: Path) -> str:
    """What a file or a folder holds, apart from times."""
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and ".loracast." not in str(file):
            told = (
                b"" if file.name in VOLATILE or "figures" in file.parts or "arms" in file.parts else file.read_bytes()
            )
            total.update(f"{file.relative_to(path)}:{len(told)}:".encode() + told)
    return total.hexdigest()


def begun(command: list[str], place: Path) -> int:
    """The number of a process that carries out a command in `place`."""
    number = os.fork()
    if number == 0:
        os.chdir(place)
        os.dup2(os.open(place / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        code = 1
        try:
            main(command)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os._exit(code)
    return number


def done(command: list[str], place: Path) -> int:
    """Carry out a command; its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(begun(command, place), 0)[1])


def killed(command: list[str], place: Path, after: float) -> bool:
    """Kill a command after so many seconds; whether it was still there."""
    number = begun(command, place)
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == -signal.SIGKILL


def prepared(place: Path) -> None:
    """What the commands read."""
    inputs = place / "inputs"
    simulate(inputs / "tables", patients=30)
    load_backbone("chronos-t5-nano").save(inputs / "nano")
    (inputs / "recipe.toml").write_text(RECIPE)
    (inputs / "small.toml").write_text(EXPERIMENT.replace("inputs/", f"{inputs}/"))
    for command in (
        "data mimic3 inputs/tables --cohort all --grid 60min --out inputs/vitals.parquet",
        f"adapt inputs/vitals.parquet {WINDOW} --steps 4 --batch-size 8 --out inputs/adapter",
    ):
        if done(command.split(), place):
            sys.exit((place / "said.txt").read_text())


def tried(name: str, kills: int, rng: random.Random, place: Path) -> tuple[Counter[str], list[str]]:
    """Kill one command so many times; what stood afterwards, and what was broken."""
    command, counted, broken = COMMANDS[name].split(), Counter[str](), []
    out = place / (command[-1] if name != "report" else "out")
    clear(place)
    if name == "report":
        done(COMMANDS["run"].split(), place)
        shutil.copytree(out, place / "finished")
    start = time.monotonic()
    if done(command, place):
        return counted, [f"{name}: undisturbed it fails: {(place / 'said.txt').read_text()[-500:]}"]
    seconds, new, read = time.monotonic() - start, digest_of(out), digest_of(place / "inputs")
    for number in range(kills):
        clear(place)
        if name == "report":
            shutil.copytree(place / "finished", out)
        standing = name not in GROWN and rng.random() < 0.5
        old = stand(out) if standing else ""
        asked = [*command, "--overwrite"] if standing else command
        alive = killed(asked, place, rng.uniform(0, seconds))
        found = stood(out, old, new, place) if name not in GROWN else "grown"
        counted[found if alive else f"{found} (had ended)"] += 1
        said = f"{name}, kill {number}{' over an old one' if standing else ''}"
        if found == "something else":
            broken.append(f"{said}: under the final name stands something else")
        if found == "nothing" and standing:
            broken.append(f"{said}: the old one is lost")
        counted["left something temporary"] += bool(left(place))
        if alive or name in GROWN:
            code = done([*asked, "--overwrite"] if found == "new" and not standing else rerun(name, asked), place)
            if code:
                broken.append(f"{said}: the rerun ends with {code}: {(place / 'said.txt').read_text()[-300:]}")
            elif digest_of(out) != new:
                broken.append(f"{said}: the rerun gives other bytes")
        if left(place) and alive:
            broken.append(f"{said}: {len(left(place))} temporary things are left")
        if digest_of(place / "inputs") != read:
            broken.append(f"{said}: what it reads has changed")
    counted["seconds undisturbed"] = round(seconds)
    return counted, broken


def rerun(name: str, command: list[str]) -> list[str]:
    """The command that goes on, where it can."""
    return [*command, "--resume"] if name in RESUMED else command


def clear(place: Path) -> None:
    """Only what is read stays."""
    for path in place.iterdir():
        if path.name not in ("inputs", "finished"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def stand(out: Path) -> str:
    """Let an older result stand; what it holds."""
    if out.suffix:
        out.write_text("old")
    else:
        (out / "old").mkdir(parents=True)
        (out / "old" / "file").write_text("old")
    return digest_of(out)


def stood(out: Path, old: str, new: str, place: Path) -> str:
    """What stands under the final name."""
    if not out.exists():
        aside = [path for path in place.glob(".*.loracast.partial/old/*") if old and digest_of(path) == old]
        return "old, beside its name" if aside else "nothing"
    return {old: "old", new: "new"}.get(digest_of(out), "something else")


def left(place: Path) -> list[Path]:
    """What is ours and temporary."""
    return [path for path in place.rglob("*") if path.name.endswith((".loracast.partial", ".loracast.lock"))]


def measure() -> None:
    """Carry all of it out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(COMMANDS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # A thousand series would be scored for minutes, in which nothing is written; the tiny network sees no more.
    pretrain.synthetic_scores = functools.partial(pretrain.synthetic_scores, count=20, context=24, horizon=8)
    rng, broken = random.Random(arguments.seed), []
    with tempfile.TemporaryDirectory(prefix="loracast-kills-") as work:
        place = Path(work)
        prepared(place)
        for name in arguments.only.split(","):
            counted, found = tried(name, arguments.kills, rng, place)
            print(f"{name}: {', '.join(f'{what} {count}' for what, count in sorted(counted.items()))}", flush=True)
            broken += found
            shutil.rmtree(place / "finished", ignore_errors=True)
    print("\n".join(broken) or "No rule was broken.")
    sys.exit(bool(broken))


if __name__ == "__main__":
    measure()
