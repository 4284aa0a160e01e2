"""What a checkpoint holds and which one counts, and what a training looked like.

The trained numbers and the schedule's state (safetensors), the Trainer's optimizer, scheduler, random state and log.
A checkpoint counts once its marker is written, so that a run killed while saving goes back to the one before.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from loracast.errors import TrainingError
from loracast.files import file_digest, read_json, read_text, write_json, written
from loracast.training import distributed
from loracast.training.task import Task

MARKER = "complete.json"
BEST = "best"
TRAINED = "trained"


@dataclass(frozen=True)
class Curve:
    """Losses by step, the step whose weights were kept, and what training took.

    `validation` is empty where there was nothing to validate on. `steps` were made, `best_step` is the one that was
    kept. `seconds` counts training, validation and saving; `seconds_per_step` is the median over the optimizer steps,
    without validation and saving, `step_seconds` has each step of this process (none before a resume). `micro_batch`
    examples went through the network at once in each process, `accumulation` times a step.
    """

    train: list[dict[str, float]]
    validation: list[dict[str, float]]
    best_step: int
    seconds: float
    steps: int = 0
    seconds_per_step: float | None = None
    micro_batch: int | None = None
    accumulation: int = 1
    step_seconds: tuple[float, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For `learning.json`: what a run that was interrupted and resumed has in common with one that was not."""
        return {
            "train": self.train,
            "validation": self.validation,
            "best_step": self.best_step,
            "steps": self.steps,
            "micro_batch": self.micro_batch,
            "accumulation": self.accumulation,
        }


def training_curve(history: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Training losses by step, from the Trainer's log."""
    return [{"step": int(e["step"]), "loss": e["loss"]} for e in history if "loss" in e]


def validation_curve(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Validation losses by step, from the Trainer's log."""
    return [{"step": int(e["step"]), "loss": e["eval_loss"]} for e in history if "eval_loss" in e]


def is_over(scores: list[dict[str, float]], patience: int) -> bool:
    """Whether the last `patience` validation scores brought no new best."""
    losses = [score["loss"] for score in scores]
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])


def last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint under `folder` that was written to the end."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{MARKER}")]
    return max(whole, key=step_of, default=None)


def mark_whole(checkpoint: Path, facts: Mapping[str, Any]) -> None:
    """Write the marker of a checkpoint: `facts`, and the SHA-256 of every file, by which damage is seen."""
    files = {file.name: file_digest(file) for file in sorted(checkpoint.iterdir()) if file.is_file()}
    files.pop(MARKER, None)
    write_json(checkpoint / MARKER, {**facts, "files": files}, overwrite=True)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.split("-")[1])


def history_of(checkpoint: Path) -> list[dict[str, Any]]:
    """The Trainer's log up to a checkpoint."""
    file = checkpoint / "trainer_state.json"
    try:
        # Not `read_json`: the Trainer notes a gradient that is not finite, which JSON has no number for.
        return list(json.loads(read_text(file, TrainingError))["log_history"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise TrainingError(f"{file} is damaged. Remove {checkpoint}, and resume again.") from error


def facts_of(checkpoint: Path | None) -> dict[str, Any]:
    """What a checkpoint's marker says, but for the digests of its files.

    Raises TrainingError where one of these is not as it was written, before anything of it is loaded, and where other
    numbers of processes would continue it.
    """
    if checkpoint is None:
        return {}
    facts: dict[str, Any] = read_json(checkpoint / MARKER, TrainingError)
    for name, stated in facts.pop("files", {}).items():
        file = checkpoint / name
        if not file.is_file() or file_digest(file) != stated:
            raise TrainingError(
                f"{file} was changed or damaged since it was written. Remove {checkpoint}: a resume then goes on from "
                "the checkpoint before it, or begins anew."
            )
    begun, now = facts.get("processes", 1), distributed.world_size()
    if begun != now:
        raise TrainingError(
            f"Training was begun with {begun} process(es) and would go on with {now}: the numbers would not be those "
            f"of either. Start {begun} again, or begin anew without resuming."
        )
    return facts


def save(task: Task, folder: Path, name: str) -> None:
    """Write what training changes to `NAME.safetensors`, and the schedule's state beside it."""
    if task.schedule is not None:
        _write(task.schedule.state(), folder / f"{name}-schedule.safetensors")
    _write(task.trainable, folder / f"{name}.safetensors")


@torch.no_grad()
def load(task: Task, folder: Path, name: str) -> None:
    """Put back what `save` wrote; raises TrainingError where that is of another method."""
    saved = _read(folder / f"{name}.safetensors")
    beside = folder / f"{name}-schedule.safetensors"
    if set(task.trainable) != set(saved) or beside.is_file() != (task.schedule is not None):
        raise TrainingError("The checkpoint holds other weights than this method trains. Remove it and start again.")
    for key, parameter in task.trainable.items():
        parameter.copy_(saved[key])
    if task.schedule is not None:
        task.schedule.load(_read(beside))


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return dict(safetensors.torch.load_file(file))
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{file} cannot be read ({type(error).__name__}). Begin anew without resuming.") from error


def _write(tensors: Mapping[str, Tensor], file: Path) -> None:
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with written(file, overwrite=True) as temporary:
        safetensors.torch.save_file(copies, temporary)
