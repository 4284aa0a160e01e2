"""Processes for tests that kill some, or hold one against another: forked from one that has imported what is heavy.

A fresh interpreter would import torch for seconds each time; what is forked before anything was computed is as fresh.
"""

import contextlib
import multiprocessing
import os
import sys
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["loracast.study.run", "loracast.training.trainer", "peft"])


class Child:
    """A process that carries out Python code; what it says lies in files of its folder.

    In the code, `sys.argv[1:]` are the arguments, and `pipe` leads to the `pipe` of this object.
    """

    def __init__(self, code: str, *arguments: object, cwd: Path, said: Path, **environment: str) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self._said = said
        words = list(map(str, arguments))
        self._process = _CONTEXT.Process(target=_carry_out, args=(code, words, cwd, said, environment, theirs))
        self._process.start()
        theirs.close()

    def said(self, stream: str = "stderr") -> str:
        """What it has written so far to `stdout` or `stderr`."""
        file = self._said / stream
        return file.read_text() if file.exists() else ""

    def is_over(self) -> bool:
        """Whether it has ended."""
        return not self._process.is_alive()

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid or 0, number)

    def ended(self) -> int:
        """Wait for its end; its exit code, negative for the signal that ended it."""
        self.pipe.close()
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode


@contextlib.contextmanager
def child(code: str, *arguments: object, cwd: Path, said: Path, **environment: str) -> Iterator[Child]:
    """A child that is killed at the end if it is still there; `said` is a folder that is made for what it says."""
    said.mkdir(parents=True)
    one = Child(code, *arguments, cwd=cwd, said=said, OMP_NUM_THREADS="1", **environment)
    try:
        yield one
    finally:
        one.signal(9)
        one.ended()


def _carry_out(
    code: str, words: list[str], cwd: Path, said: Path, environment: dict[str, str], pipe: Connection
) -> None:
    for number, stream in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(said / stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    os.chdir(cwd)
    os.environ.update(environment)
    sys.argv = ["-c", *words]
    ended = 1
    try:
        exec(compile(code, "<child>", "exec"), {"__name__": "__main__", "pipe": pipe})
        ended = 0
    except SystemExit as end:
        ended = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended)
