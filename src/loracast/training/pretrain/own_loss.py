"""Pretrain a family on synthetic windows through the very loss that later adapts it.

MOIRAI (Woo et al., ICML 2024) learns the masked end of a window, at a patch size drawn for each batch, some batches
with several variates a sample; Lag-Llama (Rasul et al., arXiv 2310.08278) every next step under teacher forcing.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import set_seed

from loracast.models import lag_llama, moirai
from loracast.models.base import Backbone
from loracast.models.nets.lag_llama import LagLlama
from loracast.models.nets.moirai import MoiraiNet
from loracast.training.pretrain import corpora
from loracast.training.pretrain.recipe import LagLlamaShape, MoiraiShape, Recipe
from loracast.training.pretrain.windows import CorpusWindows, train_by
from loracast.training.task import Batch, rows_in
from loracast.types import Rows

LICENCE = "Apache-2.0"
STEPS = (60, 300, 900, 3600, 86_400)
"""Seconds between two steps, one of them drawn for each batch: what the time features of a family see."""


class Windows(CorpusWindows):
    """Windows of the corpus as numbers, with their times and groups.

    In a joint batch neighbouring items are variates of one sample: each is its own series with a share of one that
    they all have in common, of its own sign.
    """

    def __getitem__(self, index: int) -> Batch:
        drawn, batch_size = self.drawn(index), self.recipe.training.batch_size
        values, stage, of_batch, of_item = drawn.values, drawn.stage, drawn.of_batch, drawn.of_item
        step_seconds = int(of_batch.choice(STEPS))
        variates = int(of_batch.integers(2, 5)) if of_batch.random() < stage.joint else 1
        group = index % batch_size // variates
        if variates > 1:
            shared = corpora.draw(self.recipe.seed + 1, drawn.step * batch_size + group, len(values), 0.0).values
            values = values + of_item.choice([-1, 1]) * of_item.uniform(0, 2) * _spread(values) * _standard(shared)
        if stage.units:
            values = values * 10 ** of_item.uniform(-stage.units, stage.units)
        window = torch.from_numpy(values.astype(np.float32))
        return {
            "context": window[: drawn.context],
            "future": window[drawn.context :],
            "start": torch.tensor(of_item.integers(0, 3_000_000_000)),
            "group": torch.tensor(group),
            "step_seconds": torch.tensor(step_seconds),
            "step": torch.tensor(drawn.step),
        }


def _spread(values: corpora.Array) -> float:
    return float(np.nanstd(values)) if np.isfinite(values).any() else 1.0


def _standard(values: corpora.Array) -> corpora.Array:
    return (values - np.nanmean(values)) / max(float(np.nanstd(values)), 1e-6)


def pretrain(recipe: Recipe, out: Path, *, resume: bool = False) -> Path:
    """Train by `recipe` (of MOIRAI or Lag-Llama) and save `out/config.json` and `out/model.safetensors`."""
    set_seed(recipe.seed)
    backbone = build(recipe)
    choose = _chooser(backbone, recipe)

    def loss(batch: Batch) -> torch.Tensor:
        context = batch["context"]
        choose(int(batch["step"][0]), context.shape[1])
        rows = Rows(batch["start"], int(batch["step_seconds"][0]), batch["group"])
        return backbone.loss(context, batch["future"], rows)

    def weight(batch: Batch) -> int:
        counted = getattr(backbone, "counted", None)
        return int(counted(batch["context"], batch["future"])) if counted else rows_in(batch)

    train_by(recipe, backbone.net, loss, Windows(recipe), out, weight=weight, bfloat16=False, resume=resume)
    backbone.net.save_pretrained(out)  # type: ignore[operator]
    return out


def build(recipe: Recipe) -> Backbone:
    """The family of `recipe` with random weights (torch's global generator)."""
    shape = recipe.model
    sizes = shape.model_dump(exclude={"family"})
    if isinstance(shape, MoiraiShape):
        of_moirai = moirai.skeleton(recipe.name, sizes, LICENCE)
        of_moirai.net = MoiraiNet(of_moirai.net.settings)
        return of_moirai
    if isinstance(shape, LagLlamaShape):
        of_lag_llama = lag_llama.skeleton(recipe.name, sizes, LICENCE)
        of_lag_llama.net = LagLlama(of_lag_llama.net.config)
        return of_lag_llama
    raise TypeError(f"{shape.family} is not pretrained through its own loss")


def _chooser(backbone: Backbone, recipe: Recipe) -> Callable[[int, int], None]:
    """What is drawn for each batch besides its windows: MOIRAI's patch size, of which the context holds one or more."""

    def choose(step: int, context: int) -> None:
        if isinstance(backbone, moirai.Moirai):
            fitting = [size for size in backbone.net.settings.patch_sizes if size <= context]
            backbone.patch_size = int(np.random.default_rng((recipe.seed, 3, step)).choice(fitting))

    return choose
