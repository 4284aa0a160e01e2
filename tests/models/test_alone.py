"""Every model forecasts a window from that window and the seed alone, at any size, from any number of paths."""

import numpy as np
import pytest
import torch

from loracast.errors import ConfigError
from loracast.models import draws
from loracast.models.base import Model
from loracast.models.forecast import predict
from loracast.models.registry import load_model
from loracast.spec import ForecastSpec
from loracast.types import LEVELS, Rows
from tests.models.conftest import CONTEXT, DRAWS, HORIZON

COUNT = 33
NAN = float("nan")


def walks() -> np.ndarray:
    """Random walks around 80, some with gaps."""
    rng = np.random.default_rng(0)
    values = (80 + rng.normal(0, 1, (COUNT, CONTEXT)).cumsum(axis=1)).astype(np.float32)
    values[3, :7] = values[5, 5:15] = values[8, -3:] = NAN
    return values


def known(chosen: np.ndarray) -> Rows:
    """Three series, each at many times."""
    start, series = torch.from_numpy(1_700_000_000 + chosen // 3 * 3600), torch.from_numpy(chosen % 3)
    return Rows(start, 3600, None, 6, series)


def forecast(model: Model, chosen: np.ndarray, *, times: float = 1, samples: int = 12, **more) -> np.ndarray:
    context = (times * walks()[chosen].astype(np.float64)).astype(np.float32)
    return predict(model, context, HORIZON, ForecastSpec(samples=samples), known(chosen), **more).quantiles


def test_company_order_and_the_size_of_a_batch_change_no_bit(model):
    every = np.arange(COUNT)
    whole = forecast(model, every)
    assert np.isfinite(whole).all()
    order = np.random.default_rng(1).permutation(COUNT)
    np.testing.assert_array_equal(forecast(model, order), whole[order])
    for size in (1, 7, 32):
        parts = [forecast(model, every[start : start + size]) for start in range(0, COUNT, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("name", ["chronos-t5-nano", "lag-llama-nano"])
def test_the_place_of_a_window_among_others_changes_no_bit_however_many_paths_it_has(name):
    model = load_model(name)
    for samples in (20, 40):
        whole = forecast(model, np.arange(5), samples=samples)
        for one in range(1, 5):
            np.testing.assert_array_equal(forecast(model, np.arange(one, one + 1), samples=samples)[0], whole[one])


def test_what_is_drawn_of_some_paths_does_not_depend_on_how_many_a_pass_holds(model, monkeypatch):
    if model.card.family not in DRAWS:
        pytest.skip("draws nothing")
    some = np.arange(4)
    whole = forecast(model, some, samples=60)
    for module in ("nets.lag_llama_paths", "draws"):
        monkeypatch.setattr(f"loracast.models.{module}.PATHS_AT_ONCE", 7)
    monkeypatch.setattr(draws, "PATHS_AT_LEAST", 7)
    np.testing.assert_allclose(forecast(model, some, samples=60), whole, rtol=1e-3)


@pytest.mark.parametrize("times", [1e-9, 1e12])
def test_a_series_of_any_size_is_forecast_as_many_times_as_large(model, times):
    # Of Lag-Llama, which reads the logarithms of level and spread, as closely as the power of two comes to the size.
    some = np.arange(16)
    found, expected = forecast(model, some, times=times, samples=100) / times, forecast(model, some, samples=100)
    width = (expected[..., -1] - expected[..., 0]).mean()
    off = np.abs(found - expected).mean() / width
    assert off < (0.1 if model.card.family == "lag-llama" else 2e-3)


def test_a_level_is_the_same_whatever_else_is_asked_for(model):
    some = np.arange(4)
    few = forecast(model, some, levels=(0.1, 0.25, 0.5))
    np.testing.assert_array_equal(few[..., [0, 2]], forecast(model, some)[..., [0, 4]])


def test_a_level_that_a_model_was_not_trained_at_is_refused_not_made_up(model):
    family, some = model.card.family, np.arange(2)
    asked = (0.001, 0.5)
    if family in ("chronos-bolt", "chronos2", "neural"):
        with pytest.raises(ConfigError, match=r"trained at quantile levels from 0\.0?1 to 0\.99? .*0\.001"):
            forecast(model, some, levels=asked)
    else:
        assert forecast(model, some, levels=asked).shape == (2, HORIZON, 2)


def test_joint_windows_depend_on_their_group_and_on_no_other(folders):
    for family in ("moirai", "chronos2"):
        model, group = load_model(str(folders[family])), torch.tensor([0, 0, 1, 2, 2, 2, 3, 3])
        every = np.arange(8)
        rows = known(every)

        def asked(chosen, model=model, rows=rows, group=group):
            some = torch.from_numpy(chosen)
            of = Rows(rows.start[some], 3600, group[some], 6, rows.series[some])
            return predict(model, walks()[chosen], HORIZON, ForecastSpec(samples=12), of).quantiles

        whole = asked(every)
        for chosen in (every[::-1].copy(), every[:2], np.array([2, 6, 7]), np.array([3, 4, 5, 2])):
            np.testing.assert_array_equal(asked(chosen), whole[chosen])
        assert not np.array_equal(asked(np.array([0])), whole[:1]), "the other signal is read"


def test_the_levels_of_the_scores_are_given_by_every_model(model):
    assert forecast(model, np.arange(2)).shape == (2, HORIZON, len(LEVELS))
