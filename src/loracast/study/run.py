"""One run, one folder: train if the method trains, forecast the test windows, keep sums, quantiles and costs.

`result.json` is written last: a folder without it is a run that was interrupted.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import set_seed

from loracast.data.schema import Signal, signal_named
from loracast.data.windows import Windows, WindowSet
from loracast.files import write_json, written
from loracast.models.base import check_window
from loracast.models.forecast import Forecaster, fitted, forecast_batches, pretrained
from loracast.models.naive import Baseline
from loracast.scoring.compare import Statistics, score_cells, summarise
from loracast.spec import ArmSpec, ExperimentSpec, SplitSpec
from loracast.study.shared import Shared
from loracast.training import Curve, Say, fit
from loracast.training import cost as costs
from loracast.tuning import adapter
from loracast.tuning.methods import METHODS, attach
from loracast.types import LEVELS

CELLS = "cells.parquet"
VALIDATION = "validation.parquet"
QUANTILES = "quantiles.npy"

UNTRAINED: dict[str, Any] = {
    "backbone": None,
    "settings": {},
    "licence": None,
    "base_sha256": None,
    "seed": 0,
    "trainable_parameters": 0,
    "total_parameters": 0,
    "train_seconds": 0.0,
    "train_steps": 0,
    "seconds_per_step": None,
    "forecast_seconds": 0.0,
    "peak_memory_bytes": 0,
    "adapter_bytes": None,
    "best_step": None,
}
"""What a result says of an arm that trained nothing, until something else is known."""


@dataclass(frozen=True)
class Conduct:
    """How a run is carried out; none of it changes its numbers.

    `after_checkpoint` is called after each checkpoint and may raise to stop there; `track` names trackers, whose local
    files lie under `results`, the folder of the experiment.
    """

    resume: bool = False
    progress: bool = True
    say: Say = print
    after_checkpoint: Callable[[], None] | None = None
    track: tuple[str, ...] = ()
    results: Path | None = None
    alone: bool = True
    """Whether no other run shares the machine; else its energy counters tell nothing of this one."""
    shared: Shared = field(default_factory=Shared)


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


def run_baseline(
    name: str,
    baseline: Baseline,
    windows: Windows,
    spec: ExperimentSpec,
    folder: Path,
    run_id: str,
    *,
    conduct: Conduct,
) -> None:
    """Score a forecast that is fitted to each window alone into `folder`."""
    facts = UNTRAINED | {"run_id": run_id, "arm": name, "method": "baseline"}
    _finish(lambda: fitted(baseline), windows, spec, folder, facts, conduct)


def run_network(
    name: str, windows: Windows, spec: ExperimentSpec, folder: Path, run_id: str, *, conduct: Conduct, seed: int
) -> None:
    """Train a network from scratch on the training windows and score it into `folder`."""
    from loracast.models.neural import fit_network

    checkpoints = _checkpoints(folder, conduct)
    whole = conduct.alone and not checkpoints.exists()
    with costs.metered() as cost:
        trained = fit_network(
            name,
            windows,
            spec.scratch,
            checkpoints,
            seed=seed,
            resume=conduct.resume,
            progress=conduct.progress,
            after_checkpoint=conduct.after_checkpoint,
        )
    with written(folder / "network") as temporary:
        temporary.mkdir(parents=True)
        trained.save(temporary)
    facts = {"run_id": run_id, "arm": name, "method": "scratch", "seed": seed}
    facts |= {"trainable_parameters": trained.parameters, "total_parameters": trained.parameters}
    facts |= _trained(trained.curve, cost, folder / "network", folder, whole=whole)
    _finish(lambda: trained.forecaster, windows, spec, folder, UNTRAINED | facts, conduct)
    shutil.rmtree(checkpoints, ignore_errors=True)


def run_arm(
    arm: ArmSpec, windows: Windows, spec: ExperimentSpec, folder: Path, run_id: str, *, conduct: Conduct, seed: int
) -> None:
    """Run one arm with one seed into `folder`.

    Checkpoints lie under `folder/checkpoints` until the run is done; a resume continues from the last one.
    """
    checkpoints = _checkpoints(folder, conduct)
    whole = conduct.alone and not checkpoints.exists()
    backbone, base = conduct.shared.copy(arm.backbone, arm.revision)
    check_window(backbone.card, arm.context or windows.meta["context"])
    # The low-rank factors start from torch's global state.
    set_seed(seed)
    attached = attach(backbone, arm)
    if torch.cuda.is_available():  # what trains nothing too: its forecasts are timed beside the others'
        backbone.net.cuda()
    facts = UNTRAINED | {
        "run_id": run_id,
        "arm": arm.name,
        "settings": arm.as_json(),
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
        train = windows.train.of_patients(arm.patients, seed).seeing(arm.context)
        with costs.metered() as cost:
            curve = fit(
                attached,
                train,
                windows.validation.seeing(arm.context),
                spec.training,
                checkpoints,
                seed=seed,
                resume=conduct.resume,
                progress=conduct.progress,
                say=conduct.say,
                after_checkpoint=conduct.after_checkpoint,
                track=conduct.track,
                results=conduct.results,
            )
        known = adapter_facts(windows, train, curve, seed, spec.split)
        adapter.save_adapter(attached, folder / "adapter", base=base, facts=known)
        facts |= _trained(curve, cost, folder / "adapter", folder, whole=whole)
        facts["train_patients"] = known["patients"]["train"]
    _finish(lambda: pretrained(backbone, spec.forecast, context=arm.context), windows, spec, folder, facts, conduct)
    shutil.rmtree(checkpoints, ignore_errors=True)
    attached.trainable.clear()
    if torch.cuda.is_available():  # give the GPU's memory back before the next run takes its own
        torch.cuda.empty_cache()


def _checkpoints(folder: Path, conduct: Conduct) -> Path:
    checkpoints = folder / "checkpoints"
    if not conduct.resume and checkpoints.exists():
        shutil.rmtree(checkpoints)
    return checkpoints


def _trained(curve: Curve, cost: costs.Meter, saved: Path, folder: Path, *, whole: bool) -> dict[str, Any]:
    """Write the learning curve; what a result says of the training behind it.

    `whole` is False for a training that was resumed, or shared the machine: the energy that was counted is not its own.
    """
    write_json(folder / "learning.json", curve.as_json())
    return {
        "train_seconds": curve.seconds,
        "train_steps": curve.steps,
        "seconds_per_step": curve.seconds_per_step,
        "best_step": curve.best_step,
        "micro_batch": curve.micro_batch,
        "accumulation": curve.accumulation,
        "adapter_bytes": costs.folder_bytes(saved),
        "energy_joules": cost.energy_joules if whole else None,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "peak_gpu_memory_bytes": cost.peak_gpu_memory_bytes,
    }


def adapter_facts(windows: Windows, train: WindowSet, curve: Curve, seed: int, split: SplitSpec) -> dict[str, Any]:
    """What an adapter's card says of the data and the training behind it.

    `train` are the windows that were learnt from, as they were seen; `split` says who may be tested.
    """
    meta = windows.meta
    return {
        "seed": seed,
        "split": split.model_dump(mode="json"),
        "window": {key: meta[key] for key in ("horizon", "step_seconds", "joint")} | {"context": train.context},
        "signals": {name: meta["units"][name] for name in meta["signals"]},
        "levels": list(LEVELS),
        "data": {
            key: meta[key] for key in ("source", "simulated", "licence", "table_fingerprint", "split_fingerprint")
        },
        "patients": windows.count_patients() | {"train": len(np.unique(train.patient))},
        "best_step": curve.best_step,
        "validation_loss": min(e["loss"] for e in curve.validation),
        "validation_loss_at_start": curve.validation[0]["loss"],
        "versions": costs.versions(),
    }


def _finish(
    forecaster: Callable[[], Forecaster],
    windows: Windows,
    spec: ExperimentSpec,
    folder: Path,
    facts: Mapping[str, Any],
    conduct: Conduct,
) -> None:
    """Forecast and score the test windows, and write the run's files, `result.json` last.

    `forecaster` gives one whose draws begin anew, so that the test scores are the same whatever else is scored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    label, size = f"{facts['arm']}: forecast", spec.forecast.batch_size
    with costs.metered() as cost, written(folder / QUANTILES) as temporary:
        statistics = score(
            forecaster(), windows.test, batch_size=size, label=label, quantiles=temporary, progress=conduct.progress
        )
    statistics.to_parquet(folder / CELLS)
    if spec.validation_scores:
        side = score(forecaster(), windows.validation, batch_size=size, label=label, progress=conduct.progress)
        side.to_parquet(folder / VALIDATION)
    gpu = [peak for peak in (facts.get("peak_gpu_memory_bytes"), cost.peak_gpu_memory_bytes) if peak is not None]
    result = {
        **facts,
        "data": {key: windows.meta[key] for key in ("source", "simulated", "table_fingerprint", "split_fingerprint")},
        "windows": {key: windows.meta[key] for key in ("context", "horizon", "stride", "season", "joint", "counts")},
        "forecast": spec.forecast.model_dump(mode="json"),
        "forecast_seconds": cost.seconds,
        "forecast_milliseconds_per_window": 1000 * cost.seconds / len(windows.test),
        "peak_memory_bytes": max(facts["peak_memory_bytes"], cost.peak_memory_bytes),
        "peak_gpu_memory_bytes": max(gpu, default=None),
        "hardware": costs.hardware(),
        "versions": costs.versions(),
        "scores": summarise([statistics]),
    }
    write_json(folder / "result.json", result)
