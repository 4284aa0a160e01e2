"""Where the runs of a grid are carried out: in this process, in several on this machine, or on a Ray cluster."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loracast.errors import ConfigError
from loracast.types import Say

ENGINES = ("processes", "ray")


@dataclass(frozen=True)
class Plan:
    """How a grid is carried out; none of it changes a number.

    `jobs` processes on this machine; or `engine="ray"` on the cluster at `address` (one made here if not given), with
    `cpus` and `gpus` for each run. After `max_hours` nothing new is begun, and what is half-trained stops at its next
    checkpoint. `track` names trackers.
    """

    jobs: int = 1
    engine: Literal["processes", "ray"] = "processes"
    address: str | None = None
    cpus: float = 1
    gpus: float = 0
    max_hours: float | None = None
    track: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ConfigError(f"{self.jobs} jobs given; at least 1 is needed.")
        if self.engine not in ENGINES:
            raise ConfigError(f"No engine {self.engine!r}. Engines: {', '.join(ENGINES)}.")
        if self.max_hours is not None and self.max_hours <= 0:
            raise ConfigError(f"A budget of {self.max_hours:g} hours given; it must be more than 0.")
        if self.engine != "ray" and (self.address is not None or self.gpus or self.cpus != 1):
            raise ConfigError("An address, or resources for a run, are for a Ray cluster: add --engine ray.")


@dataclass(frozen=True)
class Task:
    """Everything that carries out one run elsewhere: plain values, fit for another process or machine.

    `spec` is the experiment as JSON, `out` its folder (on a file system that all machines see), `number` the run's
    place in the grid. `deadline` is a time in seconds since 1970.
    """

    spec: str
    out: Path
    number: int
    resume: bool
    deadline: float | None
    track: tuple[str, ...]

    @property
    def is_late(self) -> bool:
        """Whether the budget is spent."""
        return self.deadline is not None and time.time() > self.deadline


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "done", "failed" with the reason, or "stopped" because the budget was spent."""

    number: int
    state: Literal["done", "failed", "stopped"]
    seconds: float = 0.0
    error: str | None = None


Begin = Callable[[Task], None]
"""Told when a run begins (a cluster does not tell when)."""


def carry_out(plan: Plan, tasks: Sequence[Task], *, begin: Begin, progress: bool, say: Say) -> Iterator[Outcome]:
    """Carry out `tasks` and give their outcomes as they end; each task has one.

    `progress` shows bars and `say` takes notes of runs in this process; others keep theirs to themselves.
    """
    if plan.engine == "ray":
        from loracast.study.engine.cluster import carry_out_on_ray

        return carry_out_on_ray(plan, tasks)
    if plan.jobs > 1:
        from loracast.study.engine.local import carry_out_in_processes

        return carry_out_in_processes(plan.jobs, tasks, begin=begin)
    from loracast.study.engine.local import Workshop

    workshop = Workshop(progress=progress, say=say)

    def one_by_one() -> Iterator[Outcome]:
        for task in tasks:
            if not task.is_late:
                begin(task)
            yield workshop.perform(task)

    return one_by_one()
