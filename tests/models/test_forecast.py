"""Windows to quantiles and sums: alike for every kind of model, in batches, without a look at what is to come."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from loracast.data.split import split_patients
from loracast.data.table import patients_of
from loracast.data.windows import WindowSet, cut_windows
from loracast.models.forecast import forecast_batches, forecast_windows, forecaster, rows_of, score, signals_of
from loracast.models.naive import seasonal_naive
from loracast.models.registry import load_model
from loracast.scoring.noticed import Noticed
from loracast.spec import ForecastSpec, SplitSpec, WindowSpec
from tests.scoring.arms import frame_of

SPEC = ForecastSpec(samples=3, batch_size=50)


@pytest.fixture(scope="module")
def windows(vitals, tmp_path_factory) -> WindowSet:
    sides = split_patients(patients_of(vitals), SplitSpec(shares=(0.5, 0.2, 0.3)))
    spec = WindowSpec(context=24, horizon=6, stride=6, season=12)
    return cut_windows(vitals, sides, spec, tmp_path_factory.mktemp("windows") / "w").test


def scored(name: str, windows: WindowSet, size: int, **options):
    return score(forecaster(load_model(name), SPEC), windows, batch_size=size, label="x", progress=False, **options)


class Watched:
    """A model that remembers what it was asked, for whole batches at a time."""

    windows_a_pass = staticmethod(lambda samples: None)

    def __init__(self, model) -> None:
        self.card, self._model, self.asked = model.card, model, []

    def forecast(self, context, horizon, **more):
        self.asked.append((context.numpy().copy(), horizon, more["rows"]))
        return self._model.forecast(context, horizon, **more)


def test_a_rule_is_asked_with_the_season_of_the_windows(windows):
    context, _ = windows.batch(slice(0, len(windows)))
    expected = seasonal_naive(context, 6, 12).quantiles
    np.testing.assert_array_equal(forecast_windows(load_model("seasonal-naive"), windows).quantiles, expected)


def test_the_size_of_a_batch_does_not_change_the_sums_of_what_draws_nothing(windows):
    pd.testing.assert_frame_equal(*(frame_of(scored("seasonal-naive", windows, size)) for size in (1, 1000)), rtol=1e-9)


def test_a_model_sees_the_contexts_and_their_times_and_no_target(windows, tiny):
    model = Watched(load_model(str(tiny)))
    for _ in forecast_batches(forecaster(model, SPEC), windows, batch_size=50, progress=False):
        pass
    contexts, horizons, rows = zip(*model.asked, strict=True)
    np.testing.assert_array_equal(np.concatenate(contexts), windows.batch(slice(0, len(windows)))[0])
    assert set(horizons) == {6}
    assert np.concatenate([one.start for one in rows]).tolist() == windows.starts(slice(0, len(windows))).tolist()


def test_a_model_that_sees_less_is_asked_as_with_windows_that_hold_less(windows, tiny):
    short, whole = Watched(load_model(str(tiny))), windows.seeing(10)
    next(forecast_batches(forecaster(short, SPEC, context=10), windows, batch_size=50, progress=False))
    context, _, rows = short.asked[0]
    np.testing.assert_array_equal(context, whole.batch(slice(0, 50))[0])
    expected = rows_of(whole, slice(0, 50))
    assert rows.start.tolist() == expected.start.tolist()
    assert (rows.season, rows.step_seconds) == (12, 3600)


def test_a_forecast_depends_on_its_window_and_the_seed_alone(windows, tiny):
    model, order = load_model(str(tiny)), np.random.default_rng(0).permutation(len(windows))
    whole = forecast_windows(model, windows, SPEC).quantiles
    for size, chosen in ((7, order), (1, order[:5]), (1000, order[::3])):
        spec = SPEC.model_copy(update={"batch_size": size})
        np.testing.assert_array_equal(forecast_windows(model, windows.rows(chosen), spec).quantiles, whole[chosen])
    other = forecast_windows(model, windows, SPEC.model_copy(update={"seed": 1})).quantiles
    assert not np.array_equal(other, whole)


def test_windows_of_a_series_at_two_times_and_of_two_series_at_one_time_are_drawn_for_apart(windows, tiny):
    index = np.asarray(windows.index[:1]).repeat(3, axis=0)
    index[1, 3] += 3600
    index[2, 4] += 1
    alike = replace(windows, index=index)
    found = forecast_windows(load_model(str(tiny)), alike, SPEC).quantiles
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_either_half_of_the_paths_has_quantiles_of_its_own_whatever_the_batches(windows, tiny):
    model, order = load_model(str(tiny)), np.arange(len(windows))[::-1]
    four, two = (forecast_windows(model, windows, ForecastSpec(samples=number)) for number in (4, 2))
    assert four.halves.shape == (2, len(windows), 6, 9)
    # A path takes its numbers in its turn, so that the first two of four are those of two.
    np.testing.assert_array_equal(four.halves[0], two.quantiles)
    assert not np.array_equal(four.halves[0], four.halves[1])
    middle = four.halves[..., 4].mean(axis=0)
    assert np.abs(middle - four.quantiles[..., 4]).mean() < np.abs(np.diff(four.halves[..., 4], axis=0)).mean()
    again = forecast_windows(model, windows.rows(order), ForecastSpec(samples=4, batch_size=7))
    np.testing.assert_array_equal(again.halves, four.halves[:, order])
    np.testing.assert_array_equal(forecast_windows(model, windows, ForecastSpec(samples=5)).halves[0], two.quantiles)
    assert forecast_windows(load_model("last-value"), windows).halves is None


def test_what_is_noticed_of_forecasts_is_counted_by_signal(windows, tiny):
    model, noticed = load_model(str(tiny)), Noticed(signals_of(windows))
    scored(str(tiny), windows, 50, noticed=noticed, token_width=model.token_width)
    facts, quantiles = noticed.facts(), forecast_windows(model, windows, SPEC).quantiles
    for code, (name, signal) in enumerate(signals_of(windows).items()):
        own = quantiles[windows.signal == code]
        assert facts[name].steps == own.shape[0] * 6
        assert facts[name].beyond_range == ((own <= 0) | (own > signal.high)).any(axis=2).sum() > 0
        assert facts[name].token_width == pytest.approx({"heart_rate": 80, "map": 70}[name] * 10 / 60, rel=0.1)
        assert facts[name].spread == pytest.approx(6, abs=2)
        assert facts[name].drawing_mae > 0


def test_the_quantiles_that_are_kept_are_those_that_are_scored(windows, tiny, tmp_path):
    sums = scored(str(tiny), windows, 50, quantiles=tmp_path / "q.npy")
    kept = np.load(tmp_path / "q.npy", allow_pickle=False)
    np.testing.assert_array_equal(kept, forecast_windows(load_model(str(tiny)), windows, SPEC).quantiles)
    future = windows.batch(slice(0, len(windows)))[1]
    cells = frame_of(sums).query("step > 0")
    assert set(cells["signal"]) == set(signals_of(windows))
    error = np.nansum(np.abs(kept[..., 4].astype(float) - future))
    assert cells["sum_mae"].sum() == pytest.approx(error, rel=1e-6)


def test_windows_are_scored_together_in_their_order_and_none_is_lost(windows, monkeypatch, tmp_path):
    whole = scored("seasonal-naive", windows, 1000, quantiles=tmp_path / "whole.npy")
    monkeypatch.setattr("loracast.models.forecast.SCORED_TOGETHER", 70)
    pieces = scored("seasonal-naive", windows, 50, quantiles=tmp_path / "pieces.npy")
    pd.testing.assert_frame_equal(frame_of(pieces), frame_of(whole), rtol=1e-9)
    assert (tmp_path / "pieces.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert len(windows) % 100
