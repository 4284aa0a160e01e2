"""MLflow is told what came of each run, on which data, with its adapter and the report; and nobody's name."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from loracast.data.table import Table
from loracast.errors import ConfigError
from loracast.spec import TrainSpec
from loracast.study.engine import Plan
from loracast.study.run import RunResult
from loracast.study.study import run_experiment
from loracast.study.summary import read_facts
from loracast.study.tracked import begin_tracking, params_of, track_report, track_result
from loracast.tuning.arm import ArmSpec
from tests.conftest import PATIENT, STAY, spec_of

# MLflow's and its libraries' own deprecations, and files that its store leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module")
def followed(vitals: Table, tiny: Path, tmp_path_factory: pytest.TempPathFactory):
    """A finished experiment that MLflow followed, with its report, and its runs in MLflow by their names."""
    out = tmp_path_factory.mktemp("followed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
            patch.setenv(name, "false")  # what tracking sets for good ends with the fixture
        arms = tuple(ArmSpec(model=str(tiny), method=method) for method in ("zero-shot", "lora"))
        short = TrainSpec(steps=2, batch_size=8, evaluate_every=2)
        spec = spec_of(vitals.path, tiny, arms=arms, seeds=(0,), training=short)
        run_experiment(spec, out, progress=False, say=lambda _: None, plan=Plan(track=("mlflow",)))
        (out / "report.html").write_text("<html></html>")
        track_report(["mlflow"], out, say=pytest.fail)
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=(out / "mlruns").as_uri())
        found = client.search_runs([client.get_experiment_by_name(spec.name).experiment_id])
        yield out, spec, client, {run.info.run_name: run for run in found}


def test_every_run_is_there_also_those_that_train_nothing_under_the_run_of_the_experiment(followed):
    _, spec, _, runs = followed
    arms = ("last-value", "seasonal-naive", "context-mean", "tiny-t5 zero-shot", "tiny-t5 lora r=2")
    assert set(runs) == {spec.name, *(f"{arm}, seed 0" for arm in arms)}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    above = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert above.pop(spec.name) is None
    assert set(above.values()) == {runs[spec.name].info.run_id}


def test_a_run_carries_who_it_was_on_which_data_and_its_test_scores(followed):
    out, _, _, runs = followed
    result = read_facts(RunResult, out / "runs" / "tiny-t5-lora-r-2-s0" / "result.json")
    told = runs["tiny-t5 lora r=2, seed 0"].data
    assert (told.params["loracast.model"], told.params["loracast.method"]) == ("tiny-t5", "lora")
    assert (told.params["arm.rank"], told.params["arm.alpha"]) == ("2", "16.0")
    assert told.params["data.table_fingerprint"] == result.data["table_fingerprint"]
    assert told.metrics["test.map.mae"] == result.scores["map"].mae
    assert told.metrics["test.map.n_patients"] == result.scores["map"].n_patients
    assert told.metrics["trainable_parameters"] == result.trainable_parameters
    assert "eval_loss" in told.metrics, "the losses of the training stand in the same run"


def test_the_adapter_and_the_report_are_artifacts(followed):
    _, spec, client, runs = followed

    def files(name: str, place: str | None = None) -> set[str]:
        return {file.path for file in client.list_artifacts(runs[name].info.run_id, place)}

    assert files(spec.name) == {"report.html", "summary.json"}
    assert "adapter/adapter_model.safetensors" in files("tiny-t5 lora r=2, seed 0", "adapter")
    assert files("tiny-t5 zero-shot, seed 0") == set()


def test_nothing_that_is_told_names_a_path_a_user_or_a_patient(followed):
    out, _, _, runs = followed
    told = str([(run.data.params, run.data.tags, sorted(run.data.metrics)) for run in runs.values()])
    for secret in (str(out.parent), str(Path.home()), socket.gethostname(), PATIENT, STAY):
        assert secret not in told
    for file in (out / "mlruns").rglob("*"):
        if file.is_file():
            assert PATIENT.encode() not in file.read_bytes()


def test_nothing_is_told_unless_asked_for(followed, tmp_path):
    out, *_ = followed
    result = read_facts(RunResult, next((out / "runs").glob("*/result.json")))
    begin_tracking([], tmp_path, "one")
    track_result(["tensorboard"], tmp_path, tmp_path, result, say=pytest.fail)
    track_report([], tmp_path, say=pytest.fail)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_ends_it_before_and_loses_nothing_after(followed, tmp_path, monkeypatch):
    out, *_ = followed
    result = read_facts(RunResult, next((out / "runs").glob("*/result.json")))
    monkeypatch.setitem(os.environ, "MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(ConfigError, match=r"MLflow takes no run .* Look at MLFLOW_TRACKING_URI"):
        begin_tracking(["mlflow"], tmp_path, "one")
    said: list[Any] = []
    track_result(["mlflow"], tmp_path, tmp_path, result, say=said.append)
    track_report(["mlflow"], tmp_path, say=said.append)
    assert [line.split(" (")[0] for line in said] == [
        f"MLflow was not told the scores of {result.arm}, seed {result.seed}",
        "MLflow was not given the report",
    ]


def test_what_is_asked_of_an_arm_never_meets_a_setting_of_the_trainer(followed):
    out, *_ = followed
    for file in (out / "runs").glob("*/result.json"):
        assert all("." in name for name in params_of(read_facts(RunResult, file)))
