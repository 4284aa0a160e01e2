"""loracast, as `loracast forecast` calls it; also makes the weights that both sides load."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from loracast.models.forecast import predict
from loracast.models.registry import load_backbone, skeleton
from loracast.spec import ForecastSpec
from loracast.types import Rows

STEP = 300
PIPELINES = {"chronos-t5": "ChronosPipeline", "chronos-bolt": "ChronosBoltPipeline", "chronos2": "Chronos2Pipeline"}


def released(name: str) -> Any:
    """A model with random weights of its released shapes: no download, the same arithmetic."""
    torch.manual_seed(0)
    model: Any = skeleton(name)
    if model.card.family == "moirai":
        model.net = type(model.net)(model.net.settings).eval()
        return model
    # As the published configs have it; Chronos-2 has no use for the first.
    model.net.config.decoder_start_token_id = 0
    model.net.config.chronos_pipeline_class = PIPELINES[model.card.family]
    net = type(model.net)(model.net.config).eval()
    if model.card.family == "chronos-t5":
        model._pipeline.model.model = net
    else:
        model._net = net
    return model


def make(case: dict[str, Any], folder: str) -> None:
    """Save the case's model, for both sides to load."""
    released(case["model"]).save(Path(folder))


def prepare(case: dict[str, Any], folder: str) -> Any:
    """A forecast of all windows: contexts to quantiles (window, step, level)."""
    model: Any = load_backbone(folder)
    if case.get("patch") is not None:
        model.patch_size = case["patch"]
    spec = ForecastSpec(samples=case.get("samples", 2))

    def forecast(context: np.ndarray) -> np.ndarray:
        number = torch.arange(len(context))
        rows = Rows(number * STEP * case["horizon"], STEP, None, 1, number)
        return predict(model, context, case["horizon"], spec, rows).quantiles

    return forecast
