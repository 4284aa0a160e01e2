"""One run, carried out in whatever process this is; and several processes on this machine, each at one run at a time.

A process that dies takes no other with it.
"""

import contextlib
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from loracast.data.windows import Windows, open_windows
from loracast.errors import BudgetError, LoracastError
from loracast.files import alone
from loracast.study.engine import Begin, Outcome, Task
from loracast.study.experiment import ExperimentSpec
from loracast.study.run import Conduct, Shared
from loracast.study.runs import Run, runs_of
from loracast.study.summary import FAILED, Failure, write_facts
from loracast.types import Say

# A fork of a process that has used torch's threads may hang; one that has only imported it spares the second import.
_CONTEXT: ForkServerContext | SpawnContext = (
    multiprocessing.get_context("forkserver") if hasattr(os, "fork") else multiprocessing.get_context("spawn")
)


@dataclass
class _Worker:
    """A process, the pipe to it, and the task that it is at."""

    process: BaseProcess
    pipe: Connection
    task: Task | None = None


def carry_out_in_processes(jobs: int, tasks: Sequence[Task], *, begin: Begin) -> Iterator[Outcome]:
    """Carry out `tasks` in up to `jobs` processes; a run whose process dies has failed, and a new process goes on."""
    waiting, workers = deque(tasks), []
    _CONTEXT.set_forkserver_preload(["loracast.study.run", "loracast.training.trainer", "peft"])
    try:
        for place in range(min(jobs, len(tasks))):
            workers.append(_hire(place, jobs))
        for worker in workers:
            _give(worker, waiting, begin)
        while any(worker.task is not None for worker in workers):
            ready = wait([worker.pipe for worker in workers if worker.task is not None])
            for place, worker in enumerate(workers):
                if worker.pipe not in ready or worker.task is None:
                    continue
                try:
                    outcome = worker.pipe.recv()
                except (EOFError, OSError):
                    outcome = _death(worker)
                    workers[place] = worker = _hire(place, jobs)
                yield outcome
                _give(worker, waiting, begin)
    finally:
        for worker in workers:
            if worker.task is not None:  # interrupted: it may be in the middle of a step
                worker.process.terminate()
            worker.pipe.close()
        for worker in workers:
            worker.process.join()


def _hire(place: int, jobs: int) -> _Worker:
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_work, args=(theirs, place, jobs, dict(os.environ)), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process ends the pipe
    return _Worker(process, ours)


def _give(worker: _Worker, waiting: deque[Task], begin: Begin) -> None:
    worker.task = waiting.popleft() if waiting else None
    if worker.task is not None:
        if not worker.task.is_late:
            begin(worker.task)
        # A process that has died meanwhile is found dead when its answer is read.
        with contextlib.suppress(OSError):
            worker.pipe.send(worker.task)


def _death(worker: _Worker) -> Outcome:
    assert worker.task is not None
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    hint = " (killed: by hand, or for want of memory; fewer --jobs need less)" if code == -9 else ""
    return Outcome(worker.task.number, "failed", error=f"its process {how}{hint}")


def _work(pipe: Connection, place: int, jobs: int, environment: dict[str, str]) -> None:
    """The life of a worker: carry out what comes through the pipe, until it is closed."""
    os.environ.update(environment)  # what the process is forked from may be older than it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Results belong to the parent's output; a worker's bars would run through each other.
    sys.stdout = sys.stderr
    _take_gpu(place)
    import torch

    from loracast.training.cost import logical_cores

    torch.set_num_threads(max(1, (logical_cores() or 1) // jobs))

    workshop = Workshop(progress=False, alone=False)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):  # the parent has ended, or ends us
        while True:
            pipe.send(workshop.perform(pipe.recv()))


def _take_gpu(place: int) -> None:
    """Give each worker a GPU of its own, in turn, where the machine has several. Must come before CUDA is begun."""
    named = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    if not named:
        from torch.cuda import device_count

        named = [str(number) for number in range(device_count())]
    if len(named) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = named[place % len(named)]


def _end_with_parent() -> None:
    """End this process once its parent is gone: a parent killed by SIGKILL cannot end it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


_LONGEST_WAIT = 20.0
"""Seconds that a run waits for another process to let go of its folder: one whose parent was killed ends in one."""


_TELLING = (LoracastError, ArithmeticError, AssertionError, MemoryError, OSError, RuntimeError)
"""Errors whose words quote no data; those of keys, values and of what DuckDB and Arrow read may."""


class Workshop:
    """Carries out runs one after the other, keeping windows and the frozen base between them."""

    def __init__(self, *, progress: bool, say: Say = print, alone: bool = True) -> None:
        self._progress, self._say, self._alone = progress, say, alone
        self._shared = Shared()
        self._key: tuple[str, Path] | None = None
        self._opened: tuple[ExperimentSpec, Windows, list[Run]] | None = None

    def perform(self, task: Task) -> Outcome:
        """Carry out a task; an error becomes its outcome and `failed.json`, so that the next can go on.

        An interruption by the caller (Ctrl-C) is no outcome: it goes through.
        """
        start = time.monotonic()

        def outcome(state: Any, error: str | None = None) -> Outcome:
            return Outcome(task.number, state, time.monotonic() - start, error)

        if task.is_late:
            return outcome("stopped")

        def stop_when_late() -> None:
            if task.is_late:
                raise BudgetError("The budget is spent.")

        conduct = Conduct(
            resume=task.resume,
            progress=self._progress,
            say=self._say,
            after_checkpoint=stop_when_late,
            track=task.track,
            results=task.out,
            alone=self._alone,
            shared=self._shared,
        )
        run = None
        try:
            spec, windows, runs = self._open(task)
            run = runs[task.number]
            with alone(run.folder, wait=_LONGEST_WAIT):
                run.folder.mkdir(parents=True, exist_ok=True)
                (run.folder / FAILED).unlink(missing_ok=True)
                run.perform(spec, windows, conduct)
        except BudgetError:
            return outcome("stopped")
        except Exception as error:
            # Only our own words are known to quote no patient; of others the kind and the place are told.
            words = str(error) if isinstance(error, _TELLING) else _place_of(error)
            told = f"{type(error).__name__}: {words}"
            if run is not None:
                places = "".join([*traceback.format_tb(error.__traceback__), told])
                with contextlib.suppress(OSError):  # a full disk, say: the outcome tells it
                    write_facts(Failure(error=told, traceback=places), run.folder / FAILED, overwrite=True)
            return outcome("failed", told)
        return outcome("done")

    def _open(self, task: Task) -> tuple[ExperimentSpec, Windows, list[Run]]:
        if self._opened is None or self._key != (task.spec, task.out):
            spec = ExperimentSpec.model_validate_json(task.spec)
            self._opened = spec, open_windows(task.out / "data" / "windows"), runs_of(spec, task.out)
            self._key = (task.spec, task.out)
        return self._opened


def _place_of(error: BaseException) -> str:
    """Where an error was raised: the last file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"raised in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "raised nowhere"
