"""One model, one method and one reader, as another package brings them to loracast."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from loracast.data.attrition import Attrition
from loracast.data.readers import Reader, quiet
from loracast.models.base import Backbone, ModelCard
from loracast.models.registry import Family, Release, Wanted
from loracast.tuning.method import Method
from loracast.types import Say


class Drift:
    """The line through the first and the last observed value, with the steps' spread as its uncertainty."""

    def __init__(self, wanted: Wanted) -> None:
        self.card = ModelCard(wanted.name, "drift", "naive", 0, None, None, wanted.licence)

    def forecast(self, context, horizon, *, levels, samples, seed, rows=None):
        """Quantiles of shape (batch, horizon, level), float32."""
        import torch
        from scipy.stats import norm

        found = np.empty((len(context), horizon, len(levels)), np.float32)
        ahead = np.arange(1, horizon + 1)
        for row, values in enumerate(context.double().numpy()):
            seen = np.flatnonzero(~np.isnan(values))
            first, last = seen[0], seen[-1]
            slope = (values[last] - values[first]) / max(last - first, 1)
            spread = np.nan_to_num(np.nanstd(np.diff(values[seen]))) * np.sqrt(ahead)
            found[row] = (values[last] + slope * ahead)[:, None] + spread[:, None] * norm.ppf(levels)
        return torch.from_numpy(found)


DRIFT = Family(
    name="drift",
    kind="naive",
    summary="the line through the first and the last value",
    releases={"drift": Release(None, "Apache-2.0", {})},
    load=Drift,
)


class NormScales(Method):
    """The scales of the norm layers, as weights of the network itself."""

    name = "norm-scales"
    summary = "the scales of the norm layers, by hand"
    learning_rate = 1e-2

    layers: int = Field(default=100, ge=1)
    """How many of the norm layers, from the last one."""

    def prepare(self, model: Backbone) -> None:
        """Let them be trained, and nothing else."""
        from loracast.tuning.sites import modules_at, pattern_of

        model.net.requires_grad_(False)
        for module in list(modules_at(model, pattern_of(model, "norm")).values())[-self.layers :]:
            module.requires_grad_(True)


class WalksReader(Reader):
    """Random walks, one a patient."""

    summary = "random walks around 80, hourly"
    example = "loracast data walks --patients 20 --out walks.parquet"

    source: Literal["walks"] = "walks"
    patients: int = Field(default=20, ge=3)
    """How many patients."""
    seed: int = 0
    """Of the walks."""

    def read(self, out: Path | str, say: Say = quiet) -> Attrition:
        """Write them as a long table."""
        import pandas as pd

        from loracast.data.readers.table import write_table

        rng = np.random.default_rng(self.seed)
        times = pd.date_range("2150-01-01", periods=60, freq="h")
        frames = [
            pd.DataFrame({"patient": f"p{n:03d}", "time": times, "value": 80 + rng.normal(0, 2, 60).cumsum()})
            for n in range(self.patients)
        ]
        say(f"{self.patients} walks")
        return write_table(
            pd.concat(frames), out, grid="60min", patient="patient", time="time", value="value", signal="heart_rate",
            source="walks", licence="CC0-1.0",
        )  # fmt: skip
