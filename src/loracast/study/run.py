"""One run, one folder: train if the method trains, forecast the test windows, keep sums, quantiles and costs.

`result.json` is written last: a folder without it is a run that was interrupted.
"""

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import set_seed

from loracast.data.windows import Windows, WindowSet
from loracast.files import write_json, written
from loracast.models.base import Model, Network, check_window
from loracast.models.draws import Sampler
from loracast.models.forecast import forecaster, score, signals_of
from loracast.models.precision import precision_of
from loracast.models.registry import families, kind_of, load_backbone, load_model
from loracast.scoring.compare import summarise
from loracast.scoring.facts import Validated
from loracast.scoring.noticed import Noticed
from loracast.spec import ForecastSpec, SplitSpec, TrainSpec
from loracast.study.experiment import ExperimentSpec
from loracast.study.summary import (
    CELLS,
    LEARNING,
    QUANTILES,
    RESULT,
    VALIDATION,
    Costs,
    RunResult,
    write_facts,
)
from loracast.study.tracked import ADAPTER, NETWORK, track_result
from loracast.training import cost
from loracast.training.checkpoint import Curve
from loracast.training.fit import fit
from loracast.training.task import window_task
from loracast.tuning.adapter import base_digest, save_adapter
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.tuning.card import Losses, SeenData, SeenWindow, Training
from loracast.tuning.method import Attached
from loracast.types import LEVELS, Say


class Shared:
    """The pretrained model that the last run used, as it was loaded, so that the next need not read and hash it again.

    One at a time is kept: the arms of one model stand together in an experiment.
    """

    def __init__(self) -> None:
        self._key: tuple[str, str | None] | None = None
        self._loaded: tuple[Model, str] | None = None

    def copy(self, arm: ArmSpec, windows: Windows, seed: int) -> tuple[Model, str | None]:
        """A model of one's own to change, and the digest of its pretrained weights."""
        if kind_of(arm.model) != "pretrained":
            lengths = {"context": arm.context or windows.meta["context"], "horizon": windows.meta["horizon"]}
            return load_model(arm.model, revision=arm.revision, seed=seed, **lengths), None
        if self._loaded is None or self._key != (arm.model, arm.revision):
            self._loaded = None  # before the next is loaded: two large ones may not fit
            model = load_backbone(arm.model, revision=arm.revision)
            self._key, self._loaded = (arm.model, arm.revision), (model, base_digest(model))
        return copy.deepcopy(self._loaded[0]), self._loaded[1]


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


@dataclass(frozen=True)
class _Trained:
    """What training left: its curve, what it cost, how many patients it saw, and where the trained numbers are."""

    curve: Curve
    meter: cost.Meter
    patients: int
    validated: Validated
    saved: Path
    whole: bool
    """False for a training that was resumed, or shared the machine: the energy that was counted is not its own."""


def run_arm(
    arm: ArmSpec, windows: Windows, spec: ExperimentSpec, folder: Path, run_id: str, *, conduct: Conduct, seed: int
) -> None:
    """Run one arm with one seed into `folder`, whatever its model and its method are.

    Checkpoints lie under `folder/checkpoints` until the run is done; a resume continues from the last one.
    """
    checkpoints = folder / "checkpoints"
    if not conduct.resume and checkpoints.exists():
        shutil.rmtree(checkpoints)
    folder.mkdir(parents=True, exist_ok=True)
    model, base = conduct.shared.copy(arm, windows, seed)
    check_window(model.card, arm.context or windows.meta["context"])
    # The low-rank factors start from torch's global state.
    set_seed(seed)
    attached = attach(model, arm.method)
    if torch.cuda.is_available() and model.card.parameters:  # what trains nothing too: its forecasts are timed as well
        attached.network.net.cuda()
    job = _Job(attached, arm, windows, spec, folder, seed, base)
    trained = _train(job, conduct) if arm.method.trains else None
    result = _finish(job, trained, run_id, progress=conduct.progress)
    track_result(conduct.track, conduct.results or folder, folder, result, say=conduct.say)
    shutil.rmtree(checkpoints, ignore_errors=True)
    attached.trainable.clear()
    if torch.cuda.is_available():  # give the GPU's memory back before the next run takes its own
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class _Job:
    """An arm with its method on its model, the windows it learns from and is scored on, and where its files go."""

    attached: Attached
    arm: ArmSpec
    windows: Windows
    spec: ExperimentSpec
    folder: Path
    seed: int
    base: str | None
    """The digest of the pretrained weights; None where there are none."""


def _train(job: _Job, conduct: Conduct) -> _Trained:
    """Train what the arm trains, and save it beside its learning curve."""
    attached, arm, windows, folder = job.attached, job.arm, job.windows, job.folder
    checkpoints = folder / "checkpoints"
    whole = conduct.alone and not checkpoints.exists()
    plan = arm.training_of(job.spec.training, attached.model.card.parameters)
    train = windows.train.of_patients(arm.patients, job.seed).seeing(arm.context)
    validation = windows.validation.seeing(arm.context)
    with cost.metered() as meter:
        curve = fit(
            window_task(
                attached,
                train,
                validation,
                name=arm.name,
                validation_windows=plan.validation_windows,
            ),
            plan,
            checkpoints,
            seed=job.seed,
            resume=conduct.resume,
            progress=conduct.progress,
            say=conduct.say,
            after_checkpoint=conduct.after_checkpoint,
            track=conduct.track,
            results=conduct.results,
        )
    write_json(folder / LEARNING, curve.as_json(), overwrite=True)
    on = validated_on(validation, plan, curve)
    facts = training_facts(windows, train, curve, job.seed, job.spec.split, on, base_dropout=plan.base_dropout)
    saved = folder / (NETWORK if job.base is None else ADAPTER)
    if job.base is None:
        with written(saved, overwrite=True) as temporary:
            temporary.mkdir(parents=True)
            attached.network.save(temporary)
    else:
        save_adapter(attached, arm, saved, base=job.base, training=facts, overwrite=True)
    return _Trained(curve, meter, facts.patients["train"], on, saved, whole)


def validated_on(validation: WindowSet, plan: TrainSpec, curve: Curve) -> Validated:
    """On whom a training that has read at most as many validation windows as `plan` says chose its step."""
    read = validation.some(plan.validation_windows, seed=0)  # as `window_task` reads them
    steps = [int(entry["step"]) for entry in curve.validation]
    return Validated(patients=len(np.unique(read.patient)), windows=len(read), steps=steps)


def training_facts(
    windows: Windows,
    train: WindowSet,
    curve: Curve,
    seed: int,
    split: SplitSpec,
    validated: Validated,
    *,
    base_dropout: bool,
) -> Training:
    """What an adapter's card says of the data and the training behind it.

    `train` are the windows that were learnt from, as they were seen; `split` says who may be tested.
    """
    meta = windows.meta
    return Training(
        seed=seed,
        split=split,
        window=SeenWindow(
            context=train.context, cut=windows.spec, **{key: meta[key] for key in ("horizon", "step_seconds", "joint")}
        ),
        signals={name: meta["units"][name] for name in meta["signals"]},
        levels=list(LEVELS),
        data=SeenData(**{key: meta[key] for key in SeenData.model_fields}),
        patients=windows.count_patients() | {"train": len(np.unique(train.patient))},
        best_step=curve.best_step,
        validation_loss=min(e["loss"] for e in curve.validation),
        validation_loss_at_start=curve.validation[0]["loss"],
        validated=validated,
        base_dropout=base_dropout,
        losses=Losses(train=curve.train, validation=curve.validation),
        versions=cost.versions(),
    )


def _finish(job: _Job, trained: _Trained | None, run_id: str, *, progress: bool) -> RunResult:
    """Forecast and score the test windows, and write the run's files, `result.json` last.

    What is drawn for a window depends on it and the seed alone: the test scores are the same whatever else is scored.
    """
    attached, arm, windows, spec = job.attached, job.arm, job.windows, job.spec
    label, size, card = f"{arm.name}: forecast", spec.forecast.batch_size, attached.model.card

    def scored(windows: WindowSet, **more: Any) -> Any:
        one = forecaster(attached.model, spec.forecast, context=arm.context)
        return score(one, windows, batch_size=size, label=label, progress=progress, **more)

    noticed, width = Noticed(signals_of(windows.test)), getattr(attached.model, "token_width", None)
    with cost.metered() as meter, written(job.folder / QUANTILES, overwrite=True) as temporary:
        sums = scored(windows.test, quantiles=temporary, noticed=noticed, token_width=width)
    sums.to_parquet(job.folder / CELLS)
    if spec.validation_scores:
        scored(windows.validation).to_parquet(job.folder / VALIDATION)
    curve = trained.curve if trained else None
    result = RunResult(
        **facts_of(arm, attached.model, attached.trainable_parameters),
        run_id=run_id,
        seed=job.seed,
        revision=card.revision,
        base_sha256=job.base,
        train_patients=trained.patients if trained else None,
        best_step=curve.best_step if curve else None,
        validated=trained.validated if trained else None,
        micro_batch=curve.micro_batch if curve else None,
        accumulation=curve.accumulation if curve else None,
        costs=_costs(trained, meter, len(windows.test)),
        data={key: windows.meta[key] for key in ("source", "simulated", "table_fingerprint", "split_fingerprint")},
        windows={key: windows.meta[key] for key in ("context", "horizon", "stride", "season", "joint", "counts")},
        forecast=spec.forecast.model_dump(mode="json"),
        hardware=cost.hardware(),
        versions=cost.versions(families()[card.family].packages),
        scores=summarise([sums]),
        samples=paths_of(attached.model, spec.forecast),
        precision=precision_of(attached.model, spec.forecast),
        forecasts=noticed.facts(),
    )
    write_facts(result, job.folder / RESULT, overwrite=True)
    return result


def paths_of(model: Model | Network, spec: ForecastSpec) -> int | None:
    """How many sample paths a forecast is made of; None for a model that draws none."""
    return spec.samples if isinstance(model, Sampler) else None


def facts_of(arm: ArmSpec, model: Model | Network, trainable: int) -> dict[str, Any]:
    """Who an arm is, as a result says it."""
    return {
        "arm": arm.name,
        "model": model.card.name,
        "family": model.card.family,
        "kind": model.card.kind,
        "method": arm.method.name,
        "settings": arm.as_json(),
        "licence": model.card.licence,
        "trainable_parameters": trainable,
        "total_parameters": model.card.parameters,
    }


def _costs(trained: _Trained | None, forecasting: cost.Meter, windows: int) -> Costs:
    known: dict[str, Any] = {}
    meters = [forecasting]
    if trained is not None:
        curve, meters = trained.curve, [trained.meter, forecasting]
        known = {
            "train_seconds": curve.seconds,
            "train_steps": curve.steps,
            "seconds_per_step": curve.seconds_per_step,
            "adapter_bytes": cost.folder_bytes(trained.saved),
            "energy_joules": trained.meter.energy_joules if trained.whole else None,
        }
    gpu = [meter.peak_gpu_memory_bytes for meter in meters if meter.peak_gpu_memory_bytes is not None]
    return Costs(
        **known,
        forecast_seconds=forecasting.seconds,
        forecast_milliseconds_per_window=1000 * forecasting.seconds / windows,
        peak_memory_bytes=max(meter.peak_memory_bytes for meter in meters),
        peak_gpu_memory_bytes=max(gpu, default=None),
    )
