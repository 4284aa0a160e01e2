"""The pretraining loop, one for every family: transformers' Trainer over a synthetic corpus, resumable to the bit."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from loracast.files import read_json, write_json
from loracast.training import MARKER, MarkWhole, Progress, last_checkpoint, silence, training_curve
from loracast.training.pretrain.recipe import Recipe, Schedule


class _Trainer(Trainer):
    """A Trainer whose learning rate follows the stages of a recipe."""

    def __init__(self, plan: Schedule, **settings: Any) -> None:
        super().__init__(**settings)
        self._plan = plan

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, self._plan.rate_at)
        return self.lr_scheduler


Examples = Dataset[dict[str, torch.Tensor]]


def train_network(
    network: nn.Module,
    examples: Examples,
    recipe: Recipe,
    out: Path,
    *,
    loss: Callable[..., torch.Tensor] | None = None,
    resume: bool = False,
) -> None:
    """Train `network` on `examples`, in their order, by the schedule of `recipe`.

    `network` returns its own loss, or what `loss` makes one of. Checkpoints lie under `out/checkpoints`, the curve is
    written to `out/loss.json`. With `resume` the run continues from the last checkpoint and sees the batches that it
    would have seen.
    """
    plan = recipe.training
    on_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        max_grad_norm=plan.gradient_clip,
        train_sampling_strategy="sequential",
        save_steps=plan.checkpoint_every,
        save_total_limit=2,
        logging_steps=min(50, plan.checkpoint_every),
        report_to=[],
        logging_nan_inf_filter=False,
        dataloader_pin_memory=on_gpu,
        dataloader_num_workers=8 if on_gpu else 1,
        # Tokens stand bfloat16; the tails of a density in raw numbers do not.
        bf16=on_gpu and loss is not None and torch.cuda.is_bf16_supported(),
        seed=recipe.seed,
        disable_tqdm=True,
    )
    trainer = _Trainer(
        plan,
        model=network,
        args=arguments,
        train_dataset=examples,
        compute_loss_func=loss,
        callbacks=[Progress(recipe.name)],
    )
    silence(trainer)
    checkpoint = last_checkpoint(out / "checkpoints") if resume else None
    before = read_json(checkpoint / MARKER)["seconds"] if checkpoint else 0.0
    trainer.add_callback(MarkWhole(before))
    start = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    curve = training_curve(trainer.state.log_history)
    write_json(out / "loss.json", {"train": curve, "seconds": before + time.monotonic() - start})
