"""Windows to quantiles and sums: alike for every kind of model, in batches, without a look at what is to come."""

import numpy as np
import pandas as pd
import pytest

from loracast.data.split import split_patients
from loracast.data.table import patients_of
from loracast.data.windows import WindowSet, cut_windows
from loracast.models.forecast import forecast_batches, forecast_windows, forecaster, rows_of, score, signals_of
from loracast.models.naive import seasonal_naive
from loracast.models.registry import load_model
from loracast.spec import ForecastSpec, SplitSpec, WindowSpec

SPEC = ForecastSpec(samples=3, batch_size=50)


@pytest.fixture(scope="module")
def windows(vitals, tmp_path_factory) -> WindowSet:
    sides = split_patients(patients_of(vitals), SplitSpec(shares=(0.5, 0.2, 0.3)))
    spec = WindowSpec(context=24, horizon=6, stride=6, season=12)
    return cut_windows(vitals, sides, spec, tmp_path_factory.mktemp("windows") / "w").test


def scored(name: str, windows: WindowSet, size: int, **options):
    return score(forecaster(load_model(name), SPEC), windows, batch_size=size, label="x", progress=False, **options)


class Watched:
    """A model that remembers what it was asked."""

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
    pd.testing.assert_frame_equal(*(scored("seasonal-naive", windows, size).cells for size in (1, 1000)), rtol=1e-9)


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


def test_batches_continue_one_stream_of_draws_that_begins_with_the_seed(windows, tiny):
    twice = windows.rows(np.r_[0:4, 0:4])
    one, again = (forecaster(load_model(str(tiny)), SPEC) for _ in range(2))
    batches = [list(forecast_batches(f, twice, batch_size=4, progress=False)) for f in (one, again)]
    first, second = (batch.forecast.quantiles for batch in batches[0])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, batches[1][1].forecast.quantiles)


def test_the_quantiles_that_are_kept_are_those_that_are_scored(windows, tiny, tmp_path):
    sums = scored(str(tiny), windows, 50, quantiles=tmp_path / "q.npy")
    kept = np.load(tmp_path / "q.npy", allow_pickle=False)
    np.testing.assert_array_equal(kept, forecast_windows(load_model(str(tiny)), windows, SPEC).quantiles)
    future = windows.batch(slice(0, len(windows)))[1]
    cells = sums.cells[sums.cells["step"] > 0]
    assert set(cells["signal"]) == set(signals_of(windows))
    error = np.nansum(np.abs(kept[..., 4].astype(float) - future))
    assert cells["sum_mae"].sum() == pytest.approx(error, rel=1e-6)
