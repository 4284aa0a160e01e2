"""Score adapters beside zero-shot and the naive floor."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from loracast.data.split import split_patients
from loracast.data.table import Table
from loracast.errors import AdapterError
from loracast.spec import SplitSpec
from loracast.study.steps.asked import own_split
from loracast.study.steps.evaluating import evaluate_table
from loracast.study.steps.forecasting import forecast_table
from loracast.study.steps.scoring import refuse_trained_patients
from loracast.tuning.card import TrainedCard, read_card
from tests.conftest import PATIENT, cohort, write_long
from tests.study.steps.conftest import FEW, LOOP, WINDOW, adapt


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


def test_an_adapter_brings_its_own_split_and_windows(vitals, tiny, adapter):
    summary = evaluate_table(vitals, adapters=[adapter], backbone=str(tiny), forecasting=FEW, progress=False)
    assert read_card(adapter, TrainedCard).data.split_fingerprint == summary.windows.split_fingerprint
    assert summary.windows.stride == WINDOW["stride"]


@pytest.mark.parametrize("split", [{"seed": 7}, {"folds": 5}, SplitSpec(shares=(0.6, 0.2, 0.2))])
def test_a_split_that_contradicts_the_adapters_is_refused(vitals, tiny, adapter, split):
    with pytest.raises(AdapterError, match=r"An adapter brings its own split of the patients.*Leave "):
        evaluate_table(vitals, adapters=[adapter], backbone=str(tiny), split=split, progress=False)


def test_a_split_that_says_what_the_adapters_says_is_taken():
    card = SimpleNamespace(split=SplitSpec(seed=0, folds=5, fold=1))
    own_split(card, SplitSpec(folds=5, fold=1))
    own_split(card, SplitSpec())
    with pytest.raises(AdapterError, match=r"fold 2 given, 1 its own"):
        own_split(card, SplitSpec(folds=5, fold=2))


def test_an_adapter_of_a_small_table_is_scored_by_the_windows_that_split_it(long_table, tiny, tmp_path):
    # Of ten patients four have windows of 24 + 6 steps; the split by all ten leaves none of them to test.
    sides = split_patients([f"p{i}" for i in range(10)], SplitSpec())
    lucky = [patient for patient, side in sides.items() if side != "test"][:4]
    rng = np.random.default_rng(0)
    rows = {(p, f"s{p}", "map"): list(rng.normal(80, 5, 90 if p in lucky else 26)) for p in sides}
    table = long_table(rows)
    adapt(table, tmp_path / "adapter", tiny)
    card = read_card(tmp_path / "adapter", TrainedCard)
    assert card.patients == {"train": 2, "validation": 1, "test": 1}
    # Windows of 12 + 6 steps are had of all, and would be split by all.
    more = {"backbone": str(tiny), "forecasting": FEW, "progress": False}
    asked = {"adapters": [tmp_path / "adapter"], "window": {"context": 12}}
    summary = evaluate_table(table, **asked, **more)
    assert summary.windows.split_fingerprint == card.data.split_fingerprint
    assert summary.windows.split_by_windows


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
        refuse_trained_patients({"adapter": card}, windows)


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


def _ask(what: str, table: Table, folder: Path, adapter: Path, tiny: Path) -> None:
    if what == "forecast":
        forecast_table(table, folder / "out.parquet", adapter=adapter, backbone=str(tiny), progress=False)
    else:
        evaluate_table(table, adapters=[adapter], backbone=str(tiny), progress=False)
