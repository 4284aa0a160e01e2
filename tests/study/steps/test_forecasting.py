"""Forecast what follows every series of a caller's own table."""

import json
import shutil
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loracast.data.series import series_of
from loracast.data.table import Table
from loracast.errors import AdapterError, BackboneError, ConfigError
from loracast.models.registry import load_model
from loracast.spec import ForecastSpec, WindowSpec
from loracast.study.steps.ahead import ForecastPlan, forecasts, write_forecasts
from loracast.study.steps.evaluating import evaluate_table
from loracast.study.steps.forecasting import forecast_table
from loracast.study.summary import ForecastFacts
from loracast.tuning.card import CARD
from loracast.types import LEVELS
from tests.conftest import PATIENT, START, STAY, cohort, write_long
from tests.models.tiny_ports import save_moirai
from tests.study.steps.conftest import FEW, WINDOW, adapt


def test_a_forecast_has_a_row_for_each_of_the_steps_after_each_series(vitals, tiny, adapter, tmp_path):
    out = tmp_path / "forecast.parquet"
    told = forecast_table(vitals, out, adapter=adapter, backbone=str(tiny), forecasting=FEW, progress=False)
    found = pq.read_table(out).to_pandas()
    ones = list(series_of(vitals))
    assert (told.series, told.too_sparse, told.samples, told.keyed) == (len(ones), 0, 4, False)
    assert len(found) == 6 * len(ones)
    assert set(found["status"]) == {"forecast"}
    levels = [f"q0.{i}" for i in range(1, 10)]
    assert np.isfinite(found[levels].to_numpy()).all()
    assert (np.diff(found[levels].to_numpy(), axis=1) >= 0).all()
    first = found.groupby("series", sort=False)["time"].agg(["min", "max"])
    for one in ones:
        hours = (first.loc[one.series] - one.last_time).dt.total_seconds() / 3600
        assert hours.tolist() == [1, 6]


def ahead(table: Table, tiny: Path, **more: Any) -> tuple[ForecastFacts, pd.DataFrame]:
    """A forecast with the bare backbone, as told and as it is read back."""
    out = table.path.with_name("ahead.parquet")
    settings = {
        "backbone": str(tiny),
        "window": WINDOW,
        "forecasting": FEW,
        "progress": False,
        "overwrite": True,
        **more,
    }
    return forecast_table(table, out, **settings), pq.read_table(out).to_pandas()


def test_a_series_of_which_too_little_is_observed_gets_null_and_is_counted(tiny, tmp_path):
    rows = {
        ("p", "short", "map"): [70.0] * 3,
        ("p", "half", "map"): [70.0, 71.0] * 6,
        ("p", "gap", "map"): [70.0] * 30 + [None] * 13,
        ("p", "whole", "map"): [70.0] * 30,
    }
    told, found = ahead(write_long(tmp_path / "t.parquet", rows), tiny)
    assert (told.series, told.too_sparse, told.context, told.least_observed) == (4, 2, 24, 0.5)
    without = found[found["q0.5"].isna()]
    assert set(without["stay"]) == {"short", "gap"}
    assert set(without["status"]) == {"too few observed values"}
    assert len(without) == 2 * 6
    assert set(found[found["q0.5"].notna()]["status"]) == {"forecast"}
    assert pq.read_table(tmp_path / "ahead.parquet").column("q0.5").null_count == 12
    lower = {**WINDOW, "min_context_observed": 0.1}
    assert ahead(write_long(tmp_path / "t.parquet", rows), tiny, window=lower)[0].too_sparse == 0


def test_a_forecast_does_not_depend_on_who_else_is_in_the_table(tiny, tmp_path):
    rows = cohort(6)
    _, every = ahead(write_long(tmp_path / "all.parquet", rows), tiny)
    some = {key: values for key, values in rows.items() if key[0].endswith(("01", "04"))}
    for size in (1, 64):
        _, few = ahead(write_long(tmp_path / "some.parquet", some), tiny, forecasting={**FEW, "batch_size": size})
        same = every[every["series"].isin(few["series"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(few, same, check_exact=True)


def test_the_levels_are_those_that_were_asked_for(tiny, tmp_path):
    table = write_long(tmp_path / "t.parquet", {("p", "s", "map"): [70.0, 71.0] * 20})
    _, nine = ahead(table, tiny)
    _, found = ahead(table, tiny, quantiles=(0.5, 0.1))
    assert [name for name in found.columns if name.startswith("q")] == ["q0.1", "q0.5"]
    pd.testing.assert_frame_equal(found, nine[found.columns])


@pytest.mark.parametrize(
    ("levels", "why"),
    [
        ((0.0, 0.5), "each above 0 and below 1"),
        ((), "give at least one"),
        ((0.01, 0.5), r"4 sample paths say nothing of the level 0\.01: .* at least 100"),
    ],
)
def test_levels_that_are_none_or_beyond_the_paths_are_refused(tiny, tmp_path, levels, why):
    table = write_long(tmp_path / "t.parquet", {("p", "s", "map"): [70.0, 71.0] * 20})
    with pytest.raises(ConfigError, match=why):
        ahead(table, tiny, quantiles=levels)
    assert not (tmp_path / "ahead.parquet").exists()


def test_forecasts_of_what_cannot_be_are_counted_and_clipped_on_request(tiny, tmp_path):
    rows = {("p", "s", "spo2"): [97.0, 98.0] * 20, ("p", "s", "own"): [97.0, 98.0] * 20}
    table = write_long(tmp_path / "t.parquet", rows)
    told, found = ahead(table, tiny)
    quantiles = found[[f"q0.{i}" for i in range(1, 10)]].to_numpy()
    spo2 = (found["signal"] == "spo2").to_numpy()
    beyond = ((quantiles < 50) | (quantiles > 100)).any(axis=1)[spo2].sum()
    assert (told.signals["spo2"].steps, told.signals["spo2"].beyond_range) == (6, beyond)
    assert beyond > 0
    assert told.signals["own"].beyond_range == 0, "of a signal of one's own any value is plausible"
    clipped, inside = ahead(table, tiny, clip=True)
    assert clipped.signals == told.signals
    assert clipped.clipped
    expected = np.where(spo2[:, None], quantiles.clip(50, 100), quantiles)
    np.testing.assert_array_equal(inside[[f"q0.{i}" for i in range(1, 10)]].to_numpy(), expected)


def test_pseudonyms_stand_for_patients_and_stays_and_need_the_key(tiny, tmp_path):
    table = write_long(tmp_path / "t.parquet", cohort(4))
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(name.encode() * 8)
    _, plain = ahead(table, tiny)
    told, found = ahead(table, tiny, keyed=tmp_path / "one")
    assert told.keyed
    assert PATIENT.encode() not in (tmp_path / "ahead.parquet").read_bytes()
    assert STAY.encode() not in (tmp_path / "ahead.parquet").read_bytes()
    names = ["patient", "stay", "series"]
    pd.testing.assert_frame_equal(found.drop(columns=names), plain.drop(columns=names))
    assert (found.groupby("series").ngroup().nunique(), found["patient"].nunique()) == (plain["series"].nunique(), 4)
    assert ahead(table, tiny, keyed=tmp_path / "one")[1].equals(found)
    assert not set(ahead(table, tiny, keyed=tmp_path / "other")[1]["patient"]) & set(found["patient"])


@pytest.mark.parametrize("key", [None, b"short"])
def test_a_key_that_is_missing_or_short_is_refused(tiny, tmp_path, key):
    table, file = write_long(tmp_path / "t.parquet", cohort(1)), tmp_path / "key"
    if key is not None:
        file.write_bytes(key)
    with pytest.raises(ConfigError, match=r"key.*(cannot be read|has 5 bytes).*openssl rand -hex 32"):
        ahead(table, tiny, keyed=file)


def test_signals_of_a_stay_are_forecast_together_from_its_last_cell(tmp_path):
    rows = {("p", "s", "map"): [70.0, 71.0] * 15, ("p", "s", "spo2"): [97.0, 96.0] * 13, ("p", "s", "sbp"): [120.0] * 9}
    table, moirai = write_long(tmp_path / "t.parquet", rows), save_moirai(tmp_path / "moirai")
    told, joint = ahead(table, moirai, window={**WINDOW, "joint": True})
    assert joint["time"].nunique() == 6
    assert joint["time"].min() == START + timedelta(hours=30)
    assert told.too_sparse == 1
    assert set(joint[joint["q0.5"].isna()]["signal"]) == {"sbp"}
    assert ahead(table, moirai)[1]["time"].nunique() > 6


def test_a_context_that_nobody_gave_is_no_longer_than_the_model_takes(tiny, tmp_path):
    table = write_long(tmp_path / "fine.parquet", cohort(12, hours=900), step=60)
    told, _ = ahead(table, tiny, window={"horizon": 6})
    assert told.context == 48
    summary = evaluate_table(table, backbone=str(tiny), window={"horizon": 6}, forecasting=FEW, progress=False)
    assert summary.windows.context == 48
    card = adapt(table, tmp_path / "a", tiny, window={"horizon": 6})
    assert card.window.context == 48
    with pytest.raises(BackboneError, match="longer than tiny-t5 takes"):
        ahead(table, tiny, window={"context": 49, "horizon": 6})


def test_an_adapter_without_its_base_says_which_to_give(vitals, adapter, tmp_path):
    with pytest.raises(AdapterError, match=r"trained on tiny-t5 .* Give the base"):
        forecast_table(vitals, tmp_path / "out.parquet", adapter=adapter, progress=False)


def test_a_folder_that_is_called_like_a_release_may_be_given_as_the_base(vitals, tiny, adapter, tmp_path):
    base, copy = tmp_path / "chronos-t5-tiny", tmp_path / "adapter"
    shutil.copytree(tiny, base)
    shutil.copytree(adapter, copy)
    card = json.loads((copy / CARD).read_text())
    (copy / CARD).write_text(json.dumps({**card, "model": base.name}))
    settings = {"adapter": copy, "backbone": str(base), "forecasting": FEW, "progress": False}
    assert forecast_table(vitals, tmp_path / "out.parquet", **settings).series > 0


def plan_of(model="last-value", **more):
    return ForecastPlan(load_model(model), WindowSpec(**WINDOW).resolved(3600), ForecastSpec(**more), LEVELS)


def test_batches_are_written_together_in_their_order_and_none_is_lost(tmp_path, monkeypatch):
    table = write_long(tmp_path / "t.parquet", cohort(9))
    parts = [part for part, _ in forecasts(table, plan_of(batch_size=2), progress=False)]
    monkeypatch.setattr("loracast.study.steps.ahead.ROWS_A_GROUP", 3 * 12)
    told = write_forecasts(table, plan_of(batch_size=2), tmp_path / "out.parquet", progress=False)
    assert pq.read_table(tmp_path / "out.parquet").equals(pa.concat_tables(parts))
    groups = pq.ParquetFile(tmp_path / "out.parquet").metadata
    sizes = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
    assert told.series == 26
    assert sizes == [36, 36, 36, 36, 12], "three batches of two series with six steps each"


def test_ten_times_the_series_take_no_more_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("loracast.data.series._ROWS", 256)
    monkeypatch.setattr("loracast.study.steps.ahead.ROWS_A_GROUP", 600)

    def peak_of(stays):
        table = write_long(
            tmp_path / f"{stays}.parquet", {(f"p{i:04d}", f"p{i:04d}", "map"): [70.0] for i in range(stays)}
        )
        write_forecasts(table, plan_of(batch_size=16), tmp_path / "out.parquet", progress=False)
        tracemalloc.start()
        write_forecasts(table, plan_of(batch_size=16), tmp_path / "out.parquet", progress=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_of(1500) < 1.2 * peak_of(150)
