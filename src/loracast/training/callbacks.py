# mypy: allow-subclassing-any
"""What happens between two steps: keeping the best, marking checkpoints whole, the schedule, the clock, the bar."""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from loracast.errors import TrainingError
from loracast.training import distributed
from loracast.training.checkpoint import BEST, is_over, mark_whole, save, validation_curve
from loracast.training.task import Task
from loracast.tuning.schedule import Schedule

DIVERGED = "training has diverged. Lower learning_rate, or raise warmup_share."


class KeepBest(TrainerCallback):
    """Keeps the weights of the lowest validation loss on disk; stops after `patience` scores without a new one.

    Raises TrainingError for a loss that is no number.
    """

    def __init__(self, task: Task, folder: Path, patience: int) -> None:
        self.task = task
        self.folder = folder
        self.patience = patience

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **more: Any
    ) -> None:
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise TrainingError(f"The training loss at step {state.global_step} is {logs['loss']}: {DIVERGED}")

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        scores = validation_curve(state.log_history)
        if not math.isfinite(scores[-1]["loss"]):
            raise TrainingError(f"The validation loss at step {state.global_step} is {scores[-1]['loss']}: {DIVERGED}")
        best = min(scores, key=lambda score: score["loss"])
        if best is scores[-1] and distributed.is_main():
            save(self.task, self.folder, BEST)
        if is_over(scores, self.patience):
            control.should_training_stop = True


class Follow(TrainerCallback):
    """Tells a method's schedule of each optimizer step, while the gradients are still there."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        self.schedule.after_step(state.global_step + 1)  # the Trainer counts the step only after this


class OwnChance(TrainerCallback):
    """Gives each process dropout masks of its own; the order of the data is settled by then, alike for all."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        if distributed.rank():
            torch.manual_seed(args.seed + distributed.rank())


class MarkWhole(TrainerCallback):
    """Marks a checkpoint as whole, with the seconds of training so far and what `facts` adds."""

    def __init__(self, seconds_before: float, facts: Callable[[], dict[str, Any]]) -> None:
        self.start = time.monotonic() - seconds_before
        self.facts = facts

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        distributed.barrier()  # every process has put its random state into the checkpoint
        folder = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
        if distributed.is_main():
            mark_whole(folder, {"seconds": time.monotonic() - self.start, **self.facts()})


class AfterCheckpoint(TrainerCallback):
    """Calls a caller's function once a checkpoint counts; what it raises ends the training there."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        self.call()


class Clock(TrainerCallback):
    """Times the steps: from the end of whatever came before (a step, a validation, a save) to the step's own end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = time.perf_counter()

    def _again(self, *_: Any, **more: Any) -> None:
        self._since = time.perf_counter()

    on_epoch_begin = on_evaluate = on_save = _again

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._since)
        self._again()

    def median(self) -> float | None:
        """Seconds of the median step; None where none was made."""
        return statistics.median(self.seconds) if self.seconds else None


class Progress(TrainerCallback):
    """One bar: steps, time left, training and validation loss."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.shown: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.label, unit="step", leave=False)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **more: Any
    ) -> None:
        for key, label in (("loss", "loss"), ("eval_loss", "validation")):
            if key in (logs or {}):
                self.shown[label] = f"{logs[key]:.3f}"
        if hasattr(self, "bar"):
            self.bar.set_postfix(self.shown)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        self.bar.close()


def silence(trainer: Trainer) -> None:
    """Take away what transformers shows by itself."""
    for shown in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(shown)
