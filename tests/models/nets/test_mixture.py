"""The mixture: densities and shares against scipy, finite gradients everywhere, and the loss in units of the series."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from loracast.models.nets.mixture import PUBLISHED, Mixture, log_density, training_loss, variate_scores
from loracast.models.nets.packing import Packed, arrange, by_step, pack

NAN = float("nan")

STUDENT = {"df": 1.5, "loc": 0.3, "scale": -0.2}
COUNTS = {"total_count": 2.0, "logits": 0.4}
LOG = {"loc": 0.1, "scale": -0.5}
HEADS = [*STUDENT.values(), -0.7, *COUNTS.values(), *LOG.values()]


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


REFERENCE = [
    stats.t(2 + softplus(1.5), 0.3, softplus(-0.2)),
    stats.norm(-0.7, 0.001),
    stats.nbinom(softplus(2.0), 1 / (1 + np.exp(0.4))),
    stats.lognorm(softplus(-0.5), scale=np.exp(0.1)),
]


def mixture(*logits: float, entries: int = 1) -> Mixture:
    return Mixture(PUBLISHED, torch.tensor([*logits, *HEADS]).expand(entries, -1))


def alone(component: int, entries: int = 1) -> Mixture:
    return mixture(*(0.0 if i == component else -200.0 for i in range(4)), entries=entries)


@pytest.mark.parametrize("component", range(4))
def test_a_component_has_the_density_and_the_mean_that_scipy_gives_it(component):
    values = torch.tensor([0.0, 1.0, 2.0, 5.0, -0.7, -0.699]) if component != 2 else torch.tensor([0.0, 1.0, 2.0, 5.0])
    reference = REFERENCE[component]
    density = reference.logpmf if component == 2 else reference.logpdf
    with np.errstate(divide="ignore"):
        expected = density(values.double().numpy())
    # Elsewhere the other components, at e^-200 each, take over.
    shown = expected > -150
    found = alone(component).log_density(values[:, None])[:, 0].double().numpy()
    np.testing.assert_allclose(found[shown], expected[shown], rtol=2e-4, atol=2e-4)
    assert alone(component).mean().item() == pytest.approx(float(reference.mean()), rel=1e-5)


@pytest.mark.parametrize("component", range(4))
def test_the_share_of_a_component_below_a_value_is_that_of_scipy(component):
    values = np.array([-5.0, -0.7005, -0.7, 0.0, 0.4, 1.0, 2.999, 3.0, 40.0, 1e12])
    one = alone(component)
    p = {name: part.double().numpy().repeat(len(values)) for name, part in one.components()[component].items()}
    found = PUBLISHED[component].share_below(values, p)
    np.testing.assert_allclose(found, REFERENCE[component].cdf(values), atol=2e-5)


@pytest.mark.parametrize("value", [-3.0, 0.0, 1e-20, 2.5, 1e12, -1e12])
def test_the_density_and_its_gradient_are_finite_inside_and_outside_every_support(value):
    raw = torch.tensor([0.0, 0.0, 0.0, 0.0, *HEADS], requires_grad=True)
    density = Mixture(PUBLISHED, raw).log_density(torch.tensor(value))
    density.backward()
    assert density.isfinite()
    assert raw.grad.isfinite().all()


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
