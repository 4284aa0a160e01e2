"""The one training loop: transformers' Trainer on a task, with step 0 in the running and an exact resume.

Validation is scored before the first step and every `evaluate_every` steps; the weights with the lowest validation
loss win, and those may be the ones of step 0. Without validation the last ones are kept. Under torchrun the processes
share every batch: see `trainer`.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainingArguments

from loracast.errors import ConfigError, TrainingError
from loracast.spec import TrainSpec
from loracast.training import distributed
from loracast.training.callbacks import (
    AfterCheckpoint,
    Clock,
    Follow,
    KeepBest,
    MarkWhole,
    OwnChance,
    Progress,
    silence,
)
from loracast.training.checkpoint import (
    BEST,
    TRAINED,
    Curve,
    facts_of,
    history_of,
    is_over,
    last_checkpoint,
    load,
    step_of,
    training_curve,
    validation_curve,
)
from loracast.training.task import Task
from loracast.training.trackers import tracked
from loracast.training.trainer import MicroTrainer
from loracast.tuning.adapter import tensor_digest
from loracast.types import Say

HALVINGS = 3
"""How often the learning rate is halved in the course of all steps, where that is its decay."""
logger = logging.getLogger(__name__)


def fit(
    task: Task,
    spec: TrainSpec,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    say: Say = logger.warning,
    after_checkpoint: Callable[[], None] | None = None,
    track: Sequence[str] = (),
    run_name: str | None = None,
    results: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Curve:
    """Train what `task` says is trainable, and leave the best weights by validation loss in the network.

    `folder` takes checkpoints. With `resume` the last whole checkpoint is continued, to the same numbers as a run
    that was never interrupted. `after_checkpoint` is called whenever a checkpoint has become whole; what it raises
    ends training there, and a resume goes on from it. Where memory runs out, `say` is told, and the batch is sent
    through the network in halves (see `trainer`): where the network has no dropout, the numbers stay the same but
    for rounding. `track` names trackers, `run_name` (else the task and the seed) this run in them, `results` the
    folder of the experiment, which takes their local files (else that of the checkpoints). `callbacks` are told of
    every step, as transformers has it.

    Under torchrun `spec.batch_size` is the total of all processes. Raises ConfigError where it does not divide among
    them, where there is no learning rate, and for an unknown tracker; TrainingError for a divergent loss, for too
    little memory, and where the proof fails that frozen weights are untouched and trained ones have changed.
    """
    _refuse_no_rate(spec)
    micro_batch = distributed.share_of(spec.batch_size)
    checkpoint = last_checkpoint(folder) if resume else None
    facts = facts_of(checkpoint)
    history, steps = (history_of(checkpoint), step_of(checkpoint)) if checkpoint else ([], 0)
    over = steps >= spec.steps or (checkpoint is not None and is_over(validation_curve(history), spec.patience))
    distributed.barrier()  # nobody writes a checkpoint before all have looked for the last
    frozen = {name: p for name, p in task.net.named_parameters() if not p.requires_grad}
    before = tensor_digest(frozen), tensor_digest(task.trainable)
    if task.schedule is not None:
        task.schedule.begin(spec.steps)
    name, track = run_name or f"{task.name}, seed {seed}", [] if over else track
    start = time.monotonic()
    # Trackers read the environment as soon as the Trainer is made.
    with tracked(track, results or folder.parent, name, folder, resume=checkpoint is not None):
        trainer = MicroTrainer(
            task,
            task.rate or _decay(spec),
            facts.get("micro_batch", micro_batch),
            say,
            base_dropout=spec.base_dropout,
            args=_arguments(task, spec, folder, seed=seed, begin=checkpoint is None, track=track, name=name),
        )
        clock = _watch(trainer, spec, folder, facts, progress=progress, after_checkpoint=after_checkpoint)
        for callback in callbacks:
            trainer.add_callback(callback)
        if over:
            assert checkpoint is not None
            load(task, checkpoint, TRAINED)
        else:
            _train(trainer, checkpoint)
            history, steps = trainer.state.log_history, trainer.state.global_step
    seconds = facts.get("seconds", 0.0) + time.monotonic() - start
    _prove(task, frozen, before)
    distributed.barrier()  # the best weights are on disk
    scores = validation_curve(history)
    if scores:
        load(task, folder, BEST)
    task.net.eval()
    distributed.barrier()  # all have read them: the folder may go
    return Curve(
        training_curve(history),
        scores,
        int(min(scores, key=lambda score: score["loss"])["step"]) if scores else steps,
        seconds,
        steps=steps,
        seconds_per_step=clock.median() or facts.get("seconds_per_step"),
        micro_batch=trainer.micro_batch,
        accumulation=trainer.accumulation,
        step_seconds=tuple(clock.seconds),
    )


def _refuse_no_rate(spec: TrainSpec) -> None:
    if spec.learning_rate is None:
        raise ConfigError(
            "The training has no learning rate. Set learning_rate, or let the arm fill in its method's own "
            "(`ArmSpec.training_of`)."
        )


def _train(trainer: MicroTrainer, checkpoint: Path | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "Out of memory beside the network's own passes, where smaller batches do not help: weights, gradients and "
            "the optimizer's state do not fit. Use a smaller backbone, or a method that trains fewer numbers. "
            f"({error})"
        ) from error


def _decay(spec: TrainSpec) -> Callable[[int], float]:
    """The learning rate of a step (from 0) as a share of the one asked for: it rises from 0, then it falls."""
    warmup, each = _warmup(spec), max(spec.steps // HALVINGS, 1)

    def rate(step: int) -> float:
        if step < warmup:
            return step / warmup
        if spec.decay == "halving":
            return float(0.5 ** (step // each))
        return max(0.0, (spec.steps - step) / max(1, spec.steps - warmup))

    return rate


def _warmup(spec: TrainSpec) -> int:
    return round(spec.warmup_share * spec.steps)


class _Arguments(TrainingArguments):  # type: ignore[misc]  # transformers is not followed
    """Arguments that show trackers what was asked for, and neither defaults nor a path of this machine."""

    SHOWN = ("max_steps", "train_batch_size", "learning_rate", "warmup_steps", "weight_decay", "max_grad_norm", "seed")

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.SHOWN}


def _arguments(
    task: Task, spec: TrainSpec, folder: Path, *, seed: int, begin: bool, track: Sequence[str], name: str
) -> TrainingArguments:
    validated, on_gpu = task.validation is not None, torch.cuda.is_available()
    arguments = _Arguments(
        output_dir=str(folder),
        max_steps=spec.steps,
        # Whole batches: MicroTrainer takes each process's share, and cuts that to the memory.
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=2 * spec.batch_size,
        learning_rate=spec.learning_rate,
        warmup_steps=_warmup(spec),
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.gradient_clip,
        eval_strategy="steps" if validated else "no",
        eval_steps=spec.evaluate_every,
        eval_on_start=begin and validated,
        save_strategy="steps",
        save_steps=spec.evaluate_every,
        save_total_limit=2,
        # A divisor: a training loss that is averaged across a checkpoint would be another one after a resume.
        logging_steps=max(n for n in range(1, spec.log_every + 1) if spec.evaluate_every % n == 0),
        train_sampling_strategy="random" if task.shuffle else "sequential",
        remove_unused_columns=False,
        logging_nan_inf_filter=False,  # a batch whose loss is no number must not pass for none
        prediction_loss_only=True,
        bf16=on_gpu and task.bfloat16 and torch.cuda.is_bf16_supported(),
        use_cpu=distributed.launched() and not on_gpu,
        seed=seed,
        run_name=name,
        report_to=list(track) if distributed.is_main() else [],
        dataloader_pin_memory=on_gpu,
        dataloader_num_workers=task.workers,
        disable_tqdm=True,
    )
    # Several GPUs in one process would multiply the batch without a word; torchrun is the way to use them.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _watch(
    trainer: MicroTrainer,
    spec: TrainSpec,
    folder: Path,
    facts: dict[str, Any],
    *,
    progress: bool,
    after_checkpoint: Callable[[], None] | None,
) -> Clock:
    """Put on the Trainer what watches it, in the order in which it must be told; returns the clock among them."""
    task, clock = trainer.task, Clock()

    def known() -> dict[str, Any]:
        return {
            "seconds_per_step": clock.median(),
            "micro_batch": trainer.micro_batch,
            "processes": distributed.world_size(),
        }

    silence(trainer)
    watching: list[TrainerCallback] = [KeepBest(task, folder, spec.patience), OwnChance()]
    if task.schedule is not None:
        watching.append(Follow(task.schedule))
    watching.append(MarkWhole(facts.get("seconds", 0.0), known))
    if after_checkpoint is not None:
        watching.append(AfterCheckpoint(after_checkpoint))
    if progress and distributed.is_main():
        watching.append(Progress(task.name))
    for callback in [*watching, clock]:
        trainer.add_callback(callback)
    return clock


def _prove(task: Task, frozen: Mapping[str, Tensor], before: tuple[str, str]) -> None:
    if tensor_digest(frozen) != before[0]:
        raise TrainingError(f"{task.name}: training has changed weights that the method leaves frozen.")
    if tensor_digest(task.trainable) == before[1]:
        raise TrainingError(
            f"{task.name}: after training every trainable weight is what it was. Raise steps or learning_rate."
        )
