"""An experiment, run by run: the same data, windows, scores and seeds for every arm; what is done is not done again."""

import contextlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loracast.backbones import load_backbone
from loracast.backbones.base import Backbone, check_window
from loracast.baselines.naive import BASELINES
from loracast.config import ArmSpec, ExperimentSpec
from loracast.data.frame import patients_of
from loracast.data.prepare import prepare
from loracast.data.split import split_patients
from loracast.data.windows import Windows, cut_windows, open_windows
from loracast.errors import ConfigError, LoracastError
from loracast.files import digest, read_json, write_json
from loracast.methods import METHODS, check_arm, method_named
from loracast.run import run_arm, run_baseline
from loracast.summary import summarise_experiment

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One arm with one seed, and the folder that holds (or will hold) its result."""

    name: str
    arm: ArmSpec | None
    seed: int
    folder: Path

    def run_id(self, spec: ExperimentSpec, windows: Windows) -> str:
        """Digest of everything that decides the run's numbers."""
        return digest(
            {
                "arm": self.arm.as_json() if self.arm else self.name,
                "seed": self.seed,
                "windows": {
                    k: windows.meta[k] for k in ("table_fingerprint", "split_fingerprint", "context", "horizon")
                }
                | spec.windows.model_dump(mode="json"),
                "training": spec.training.model_dump(mode="json"),
                "forecast": spec.forecast.model_dump(mode="json"),
            }
        )


def runs_of(spec: ExperimentSpec, out: Path) -> list[Run]:
    """The runs of an experiment in order: the naive floor, then every arm with every seed.

    A zero-shot arm trains nothing, so it runs once, with the first seed.
    """
    runs = [Run(name, None, 0, out / "runs" / name) for name in BASELINES]
    for arm in spec.arms:
        seeds = spec.seeds if METHODS[arm.method].trains else spec.seeds[:1]
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", arm.name)
        runs += [Run(arm.name, arm, seed, out / "runs" / f"{slug}-s{seed}") for seed in seeds]
    return runs


def run_experiment(
    spec: ExperimentSpec,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    say: Say = print,
    command: str | None = None,
) -> dict[str, Any]:
    """Run what is not done yet under `out`, write `summary.json`, and return it.

    `command` is what the report tells a reader to run for the same results.

    A finished run is never repeated. With `resume` a run that was interrupted continues from its last checkpoint;
    without, it starts again. Raises ConfigError where `out` holds another experiment.
    """
    fresh = not (out / "experiment.json").is_file()
    if fresh:
        _check_arms(spec)
    _claim(spec, out)
    try:
        table = prepare(spec.data, out / "data", say)
        windows = _windows(spec, table, out / "data" / "windows")
    except LoracastError:
        if fresh:
            _unclaim(out)
        raise
    runs = runs_of(spec, out)
    for number, run in enumerate(runs, 1):
        run_id = run.run_id(spec, windows)
        if _is_done(run, run_id):
            say(f"[{number}/{len(runs)}] {run.name}, seed {run.seed}: done before")
            continue
        say(f"[{number}/{len(runs)}] {run.name}, seed {run.seed}")
        if run.arm is None:
            run_baseline(run.name, windows, spec, run.folder, run_id)
        else:
            run_arm(run.arm, windows, spec, run.folder, run_id, seed=run.seed, resume=resume, progress=progress)
    summary = {**summarise_experiment(spec, out, windows, runs), "command": command}
    write_json(out / "summary.json", summary)
    return summary


def _check_arms(spec: ExperimentSpec) -> None:
    """Refuse what an arm asks for in vain before data are read: a mistake in the last must not cost those before."""
    backbones: dict[tuple[str, str | None], Backbone] = {}
    for arm in spec.arms:
        method_named(arm.method)
    for arm in spec.arms:
        key = arm.backbone, arm.revision
        if key not in backbones:
            # One at a time in memory.
            backbones = {key: load_backbone(arm.backbone, revision=arm.revision)}
        check_window(backbones[key].card, spec.windows.context or 0)
        check_arm(backbones[key], arm)


def _claim(spec: ExperimentSpec, out: Path) -> None:
    """Write the experiment's spec into `out`, or make sure that it is the one that stands there."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file. Give a folder with --out.")
    file = out / "experiment.json"
    if file.is_file():
        found = read_json(file)
        if found["digest"] == spec.digest:
            return
        if any((out / "data").glob("*")):
            raise ConfigError(
                f"{out} holds results of another spec ({found['name']}, {found['digest']}; this one is {spec.name}, "
                f"{spec.digest}). Nothing was changed. Give another --out, or remove that folder."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty and holds no experiment. Give an empty or a new folder with --out.")
    write_json(file, {"name": spec.name, "digest": spec.digest, "spec": spec.as_json()})


def _unclaim(out: Path) -> None:
    """Take back a claim on which nothing has run: it would only keep the corrected experiment out."""
    shutil.rmtree(out / "data", ignore_errors=True)
    (out / "experiment.json").unlink()
    with contextlib.suppress(OSError):
        out.rmdir()


def _windows(spec: ExperimentSpec, table: Any, folder: Path) -> Windows:
    if (folder / "windows.json").is_file():
        windows = open_windows(folder)
        if windows.meta["table_fingerprint"] == table.fingerprint:
            return windows
        raise ConfigError(
            f"The data under {folder.parent} have changed since the windows were cut, so runs would not be comparable. "
            "Give another --out."
        )
    return cut_windows(table, split_patients(patients_of(table), spec.split), spec.windows, folder)


def _is_done(run: Run, run_id: str) -> bool:
    file = run.folder / "result.json"
    if not file.is_file():
        return False
    found = read_json(file)["run_id"]
    if found != run_id:
        raise ConfigError(
            f"{run.folder} holds a result of another spec ({found}, not {run_id}). Nothing was changed. Give another "
            "--out, or remove that folder."
        )
    return True
