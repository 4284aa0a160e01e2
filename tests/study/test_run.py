"""One run, one folder: what its files say, and that they belong together."""

import json
from pathlib import Path

import numpy as np
import pytest

from loracast.data.windows import Windows, open_windows
from loracast.models.forecast import fitted, forecast_windows, pretrained
from loracast.models.naive import BASELINES
from loracast.models.registry import load_backbone
from loracast.scoring.compare import Statistics, summarise
from loracast.spec import ForecastSpec
from loracast.study.run import CELLS, score
from loracast.tuning.adapter import load_adapter
from tests.conftest import PATIENT, STAY

KEYS = {
    "run_id", "arm", "backbone", "method", "seed", "licence", "data", "windows", "forecast", "trainable_parameters",
    "total_parameters", "train_seconds", "forecast_seconds", "forecast_milliseconds_per_window", "peak_memory_bytes",
    "peak_gpu_memory_bytes", "best_step", "hardware", "versions", "scores", "settings", "base_sha256", "train_steps",
    "seconds_per_step", "adapter_bytes",
}  # fmt: skip
TRAINED = {"micro_batch", "accumulation", "energy_joules", "train_patients"}
LORA = "tiny-t5-lora-r-2-s1"


@pytest.fixture(scope="module")
def windows(done: Path) -> Windows:
    return open_windows(done / "data" / "windows")


def result(done: Path, run: str) -> dict:
    return json.loads((done / "runs" / run / "result.json").read_text())


def test_a_result_says_what_ran_on_what_for_how_long_and_how_well(done):
    for folder in (done / "runs").iterdir():
        found = result(done, folder.name)
        own = set() if found["method"] == "baseline" else {"revision"}
        assert set(found) == KEYS | own | (TRAINED if found["trainable_parameters"] else set()), folder.name
        assert set(found["scores"]) == {"heart_rate", "map"}
        assert found["forecast_seconds"] > 0
        assert found["peak_memory_bytes"] > 1e6
        assert {"torch", "transformers", "peft", "python"} <= set(found["versions"])


def test_parameters_and_steps_are_those_of_the_method(done):
    total = result(done, "tiny-t5-zero-shot-s0")["total_parameters"]
    assert result(done, LORA)["trainable_parameters"] == 24 * 2 * 32
    assert result(done, "tiny-t5-full-s0")["trainable_parameters"] == total
    zero_shot = result(done, "tiny-t5-zero-shot-s0")
    assert (zero_shot["trainable_parameters"], zero_shot["train_seconds"], zero_shot["best_step"]) == (0, 0.0, None)
    assert result(done, LORA)["seed"] == 1
    assert result(done, LORA)["train_seconds"] > 0


def test_a_learning_curve_begins_before_the_first_step(done):
    for run in (LORA, "tiny-t5-full-s0"):
        curve = json.loads((done / "runs" / run / "learning.json").read_text())
        assert [entry["step"] for entry in curve["validation"]] == [0, 2, 4]
        assert [entry["step"] for entry in curve["train"]] == [2, 4]
        assert curve["best_step"] == result(done, run)["best_step"]
    assert not (done / "runs" / "tiny-t5-zero-shot-s0" / "learning.json").exists()
    assert not (done / "runs" / "last-value" / "learning.json").exists()


def test_scores_follow_from_the_sums_and_the_quantiles_that_lie_beside_them(done, windows):
    found = result(done, LORA)
    assert summarise([Statistics.from_parquet(done / "runs" / LORA / CELLS)]) == found["scores"]
    quantiles = np.load(done / "runs" / LORA / "quantiles.npy", allow_pickle=False)
    future = windows.test.batch(slice(0, len(windows.test)))[1]
    for code, signal in enumerate(windows.test.signals):
        own = windows.test.signal == code
        error = np.nanmean(np.abs(quantiles[own, :, 4].astype(float) - future[own]))
        assert found["scores"][signal]["mae"] == pytest.approx(error, rel=1e-5)


def test_the_saved_adapter_forecasts_what_the_run_did(done, windows, tiny):
    backbone = load_adapter(done / "runs" / LORA / "adapter", backbone=str(tiny))
    found = forecast_windows(backbone, windows.test, ForecastSpec(samples=4))
    np.testing.assert_array_equal(found.quantiles, np.load(done / "runs" / LORA / "quantiles.npy", allow_pickle=False))
    assert found.median.shape == (len(windows.test), 6)


def test_the_size_of_a_batch_does_not_change_a_naive_score(windows):
    one, other = (
        score(fitted(BASELINES["seasonal-naive"]), windows.test, batch_size=size, label="x", progress=False)
        for size in (1, 1000)
    )
    for name, scores in summarise([one], resamples=10).items():
        assert scores["mae"] == pytest.approx(summarise([other], resamples=10)[name]["mae"], rel=1e-9)


def test_a_forecaster_sees_no_target(windows, tiny):
    seen = []
    backbone = load_backbone(str(tiny))
    whole = backbone.forecast
    backbone.forecast = lambda context, *rest, **more: seen.append(context.shape) or whole(context, *rest, **more)
    score(pretrained(backbone, ForecastSpec(samples=2)), windows.test, batch_size=64, label="x", progress=False)
    assert {shape[1] for shape in seen} == {windows.test.context}


def test_no_file_of_a_run_names_a_patient(done):
    for file in (done / "runs").rglob("*"):
        if file.is_file():
            assert PATIENT.encode() not in file.read_bytes(), file
            assert STAY.encode() not in file.read_bytes(), file
