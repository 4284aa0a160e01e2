"""Quantiles of a mixture: those of scipy for one component, those of very many draws for several."""

import numpy as np
import pytest
import torch
from scipy import stats

from loracast.models.nets import mixture_quantiles
from loracast.models.nets.mixture import PUBLISHED, Mixture
from loracast.models.nets.mixture_quantiles import quantiles
from loracast.types import LEVELS
from tests.models.nets.test_mixture import REFERENCE, alone

FAR = (0.0001, *LEVELS, 0.9999)


def mixtures(entries: int = 40, spread: float = 1.5) -> Mixture:
    """Random mixtures of all four components; the counts of some reach into the hundreds."""
    raw = spread * torch.randn(entries, 12, generator=torch.Generator().manual_seed(0))
    raw[: entries // 4, 8] += 40
    raw[: entries // 4, 9] += 2
    return Mixture(PUBLISHED, raw)


def components(mixture: Mixture, entry: int) -> tuple[np.ndarray, list]:
    """Weights and distributions of an entry, by scipy."""
    t, normal, counts, log = (
        {name: float(part[entry].double()) for name, part in each.items()} for each in mixture.components()
    )
    return mixture.log_weights[entry].double().softmax(dim=0).numpy(), [
        stats.t(t["df"], t["loc"], t["scale"]),
        stats.norm(normal["loc"], normal["scale"]),
        stats.nbinom(counts["total_count"], 1 / (1 + np.exp(counts["logits"]))),
        stats.lognorm(log["scale"], scale=np.exp(log["loc"])),
    ]


@pytest.mark.parametrize("component", range(4))
def test_a_component_alone_has_the_quantiles_that_scipy_gives_it(component):
    found = quantiles(alone(component), FAR)[0].double().numpy()
    np.testing.assert_allclose(found, REFERENCE[component].ppf(FAR), rtol=2e-5, atol=1e-6)


def test_the_share_below_a_quantile_is_its_level_or_jumps_over_it():
    mixture = mixtures()
    found = quantiles(mixture, FAR).double().numpy()
    jumps = 0
    for entry, values in enumerate(found):
        weights, parts = components(mixture, entry)

        def share(at: np.ndarray, weights=weights, parts=parts) -> np.ndarray:
            return sum(weight * part.cdf(at) for weight, part in zip(weights, parts, strict=True))

        off = 1e-6 * np.maximum(1, np.abs(values))
        assert (share(values + off) >= np.array(FAR) - 1e-6).all()
        assert (share(values - off) <= np.array(FAR) + 1e-6).all()
        jumps += (share(values + off) - share(values - off) > 0.01).sum()
    assert jumps > 50, "whole numbers are among them"


def test_very_many_draws_have_these_quantiles_within_their_own_error():
    mixture, draws = mixtures(12), 100_000
    found = quantiles(mixture, LEVELS).double().numpy()
    random = np.random.default_rng(1)
    levels = np.array(LEVELS)
    error = 5 * np.sqrt(levels * (1 - levels) / draws)
    for entry, values in enumerate(found):
        weights, parts = components(mixture, entry)
        numbers = random.multinomial(draws, weights / weights.sum())
        drawn = np.concatenate([part.rvs(size=n, random_state=random) for part, n in zip(parts, numbers, strict=True)])
        off = 1e-6 * np.maximum(1, np.abs(values))
        assert ((drawn[:, None] <= values + off).mean(axis=0) >= levels - error).all()
        assert ((drawn[:, None] < values - off).mean(axis=0) <= levels + error).all()


def test_quantiles_of_many_entries_are_solved_for_in_parts(monkeypatch):
    whole = quantiles(mixtures(), LEVELS)
    monkeypatch.setattr(mixture_quantiles, "_AT_ONCE", 50)
    torch.testing.assert_close(quantiles(mixtures(), LEVELS), whole, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("raw", [-500.0, 80.0])
def test_quantiles_of_extreme_numbers_are_no_nan_and_in_order(raw):
    numbers = torch.full((1, 12), raw)
    numbers[0, 5:7] = abs(raw) / 2
    found = quantiles(Mixture(PUBLISHED, numbers), LEVELS)
    assert not found.isnan().any()
    assert (found[:, 1:] >= found[:, :-1]).all()


def test_an_entry_without_numbers_has_no_quantile_and_spoils_no_other():
    raw = mixtures(3).raw.clone()
    whole = quantiles(Mixture(PUBLISHED, raw), LEVELS)
    raw[1, 4] = torch.nan
    found = quantiles(Mixture(PUBLISHED, raw), LEVELS)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]], rtol=1e-6, atol=1e-7)
    raw[:] = torch.nan
    assert quantiles(Mixture(PUBLISHED, raw), LEVELS).isnan().all()
