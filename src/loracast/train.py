"""The one training loop: transformers' Trainer on windows, with step 0 in the running and an exact resume.

Validation is scored before the first step and every `evaluate_every` steps; the weights with the lowest validation
loss win, and those may be the ones of step 0. A checkpoint holds the trained numbers only (safetensors), optimizer,
scheduler, random state and position in the data; it counts once its marker file is written, so that a run killed in
the middle of saving goes back to the checkpoint before.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import SchedulerType

from loracast.adapter import tensor_digest
from loracast.backbones.base import Rows
from loracast.config import TrainSpec
from loracast.data.windows import WindowSet
from loracast.errors import TrainingError
from loracast.files import read_json, write_json, written
from loracast.methods import METHODS, Attached

MARKER = "complete.json"
BEST = "best.safetensors"
DIVERGED = "training has diverged. Lower learning_rate, or raise warmup_share."


@dataclass(frozen=True)
class Curve:
    """What training looked like: losses by step, the step whose weights were kept, seconds of training."""

    train: list[dict[str, float]]
    validation: list[dict[str, float]]
    best_step: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For `learning.json`."""
        return {"train": self.train, "validation": self.validation, "best_step": self.best_step}


class _Loss(nn.Module):
    """The backbone's loss as a module, which is what the Trainer optimizes."""

    def __init__(self, attached: Attached, step_seconds: int) -> None:
        super().__init__()
        self.net = attached.backbone.net
        self._attached = attached
        self._step_seconds = step_seconds

    def forward(
        self,
        context: Float[Tensor, "batch context"],
        future: Float[Tensor, "batch horizon"],
        start: Int[Tensor, " batch"],
        group: Int[Tensor, " batch"] | None = None,
    ) -> Any:
        rows = Rows(start, self._step_seconds, group)
        return {"loss": self._attached.backbone.loss(context, future, rows)}


class _Windows(Dataset[dict[str, Tensor]]):
    """A training example: a window, or the windows of a group where they are joint."""

    def __init__(self, windows: WindowSet) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return self.windows.groups

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        rows = self.windows.group(i)
        context, future = self.windows.batch(rows)
        parts = {"context": context, "future": future, "start": self.windows.starts(rows)}
        return {name: torch.from_numpy(part) for name, part in parts.items()}

    def together(self, examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """A batch of examples, their windows end to end."""
        batch = {name: torch.cat([example[name] for example in examples]) for name in examples[0]}
        if self.windows.joint:
            sizes = torch.tensor([len(example["start"]) for example in examples])
            batch["group"] = torch.repeat_interleave(torch.arange(len(examples)), sizes)
        return batch


class _Trainer(Trainer):
    """Checkpoints that hold the trained numbers only; the frozen base is already on disk."""

    def __init__(self, trainable: Mapping[str, nn.Parameter], **settings: Any) -> None:
        super().__init__(**settings)
        self._trainable = trainable

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(_copy(self._trainable), folder / "trained.safetensors")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        _restore(self._trainable, safetensors.torch.load_file(Path(resume_from_checkpoint) / "trained.safetensors"))


class _KeepBest(TrainerCallback):
    """Keeps the weights of the lowest validation loss, on disk too; stops after `patience` scores without a new one."""

    def __init__(self, trainable: Mapping[str, nn.Parameter], folder: Path, patience: int) -> None:
        self.trainable = trainable
        self.file = folder / BEST
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
        if best is scores[-1]:
            with written(self.file) as temporary:
                safetensors.torch.save_file(_copy(self.trainable), temporary)
        if is_over(scores, self.patience):
            control.should_training_stop = True


class MarkWhole(TrainerCallback):
    """Marks a checkpoint as whole, with the seconds of training so far."""

    def __init__(self, seconds_before: float) -> None:
        self.start = time.monotonic() - seconds_before

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        folder = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
        write_json(folder / MARKER, {"seconds": time.monotonic() - self.start})


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


def fit(
    attached: Attached,
    train: WindowSet,
    validation: WindowSet,
    spec: TrainSpec,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
) -> Curve:
    """Train what `attached` says is trainable, and leave the best weights by validation loss in the network.

    `folder` takes checkpoints. With `resume` the last whole checkpoint is continued, to the same numbers as a run
    that was never interrupted. Raises TrainingError for a divergent loss, and where the proof fails that frozen
    weights are untouched and trained ones have changed.
    """
    checkpoint = last_checkpoint(folder) if resume else None
    frozen = {name: p for name, p in attached.backbone.net.named_parameters() if not p.requires_grad}
    before = tensor_digest(frozen), tensor_digest(attached.trainable)
    seconds = read_json(checkpoint / MARKER)["seconds"] if checkpoint else 0.0
    history: list[dict[str, float]] = _history(checkpoint) if checkpoint else []
    validation = validation.some(spec.validation_windows, seed=0)
    begin = checkpoint is None
    trainer = _trainer(attached, train, validation, spec, folder, seed=seed, progress=progress, begin=begin)
    trainer.add_callback(MarkWhole(seconds))
    start = time.monotonic()
    if checkpoint and (step_of(checkpoint) >= spec.steps or is_over(validation_curve(history), spec.patience)):
        trainer._load_from_checkpoint(str(checkpoint))
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        history = trainer.state.log_history
    seconds += time.monotonic() - start
    _prove(attached, frozen, before)
    scores = validation_curve(history)
    best = min(scores, key=lambda score: score["loss"])
    _restore(attached.trainable, safetensors.torch.load_file(folder / BEST))
    attached.backbone.net.eval()
    return Curve(training_curve(history), scores, int(best["step"]), seconds)


def _trainer(
    attached: Attached,
    train: WindowSet,
    validation: WindowSet,
    spec: TrainSpec,
    folder: Path,
    *,
    seed: int,
    progress: bool,
    begin: bool,
) -> _Trainer:
    arm = attached.spec
    rate = arm.learning_rate or spec.learning_rate or METHODS[arm.method].learning_rate
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=spec.steps,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=2 * spec.batch_size,
        learning_rate=rate,
        lr_scheduler_type=SchedulerType.LINEAR,
        warmup_steps=round(spec.warmup_share * spec.steps),
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.gradient_clip,
        eval_strategy="steps",
        eval_steps=spec.evaluate_every,
        eval_on_start=begin,
        save_strategy="steps",
        save_steps=spec.evaluate_every,
        save_total_limit=2,
        # A divisor: a training loss that is averaged across a checkpoint would be another one after a resume.
        logging_steps=max(n for n in range(1, 11) if spec.evaluate_every % n == 0),
        label_names=["future"],
        logging_nan_inf_filter=False,  # a batch whose loss is no number must not pass for none
        prediction_loss_only=True,
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        seed=seed,
        report_to=[],
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
    )
    examples = _Windows(train)
    trainer = _Trainer(
        attached.trainable,
        model=_Loss(attached, train.step_seconds),
        args=arguments,
        train_dataset=examples,
        eval_dataset=_Windows(validation),
        data_collator=examples.together,
        callbacks=[_KeepBest(attached.trainable, folder, spec.patience)],
    )
    silence(trainer)
    if progress:
        trainer.add_callback(Progress(arm.name))
    return trainer


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


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.split("-")[1])


def _history(checkpoint: Path) -> list[dict[str, float]]:
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return list(state["log_history"])


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def _restore(trainable: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor]) -> None:
    if set(trainable) != set(saved):
        raise TrainingError("The checkpoint holds other weights than this method trains. Remove it and start again.")
    for name, parameter in trainable.items():
        parameter.copy_(saved[name])


def _prove(attached: Attached, frozen: Mapping[str, Tensor], before: tuple[str, str]) -> None:
    if tensor_digest(frozen) != before[0]:
        raise TrainingError(f"{attached.spec.name}: training has changed weights that the method leaves frozen.")
    if tensor_digest(attached.trainable) == before[1]:
        raise TrainingError(
            f"{attached.spec.name}: after training every trainable weight is what it was. Raise steps or learning_rate."
        )
