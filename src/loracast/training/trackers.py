"""Following a training in MLflow, TensorBoard or Weights & Biases, through the Trainer's own hooks; off by default.

A tracker sees losses, the learning rate and what was asked for, and no patient, window or path of the experiment; runs
are named by arm and seed and grouped under the experiment. MLflow is also told what came of a run (`mlflow_run`).
MLflow and TensorBoard write beside the results unless MLFLOW_TRACKING_URI or TENSORBOARD_LOGGING_DIR say otherwise;
Weights & Biases is a service and needs an account (WANDB_MODE=offline keeps it on this machine). What MLflow's local
store keeps by itself are absolute paths to its own folder: it is for this machine, not for publication.
"""

import contextlib
import importlib.util
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loracast.errors import BudgetError, ConfigError
from loracast.files import read_json, write_json
from loracast.training import distributed

INSTALLED_BY = {
    "mlflow": 'pip install "loracast[tracking]"',
    "tensorboard": 'pip install "loracast[tracking]"',
    "wandb": "pip install wandb",
}
"""The trackers, each with the command that installs it."""

RUN = "tracked.json"
"""Where the checkpoints' folder keeps the identifier of the run in MLflow, so that a resume continues it; and where the
folder of an experiment keeps that of the run under which the others stand."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError for a tracker that is not known or not installed."""
    for name in names:
        if name not in INSTALLED_BY:
            raise ConfigError(f"No tracker {name!r}. Trackers: {', '.join(INSTALLED_BY)}.")
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"The tracker {name} is not installed. Install it: {INSTALLED_BY[name]}")


@contextlib.contextmanager
def tracked(names: Sequence[str], results: Path, run: str, folder: Path, *, resume: bool = False) -> Iterator[None]:
    """Let the trackers `names` follow the training in the block, as `run` of the experiment whose folder `results` is.

    `folder` remembers the run between an interruption and its resume. Only the main process is followed. Raises
    ConfigError as `check_trackers` does.
    """
    check_trackers(names)
    settings: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        if distributed.is_main():
            if "wandb" in names:
                settings |= _wandb(results)
            if "tensorboard" in names:
                place = results / "tensorboard" / re.sub(r"[^A-Za-z0-9.]+", "-", run)
                settings["TENSORBOARD_LOGGING_DIR"] = os.environ.get("TENSORBOARD_LOGGING_DIR") or str(place)
                stack.callback(_forget_host, Path(settings["TENSORBOARD_LOGGING_DIR"]))
            if "mlflow" in names:
                settings |= _mlflow(results)
            stack.enter_context(_environment(settings))
            if "mlflow" in names:
                stack.enter_context(_mlflow_run(results, run, folder / RUN, resume=resume))
        yield


@contextlib.contextmanager
def mlflow_run(results: Path, run: str, folder: Path) -> Iterator[Any]:
    """Open in MLflow the run that `folder` remembers, else a new one called `run`, and yield MLflow to tell it more.

    `results` is the folder of the experiment; where the two are one, it is the run under which its others stand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _environment(_mlflow(results)), _mlflow_run(results, run, folder / RUN, resume=True):
        import mlflow

        yield mlflow


def _experiment_of(results: Path) -> str:
    """The name of the experiment whose results folder this is; a folder of the caller's own stays unnamed."""
    file = results / "experiment.json"
    return str(read_json(file)["name"]) if file.is_file() else "loracast"


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set what trackers read from the environment, and put back what the caller had there."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _mlflow(results: Path) -> dict[str, str]:
    # Before the first import: MLflow 3.2 and later tell their makers of every use unless these are set, for good.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return {}
    # A folder of files needs no database; MLflow 3.17 keeps it for those who ask.
    return {"MLFLOW_TRACKING_URI": (results / "mlruns").absolute().as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}


def _wandb(results: Path) -> dict[str, str]:
    asked = {
        "WANDB_PROJECT": _experiment_of(results),
        "WANDB_DIR": str(results),
        "WANDB_DISABLE_CODE": "true",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB__DISABLE_META": "true",  # host, user, program and its arguments
        "WANDB_HOST": "loracast",
    }
    return {name: os.environ.get(name, value) for name, value in asked.items()}


@contextlib.contextmanager
def _mlflow_run(results: Path, run: str, memory: Path, *, resume: bool) -> Iterator[None]:
    """A run in MLflow that the Trainer's callback finds open; it ends as what happened to the training.

    MLflow would note who is logged in and which program runs, with its path: neither is told.
    """
    import mlflow

    known = read_json(memory)["mlflow"] if resume and memory.is_file() else None
    tags = {"mlflow.user": "", "mlflow.source.name": "loracast", "mlflow.source.type": "LOCAL"}
    above = results / RUN
    if above != memory and above.is_file():
        tags["mlflow.parentRunId"] = read_json(above)["mlflow"]
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _experiment_of(results)
    if known is None:
        opened = mlflow.start_run(experiment_id=_experiment(mlflow, experiment), run_name=run, tags=tags)
    else:
        opened = mlflow.start_run(run_id=known)
    status = "FAILED"
    try:
        write_json(memory, {"mlflow": opened.info.run_id}, overwrite=True)
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, BudgetError):
        status = "KILLED"
        raise
    finally:
        mlflow.flush_async_logging()
        mlflow.end_run(status)


def _experiment(mlflow: Any, name: str) -> str:
    """The identifier of an experiment in MLflow, made if need be; another run may make it at the same moment."""
    found = mlflow.get_experiment_by_name(name)
    if found is None:
        with contextlib.suppress(mlflow.exceptions.MlflowException):
            return str(mlflow.create_experiment(name))
        found = mlflow.get_experiment_by_name(name)
    return str(found.experiment_id)


def _forget_host(place: Path) -> None:
    """Take the name of this machine out of the names that TensorBoard gives its files."""
    host = socket.gethostname()
    for file in place.glob(f"events.out.tfevents.*.{host}.*"):
        file.rename(file.with_name(file.name.replace(f".{host}.", ".loracast.")))
