"""Several processes that train one model, started by torchrun: who is who, waiting, and sums over all.

Whether and how a process was started is read from the environment that torchrun sets; nothing is imported, and no
group is joined, in a process that stands alone. All processes share one file system; only the main one (rank 0)
writes results to it, prints and shows bars.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from loracast.errors import ConfigError

_PATIENCE = timedelta(hours=12)  # how long the others wait while the main process reads data
_SET_BY_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


def launched() -> bool:
    """Whether torchrun has started this process."""
    return all(name in os.environ for name in _SET_BY_TORCHRUN)


def world_size() -> int:
    """How many processes train together; 1 for a process that stands alone."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def is_main() -> bool:
    """Whether this is the process that writes and prints."""
    return rank() == 0


def share_of(batch_size: int) -> int:
    """The part of a total batch that each process takes; raises ConfigError where it does not divide."""
    processes = world_size()
    if batch_size % processes:
        raise ConfigError(
            f"A batch_size of {batch_size} cannot be shared by {processes} processes: it is the total of all. Give a "
            f"multiple of {processes}, such as {max(1, round(batch_size / processes)) * processes}."
        )
    return batch_size // processes


def refuse_grid() -> None:
    """Raise ConfigError under torchrun, for a command that runs many runs."""
    if launched():
        raise ConfigError(
            "`loracast run` was started by torchrun, which makes several processes train one model. A grid is parallel "
            "over its runs: start it without torchrun, with --jobs N, or with --engine ray. torchrun serves `adapt`."
        )


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        _group().wait_for_everyone()


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the main process first, then in the others.

    Where it fails in the main process the others are still waiting, and torchrun ends them.
    """
    if not is_main():
        barrier()
    yield
    if is_main():
        barrier()


def total(values: Sequence[float]) -> list[float]:
    """Each of `values`, summed over all processes (float64)."""
    if world_size() == 1:
        return list(values)
    import torch

    together = torch.tensor(values, dtype=torch.float64, device=_group().device)
    torch.distributed.all_reduce(together)
    return [float(value) for value in together.tolist()]


def anywhere(flag: bool) -> bool:
    """Whether `flag` is true in any process."""
    return total([float(flag)])[0] > 0


def add_gradients(parameters: Sequence[Any]) -> None:
    """Replace the gradient of each parameter by its sum over all processes; one that nobody has stays None."""
    if world_size() == 1:
        return
    import torch

    had = total([float(parameter.grad is not None) for parameter in parameters])
    for parameter, count in zip(parameters, had, strict=True):
        if count:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)


def _group() -> Any:
    """The group of processes, joined on the first call."""
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    return PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
