"""What MLflow is told besides the losses: who a run was, on which data, its test scores and its adapter; the report.

Facts of `result.json` alone: counts, fingerprints and scores, no patient and no path. An adapter goes where
MLFLOW_TRACKING_URI points, the folder of the experiment unless it is set.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loracast.errors import ConfigError
from loracast.study.summary import SUMMARY, RunResult
from loracast.training import distributed
from loracast.training.trackers import mlflow_run
from loracast.types import Say

ADAPTER, NETWORK, REPORT = "adapter", "network", "report.html"


def begin_tracking(names: Sequence[str], results: Path, experiment: str) -> None:
    """Open the run of a whole experiment, under which those of its arms will stand.

    Raises ConfigError where MLflow cannot be reached: before anything is trained.
    """
    if "mlflow" not in names or not distributed.is_main():
        return
    try:
        with mlflow_run(results, experiment, results):
            pass
    except Exception as error:  # of whatever class a server, or its client, raises
        raise ConfigError(
            f"MLflow takes no run ({type(error).__name__}). Look at MLFLOW_TRACKING_URI, or leave --track mlflow out."
        ) from error


def track_result(names: Sequence[str], results: Path, folder: Path, result: RunResult, *, say: Say) -> None:
    """Tell of a run that is done, whose folder is `folder`; where that fails, it is said, and the run stays done."""
    if "mlflow" not in names or not distributed.is_main():
        return
    name = f"{result.arm}, seed {result.seed}"
    try:
        with mlflow_run(results, name, folder / "checkpoints") as mlflow:
            mlflow.log_params(params_of(result))
            mlflow.log_metrics(metrics_of(result))
            for trained in (ADAPTER, NETWORK):
                if (folder / trained).is_dir():
                    mlflow.log_artifacts(str(folder / trained), trained)
    except Exception as error:  # of whatever class a server, or its client, raises
        say(f"MLflow was not told the scores of {name} ({type(error).__name__}). The run itself is done.")


def track_report(names: Sequence[str], results: Path, *, say: Say) -> None:
    """Put the report of an experiment, and its summary, to its run; where that fails, it is said."""
    if "mlflow" not in names or not distributed.is_main():
        return
    try:
        with mlflow_run(results, "report", results) as mlflow:
            for file in (REPORT, SUMMARY):
                mlflow.log_artifact(str(results / file))
    except Exception as error:  # of whatever class a server, or its client, raises
        say(f"MLflow was not given the report ({type(error).__name__}). It stands in the results folder.")


def params_of(result: RunResult) -> dict[str, Any]:
    """Who a run was and what it was asked for, on which data: by names that no setting of the Trainer has."""
    known = {
        "model": result.model,
        "family": result.family,
        "method": result.method,
        "seed": result.seed,
        "run_id": result.run_id,
        "revision": result.revision,
        "base_sha256": result.base_sha256,
        "licence": result.licence,
    }
    parts: dict[str, Mapping[str, Any]] = {
        "loracast": known,
        "arm": result.settings,
        "data": result.data,
        "windows": {key: value for key, value in result.windows.items() if not isinstance(value, Mapping)},
    }
    return {
        f"{part}.{key}": value for part, content in parts.items() for key, value in content.items() if value is not None
    }


def metrics_of(result: RunResult) -> dict[str, float]:
    """Test scores as `test.SIGNAL.SCORE`, with the patients and windows behind them; trained numbers and costs."""
    found: dict[str, float] = {"trainable_parameters": result.trainable_parameters}
    for signal, scores in result.scores.items():
        told = {key: value for key, value in scores.model_dump().items() if isinstance(value, int | float)}
        found |= {f"test.{_plain(signal)}.{key}": float(value) for key, value in told.items()}
    costs = result.costs.model_dump()
    return found | {f"cost.{key}": float(value) for key, value in costs.items() if isinstance(value, int | float)}


def _plain(signal: str) -> str:
    """The name of a signal in the letters that MLflow takes."""
    return re.sub(r"[^\w -]", "_", signal)
