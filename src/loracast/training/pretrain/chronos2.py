"""Pretrain a Chronos-2 from nothing on the spectral corpus, its windows with their season beside them.

Network and loss are those of `chronos-forecasting` (Ansari et al., arXiv 2510.15821). A batch is made as one: its
series by `spectra`, their second rows by the very function that forecasting uses (`models.seasonal_row`). A share of
windows goes without that row, so that the network also stands alone; in joint batches some series follow a driver
that they have in common, which is one of the rows, with a known future, in half of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from chronos.chronos2 import Chronos2Model
from chronos.chronos2.config import Chronos2CoreConfig
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import set_seed

from loracast.models.chronos2 import loss_of
from loracast.models.seasonal_row import Given, seasonal_rows
from loracast.training.pretrain import spectra
from loracast.training.pretrain.recipe import Chronos2Shape, Recipe, Stage
from loracast.training.pretrain.windows import train_by
from loracast.training.task import Batch

QUERY = 0.25
"""Spread of the first queries, in that of the keys."""


def build(shape: Chronos2Shape) -> Chronos2Model:
    """A fresh network with random weights (torch's global generator)."""
    sizes = shape.model_dump(include={"d_model", "d_kv", "d_ff", "num_layers", "num_heads"})
    config = Chronos2CoreConfig(
        **sizes,
        vocab_size=2,
        dropout_rate=0.0,
        initializer_factor=1.0,
        seasonal_row=shape.seasonal_row,
        chronos_config={
            "context_length": shape.context_length,
            "input_patch_size": shape.patch_size,
            "input_patch_stride": shape.patch_size,
            "output_patch_size": shape.patch_size,
            "max_output_patches": shape.max_output_patches,
            "quantiles": list(shape.quantiles),
            "time_encoding_scale": shape.context_length,
            "use_arcsinh": True,
            "use_reg_token": True,
        },
    )
    net = Chronos2Model(config)
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            _begin(module, name)
    return net


@torch.no_grad()
def _begin(linear: nn.Linear, name: str) -> None:
    """Start a matrix by its width (the library gives all one spread), and what is added to the residual stream at 0."""
    kind, spread = name.rpartition(".")[2], linear.in_features**-0.5
    if kind in ("o", "wo") or name == "output_patch_embedding.output_layer":
        linear.weight.zero_()
    else:
        # Chronos-2 does not divide the products of queries and keys by the root of their width.
        linear.weight.normal_(std=spread * (QUERY if kind == "q" else 1.0))


class Covariates(NamedTuple):
    """Rows with a known future, and the groups that they belong to."""

    past: Tensor
    known: Tensor
    group: Tensor


class SpectralWindows(Dataset[Batch]):
    """Whole batches of the spectral corpus: item `i` belongs to batch `i // batch_size`, of one context and horizon."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __len__(self) -> int:
        return self.recipe.training.steps * self.recipe.training.batch_size

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The rows of these windows, targets and covariates, sorted by group; called with a whole batch by torch."""
        plan, seed = self.recipe.training, self.recipe.seed
        step = indices[0] // plan.batch_size
        stage, of_batch = plan.stage_of(step), np.random.default_rng((seed, 1, step))
        context, horizon = int(of_batch.choice(stage.contexts)), int(of_batch.choice(stage.horizons))
        values = spectra.draw(seed, indices, context, horizon).values
        variates = int(of_batch.integers(2, 5)) if of_batch.random() < stage.joint else 1
        group = torch.arange(len(indices)) // variates  # from 0, without a hole
        covariates = [_seasons(values, context, group, stage, of_batch)] if shape_of(self.recipe).seasonal_row else []
        if variates > 1:
            numbers = torch.arange(int(group[-1]) + 1)
            driver = spectra.draw(seed + 1, (step * plan.batch_size + numbers).tolist(), context, horizon).values
            values = _driven(values, driver[group], of_batch)
            if of_batch.random() < 0.5:
                covariates.append(Covariates(driver[:, :context], driver[:, context:], numbers))
        batch = _sorted(values, context, group, covariates)
        return {**batch, "weight": weights(batch["context"], stage.calm)}


def _seasons(values: Tensor, context: int, group: Tensor, stage: Stage, chance: np.random.Generator) -> Covariates:
    """The seasonal rows of those windows that have one and are to see it."""
    rows = seasonal_rows(values[:, :context], values.shape[1] - context)
    seen = (rows.there & torch.from_numpy(chance.random(len(values)) >= stage.alone)).nonzero()[:, 0]
    return Covariates(rows.past[seen], rows.future[seen], group[seen])


def _driven(values: Tensor, driver: Tensor, chance: np.random.Generator) -> Tensor:
    """Each series with a share of its group's driver, of its own sign and size."""
    share = torch.from_numpy(chance.uniform(-2, 2, (len(values), 1))).float()
    return values + share * _spread(values) * ((driver - driver.nanmean(1, True)) / _spread(driver)).nan_to_num(nan=0.0)


def _spread(values: Tensor) -> Tensor:
    spread = (values - values.nanmean(1, True)).square().nanmean(1, True).sqrt()
    return torch.where(spread > 0, spread, torch.ones_like(spread))  # also where nothing is observed


def _sorted(values: Tensor, context: int, group: Tensor, covariates: Sequence[Covariates]) -> Batch:
    """Targets and covariates as the rows of one batch, those of a group together."""
    past, target = values[:, :context], values[:, context:]
    unknown = torch.full_like(target, torch.nan)
    parts = {
        "context": [past, *(one.past for one in covariates)],
        "future": [target, *(torch.full_like(one.known, torch.nan) for one in covariates)],
        "known": [unknown, *(one.known for one in covariates)],
        "target": [
            torch.ones(len(values), dtype=torch.bool),
            *(torch.zeros_like(one.group, dtype=torch.bool) for one in covariates),
        ],
        "group": [group, *(one.group for one in covariates)],
    }
    batch = {name: torch.cat(some) for name, some in parts.items()}
    order = batch["group"].argsort(stable=True)
    return {name: rows[order] for name, rows in batch.items()}


def pretrain(recipe: Recipe, out: Path, *, resume: bool = False) -> Path:
    """Train by `recipe` and save `out/config.json` and `out/model.safetensors`, which the library itself reads."""
    set_seed(recipe.seed)
    net = build(shape_of(recipe))

    def loss(batch: Batch) -> Tensor:
        given = Given(batch["context"], batch["known"], batch["group"], batch["target"])
        return loss_of(net, given, batch["future"], batch["weight"])

    def targets(batch: Batch) -> int:
        return int(batch["target"].sum())

    windows = SpectralWindows(recipe)
    train_by(recipe, net, loss, windows, out, weight=targets, bfloat16=True, resume=resume, collate=_as_it_is)
    net.to(torch.float32).save_pretrained(out)
    return out


MOST = 6.0
"""How much more than noise the calmest window counts."""


def weights(context: Tensor, power: float) -> Tensor:
    """What each row counts: its spread over its mean step, to a power; about 1 for noise, and for what has no step.

    A power of 0 lets each count 1. An error in standard deviations, which the loss adds up, is large in steps where a
    level drifts slowly.
    """
    around = context - context.nanmean(dim=1, keepdim=True)
    ratio = around.square().nanmean(dim=1).sqrt() / context.diff(dim=1).abs().nanmean(dim=1)
    return ratio.nan_to_num(nan=1.0, posinf=1.0).pow(power).clamp(0.5, MOST)


def _as_it_is(batch: Batch) -> Batch:
    return batch


def shape_of(recipe: Recipe) -> Chronos2Shape:
    """The shape of a recipe of this family."""
    if not isinstance(recipe.model, Chronos2Shape):
        raise TypeError(f"{recipe.name} is a recipe of {recipe.model.family}")
    return recipe.model
