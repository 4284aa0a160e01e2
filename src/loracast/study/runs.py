"""The runs that an experiment is made of: what each is, where it lies, how far it has come."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from loracast.data.windows import Windows
from loracast.errors import ConfigError
from loracast.files import digest, read_json
from loracast.models.naive import BASELINES, Baseline
from loracast.spec import FITTED, ArmSpec, ExperimentSpec
from loracast.study.run import Conduct, run_arm, run_baseline, run_network
from loracast.tuning.methods import METHODS

FORMAT = 2
"""Of a results folder; one of another format is not continued."""
FAILED = "failed.json"

_PATH = re.compile(r"(?<![\w.])/(?:[^\s/'\":,]+/)+")
"""A path from the root, up to its last name."""

State = Literal["done", "failed", "half-trained", "waiting"]


@dataclass(frozen=True)
class Run:
    """One arm with one seed, and the folder that holds (or will hold) its result.

    `arm` is None for what has no backbone: `name` then is that of the baseline.
    """

    name: str
    arm: ArmSpec | None
    seed: int
    folder: Path

    def run_id(self, spec: ExperimentSpec, windows: Windows) -> str:
        """Digest of everything that decides the run's numbers."""
        network = self.arm is None and self.name not in (*BASELINES, *FITTED)
        return digest(
            {
                "arm": self.arm.as_json() if self.arm else self.name,
                "seed": self.seed,
                "windows": {
                    k: windows.meta[k] for k in ("table_fingerprint", "split_fingerprint", "context", "horizon")
                }
                | spec.windows.model_dump(mode="json"),
                "training": (spec.scratch if network else spec.training).model_dump(mode="json"),
                "forecast": spec.forecast.model_dump(mode="json"),
                "validation_scores": spec.validation_scores,
            }
        )

    def state(self) -> State:
        """How far the run has come, by what its folder holds."""
        if (self.folder / "result.json").is_file():
            return "done"
        if (self.folder / FAILED).is_file():
            return "failed"
        return "half-trained" if (self.folder / "checkpoints").is_dir() else "waiting"

    def reason(self) -> str | None:
        """Why it failed, without the paths of this machine: the summary and the report tell it too."""
        file = self.folder / FAILED
        return _PATH.sub("…/", str(read_json(file)["error"])) if file.is_file() else None

    def is_done(self, run_id: str) -> bool:
        """Whether it is done; raises ConfigError where its folder holds the result of another spec."""
        file = self.folder / "result.json"
        if not file.is_file():
            return False
        found = read_json(file)["run_id"]
        if found != run_id:
            raise ConfigError(
                f"{self.folder} holds a result of another spec ({found}, not {run_id}). Nothing was changed. Give "
                "another --out, or remove that folder."
            )
        return True


def runs_of(spec: ExperimentSpec, out: Path) -> list[Run]:
    """The runs of an experiment in order: the naive floor, the other baselines, then every arm with every seed.

    What trains nothing runs once, with the first seed.
    """
    place = out / "runs"
    runs = [Run(name, None, 0, place / name) for name in BASELINES]
    for name in spec.baselines:
        seeds = [0] if name in FITTED else spec.seeds
        runs += [Run(name, None, seed, place / (name if name in FITTED else f"{name}-s{seed}")) for seed in seeds]
    slugs: dict[str, str] = {}
    for arm in spec.arms:
        seeds = spec.seeds if METHODS[arm.method].trains else spec.seeds[:1]
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", arm.name)
        if slugs.setdefault(slug, arm.name) != arm.name:  # two patterns may differ in signs alone
            slug = f"{slug}-{digest(arm.name)[:8]}"
        runs += [Run(arm.name, arm, seed, place / f"{slug}-s{seed}") for seed in seeds]
    return runs


def perform(run: Run, windows: Windows, spec: ExperimentSpec, conduct: Conduct) -> None:
    """Carry out one run, whatever it is."""
    run_id = run.run_id(spec, windows)
    if run.arm is not None:
        run_arm(run.arm, windows, spec, run.folder, run_id, conduct=conduct, seed=run.seed)
    elif run.name in BASELINES or run.name in FITTED:
        run_baseline(run.name, baseline_named(run.name), windows, spec, run.folder, run_id, conduct=conduct)
    else:
        run_network(run.name, windows, spec, run.folder, run_id, conduct=conduct, seed=run.seed)


def baseline_named(name: str) -> Baseline:
    """A baseline that is fitted to each window; the statistical ones are loaded when they are asked for."""
    if name in BASELINES:
        return BASELINES[name]
    from loracast.models.statistical import STATISTICAL

    return STATISTICAL[name]


def facts_of_runs(runs: list[Run]) -> list[dict[str, Any]]:
    """The runs as they stand, in order, fit for JSON."""
    return [
        {"arm": run.name, "seed": run.seed, "state": run.state(), "folder": run.folder.name, "reason": run.reason()}
        for run in runs
    ]


def status_of(folder: Path) -> list[dict[str, Any]]:
    """The runs of a results folder in order, each with its state; raises ConfigError where it holds no experiment."""
    file = folder / "experiment.json"
    if not file.is_file():
        raise ConfigError(f"{folder} holds no experiment. Give a folder that `loracast run` or `sweep` has begun.")
    found = read_json(file)
    refuse_other_format(folder, found)
    return facts_of_runs([Run(r["arm"], None, r["seed"], folder / "runs" / r["folder"]) for r in found["runs"]])


def refuse_other_format(folder: Path, found: Mapping[str, Any]) -> None:
    """Raise ConfigError where `found`, the experiment.json of a folder, is of another version of loracast."""
    if found.get("format") != FORMAT:
        raise ConfigError(
            f"{folder} was written by another version of loracast (format {found.get('format', 1)}, this one writes "
            f"{FORMAT}). Its report can still be drawn; to run more, give another --out."
        )


def status_table(rows: list[dict[str, Any]]) -> Table:
    """The runs for the terminal, with a count of each state."""
    counts = Counter(row["state"] for row in rows)
    table = Table(title=", ".join(f"{count} {state}" for state, count in counts.items()), title_justify="left")
    for column in ("#", "arm", "seed", "state", "why"):
        table.add_column(column, overflow="fold")
    for number, row in enumerate(rows, 1):
        table.add_row(str(number), row["arm"], str(row["seed"]), row["state"], row["reason"] or "")
    return table
