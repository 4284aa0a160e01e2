"""A Ray cluster: every run a task with its own resources, on whichever node has them free.

All nodes must see the results folder and the weights under the same paths, and have loracast installed.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from loracast.errors import ConfigError
from loracast.study.engine import Outcome, Plan, Task

_RETRIES = 3
"""How often a run is begun again whose node or process has died; a resumed run goes on from its last checkpoint."""
_workshop: Any = None


def carry_out_on_ray(plan: Plan, tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Carry out `tasks` on the cluster at `plan.address`, or on one that is made here for as long as it takes.

    Raises ConfigError where Ray is not installed, or the cluster cannot be reached or has no such node.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its makers of every use unless told not to
    try:
        import ray
    except ImportError as error:
        raise ConfigError('Ray is not installed. Install it: pip install "loracast[ray]"') from error
    begun_here = not ray.is_initialized()
    if begun_here:
        _join(ray, plan)
    try:
        _check_resources(ray, plan)
        remote = ray.remote(num_cpus=plan.cpus, num_gpus=plan.gpus, max_retries=_RETRIES)(_perform)
        # A task that is begun again must find its checkpoints, so that all go on from what is there.
        running = {remote.remote(replace(task, resume=True)): task for task in tasks}
        while running:
            ready, _ = ray.wait(list(running), num_returns=1)
            task = running.pop(ready[0])
            try:
                yield ray.get(ready[0])
            except ray.exceptions.RayError as error:
                first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                yield Outcome(task.number, "failed", error=f"its node or process died: {first}")
    finally:
        if begun_here:
            ray.shutdown()


def _join(ray: Any, plan: Plan) -> None:
    try:
        ray.init(address=plan.address, log_to_driver=False, include_dashboard=False if plan.address is None else None)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"No Ray cluster at {plan.address}: {str(error).splitlines()[0]}. Start one (ray start --head), give its "
            "address, or leave --address out for one on this machine."
        ) from error


def _check_resources(ray: Any, plan: Plan) -> None:
    """Refuse a run that fits no node: Ray would wait for one for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= plan.cpus and node.get("GPU", 0) >= plan.gpus for node in nodes):
        sizes = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ConfigError(
            f"A run asks for {plan.cpus:g} CPUs and {plan.gpus:g} GPUs, which no node of the cluster has ({sizes}). "
            "Lower --cpus or --gpus."
        )


def _perform(task: Task) -> Outcome:
    """What a node does; its process keeps windows and the frozen base for the next task."""
    global _workshop
    from loracast.study.engine.local import Workshop

    _workshop = _workshop or Workshop(progress=False, alone=False)
    outcome: Outcome = _workshop.perform(task)
    return outcome
