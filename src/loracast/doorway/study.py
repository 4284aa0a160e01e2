"""A study as an object: data × arms × seeds on the same windows, from a file or built in Python."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loracast.data.table import Table
from loracast.doorway.data import opened
from loracast.doorway.quiet import bars, quiet
from loracast.doorway.result import Result
from loracast.errors import ConfigError
from loracast.spec import ForecastSpec, SplitSpec, TrainSpec, WindowSpec, parse
from loracast.study.experiment import ExperimentSpec, read_experiment
from loracast.tuning.arm import ArmSpec
from loracast.tuning.method import Method

logger = logging.getLogger(__name__)

Arm = ArmSpec | tuple[str, Method | str] | str | dict[str, Any]
"""An arm: as such, as a model with a method, as a model that comes as it is, or as its keys."""


class Study:
    """A whole comparison. `spec` is what it asks for.

    >>> study = lc.Study(name="small", data=table, arms=["chronos-t5-nano", ("chronos-t5-nano", lc.LoRA(rank=1))])
    >>> study
    Study(small: 5 arms, 1 seed)
    """

    def __init__(
        self,
        spec: ExperimentSpec | None = None,
        *,
        name: str = "study",
        data: Table | Path | str | dict[str, Any] | None = None,
        arms: Sequence[Arm] = (),
        baselines: Sequence[str] = (),
        windows: WindowSpec | dict[str, Any] | None = None,
        split: SplitSpec | dict[str, Any] | None = None,
        training: TrainSpec | dict[str, Any] | None = None,
        forecast: ForecastSpec | dict[str, Any] | None = None,
        seeds: Sequence[int] = (0,),
        validation_scores: bool = False,
    ) -> None:
        """A study of a spec, or of data and arms; what is left out has the defaults of `ExperimentSpec`.

        `data` is a table, its file, or the keys of a reader (`{"source": "mimic3", "path": …}`). Raises ConfigError for
        settings that cannot be, and where both a spec and settings are given.
        """
        if spec is not None:
            if data is not None or arms:
                raise ConfigError("A spec says data and arms. Give either the spec, or data and arms.")
            self.spec = spec
            return
        if data is None or not arms:
            raise ConfigError('Give data and arms, such as arms=["chronos-t5-nano", ("chronos-t5-nano", lc.LoRA())].')
        content: dict[str, Any] = {
            "name": name,
            "data": data if isinstance(data, dict) else {"source": "table", "path": str(opened(data).path)},
            "arms": [_arm(arm) for arm in arms],
            "baselines": tuple(baselines),
            "seeds": tuple(seeds),
            "validation_scores": validation_scores,
        }
        parts = {"windows": windows, "split": split, "training": training, "forecast": forecast}
        self.spec = parse(ExperimentSpec, {**content, **{k: v for k, v in parts.items() if v is not None}}, "The study")
        self._data = data  # a table in a private folder stays as long as the study that reads it

    @classmethod
    def from_toml(cls, path: Path | str, *, data: Path | str | None = None, backbones: str | None = None) -> "Study":
        """A study from a TOML file, or by its name one that comes with loracast.

        `data` says where the data lie, `backbones` which of the file's sets is taken. Raises ConfigError for a file or
        a name that is not there, and for what the file asks in vain.

        >>> lines = ['name = "own"', 'data = {source = "table", path = "own.parquet"}', 'arms = [{model = "theta"}]']
        >>> _ = (folder / "own.toml").write_text(chr(10).join(lines))
        >>> lc.Study.from_toml(folder / "own.toml")
        Study(own: 4 arms, 1 seed)
        """
        return cls(read_experiment(Path(path), data=None if data is None else Path(data), backbones=backbones))

    def run(
        self,
        out: Path | str,
        *,
        jobs: int = 1,
        resume: bool = False,
        max_hours: float | None = None,
        progress: bool | None = None,
    ) -> Result:
        """Run what is not done yet under the folder `out`, and return what was found: the `loracast run` of Python.

        `jobs` runs at a time; with `resume` an interrupted run goes on from its last checkpoint; after `max_hours`
        nothing new is begun. Raises what `study.study.run_experiment` does: TrainingError where runs failed,
        ConfigError where `out` holds something else.

        >>> study = lc.Study(data=table, arms=["last-value"], windows={"context": 24, "horizon": 6})
        >>> study.run(folder / "out").arms
        ['seasonal-naive', 'context-mean', 'last-value']
        """
        with quiet():
            from loracast.study.engine import Plan
            from loracast.study.study import run_experiment

            plan = Plan(jobs=jobs, max_hours=max_hours)
            run_experiment(self.spec, Path(out), resume=resume, progress=bars(progress), say=logger.info, plan=plan)
        return Result(Path(out))

    def __repr__(self) -> str:
        seeds = len(self.spec.seeds)
        return f"Study({self.spec.name}: {len(self.spec.competitors)} arms, {seeds} seed{'s' if seeds > 1 else ''})"

    def _repr_html_(self) -> str:
        from loracast.report.render import html
        from loracast.report.tables import pairs

        arms = [(arm.name, arm.method.summary) for arm in self.spec.competitors]
        return html(pairs(arms, f"{self.spec.name}: arms, and what each trains"))


def _arm(arm: Arm) -> ArmSpec | dict[str, Any]:
    """An arm as an experiment takes it."""
    if isinstance(arm, str):
        from loracast.models.registry import kind_of

        return {"model": arm, "method": "zero-shot"} if kind_of(arm) == "pretrained" else {"model": arm}
    if isinstance(arm, tuple):
        if len(arm) != 2:
            raise ConfigError(f"An arm of {len(arm)} parts given. Give a model and a method.")
        return {"model": arm[0], "method": arm[1]}
    return arm
