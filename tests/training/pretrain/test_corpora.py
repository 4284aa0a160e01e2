import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loracast.training.pretrain import corpora


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), index=st.integers(0, 2**40), length=st.integers(18, 200))
def test_an_item_is_a_pure_function_of_seed_index_and_length_and_never_infinite(
    seed: int, index: int, length: int
) -> None:
    first, again = corpora.draw(seed, index, length), corpora.draw(seed, index, length)
    np.testing.assert_array_equal(first.values, again.values)
    assert first.values.shape == (length,)
    assert not np.isinf(first.values).any()
    assert 1 <= first.period == again.period <= length


def test_another_seed_or_index_is_another_series() -> None:
    drawn = [corpora.draw(seed, index, 64).values for seed in range(3) for index in range(20)]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert not np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("name", corpora.FAMILIES)
def test_every_family_draws_finite_series_of_the_asked_length(name: str) -> None:
    family, weight = corpora.FAMILIES[name]
    assert weight > 0
    for i in range(20):
        values = family(np.random.default_rng(i), 96, 1.0).values
        assert values.shape == (96,)
        assert np.isfinite(values).all()


def test_drifting_series_are_finite_and_remember_the_last_step() -> None:
    found = []
    for i in range(60):
        x = corpora.drifting(np.random.default_rng(i), 128, 0.1).values
        assert np.isfinite(x).all()
        found.append(np.corrcoef(x[:-1], x[1:])[0, 1])
    assert np.median(found) > 0.8


def test_drift_replaces_the_share_of_items_that_it_says() -> None:
    plain, all_drift = ([corpora.draw(1, i, 64, drift=share).values for i in range(100)] for share in (0.0, 1.0))
    half = [corpora.draw(1, i, 64, drift=0.5).values for i in range(100)]
    same = sum(np.array_equal(x, y, equal_nan=True) for x, y in zip(half, all_drift, strict=True))
    assert 30 < same < 70
    assert not any(np.array_equal(x, y, equal_nan=True) for x, y in zip(plain, all_drift, strict=True))


def test_families_differ_in_how_much_a_step_tells_of_the_next() -> None:
    def persistence(name: str) -> float:
        found = []
        for i in range(60):
            x = corpora.FAMILIES[name][0](np.random.default_rng(i), 128, 1.0).values
            found.append(np.corrcoef(x[:-1], x[1:])[0, 1] if x.std() > 0 else 1.0)
        return float(np.median(found))

    assert abs(persistence("noise")) < 0.1
    assert persistence("trend") > 0.6
    assert persistence("autoregressive") > 0.5
    assert persistence("counts") < persistence("steps")


def test_counts_are_whole_numbers_and_never_negative() -> None:
    values = corpora.counts(np.random.default_rng(0), 200).values
    assert (values >= 0).all()
    np.testing.assert_array_equal(values, np.round(values))


def test_a_planted_season_is_found_again() -> None:
    found = 0
    for i in range(40):
        series = corpora.seasonal(np.random.default_rng(i), 240, grain=0.0)
        lagged = np.corrcoef(series.values[: -series.period], series.values[series.period :])[0, 1]
        found += lagged > 0.4
    assert found > 20


def test_without_grain_nothing_is_missing() -> None:
    assert all(np.isfinite(corpora.draw(1, i, 80, grain=0.0).values).all() for i in range(60))
