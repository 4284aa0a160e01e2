"""Damaged folders: adapters, models, results, windows, and the TOML of an experiment."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loracast.data.split import split_patients
from loracast.data.table import patients_of
from loracast.data.windows import cut_windows, open_windows
from loracast.models.registry import load_backbone
from loracast.report.results import read_results
from loracast.scoring.sums import Sums
from loracast.spec import SplitSpec, WindowSpec
from loracast.study.experiment import read_experiment
from loracast.study.summarise import quantiles_of
from loracast.tuning.adapter import load_adapter
from loracast.tuning.card import TrainedCard, read_card
from tests.fuzz.damage import changed, damaged, fuzz, told
from tests.models.tiny_chronos import save_bolt, save_chronos2
from tests.models.tiny_ports import save_lag_llama, save_moirai
from tests.scoring.arms import cohort, forecast_of, frame_of, sums_of
from tests.tuning.test_adapter import forecast, of_old, saved
from tests.tuning.test_card import WHOLE

RESULTS = Path(__file__).parents[2] / "results"


def fresh(source: Path, folder: Path) -> Path:
    """A copy to damage, in the place of the last one."""
    shutil.rmtree(folder, ignore_errors=True)
    return shutil.copytree(source, folder)


@pytest.fixture(scope="session")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """An adapter, and what it forecasts."""
    folder = tmp_path_factory.mktemp("fuzz") / "adapter"
    attached = saved(tiny, "lora", folder)
    return folder, forecast(attached.model)


@fuzz
@given(data=st.data())
def test_an_adapter_with_a_damaged_file_is_refused(tiny, tmp_path, adapter, data):
    folder = fresh(adapter[0], tmp_path / "adapter")
    file = folder / data.draw(st.sampled_from(("adapter_config.json", "adapter_model.safetensors")))
    content = data.draw(damaged(file.read_bytes()))
    same = content == file.read_bytes()
    file.write_bytes(content)
    found = told("adapter", lambda: load_adapter(folder, backbone=str(tiny)))
    assert found is None or same


@fuzz
@given(data=st.data())
def test_an_adapter_without_digests_is_refused_or_forecasts_the_same_but_for_its_weights(tiny, tmp_path, adapter, data):
    folder = of_old(fresh(adapter[0], tmp_path / "adapter"))
    file = folder / "adapter_config.json"
    file.write_bytes(data.draw(changed(json.loads(file.read_text()))))
    found = told("adapter_config", lambda: forecast(load_adapter(folder, backbone=str(tiny))))
    assert found is None or torch.equal(found[0], adapter[1])


@fuzz
@given(content=st.one_of(changed(WHOLE), damaged(json.dumps(WHOLE).encode())))
def test_a_damaged_card_ends_in_no_traceback(tmp_path, content):
    (tmp_path / "loracast.json").write_bytes(content)
    told("card", lambda: read_card(tmp_path, TrainedCard))


@pytest.fixture(scope="session")
def models(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small model of each family."""
    folder = tmp_path_factory.mktemp("models")
    makers = {"bolt": save_bolt, "chronos2": save_chronos2, "moirai": save_moirai, "lag": save_lag_llama}
    return {"t5": tiny, **{name: make(folder / name) for name, make in makers.items()}}


@pytest.mark.parametrize("family", ["t5", "bolt", "chronos2", "moirai", "lag"])
@fuzz
@given(data=st.data())
def test_a_damaged_model_is_refused_or_has_finite_weights_of_the_same_shapes(tmp_path, models, family, data):
    folder = fresh(models[family], tmp_path / "model")
    config, weights = folder / "config.json", folder / "model.safetensors"
    if data.draw(st.booleans()):
        config.write_bytes(data.draw(changed(json.loads(config.read_text()))))
    else:
        weights.write_bytes(data.draw(damaged(weights.read_bytes())))
    found = told(f"model {family}", lambda: load_backbone(str(folder)).net)
    if found:
        assert all(bool(torch.isfinite(one).all()) for one in found[0].parameters())


def committed(name: str) -> list[Path]:
    """Files of that name in the committed results."""
    return sorted(RESULTS.rglob(name))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one of each file that the report reads."""
    source = committed("summary.json")[0].parent
    out = tmp_path_factory.mktemp("results") / "one"
    for name in ("summary.json", "experiment.json"):
        if (source / name).is_file():
            out.mkdir(exist_ok=True)
            shutil.copy(source / name, out / name)
    return out


@fuzz
@given(data=st.data())
def test_a_damaged_results_folder_is_refused_or_read(tmp_path, folder, data):
    out = fresh(folder, tmp_path / "results")
    file = data.draw(st.sampled_from(sorted(out.iterdir())))
    content: Any = json.loads(file.read_text())
    file.write_bytes(data.draw(st.one_of(changed(content), damaged(file.read_bytes()))))
    told("results", lambda: read_results(out))


@pytest.fixture(scope="session")
def store(vitals, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of windows."""
    out = tmp_path_factory.mktemp("store") / "windows"
    sides = split_patients(patients_of(vitals), SplitSpec(shares=(0.5, 0.2, 0.3)))
    cut_windows(vitals, sides, WindowSpec(context=24), out)
    return out


@fuzz
@given(data=st.data())
def test_damaged_windows_are_refused_or_can_all_be_read(tmp_path, store, data):
    out = fresh(store, tmp_path / "windows")
    file = data.draw(st.sampled_from(sorted(out.iterdir())))
    file.write_bytes(data.draw(damaged(file.read_bytes())))

    def read() -> None:
        windows = open_windows(out)
        for side in ("train", "validation", "test"):
            windows.side(side).batch(slice(None))

    told("windows", read)


@fuzz
@given(data=st.data())
def test_damaged_forecasts_are_refused_or_are_of_all_windows(tmp_path, store, data):
    windows = open_windows(store).test
    np.save(tmp_path / "quantiles.npy", np.zeros((len(windows), windows.horizon, 9), np.float32))
    file = tmp_path / "quantiles.npy"
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    found = told("quantiles", lambda: quantiles_of(tmp_path, windows))
    assert found is None or found[0].shape == (len(windows), windows.horizon, 9)


@pytest.fixture(scope="session")
def sums(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The sums of a run."""
    truth, context, patient, signal = cohort()
    file = tmp_path_factory.mktemp("sums") / "cells.parquet"
    sums_of(truth, forecast_of(truth + 1), context, patient, signal).to_parquet(file)
    return file.read_bytes()


@fuzz
@given(data=st.data())
def test_damaged_sums_are_refused_or_the_same(tmp_path, sums, data):
    file, whole = tmp_path / "cells.parquet", tmp_path / "whole.parquet"
    whole.write_bytes(sums)
    file.write_bytes(data.draw(damaged(sums)))
    found = told("sums", lambda: frame_of(Sums.from_parquet(file)))
    assert found is None or found[0].equals(frame_of(Sums.from_parquet(whole)))


TOML = b"""
name = "small"
seeds = [0, 1]
data = { source = "table", path = "vitals.parquet" }
windows = { context = 24, horizon = 6 }
training = { steps = 4, learning_rate = 0.003 }

[[arms]]
model = "chronos-t5-nano"
method = "zero-shot"

[[arms]]
model = "chronos-t5-nano"
method = "lora"
rank = [1, 2]
"""


@fuzz
@given(content=damaged(TOML))
def test_a_damaged_toml_ends_in_no_traceback(tmp_path, content):
    (tmp_path / "a.toml").write_bytes(content)
    told("toml", lambda: read_experiment(tmp_path / "a.toml"))
