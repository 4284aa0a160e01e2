"""What a checkpoint holds, and which one counts.

The trained numbers and the schedule's state (safetensors), the Trainer's optimizer, scheduler, random state and log.
A checkpoint counts once its marker is written, so that a run killed while saving goes back to the one before.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from loracast.errors import TrainingError
from loracast.files import read_json, written
from loracast.training import distributed
from loracast.tuning.methods import Attached

MARKER = "complete.json"
BEST = "best"
TRAINED = "trained"


def last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint under `folder` that was written to the end."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{MARKER}")]
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.split("-")[1])


def history_of(checkpoint: Path) -> list[dict[str, Any]]:
    """The Trainer's log up to a checkpoint."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return list(state["log_history"])


def facts_of(checkpoint: Path | None) -> dict[str, Any]:
    """What a checkpoint's marker says; raises TrainingError where other numbers of processes would continue it."""
    if checkpoint is None:
        return {}
    facts: dict[str, Any] = read_json(checkpoint / MARKER)
    begun, now = facts.get("processes", 1), distributed.world_size()
    if begun != now:
        raise TrainingError(
            f"Training was begun with {begun} process(es) and would go on with {now}: the numbers would not be those "
            f"of either. Start {begun} again, or begin anew without resuming."
        )
    return facts


def save(attached: Attached, folder: Path, name: str) -> None:
    """Write what training changes to `NAME.safetensors`, and the schedule's state beside it."""
    if attached.schedule is not None:
        _write(attached.schedule.state(), folder / f"{name}-schedule.safetensors")
    _write(attached.trainable, folder / f"{name}.safetensors")


@torch.no_grad()
def load(attached: Attached, folder: Path, name: str) -> None:
    """Put back what `save` wrote; raises TrainingError where that is of another method."""
    saved = safetensors.torch.load_file(folder / f"{name}.safetensors")
    beside = folder / f"{name}-schedule.safetensors"
    if set(attached.trainable) != set(saved) or beside.is_file() != (attached.schedule is not None):
        raise TrainingError("The checkpoint holds other weights than this method trains. Remove it and start again.")
    for key, parameter in attached.trainable.items():
        parameter.copy_(saved[key])
    if attached.schedule is not None:
        attached.schedule.load(safetensors.torch.load_file(beside))


def _write(tensors: Mapping[str, Tensor], file: Path) -> None:
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with written(file) as temporary:
        safetensors.torch.save_file(copies, temporary)
