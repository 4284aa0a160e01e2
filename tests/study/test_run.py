"""One run, one folder: what its files say, and that they belong together."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from loracast.data.windows import Windows, open_windows
from loracast.models.forecast import forecast_windows, forecaster, score
from loracast.models.registry import load_backbone, load_model
from loracast.scoring.compare import summarise
from loracast.scoring.sums import Sums
from loracast.spec import ForecastSpec
from loracast.study import run as runs
from loracast.study.run import Shared
from loracast.study.summary import CELLS, RunResult, read_facts
from loracast.tuning.adapter import base_digest, load_adapter
from loracast.tuning.arm import ArmSpec
from tests.conftest import PATIENT, STAY

LORA = "tiny-t5-lora-r-2-s1"


@pytest.fixture(scope="module")
def windows(done: Path) -> Windows:
    return open_windows(done / "data" / "windows")


def result(done: Path, run: str) -> RunResult:
    return read_facts(RunResult, done / "runs" / run / "result.json")


def test_a_result_says_what_ran_on_what_for_how_long_and_how_well(done):
    for folder in (done / "runs").iterdir():
        found = result(done, folder.name)
        assert set(found.scores) == {"heart_rate", "map"}
        assert found.costs.forecast_seconds > 0
        assert found.costs.peak_memory_bytes > 1e6
        assert {"torch", "transformers", "peft", "python"} <= set(found.versions)
        assert (found.train_patients is not None) == (found.settings["method"] in ("lora", "full"))


def test_parameters_and_steps_are_those_of_the_method(done):
    lora, zero_shot = result(done, LORA), result(done, "tiny-t5-zero-shot-s0")
    assert (lora.trainable_parameters, lora.seed) == (24 * 2 * 32, 1)
    assert lora.costs.train_seconds > 0
    assert result(done, "tiny-t5-full-s0").trainable_parameters == zero_shot.total_parameters
    assert (zero_shot.trainable_parameters, zero_shot.costs.train_seconds, zero_shot.best_step) == (0, None, None)
    naive = result(done, "last-value-s0")
    assert (naive.kind, naive.method, naive.total_parameters, naive.base_sha256) == ("naive", "as-is", 0, None)


def test_a_learning_curve_begins_before_the_first_step(done):
    for run in (LORA, "tiny-t5-full-s0"):
        curve = json.loads((done / "runs" / run / "learning.json").read_text())
        assert [entry["step"] for entry in curve["validation"]] == [0, 2, 4]
        assert [entry["step"] for entry in curve["train"]] == [2, 4]
        assert curve["best_step"] == result(done, run).best_step
    assert not (done / "runs" / "tiny-t5-zero-shot-s0" / "learning.json").exists()
    assert not (done / "runs" / "last-value-s0" / "learning.json").exists()


def test_scores_follow_from_the_sums_and_the_quantiles_that_lie_beside_them(done, windows):
    found = result(done, LORA)
    assert summarise([Sums.from_parquet(done / "runs" / LORA / CELLS)]) == found.scores
    quantiles = np.load(done / "runs" / LORA / "quantiles.npy", allow_pickle=False)
    future = windows.test.batch(slice(0, len(windows.test)))[1]
    for code, signal in enumerate(windows.test.signals):
        own = windows.test.signal == code
        error = np.nanmean(np.abs(quantiles[own, :, 4].astype(float) - future[own]))
        assert found.scores[signal].mae == pytest.approx(error, rel=1e-5)


def test_the_saved_adapter_forecasts_what_the_run_did(done, windows, tiny):
    backbone = load_adapter(done / "runs" / LORA / "adapter", backbone=str(tiny))
    found = forecast_windows(backbone, windows.test, ForecastSpec(samples=4))
    np.testing.assert_array_equal(found.quantiles, np.load(done / "runs" / LORA / "quantiles.npy", allow_pickle=False))
    assert found.median.shape == (len(windows.test), 6)


def test_the_size_of_a_batch_does_not_change_a_naive_score(windows):
    one, other = (
        score(
            forecaster(load_model("seasonal-naive"), ForecastSpec()),
            windows.test,
            batch_size=size,
            label="x",
            progress=False,
        )
        for size in (1, 1000)
    )
    for name, scores in summarise([one], resamples=10).items():
        assert scores.mae == pytest.approx(summarise([other], resamples=10)[name].mae, rel=1e-9)


def test_a_forecaster_sees_no_target(windows, tiny):
    seen = []
    backbone = load_backbone(str(tiny))
    whole = backbone.paths
    backbone.paths = lambda context, *rest, **more: seen.append(context.shape) or whole(context, *rest, **more)
    score(forecaster(backbone, ForecastSpec(samples=2)), windows.test, batch_size=64, label="x", progress=False)
    assert {shape[1] for shape in seen} == {windows.test.context}


def test_no_file_of_a_run_names_a_patient(done):
    for file in (done / "runs").rglob("*"):
        if file.is_file():
            assert PATIENT.encode() not in file.read_bytes(), file
            assert STAY.encode() not in file.read_bytes(), file


def test_a_base_is_read_once_for_the_runs_that_follow_each_other_and_each_has_a_copy(tiny, windows, monkeypatch):
    loads: list[str] = []
    whole = runs.load_backbone
    monkeypatch.setattr(runs, "load_backbone", lambda name, **more: loads.append(name) or whole(name, **more))
    bases, arm = Shared(), ArmSpec(model=str(tiny), method="lora")
    first, digest = bases.copy(arm, windows, 0)
    with torch.no_grad():
        for parameter in first.net.parameters():
            parameter.zero_()
    second, again = bases.copy(arm, windows, 1)
    assert loads == [str(tiny)]
    assert digest == again == base_digest(second) != base_digest(first)


def test_a_network_from_scratch_starts_from_its_own_seed(windows):
    pytest.importorskip("neuralforecast")
    bases, arm = Shared(), ArmSpec(model="nbeats")
    digests = [base_digest(bases.copy(arm, windows, seed)[0]) for seed in (0, 1, 0)]
    assert digests[0] == digests[2] != digests[1]
