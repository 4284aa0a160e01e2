"""Windows of the synthetic corpus, the same for every family, and training on them by a recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from loracast.files import write_json
from loracast.spec import TrainSpec
from loracast.training.fit import fit
from loracast.training.pretrain import corpora
from loracast.training.pretrain.recipe import Recipe, Stage
from loracast.training.task import Batch, Task

LOG_EVERY = 50
"""Most steps between two losses of the curve that ships with a backbone."""


@dataclass(frozen=True)
class Drawn:
    """An item before a family has made its own of it; `of_batch` is the batch's generator, for what it adds."""

    values: corpora.Array
    context: int
    stage: Stage
    step: int
    of_batch: np.random.Generator
    of_item: np.random.Generator


class CorpusWindows(Dataset[Batch]):
    """Item `i` of batch `i // batch_size` has that batch's context, horizon and grain."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __len__(self) -> int:
        return self.recipe.training.steps * self.recipe.training.batch_size

    def drawn(self, index: int) -> Drawn:
        """The series of item `index`, and the generators of its batch and its own."""
        plan, seed = self.recipe.training, self.recipe.seed
        step = index // plan.batch_size
        stage, of_batch = plan.stage_of(step), np.random.default_rng((seed, 1, step))
        context, horizon = int(of_batch.choice(stage.contexts)), int(of_batch.choice(stage.horizons))
        grain = float(of_batch.choice(stage.grains))
        values = corpora.draw(seed, index, context + horizon, grain, stage.drift).values
        return Drawn(values, context, stage, step, of_batch, np.random.default_rng((seed, 2, index)))


def train_by(
    recipe: Recipe,
    net: nn.Module,
    loss: Callable[[Batch], Tensor],
    examples: Dataset[Batch],
    out: Path,
    *,
    weight: Callable[[Batch], int],
    bfloat16: bool,
    resume: bool,
    collate: Callable[[Any], Batch] = default_collate,
) -> None:
    """Train every weight of `net` on `examples`, in their order, by the stages of `recipe`; see `Task` for the rest.

    Checkpoints lie under `out/checkpoints`, the curve is written to `out/loss.json`. With `resume` the run continues
    from the last checkpoint and sees the batches that it would have seen.
    """
    plan = recipe.training
    task = Task(
        recipe.name,
        net,
        {name: p for name, p in net.named_parameters() if p.requires_grad},
        loss,
        examples,
        collate,
        weight=weight,
        shuffle=False,
        rate=plan.rate_at,
        bfloat16=bfloat16,
        workers=8 if torch.cuda.is_available() else 1,
    )
    spec = TrainSpec(
        steps=plan.steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        gradient_clip=plan.gradient_clip,
        evaluate_every=plan.checkpoint_every,
        log_every=LOG_EVERY,
        base_dropout=True,
    )
    curve = fit(task, spec, out / "checkpoints", seed=recipe.seed, resume=resume)
    write_json(out / "loss.json", {"train": curve.train, "seconds": curve.seconds}, overwrite=True)
