"""How well MOIRAI's mixtures foretold what came: densities in the units of the series, and their means."""

import torch
from jaxtyping import Float
from torch import Tensor

from loracast.models.nets.mixture import Mixture
from loracast.models.nets.packing import Packed


def log_density(
    mixture: Mixture,
    values: Float[Tensor, "sample token step"],
    loc: Float[Tensor, "sample token"],
    scale: Float[Tensor, "sample token"],
) -> Float[Tensor, "sample token step"]:
    """Logarithm of the density of values in their own units; that of a series 1000 times as large is ln 1000 lower."""
    standard = (values - loc[..., None]) / scale[..., None]
    return mixture.log_density(standard) - scale.log()[..., None]


def variate_scores(mixture: Mixture, packed: Packed) -> Float[Tensor, "sample variate"]:
    """Mean negative log-density of each variate's observed horizon; 0 for a variate that has none.

    `mixture` is that of the horizon's tokens, as the network gives it by default.
    """
    horizon = slice(packed.past, None)
    scored = packed.observed[:, horizon] & packed.forecast[:, horizon, None]
    # A value that nobody observed is neither scored nor lets a gradient overflow: loc stands in for it.
    loc, scale = packed.loc[:, horizon], packed.scale[:, horizon]
    values = torch.where(scored, packed.values[:, horizon], loc[..., None])
    density = torch.where(scored, log_density(mixture, values, loc, scale), 0.0)
    total, count = (x.reshape(len(x), packed.variates, -1).sum(dim=2) for x in (density, scored))
    scores: Tensor = -total / count.clamp_min(1)
    return scores


def training_loss(mixture: Mixture, packed: Packed) -> Tensor:
    """Mean of the variates' scores over a whole batch.

    As upstream, a variate without an observed horizon adds nothing to the sum but is counted; an absent one is not.
    """
    asked = packed.forecast[:, packed.past :].reshape(len(packed.forecast), packed.variates, -1).any(dim=2)
    loss: Tensor = variate_scores(mixture, packed).sum() / asked.sum().clamp_min(1)
    return loss
