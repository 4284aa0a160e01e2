"""One arm of a bench, in a process of its own: `python -m loracast.study.bench.arm RESULT < request.json`.

Its own, so that the peak of its memory is the arm's, and so that an arm that is killed takes nothing with it.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loracast.errors import LoracastError
from loracast.files import write_json
from loracast.models.base import Backbone, Rows, check_window
from loracast.models.forecast import forecast_batches, pretrained, rows_of
from loracast.models.registry import load_backbone
from loracast.spec import ArmSpec, ForecastSpec, TrainSpec, parse
from loracast.study.bench.places import is_here
from loracast.study.bench.series import synthetic_windows
from loracast.study.bench.settings import WARM_UP, Settings
from loracast.training import cost as costs
from loracast.tuning import adapter
from loracast.tuning.methods import METHODS, Attached, attach

SEED = 0
_BATCHES = 4
"""How many batches training goes round."""


@dataclass(frozen=True)
class _Batch:
    context: Tensor
    future: Tensor
    rows: Rows


def measure(arm: ArmSpec, settings: Settings) -> dict[str, Any]:
    """Load, train some steps, save and forecast; what each costs.

    Times are of this process, on the GPU where there is one. `load_seconds` is what a user waits for: imports of the
    family's library are in it, a download is not. Raises as `load_backbone` and `attach` do.
    """
    if not is_here(arm.backbone):
        load_backbone(arm.backbone, revision=arm.revision)
    with costs.metered() as loading:
        backbone = load_backbone(arm.backbone, revision=arm.revision)
    check_window(backbone.card, settings.context)
    base = adapter.base_digest(backbone)
    torch.manual_seed(SEED)
    attached = attach(backbone, arm)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone.net.to(device)
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
    if METHODS[arm.method].trains:
        step, training = _trained(attached, settings, device)
        row |= {"step_seconds": step, "energy_joules_per_step": _share(training, settings.steps)}
        row["adapter_bytes"] = _saved_bytes(attached, base)
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


def _trained(attached: Attached, settings: Settings, device: torch.device) -> tuple[dict[str, float], costs.Meter]:
    """Seconds of an optimizer step (median, lower and upper quartile), and the cost of all that were timed."""
    steps = _steps(attached, settings, device)
    for _ in range(WARM_UP):
        next(steps)
    with costs.metered() as meter:
        times = [next(steps) for _ in range(settings.steps)]
    attached.backbone.net.eval()
    low, median, high = statistics.quantiles(times, method="inclusive") if len(times) > 1 else 3 * times
    return {"median": median, "low": low, "high": high}, meter


def _steps(attached: Attached, settings: Settings, device: torch.device) -> Iterator[float]:
    """Take the steps that training takes, one at a time; gives the seconds of each."""
    spec, method = TrainSpec(), METHODS[attached.spec.method]
    trained = list(attached.trainable.values())
    optimizer = torch.optim.AdamW(trained, lr=method.learning_rate, weight_decay=spec.weight_decay)
    batches, total = _batches(settings, device), WARM_UP + settings.steps
    attached.backbone.net.train()
    if attached.schedule is not None:
        attached.schedule.begin(total)
    for step in range(1, total + 1):
        batch = batches[step % len(batches)]
        start = time.perf_counter()
        with _precision(device):
            loss = attached.backbone.loss(batch.context, batch.future, batch.rows)
            if attached.schedule is not None:
                loss = loss + attached.schedule.penalty()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, spec.gradient_clip)
        optimizer.step()
        if attached.schedule is not None:
            attached.schedule.after_step(step)
        optimizer.zero_grad()
        costs.finish_queued()
        yield time.perf_counter() - start


def _precision(device: torch.device) -> AbstractContextManager[Any]:
    """The one that `fit` trains in."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


def _batches(settings: Settings, device: torch.device) -> list[_Batch]:
    windows = synthetic_windows(_BATCHES * settings.batch_size, settings.context, settings.horizon, seed=SEED)
    batches = []
    for rows in windows.batches(settings.batch_size):
        context, future = (torch.from_numpy(part).to(device) for part in windows.batch(rows))
        known = rows_of(windows, rows)
        batches.append(_Batch(context, future, Rows(known.start.to(device), known.step_seconds)))
    return batches


def _saved_bytes(attached: Attached, base: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        adapter.save_adapter(attached, Path(folder) / "adapter", base=base, facts={})
        return costs.folder_bytes(Path(folder) / "adapter")


def _forecast(backbone: Backbone, settings: Settings) -> costs.Meter:
    """The cost of forecasting all windows, after a batch that does not count."""
    windows = synthetic_windows(settings.windows, settings.context, settings.horizon, seed=SEED + 1)
    spec = ForecastSpec(samples=settings.samples)
    size, forecaster = min(spec.batch_size, settings.windows), pretrained(backbone, spec)
    next(forecast_batches(forecaster, windows, batch_size=size, progress=False))
    with costs.metered() as meter:
        for _ in forecast_batches(forecaster, windows, batch_size=size, progress=False):
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
