"""One arm of a bench, in a process of its own: `python -m loracast.study.bench.arm RESULT < request.json`.

Its own, so that the peak of its memory is the arm's, and so that an arm that is killed takes nothing with it. What is
timed is what a user runs: the training loop of every arm, and the forecasts of every model.
"""

import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from loracast.errors import LoracastError
from loracast.files import write_json
from loracast.models.base import Backbone, check_window
from loracast.models.forecast import forecast_batches, forecaster
from loracast.models.registry import is_here, load_backbone
from loracast.spec import ForecastSpec, TrainSpec, parse
from loracast.study.bench.settings import Settings
from loracast.study.bench.windows import synthetic_windows
from loracast.training import cost as costs
from loracast.training.fit import fit
from loracast.training.task import window_task
from loracast.tuning import adapter
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.tuning.method import Attached

SEED = 0
WARM_UP = 3
"""Steps and one batch of forecasts before the clock starts: the first ones also reserve memory and choose kernels."""


def measure(arm: ArmSpec, settings: Settings) -> dict[str, Any]:
    """Load, train some steps, save and forecast; what each costs.

    Times are of this process, on the GPU where there is one. `load_seconds` is what a user waits for: imports of the
    family's library are in it, a download is not. Raises as `load_backbone` and `attach` do.
    """
    if not is_here(arm.model):
        load_backbone(arm.model, revision=arm.revision)
    with costs.metered() as loading:
        backbone = load_backbone(arm.model, revision=arm.revision)
    check_window(backbone.card, settings.context)
    base = adapter.base_digest(backbone)
    torch.manual_seed(SEED)
    attached = attach(backbone, arm.method)
    backbone.net.to("cuda" if torch.cuda.is_available() else "cpu")
    row: dict[str, Any] = {
        "family": backbone.card.family,
        "licence": backbone.card.licence,
        "arm": arm.as_json(),
        "trainable_parameters": attached.trainable_parameters,
        "total_parameters": backbone.card.parameters,
        "load_seconds": loading.seconds,
        "step_seconds": None,
        "energy_joules_per_step": None,
        "adapter_bytes": None,
    }
    meters = [loading]
    if arm.method.trains:
        step, training = _trained(attached, arm, settings)
        row |= {"step_seconds": step, "energy_joules_per_step": _share(training, settings.steps)}
        row["adapter_bytes"] = _saved_bytes(attached, arm, base)
        meters.append(training)
    forecasting = _forecast(backbone, settings)
    meters.append(forecasting)
    gpu = [meter.peak_gpu_memory_bytes for meter in meters if meter.peak_gpu_memory_bytes is not None]
    return row | {
        "forecast_milliseconds_per_window": 1000 * forecasting.seconds / settings.windows,
        "energy_joules_per_window": _share(forecasting, settings.windows),
        "energy_counters": sorted({name for meter in meters for name in meter.energy_counters}),
        "peak_memory_bytes": max(meter.peak_memory_bytes for meter in meters),
        "peak_gpu_memory_bytes": max(gpu, default=None),
    }


def _share(meter: costs.Meter, parts: int) -> float | None:
    return None if meter.energy_joules is None else meter.energy_joules / parts


class _AfterWarmUp(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Meters the steps that count: from the end of the last warm-up step to the end of the last step."""

    def __init__(self) -> None:
        self.meter = costs.Meter()
        self._running = contextlib.ExitStack()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        if state.global_step == WARM_UP:
            self.meter = self._running.enter_context(costs.metered())
        if state.global_step == state.max_steps:
            self._running.close()


def _trained(attached: Attached, arm: ArmSpec, settings: Settings) -> tuple[dict[str, float], costs.Meter]:
    """Seconds of an optimizer step (median, lower and upper quartile), and the cost of all that were timed."""
    steps, counting = WARM_UP + settings.steps, _AfterWarmUp()
    loop = {"steps": steps, "batch_size": settings.batch_size, "evaluate_every": steps}
    spec = arm.training_of(TrainSpec(), attached.model.card.parameters).model_copy(update=loop)
    # One epoch: none of the steps waits for the next one to be shuffled.
    windows = synthetic_windows(steps * settings.batch_size, settings.context, settings.horizon, seed=SEED)
    task = window_task(attached, windows, name=arm.name)
    with tempfile.TemporaryDirectory() as folder:
        curve = fit(task, spec, Path(folder), seed=SEED, progress=False, callbacks=[counting])
    times = curve.step_seconds[WARM_UP:]
    low, median, high = statistics.quantiles(times, method="inclusive") if len(times) > 1 else 3 * times
    return {"median": median, "low": low, "high": high}, counting.meter


def _saved_bytes(attached: Attached, arm: ArmSpec, base: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        adapter.save_adapter(attached, arm, Path(folder) / "adapter", base=base)
        return costs.folder_bytes(Path(folder) / "adapter")


def _forecast(backbone: Backbone, settings: Settings) -> costs.Meter:
    """The cost of forecasting all windows, after a batch that does not count."""
    windows = synthetic_windows(settings.windows, settings.context, settings.horizon, seed=SEED + 1)
    spec = ForecastSpec(samples=settings.samples)
    size, forecasts = min(spec.batch_size, settings.windows), forecaster(backbone, spec)
    next(forecast_batches(forecasts, windows, batch_size=size, progress=False))
    with costs.metered() as meter:
        for _ in forecast_batches(forecasts, windows, batch_size=size, progress=False):
            pass
    return meter


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Measure what `request` asks for; where that fails, say why in its place."""
    torch.set_num_threads(request["threads"])
    try:
        arm = parse(ArmSpec, request["arm"], "The arm")
        return {"status": "done", **measure(arm, Settings(**request["settings"]))}
    except LoracastError as error:
        return {"status": "refused", "reason": str(error)}
    except Exception as error:
        # Whatever it is, it is the answer for this arm, and the next may be fine.
        return {"status": "failed", "reason": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    write_json(Path(sys.argv[1]), run(json.load(sys.stdin)))
