"""MoiraiForecast of uni2ts, as its manual calls it, without the loader of gluonts."""

from typing import Any

import numpy as np
import torch
from uni2ts.model.moirai import MoiraiForecast, MoiraiModule

LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def prepare(case: dict[str, Any], folder: str) -> Any:
    """A forecast of all windows: contexts to quantiles (window, step, level) of sample paths."""
    model = MoiraiForecast(
        module=MoiraiModule.from_pretrained(folder),
        prediction_length=case["horizon"],
        context_length=case["context"],
        patch_size=case["patch"],
        num_samples=case["samples"],
        target_dim=1,
        feat_dynamic_real_dim=0,
        past_feat_dynamic_real_dim=0,
    ).eval()

    @torch.no_grad()
    def forecast(context: np.ndarray, samples: int | None = None) -> np.ndarray:
        past = torch.from_numpy(context)[:, :, None]
        observed, pad = ~past.isnan(), torch.zeros(past.shape[:2], dtype=torch.bool)
        paths = model(past.nan_to_num(0.0), observed, pad, num_samples=samples or case["samples"])
        if samples is not None:
            return np.asarray(paths.numpy())
        return np.asarray(torch.quantile(paths.float(), torch.tensor(LEVELS), dim=1).permute(1, 2, 0).numpy())

    return forecast
