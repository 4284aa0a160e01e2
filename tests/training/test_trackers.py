"""Trackers see the losses of a named run, nothing of this machine or its patients, and are off unless asked for."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from loracast.data.split import split_patients
from loracast.data.table import Table, patients_of
from loracast.data.windows import Windows, cut_windows
from loracast.errors import ConfigError
from loracast.files import write_json
from loracast.spec import SplitSpec, TrainSpec, WindowSpec
from loracast.training import trackers as tracking
from loracast.training.trackers import check_trackers, tracked
from tests.conftest import PATIENT, STAY
from tests.training.test_fit import attached, train

LOOP = TrainSpec(steps=4, batch_size=40, evaluate_every=2, learning_rate=3e-3)
# MLflow's and its libraries' own deprecations, and files that its store leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module")
def windows(vitals: Table, tmp_path_factory: pytest.TempPathFactory) -> Windows:
    sides = split_patients(patients_of(vitals), SplitSpec())
    spec = WindowSpec(context=24, horizon=6, stride=6)
    return cut_windows(vitals, sides, spec, tmp_path_factory.mktemp("windows") / "w")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment as a caller without wishes has it; what tracking sets for good ends with the test."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TENSORBOARD_LOGGING_DIR", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "false")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that was asked for; nobody is reached."""
    asked: list[Any] = []

    def refuse(_: socket.socket, address: Any) -> None:
        asked.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


def follow(tiny: Path, windows: Windows, results: Path, *track: str, **more: Any) -> Any:
    folder = results / "runs" / "one" / "checkpoints"
    write_json(results / "experiment.json", {"name": "sepsis-study"}, overwrite=True)
    return train(attached(tiny, "lora"), windows, folder, LOOP, track=track, results=results, **more)


def store(results: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=(results / "mlruns").as_uri())


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test itself read MLflow's folder of files."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def runs_of(results: Path) -> list[Any]:
    client = store(results)
    found = client.get_experiment_by_name("sepsis-study")
    return list(client.search_runs([found.experiment_id]))


def test_mlflow_sees_the_losses_of_a_named_run_that_has_ended(tiny, windows, tmp_path, files, no_network):
    curve = follow(tiny, windows, tmp_path / "sepsis", "mlflow")
    (run,) = runs_of(tmp_path / "sepsis")
    assert run.info.run_name == "tiny-t5 lora r=2, seed 0"
    assert run.info.status == "FINISHED"
    scores = store(tmp_path / "sepsis").get_metric_history(run.info.run_id, "eval_loss")
    assert [(score.step, score.value) for score in scores] == [(e["step"], e["loss"]) for e in curve.validation]
    assert run.data.metrics["loss"] == curve.train[-1]["loss"]
    assert run.data.params["train_batch_size"] == "40"
    assert no_network == []
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_what_is_told_names_neither_paths_nor_users_nor_patients(tiny, windows, tmp_path, files):
    follow(tiny, windows, tmp_path / "sepsis", "mlflow")
    (run,) = runs_of(tmp_path / "sepsis")
    told = str((run.data.params, run.data.tags))
    for secret in (str(tmp_path), str(Path.home()), socket.gethostname(), PATIENT, STAY):
        assert secret not in told
    assert run.data.tags["mlflow.user"] == ""
    assert run.data.tags["mlflow.source.name"] == "loracast"


def test_a_run_that_is_resumed_goes_on_in_mlflow_as_the_same_run(tiny, windows, tmp_path, files):
    calls = []

    def stop() -> None:
        calls.append(1)
        raise ConfigError("enough for today")

    with pytest.raises(ConfigError, match="enough"):
        follow(tiny, windows, tmp_path / "sepsis", "mlflow", after_checkpoint=stop)
    (run,) = runs_of(tmp_path / "sepsis")
    assert run.info.status == "FAILED"
    curve = follow(tiny, windows, tmp_path / "sepsis", "mlflow", resume=True)
    (run,) = runs_of(tmp_path / "sepsis")
    assert run.info.status == "FINISHED"
    scores = store(tmp_path / "sepsis").get_metric_history(run.info.run_id, "eval_loss")
    assert [score.step for score in scores] == [e["step"] for e in curve.validation] == [0, 2, 4]


def test_runs_gather_under_the_experiment_that_the_environment_names(tiny, windows, tmp_path, files, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    for seed in (0, 1):
        folder = tmp_path / f"s{seed}"
        train(attached(tiny, "lora"), windows, folder, LOOP, seed=seed, track=["mlflow"], results=tmp_path)
    client = store(tmp_path)
    found = client.search_runs([client.get_experiment_by_name("ours").experiment_id])
    assert {run.info.run_name for run in found} == {f"tiny-t5 lora r=2, seed {seed}" for seed in (0, 1)}


def test_the_name_of_a_callers_own_folder_is_not_told(tiny, windows, tmp_path, files):
    train(attached(tiny, "lora"), windows, tmp_path / "c", LOOP, track=["mlflow"], results=tmp_path / "jane-doe")
    names = [found.name for found in store(tmp_path / "jane-doe").search_experiments()]
    assert set(names) <= {"loracast", "Default"}


def test_tensorboard_writes_beside_the_results_and_names_no_machine(tiny, windows, tmp_path):
    follow(tiny, windows, tmp_path / "sepsis", "tensorboard", run_name="arm one, seed 3")
    (file,) = (tmp_path / "sepsis" / "tensorboard" / "arm-one-seed-3").iterdir()
    assert file.name.startswith("events.out.tfevents.")
    assert socket.gethostname() not in file.name
    content = file.read_bytes()
    assert b"eval/loss" in content
    assert str(tmp_path).encode() not in content


def test_nothing_is_written_unless_asked_for(tiny, windows, tmp_path):
    follow(tiny, windows, tmp_path / "sepsis")
    assert {path.name for path in (tmp_path / "sepsis").iterdir()} == {"experiment.json", "runs"}


def test_the_same_numbers_come_out_whether_or_not_somebody_watches(tiny, windows, tmp_path, files):
    watched = follow(tiny, windows, tmp_path / "seen", "mlflow", "tensorboard")
    assert watched.as_json() == follow(tiny, windows, tmp_path / "alone").as_json()


def test_an_unknown_tracker_is_answered_with_the_list():
    with pytest.raises(ConfigError, match=r"No tracker 'comet'. Trackers: mlflow, tensorboard, wandb"):
        check_trackers(["comet"])


@pytest.mark.parametrize(("name", "command"), [("mlflow", r'pip install "loracast\[tracking\]"'), ("wandb", "pip")])
def test_a_tracker_that_is_not_installed_says_how_to_install_it(monkeypatch, name, command):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"{name} is not installed. Install it: {command}"):
        check_trackers([name])


def test_wandb_is_told_the_experiment_and_no_code(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "check_trackers", lambda _: None)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    with tracked(["wandb"], tmp_path / "sepsis", "run", tmp_path):
        assert os.environ["WANDB_PROJECT"] == "mine"
        assert os.environ["WANDB_DISABLE_CODE"] == "true"
    assert "WANDB_DIR" not in os.environ
