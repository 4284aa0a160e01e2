"""The pipelines of chronos-forecasting, as its manual calls them."""

from typing import Any

import numpy as np
import torch
from chronos import Chronos2Pipeline, ChronosBoltPipeline, ChronosPipeline

PIPELINES: dict[str, Any] = {
    "chronos-t5": ChronosPipeline,
    "chronos-bolt": ChronosBoltPipeline,
    "chronos-2": Chronos2Pipeline,
}
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def prepare(case: dict[str, Any], folder: str) -> Any:
    """A forecast of all windows: contexts to quantiles (window, step, level)."""
    pipeline: Any = PIPELINES[case["family"]].from_pretrained(folder, dtype=torch.float32)

    def forecast(context: np.ndarray) -> np.ndarray:
        given, steps = [torch.from_numpy(one) for one in context], case["horizon"]
        if case["family"] == "chronos-t5":
            paths = pipeline.predict(given, steps, num_samples=case["samples"])
            found = torch.quantile(paths.float(), torch.tensor(LEVELS), dim=1).permute(1, 2, 0)
        else:
            found, _ = pipeline.predict_quantiles(given, prediction_length=steps, quantile_levels=LEVELS)
            if isinstance(found, list):  # Chronos-2: one for each series, with an axis of its variates
                found = torch.cat(found)
        return np.asarray(found.float().numpy())

    return forecast
