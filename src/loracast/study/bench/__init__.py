"""What every method costs on every backbone that is here: steps, memory, energy, bytes, forecasts. Needs no data."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loracast.errors import ConfigError
from loracast.files import alone, read_json, write_json
from loracast.models.registry import backbones_here, is_listed
from loracast.study.bench.settings import FORMAT, Settings, read_bench
from loracast.training import cost as costs
from loracast.tuning.methods import method_named
from loracast.tuning.methods import methods as all_methods
from loracast.types import Say

Key = tuple[str, str]
"""The names of a backbone and of a method."""

SAME_MACHINE = ("system", "processor", "logical_cores", "torch_threads", "gpu", "dtype")
COMMAND = [sys.executable, "-P", "-m", "loracast.study.bench.arm"]


def bench(
    backbones: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    *,
    steps: int = 10,
    batch_size: int = 32,
    context: int = 72,
    horizon: int = 36,
    windows: int = 64,
    samples: int = 100,
    out: Path,
    resume: bool = False,
    say: Say = print,
) -> dict[str, Any]:
    """Measure every method on every backbone, each in a process of its own, and write the result to `out` (JSON).

    Backbones are by default those whose weights are on this machine, methods all there are. The series are seeded and
    synthetic. An arm that is refused, breaks or is killed stands in the result with the reason, and the others go on.
    The file is whole after every arm; with `resume` the arms that it holds are kept, except those that failed.

    Raises ConfigError for an unknown name, a number that is too small, and where `out` holds something else: another
    machine, other settings, or any bench without `resume`.
    """
    settings = Settings(steps, batch_size, context, horizon, windows, samples)
    arms = _arms(backbones, methods)
    result: dict[str, Any] = {
        "format": FORMAT,
        "hardware": costs.hardware(),
        "versions": costs.versions(),
        "settings": asdict(settings),
        "rows": [],
    }
    with alone(out):
        kept = _kept(out, result) if resume else _refuse_taken(out)
        rows: dict[Key, dict[str, Any]] = dict(kept)
        ahead = [key for key in arms if key not in kept]
        start = time.monotonic()
        for number, key in enumerate(ahead, 1):
            say(f"[{number}/{len(ahead)}] {' '.join(key)}")
            rows[key] = {"backbone": key[0], "method": key[1], **_measured(arms[key], settings)}
            write_json(out, result | {"rows": list(rows.values())}, overwrite=resume or number > 1)
            left = (time.monotonic() - start) / number * (len(ahead) - number)
            say(f"    {_outcome(rows[key])}" + (f" (about {left:.0f} s left)" if left else ""))
    return result | {"rows": list(rows.values())}


def _arms(backbones: Sequence[str] | None, methods: Sequence[str] | None) -> dict[Key, dict[str, Any]]:
    """The arms by the names of backbone and method, in order; raises ConfigError for one that cannot be meant."""
    names = backbones_here() if backbones is None else list(backbones)
    unknown = [name for name in names if not is_listed(name) and not Path(name).exists()]
    if unknown or not names:
        raise ConfigError(
            f"No backbone {', '.join(unknown) or 'given'}. Give folders, or names that `loracast backbones` lists."
        )
    for method in methods or ():
        method_named(method)
    fitting = [name for name, kind in all_methods().items() if "pretrained" in kind.kinds]
    keys = [(name, method) for name in names for method in (methods or fitting)]
    arms = {(Path(name).name, method): {"model": name, "method": method} for name, method in keys}
    if len(arms) < len(keys):
        raise ConfigError(f"Backbones {', '.join(names)} given; two of them, or two methods, have the same name.")
    return arms


def _refuse_taken(out: Path) -> dict[Key, dict[str, Any]]:
    if out.exists():
        raise ConfigError(f"{out} is taken. Continue it with --resume, or give another --out; nothing was changed.")
    return {}


def _kept(out: Path, result: dict[str, Any]) -> dict[Key, dict[str, Any]]:
    """The rows of `out` that need not be measured again."""
    if not out.exists():
        return {}
    found = read_bench(out)
    fixed = {"hardware": SAME_MACHINE, "settings": result["settings"], "versions": result["versions"]}
    other = [
        f"{key} {found[part].get(key)}"
        for part, keys in fixed.items()
        for key in keys
        if found[part].get(key) != result[part].get(key)
    ]
    if other:
        raise ConfigError(
            f"{out} cannot be continued: it was measured with {', '.join(other)}, which differs here. Give another "
            "--out; nothing was changed."
        )
    return {(row["backbone"], row["method"]): row for row in found["rows"] if row["status"] != "failed"}


def _measured(arm: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What a process of its own says of one arm, or how that process ended."""
    import torch

    request = {"arm": arm, "settings": asdict(settings), "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "row.json"
        done = subprocess.run(
            [*COMMAND, str(answer)], input=json.dumps(request), capture_output=True, text=True, check=False
        )
        if answer.is_file():
            return dict(read_json(answer))
    return {"status": "failed", "reason": _end_of(done.returncode, done.stderr)}


def _end_of(code: int, said: str) -> str:
    """Why a process has given no answer."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (": too little memory is the usual reason" if name == "SIGKILL" else "")
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    return f"ended with code {code}: {last[0]}"


def _outcome(row: dict[str, Any]) -> str:
    """One line of progress."""
    if row["status"] != "done":
        return f"{row['status']}: {row['reason']}"
    step = f"{1000 * row['step_seconds']['median']:.3g} ms a step, " if row["step_seconds"] else ""
    return f"{step}{row['forecast_milliseconds_per_window']:.3g} ms a window's forecast"
