"""The training loss: raw units, a mean per variate, and the mean of those."""

import math

import pytest
import torch

from loracast.models.nets.likelihood import log_density, training_loss, variate_scores
from loracast.models.nets.mixture import PUBLISHED, Mixture
from loracast.models.nets.packing import Packed, arrange, by_step, pack

NAN = float("nan")


def batch(future: torch.Tensor, group: list[int]) -> tuple[Packed, Mixture]:
    generator = torch.Generator().manual_seed(0)
    context = 50 + 4 * torch.randn(len(future), 24, generator=generator)
    packed = pack(arrange(context, future, torch.tensor(group))[0], 8)
    raw = torch.randn(*packed.values[:, packed.past :].shape, 12, generator=generator)
    return packed, Mixture(PUBLISHED, raw)


def futures(rows: int) -> torch.Tensor:
    return 50 + 4 * torch.randn(rows, 10, generator=torch.Generator().manual_seed(5))


def test_a_variate_counts_as_much_as_another_however_many_steps_were_observed():
    future = futures(3)
    future[0, 2:] = NAN
    future[2, 5] = NAN
    packed, mixture = batch(future, [0, 0, 1])
    horizon = slice(packed.past, None)
    density = log_density(mixture, packed.values[:, horizon], packed.loc[:, horizon], packed.scale[:, horizon])
    steps = by_step(density, 2, 10)[[0, 0, 1], [0, 1, 0]]
    seen = future.isfinite()
    means = [-(steps[i][seen[i]]).mean() for i in range(3)]
    torch.testing.assert_close(training_loss(mixture, packed), torch.stack(means).mean())
    torch.testing.assert_close(variate_scores(mixture, packed)[0], torch.stack(means[:2]))


def test_a_variate_without_a_target_is_counted_and_an_absent_one_is_not():
    future = futures(3)
    whole, mixture = batch(future, [0, 0, 1])
    score = variate_scores(mixture, whole)
    assert score[1, 1] == 0
    assert training_loss(mixture, whole).item() == pytest.approx(score.sum().item() / 3)
    future[1] = NAN
    fewer, _ = batch(future, [0, 0, 1])
    expected = (score.sum() - score[0, 1]).item() / 3
    assert training_loss(mixture, fewer).item() == pytest.approx(expected, rel=1e-6)


def test_a_series_in_other_units_has_a_density_that_is_lower_by_their_logarithm():
    packed, mixture = batch(futures(2), [0, 1])
    horizon = slice(packed.past, None)
    values, loc, scale = packed.values[:, horizon], packed.loc[:, horizon], packed.scale[:, horizon]
    one, other = log_density(mixture, values, loc, scale), log_density(mixture, 4 * values, 4 * loc, 4 * scale)
    torch.testing.assert_close(one - other, torch.full_like(one, math.log(4)), rtol=0, atol=1e-4)


def test_a_value_that_nobody_observed_spoils_no_gradient():
    future = futures(2)
    future[0, 3:] = NAN
    packed, mixture = batch(future, [0, 1])
    raw = mixture.raw.clone().requires_grad_()
    training_loss(Mixture(PUBLISHED, raw), packed).backward()
    assert raw.grad.isfinite().all()
    assert not by_step(raw.grad, 1, 10)[0, 0, 3:].any()
