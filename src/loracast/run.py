"""One run, one folder: train if the method trains, forecast the test windows, keep sums, quantiles and costs.

`result.json` is written last: a folder without it is a run that was interrupted.
"""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import set_seed

from loracast import adapter, costs
from loracast.backbones import load_backbone
from loracast.backbones.base import check_window
from loracast.config import ArmSpec, ExperimentSpec, ForecastSpec, SplitSpec
from loracast.data.schema import Signal, signal_named
from loracast.data.windows import Windows, WindowSet
from loracast.evaluate import Statistics, score_cells, summarise
from loracast.files import write_json, written
from loracast.forecast import Forecaster, forecast_batches, naive, pretrained
from loracast.methods import METHODS, Attached, attach
from loracast.series import LEVELS
from loracast.train import Curve, fit

CELLS = "cells.parquet"
QUANTILES = "quantiles.npy"

UNTRAINED: dict[str, Any] = {
    "backbone": None,
    "licence": None,
    "seed": 0,
    "trainable_parameters": 0,
    "total_parameters": 0,
    "train_seconds": 0.0,
    "forecast_seconds": 0.0,
    "peak_memory_bytes": 0,
    "best_step": None,
}
"""What a result says of an arm that trained nothing, until something else is known."""


def signals_of(windows: WindowSet) -> dict[str, Signal]:
    """What is known of each signal, in the order of the windows' signal codes."""
    return {name: signal_named(name, windows.units) for name in windows.signals}


def score(
    forecaster: Forecaster,
    windows: WindowSet,
    *,
    batch_size: int,
    label: str,
    quantiles: Path | None = None,
    progress: bool = True,
) -> Statistics:
    """Forecast `windows` batch by batch and add up the scores.

    `quantiles` takes a float32 .npy of shape (window, horizon, level), written through a memory map.
    """
    statistics, signals = Statistics(), signals_of(windows)
    shape = (len(windows), windows.horizon, len(LEVELS))
    store = None
    if quantiles is not None:
        store = np.lib.format.open_memmap(quantiles, mode="w+", dtype=np.float32, shape=shape)
        _reserve(quantiles)
    for batch in forecast_batches(forecaster, windows, batch_size=batch_size, label=label, progress=progress):
        cells = score_cells(
            batch.future,
            batch.forecast,
            batch.context,
            patient=windows.patient[batch.rows],
            signal=windows.signal[batch.rows],
            signals=signals,
        )
        statistics.add(cells)
        if store is not None:
            store[batch.rows] = batch.forecast.quantiles
    if store is not None:
        store.flush()
    return statistics


def _reserve(path: Path) -> None:
    """Take the whole file's room on the disk now: a memory map that finds none later kills the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def run_baseline(name: str, windows: Windows, spec: ExperimentSpec, folder: Path, run_id: str) -> None:
    """Score one naive forecast into `folder`."""
    costs.reset_peak_memory()
    facts = UNTRAINED | {"run_id": run_id, "arm": name, "method": "baseline"}
    _finish(naive(name), windows, spec.forecast, folder, facts, progress=False)


def run_arm(
    arm: ArmSpec,
    windows: Windows,
    spec: ExperimentSpec,
    folder: Path,
    run_id: str,
    *,
    seed: int,
    resume: bool = False,
    progress: bool = True,
) -> None:
    """Run one arm with one seed into `folder`.

    Checkpoints lie under `folder/checkpoints` until the run is done; `resume` continues from the last one.
    """
    costs.reset_peak_memory()
    checkpoints = folder / "checkpoints"
    if not resume and checkpoints.exists():
        shutil.rmtree(checkpoints)
    backbone = load_backbone(arm.backbone, revision=arm.revision)
    check_window(backbone.card, windows.meta["context"])
    base = adapter.base_digest(backbone)
    # The low-rank factors start from torch's global state.
    set_seed(seed)
    attached = attach(backbone, arm)
    facts = UNTRAINED | {
        "run_id": run_id,
        "arm": arm.name,
        "backbone": backbone.card.name,
        "method": arm.method,
        "seed": seed,
        "licence": backbone.card.licence,
        "revision": backbone.card.revision,
        "base_sha256": base,
        "trainable_parameters": attached.trainable_parameters,
        "total_parameters": backbone.card.parameters,
    }
    if METHODS[arm.method].trains:
        curve = fit(
            attached,
            windows.train,
            windows.validation,
            spec.training,
            checkpoints,
            seed=seed,
            resume=resume,
            progress=progress,
        )
        facts |= {"train_seconds": curve.seconds, "best_step": curve.best_step}
        write_json(folder / "learning.json", curve.as_json())
        known = adapter_facts(windows, curve, seed, spec.split)
        adapter.save_adapter(attached, folder / "adapter", base=base, facts=known)
    _finish(pretrained(backbone, spec.forecast), windows, spec.forecast, folder, facts, progress=progress)
    shutil.rmtree(checkpoints, ignore_errors=True)
    _release(attached)


def adapter_facts(windows: Windows, curve: Curve, seed: int, split: SplitSpec) -> dict[str, Any]:
    """What an adapter's card says of the data and the training behind it; `split` says who may be tested."""
    meta = windows.meta
    return {
        "seed": seed,
        "split": split.model_dump(mode="json"),
        "window": {key: meta[key] for key in ("context", "horizon", "step_seconds", "joint")},
        "signals": {name: meta["units"][name] for name in meta["signals"]},
        "levels": list(LEVELS),
        "data": {
            key: meta[key] for key in ("source", "simulated", "licence", "table_fingerprint", "split_fingerprint")
        },
        "patients": windows.count_patients(),
        "best_step": curve.best_step,
        "validation_loss": min(e["loss"] for e in curve.validation),
        "validation_loss_at_start": curve.validation[0]["loss"],
        "versions": costs.versions(),
    }


def _finish(
    forecaster: Forecaster,
    windows: Windows,
    spec: ForecastSpec,
    folder: Path,
    facts: dict[str, Any],
    *,
    progress: bool,
) -> None:
    """Forecast and score the test windows, and write the run's files, `result.json` last."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with written(folder / QUANTILES) as temporary:
        statistics = score(
            forecaster,
            windows.test,
            batch_size=spec.batch_size,
            label=f"{facts['arm']}: forecast",
            quantiles=temporary,
            progress=progress,
        )
    seconds = time.monotonic() - start
    statistics.to_parquet(folder / CELLS)
    memory = costs.peak_memory()
    result = {
        **facts,
        "data": {key: windows.meta[key] for key in ("source", "simulated", "table_fingerprint", "split_fingerprint")},
        "windows": {key: windows.meta[key] for key in ("context", "horizon", "stride", "season", "joint", "counts")},
        "forecast": spec.model_dump(mode="json"),
        "forecast_seconds": seconds,
        "forecast_milliseconds_per_window": 1000 * seconds / len(windows.test),
        "peak_memory_bytes": memory["process"],
        "peak_gpu_memory_bytes": memory["gpu"],
        "hardware": costs.hardware(),
        "versions": costs.versions(),
        "scores": summarise([statistics]),
    }
    write_json(folder / "result.json", result)


def _release(attached: Attached) -> None:
    """Give the GPU's memory back before the next arm loads its own copy."""
    attached.trainable.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
