"""A model as an object forecasts arrays, frames and tables, and gives back what came."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import loracast as lc
from loracast.study.steps.forecasting import forecast_table
from tests.doorway.conftest import COLUMNS


@pytest.fixture(scope="module")
def last() -> lc.Forecaster:
    return lc.load("last-value")


def middle(found: np.ndarray) -> list[float]:
    return found[:, 0, 4].tolist()


def test_an_array_of_one_series_or_several_gives_series_horizon_level(last):
    assert last.forecast(np.arange(30.0)).shape == (1, 6, 9)
    assert last.forecast(np.arange(60).reshape(2, 30), horizon=3, quantile_levels=[0.5]).shape == (2, 3, 1)


def test_nan_and_what_is_masked_was_not_observed(last):
    steps = np.array([[80.0, 81.0, np.nan, 82.0, np.nan], [70.0, 71.0, 72.0, 73.0, 74.0]])
    assert middle(last.forecast(steps)) == [82.0, 74.0]
    assert middle(last.forecast(np.ma.masked_greater(np.array([70.0, 71.0, 72.0, 99.0]), 73))) == [72.0]


def test_a_series_of_which_too_little_was_observed_gets_nan_and_is_counted(last):
    steps = np.array([[80.0, np.nan, np.nan, np.nan], [80.0, 81.0, 80.0, 81.0]])
    with pytest.warns(lc.LoracastWarning, match=r"1 of 2 series have no numbers \(NaN\)"):
        found = last.forecast(steps)
    assert np.isnan(found[0]).all()
    assert not np.isnan(found[1]).any()


@pytest.mark.parametrize(
    ("array", "more", "why"),
    [
        (np.array(["a"]), {}, "Give numbers of shape"),
        (np.zeros((2, 3, 4)), {}, r"shape \(2, 3, 4\) given"),
        (np.zeros(9), {"patient": "p"}, "patient: of an array only grid and start"),
        (np.zeros(9), {"horizon": 0}, r"horizon: .*\(0 given\)"),
        (np.zeros(9), {"quantile_levels": [1.0]}, "above 0 and below 1"),
        (np.zeros(9), {"grid": "7min"}, "a step that divides a day"),
        (np.zeros(9), {"start": "yesterday"}, "no time"),
    ],
)
def test_what_cannot_be_forecast_is_refused(last, array, more, why):
    with pytest.raises(lc.LoracastError, match=why):
        last.forecast(array, **more)


def test_an_array_is_forecast_by_a_network_row_by_row(tuned):
    steps = np.random.default_rng(0).normal(80, 3, (3, 40))
    found = tuned.forecast(steps)
    assert found.shape == (3, 6, 9)
    np.testing.assert_array_equal(tuned.forecast(steps[:1]), found[:1])
    assert (np.diff(found, axis=2) >= 0).all()
    with pytest.raises(lc.AdapterError, match=r"steps of 3600 s; steps of 300 s given"):
        tuned.forecast(steps, grid="5min")


def test_a_frame_of_any_library_gives_a_frame_of_that_library_with_the_same_numbers(tuned, frame, table):
    of_pandas = tuned.forecast(frame)
    assert list(of_pandas) == ["patient", "stay", "signal", "time", *(f"0.{i}" for i in range(1, 10))]
    of_polars, of_arrow = tuned.forecast(pl.from_pandas(frame)), tuned.forecast(pa.Table.from_pandas(frame))
    assert isinstance(of_polars, pl.DataFrame)
    assert isinstance(of_arrow, pa.Table)
    for other in (of_polars.to_pandas(), of_arrow.to_pandas(), tuned.forecast(table), tuned.forecast(table.path)):
        pd.testing.assert_frame_equal(other, of_pandas, check_exact=True, check_dtype=False)


def test_the_numbers_are_those_of_the_command_line(tuned, table, tmp_path):
    told = forecast_table(table, tmp_path / "f.parquet", adapter=tuned.folder, progress=False)
    written = pd.read_parquet(tmp_path / "f.parquet")
    found = tuned.forecast(table)
    assert told.series * 6 == len(found)
    np.testing.assert_array_equal(found["0.5"].to_numpy(), written["q0.5"].to_numpy())
    assert found["patient"].tolist() == written["patient"].tolist()


def test_a_bare_model_reads_a_frame_as_it_is_told(last, frame):
    found = last.forecast(frame, grid="60min", horizon=2, **COLUMNS)
    assert len(found) == 2 * frame.groupby(["stay_id", "item"]).ngroups


def test_a_table_is_read_already(last, table):
    with pytest.raises(lc.ConfigError, match=r"^patient: says how a frame is read"):
        last.forecast(table, patient="subject_id")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        ("chronos-t5-nanoo", {}, "No model 'chronos-t5-nanoo'"),
        ("nhits", {}, "trained from nothing"),
        ("last-value", {"backbone": "x"}, "is no adapter"),
        ("chronos-t5-nano", {"revision": "main"}, "has no revisions"),
    ],
)
def test_what_cannot_be_loaded_says_what_to_do(name, more, why):
    with pytest.raises(lc.LoracastError, match=why):
        lc.load(name, **more)


def test_a_model_shows_itself_shortly(last):
    assert repr(last) == "Forecaster(last-value)"
    assert "<caption>last-value</caption>" in last._repr_html_()
    odd = lc.Forecaster("<b>", last.arm, lambda: last.model)
    assert "<b>" not in odd._repr_html_()


def test_a_plot_shows_history_fan_and_truth_and_labels_its_bands(tuned, frame):
    figure = tuned.plot(frame, most=2)
    assert len(figure.axes) == 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(label.endswith("80 % band") for label in labels), labels
    assert "observed after" in labels
    shown = [text.get_text() for axes in figure.axes for text in axes.texts] + [a.get_title() for a in figure.axes]
    assert not [text for text in shown if "Zq7x" in text or "Kw9v" in text]


def test_a_plot_forecasts_the_first_series_and_not_all_of_them(table, monkeypatch):
    from loracast.study.steps import ahead as steps

    whole, seen = steps.ahead, []
    monkeypatch.setattr(steps, "ahead", lambda context, *rest: seen.append(len(context)) or whole(context, *rest))
    assert len(lc.load("last-value").plot(table, most=2).axes) == 2
    assert sum(seen) == 2


@pytest.mark.parametrize(("more", "why"), [({"samples": 99}, "from 100 at least"), ({"most": 0}, "most=0")])
def test_a_plot_of_noise_or_of_nothing_is_refused(tuned, table, more, why):
    with pytest.raises(lc.ConfigError, match=why):
        tuned.plot(table, **more)
