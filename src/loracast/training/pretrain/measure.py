"""What a backbone is worth zero-shot, against the last value and the seasonal naive."""

from typing import Any

import numpy as np
import torch

from loracast.data.windows import WindowSet
from loracast.models.base import Backbone, Model
from loracast.models.forecast import forecaster, predict, score
from loracast.models.registry import load_model
from loracast.scoring.compare import summarise
from loracast.scoring.metrics import mase
from loracast.spec import ForecastSpec
from loracast.training.pretrain import corpora, spectra
from loracast.types import FLOOR, Rows

KEPT = {"mae", "mase", "crps", "coverage_80", "n_windows", "n_patients"}


def synthetic_scores(
    backbone: Backbone,
    seed: int,
    *,
    spectral: bool = False,
    count: int = 1000,
    context: int = 96,
    horizon: int = 24,
    samples: int = 100,
) -> dict[str, Any]:
    """Mean and median MASE on `count` series of the corpus `seed`, which training has not drawn.

    The corpus is `corpora`, or `spectra` for what was trained on that. The seasonal naive is told the planted period.
    Series whose MASE is undefined (a constant context, no observed target) are left out and counted.
    """
    if spectral:
        drawn = spectra.draw(seed, range(count), context, horizon)
        values, periods = drawn.values.numpy(), drawn.period.round().clamp(min=1).long().numpy()
    else:
        series = [corpora.draw(seed, i, context + horizon) for i in range(count)]
        values = np.stack([one.values for one in series]).astype(np.float32)
        periods = np.array([one.period for one in series])
    usable = np.isfinite(values[:, :context]).any(1) & np.isfinite(values[:, context:]).any(1)
    values, periods = values[usable], periods[usable]
    past, future = values[:, :context], values[:, context:]

    def medians(model: Model, part: np.ndarray, period: int = 1) -> np.ndarray:
        # Hours from a Monday on: synthetic steps have no length of their own, and some families read the clock.
        number = torch.arange(len(part))
        rows = Rows(torch.full((len(part),), 4 * 86_400), 3600, season=period, series=number)
        spec = ForecastSpec(samples=samples, seed=seed)
        return predict(model, part, horizon, spec, rows, levels=(0.5,)).median

    seasonal = load_model("seasonal-naive")
    forecasts = {
        "zero-shot": medians(backbone, past),
        "last-value": medians(load_model("last-value"), past),
        "seasonal-naive": np.concatenate(
            [medians(seasonal, past[i : i + 1], min(int(period), context)) for i, period in enumerate(periods)]
        ),
    }
    errors = {name: mase(future, forecast, past) for name, forecast in forecasts.items()}
    defined = np.isfinite(errors["zero-shot"])
    return {
        "series": int(defined.sum()),
        "left_out": count - int(defined.sum()),
        "context": context,
        "horizon": horizon,
        "mean_mase": {name: float(e[defined].mean()) for name, e in errors.items()},
        "median_mase": {name: float(np.median(e[defined])) for name, e in errors.items()},
    }


def window_scores(backbone: Backbone, windows: WindowSet, spec: ForecastSpec | None = None) -> dict[str, Any]:
    """Scores by signal of zero-shot and of the naive floor on the same windows."""
    spec = spec or ForecastSpec()
    arms: dict[str, Model] = {"zero-shot": backbone, **{name: load_model(name) for name in FLOOR}}
    found = {
        name: summarise([score(forecaster(model, spec), windows, batch_size=spec.batch_size, label=name)])
        for name, model in arms.items()
    }
    return {
        "context": windows.context,
        "horizon": windows.horizon,
        "step_seconds": windows.step_seconds,
        "samples": spec.samples,
        "signals": {
            signal: {name: scores[signal].model_dump(include=KEPT) for name, scores in found.items()}
            for signal in windows.signals
        },
    }
