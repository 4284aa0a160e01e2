"""Windows of the synthetic corpus: which stage, lengths and noise each batch has, the same for every family."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from loracast.training.pretrain import corpora
from loracast.training.pretrain.recipe import Recipe, Stage


@dataclass(frozen=True)
class Drawn:
    """An item before a family has made its own of it; `of_batch` is the batch's generator, for what it adds."""

    values: corpora.Array
    context: int
    stage: Stage
    step: int
    of_batch: np.random.Generator
    of_item: np.random.Generator


class CorpusWindows(Dataset[dict[str, torch.Tensor]]):
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
