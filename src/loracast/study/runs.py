"""The runs that an experiment is made of: what each is, where it lies, how far it has come."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loracast.errors import ConfigError
from loracast.files import digest
from loracast.spec import TrainSpec
from loracast.study.experiment import ExperimentSpec
from loracast.study.summary import EXPERIMENT, FAILED, RESULT, Claim, Failure, PlannedRun, RunResult, read_facts
from loracast.tuning.arm import ArmSpec

if TYPE_CHECKING:
    from loracast.data.windows import Windows
    from loracast.study.run import Conduct

_PATH = re.compile(r"(?<![\w.])/(?:[^\s/'\":,]+/)+")
"""A path from the root, up to its last name."""

State = Literal["done", "failed", "half-trained", "waiting"]


@dataclass(frozen=True)
class Place:
    """The folder of one arm with one seed, and what it tells."""

    name: str
    seed: int
    folder: Path

    def state(self) -> State:
        """How far the run has come, by what its folder holds."""
        if (self.folder / RESULT).is_file():
            return "done"
        if (self.folder / FAILED).is_file():
            return "failed"
        return "half-trained" if (self.folder / "checkpoints").is_dir() else "waiting"

    def reason(self) -> str | None:
        """Why it failed, without the paths of this machine: the summary and the report tell it too."""
        file = self.folder / FAILED
        return _PATH.sub("…/", read_facts(Failure, file).error) if file.is_file() else None


@dataclass(frozen=True)
class Run(Place):
    """One arm with one seed, and the folder that holds (or will hold) its result."""

    arm: ArmSpec

    def run_id(self, spec: ExperimentSpec, windows: "Windows") -> str:
        """Digest of everything that decides the run's numbers."""
        cut = {key: windows.meta[key] for key in ("table_fingerprint", "split_fingerprint", "context", "horizon")}
        return digest(
            {
                "arm": self.arm.as_json(),
                "seed": self.seed,
                "windows": cut | spec.windows.model_dump(mode="json"),
                "training": _decisive(self.arm.method.training(spec.training)),
                "forecast": spec.forecast.model_dump(mode="json"),
                "validation_scores": spec.validation_scores,
            }
        )

    def is_done(self, run_id: str) -> bool:
        """Whether it is done; raises ConfigError where its folder holds the result of another spec."""
        file = self.folder / RESULT
        if not file.is_file():
            return False
        found = read_facts(RunResult, file).run_id
        if found != run_id:
            raise ConfigError(
                f"{self.folder} holds a result of another spec ({found}, not {run_id}). Nothing was changed. Give "
                "another --out, or remove that folder."
            )
        return True

    def perform(self, spec: ExperimentSpec, windows: "Windows", conduct: "Conduct") -> None:
        """Carry it out."""
        from loracast.study.run import run_arm  # torch: where a grid stands is told without it

        run_id = self.run_id(spec, windows)
        run_arm(self.arm, windows, spec, self.folder, run_id, conduct=conduct, seed=self.seed)


def _decisive(training: TrainSpec) -> dict[str, Any]:
    """What of a training decides the numbers. With the dropout of the base it is every training of before 0.5."""
    content = training.model_dump(mode="json")
    if content["base_dropout"]:
        del content["base_dropout"]
    return content


def runs_of(spec: ExperimentSpec, out: Path) -> list[Run]:
    """The runs of an experiment in order: every arm with every seed, the naive floor first."""
    runs: list[Run] = []
    slugs: dict[str, str] = {}
    for arm in spec.competitors:
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", arm.name)
        if slugs.setdefault(slug, arm.name) != arm.name:  # two patterns may differ in signs alone
            slug = f"{slug}-{digest(arm.name)[:8]}"
        runs += [Run(arm.name, seed, out / "runs" / f"{slug}-s{seed}", arm) for seed in spec.seeds_of(arm)]
    return runs


def claim_of(spec: ExperimentSpec, out: Path) -> Claim:
    """What `experiment.json` says: the spec, and the runs that it stands for."""
    runs = [PlannedRun(arm=run.name, seed=run.seed, folder=run.folder.name) for run in runs_of(spec, out)]
    return Claim(name=spec.name, digest=spec.digest, spec=spec.as_json(), runs=runs)


def read_claim(folder: Path) -> Claim:
    """The `experiment.json` of a results folder; raises ConfigError where it holds none, or one of another format."""
    file = folder / EXPERIMENT
    if not file.is_file():
        raise ConfigError(f"{folder} holds no experiment. Give a folder that `loracast run` or `sweep` has begun.")
    return read_facts(Claim, file)


def status_of(folder: Path) -> list[dict[str, Any]]:
    """The runs of a results folder in order, each with its state; raises ConfigError where it holds no experiment."""
    runs = read_claim(folder).runs
    return facts_of_runs([Place(run.arm, run.seed, folder / "runs" / run.folder) for run in runs])


def facts_of_runs(runs: list[Any]) -> list[dict[str, Any]]:
    """The runs as they stand, in order, fit for JSON."""
    return [
        {"arm": run.name, "seed": run.seed, "state": run.state(), "folder": run.folder.name, "reason": run.reason()}
        for run in runs
    ]
