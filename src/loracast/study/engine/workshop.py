"""One run, carried out in whatever process this is, and what became of it."""

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from loracast.data.windows import Windows, open_windows
from loracast.errors import BudgetError, ConfigError
from loracast.files import write_json
from loracast.spec import ExperimentSpec
from loracast.study.engine import Outcome, Task
from loracast.study.run import Conduct
from loracast.study.runs import FAILED, Run, perform, runs_of
from loracast.study.shared import Shared

_LONGEST_WAIT = 20.0
"""Seconds that a run waits for another process to let go of its folder: one whose parent was killed ends in one."""


class Workshop:
    """Carries out runs one after the other, keeping windows and the frozen base between them."""

    def __init__(self, *, progress: bool, say: Callable[[str], None] = print, alone: bool = True) -> None:
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
            with _alone(task.out, run):
                run.folder.mkdir(parents=True, exist_ok=True)
                (run.folder / FAILED).unlink(missing_ok=True)
                perform(run, windows, spec, conduct)
        except BudgetError:
            return outcome("stopped")
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            if run is not None:
                with contextlib.suppress(OSError):  # a full disk, say: the outcome tells it
                    write_json(run.folder / FAILED, {"error": told, "traceback": traceback.format_exc()})
            return outcome("failed", told)
        return outcome("done")

    def _open(self, task: Task) -> tuple[ExperimentSpec, Windows, list[Run]]:
        if self._opened is None or self._key != (task.spec, task.out):
            spec = ExperimentSpec.model_validate_json(task.spec)
            self._opened = spec, open_windows(task.out / "data" / "windows"), runs_of(spec, task.out)
            self._key = (task.spec, task.out)
        return self._opened


@contextlib.contextmanager
def _alone(out: Path, run: Run) -> Iterator[None]:
    """Keep the run's folder from any other process meanwhile; the system lets go of it if this one is killed."""
    locks = out / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(locks / run.folder.name, timeout=_LONGEST_WAIT):
            yield
    except Timeout as error:
        raise ConfigError(f"{run.name}, seed {run.seed}: another process is at it. Wait for it, or end it.") from error
