"""Adapt, forecast and evaluate on a caller's own table."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loracast.data.series import series_of
from loracast.errors import AdapterError, BackboneError, ConfigError
from loracast.spec import TrainSpec
from loracast.study import steps
from loracast.study.steps import adapt_table, evaluate_table, forecast_table
from loracast.study.summary import ForecastFacts
from loracast.tuning.card import CARD, SeenWindow, TrainedCard, read_card
from loracast.types import Table
from tests.conftest import PATIENT, START, STAY, cohort, write_long
from tests.models.tiny_ports import save_moirai

WINDOW = {"context": 24, "horizon": 6, "stride": 6}
LOOP = {"steps": 4, "batch_size": 32, "evaluate_every": 2}
FEW = {"samples": 4}


def adapt(table: Table | Path, out: Path, tiny: Path, **more: Any) -> dict[str, Any]:
    settings = {"window": WINDOW, "training": LOOP, "progress": False, **more}
    return adapt_table(table, out, arm={"model": str(tiny), "method": "lora"}, **settings)


@pytest.fixture(scope="module")
def adapter(vitals: Table, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapted") / "adapter"
    adapt(vitals, out, tiny)
    return out


def test_adapting_saves_one_folder_and_clears_up_behind_it(adapter):
    assert [path.name for path in adapter.parent.iterdir()] == ["adapter"]
    card = read_card(adapter, TrainedCard)
    assert card.window == SeenWindow(context=24, horizon=6, step_seconds=3600, joint=False)
    assert card.signals == {"heart_rate": "1/min", "map": "mmHg"}
    assert card.trainable_parameters == 24 * 2 * 32
    assert card.validation_loss <= card.validation_loss_at_start


def test_no_file_of_an_adapter_names_a_patient(adapter):
    for file in adapter.iterdir():
        content = file.read_bytes()
        assert PATIENT.encode() not in content, file.name
        assert STAY.encode() not in content, file.name


def test_the_same_call_gives_the_same_adapter(vitals, tiny, tmp_path, adapter):
    adapt(vitals.path, tmp_path / "again", tiny)
    for file in adapter.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


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


def test_an_adapter_is_scored_beside_zero_shot_and_the_floor(vitals, tiny, adapter):
    summary = evaluate_table(vitals, adapters=[adapter], backbone=str(tiny), forecasting=FEW, progress=False)
    arms = {arm.arm: arm for arm in summary.arms}
    assert list(arms) == ["last-value", "seasonal-naive", "context-mean", "tiny-t5 zero-shot", "adapter"]
    assert arms["adapter"].trainable_parameters == 24 * 2 * 32
    assert arms["adapter"].vs_zero_shot["map"].verdict in {"better", "worse", "no difference shown"}
    assert summary.windows.context == 24
    assert PATIENT not in summary.model_dump_json()


def test_two_adapters_that_bear_the_same_name_are_two_arms(vitals, tiny, adapter, tmp_path):
    other = tmp_path / "adapter"
    adapt(vitals, other, tiny, training={**LOOP, "learning_rate": 0.1})
    summary = evaluate_table(vitals, adapters=[adapter, other], backbone=str(tiny), forecasting=FEW, progress=False)
    assert {str(adapter), str(other)} < {arm.arm for arm in summary.arms}


def test_without_an_adapter_nothing_is_said_of_other_tables(vitals, tiny):
    summary = evaluate_table(vitals, backbone=str(tiny), window=WINDOW, forecasting=FEW, progress=False)
    (check,) = [check for check in summary.checks if check.code == "C09"]
    assert check.outcome == "not applicable"


def test_the_adapters_own_split_is_used_whatever_seed_is_given(vitals, tiny, adapter):
    settings = {"backbone": str(tiny), "forecasting": FEW, "progress": False}
    scored = [evaluate_table(vitals, adapters=[adapter], split_seed=seed, **settings) for seed in (0, 7)]
    assert scored[0].windows.split_fingerprint == scored[1].windows.split_fingerprint
    assert read_card(adapter, TrainedCard).data.split_fingerprint == scored[0].windows.split_fingerprint


def test_adapters_of_different_splits_are_refused_together(vitals, tiny, adapter, tmp_path):
    adapt(vitals, tmp_path / "other", tiny, seed=1)
    with pytest.raises(AdapterError, match="different backbones, windows or patient splits"):
        evaluate_table(vitals, adapters=[adapter, tmp_path / "other"], backbone=str(tiny), progress=False)


def test_a_split_that_could_test_a_trained_patient_is_refused(vitals, tiny, adapter):
    fewer = replace(vitals, signals=("map",))
    card = read_card(adapter, TrainedCard)
    card = card.model_copy(update={"data": card.data.model_copy(update={"split_fingerprint": "another"})})
    windows = type("W", (), {"meta": {"table_fingerprint": fewer.fingerprint, "split_fingerprint": "one"}})()
    with pytest.raises(AdapterError, match="patients of its training could be tested"):
        steps._same_split({adapter: card}, windows)


@pytest.mark.parametrize("ask", ["forecast", "evaluate"])
def test_an_adapter_of_another_grid_is_refused(tiny, adapter, tmp_path, ask):
    table = write_long(tmp_path / "fine.parquet", cohort(6), step=300)
    with pytest.raises(AdapterError, match=r"steps of 3600 s; fine\.parquet has steps of 300 s"):
        _ask(ask, table, tmp_path, adapter, tiny)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("ask", ["forecast", "evaluate"])
def test_an_adapter_of_other_signals_is_refused(tiny, adapter, tmp_path, ask):
    rows = {(patient, stay, "spo2"): [97.0] * 60 for patient, stay, _ in cohort(6)}
    table = write_long(tmp_path / "spo2.parquet", rows)
    with pytest.raises(AdapterError, match=r"trained on heart_rate, map; spo2\.parquet also holds spo2"):
        _ask(ask, table, tmp_path, adapter, tiny)


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


def _ask(what: str, table: Table, folder: Path, adapter: Path, tiny: Path) -> None:
    if what == "forecast":
        forecast_table(table, folder / "out.parquet", adapter=adapter, backbone=str(tiny), progress=False)
    else:
        evaluate_table(table, adapters=[adapter], backbone=str(tiny), progress=False)


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_adapter_is_never_written_over(vitals, tiny, tmp_path, resume):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine.txt").write_text("kept")
    with pytest.raises(ConfigError, match="adapter exists already"):
        adapt(vitals, tmp_path / "adapter", tiny, resume=resume)
    assert (tmp_path / "adapter" / "mine.txt").read_text() == "kept"


def test_zero_shot_cannot_be_adapted(vitals, tmp_path):
    with pytest.raises(ConfigError, match=r"adapts nothing.*\bfull\b.*\blora\b"):
        adapt_table(vitals, tmp_path / "a", arm={"model": "chronos-t5-nano", "method": "zero-shot"})


def test_a_misspelt_setting_is_named(vitals, tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"The training asks for .*\n  stepz: Extra inputs"):
        adapt(vitals, tmp_path / "a", tiny, training={"stepz": 3})
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_tracker_is_refused_before_any_work(vitals, tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"No tracker 'comet'\. Trackers: mlflow, tensorboard, wandb"):
        adapt(vitals, tmp_path / "a", tiny, track=["comet"])
    assert list(tmp_path.iterdir()) == []


def test_an_adaptation_can_be_watched_beside_its_adapter(vitals, tiny, tmp_path):
    adapt(vitals, tmp_path / "a", tiny, track=["tensorboard"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "tensorboard"]
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["a-tiny-t5-lora-r-2-seed-0"]


def test_a_context_longer_than_the_backbone_takes_is_refused(vitals, tiny, tmp_path):
    with pytest.raises(BackboneError, match="longer than tiny-t5 takes"):
        adapt(vitals, tmp_path / "a", tiny, window={"context": 50, "horizon": 2})


def _interrupted(vitals: Table, out: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adaptation that is stopped once it is trained, before the adapter is saved."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps, "save_adapter", stop)
        with pytest.raises(KeyboardInterrupt):
            adapt(vitals, out, tiny)


def test_an_interrupted_adaptation_resumes_to_the_same_adapter(vitals, tiny, tmp_path, monkeypatch, adapter):
    _interrupted(vitals, tmp_path / "adapter", tiny, monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.work"]
    adapt(vitals, tmp_path / "adapter", tiny, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    for file in adapter.iterdir():
        assert file.read_bytes() == (tmp_path / "adapter" / file.name).read_bytes(), file.name


def test_a_resume_with_other_settings_is_refused(vitals, tiny, tmp_path, monkeypatch):
    _interrupted(vitals, tmp_path / "adapter", tiny, monkeypatch)
    for other in ({"seed": 1}, {"training": TrainSpec(steps=5).model_dump()}, {"window": {**WINDOW, "horizon": 5}}):
        with pytest.raises(ConfigError, match="begun with another table or other settings"):
            adapt(vitals, tmp_path / "adapter", tiny, resume=True, **other)
    assert any((tmp_path / "adapter.work" / "checkpoints").iterdir())


def test_signals_of_a_patient_are_adapted_to_and_forecast_jointly(vitals, tmp_path):
    moirai = str(save_moirai(tmp_path / "moirai"))
    arm, training = {"model": moirai, "method": "lora"}, {"steps": 2, "batch_size": 8, "evaluate_every": 1}
    window = {"context": 24, "horizon": 6, "stride": 6, "joint": True}
    card = adapt_table(vitals.path, tmp_path / "a", arm=arm, window=window, training=training, progress=False)
    assert card.window.joint is True
    asked = {"adapter": tmp_path / "a", "backbone": moirai, "progress": False}
    forecast_table(vitals.path, tmp_path / "joint.parquet", **asked)
    frame = pq.read_table(vitals.path).to_pandas()
    lone = frame[frame["signal"] == "map"]
    meta = pq.read_schema(vitals.path)
    pq.write_table(pa.Table.from_pandas(lone, schema=meta, preserve_index=False), tmp_path / "lone.parquet")
    forecast_table(tmp_path / "lone.parquet", tmp_path / "alone.parquet", **asked)
    joint, alone = (pq.read_table(tmp_path / f"{name}.parquet").to_pandas() for name in ("joint", "alone"))
    same = joint[joint["signal"] == "map"].merge(alone, on=["series", "time"])
    assert len(same) == len(alone)
    assert not np.allclose(same["q0.5_x"], same["q0.5_y"]), "the other signal has been read"
    summary = evaluate_table(vitals.path, adapters=[tmp_path / "a"], backbone=moirai, progress=False)
    assert summary.windows.joint is True
