"""Windows to quantiles, a batch at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from loracast.data.windows import WindowSet
from loracast.models.base import Backbone, Rows
from loracast.models.naive import Baseline
from loracast.spec import ForecastSpec
from loracast.types import LEVELS, Forecast

Forecaster = Callable[[Float[np.ndarray, "window context"], WindowSet, slice], Forecast]
"""Contexts, the set that they are of, and which rows of it they are."""


@dataclass(frozen=True)
class Batch:
    """Some windows with their forecast; `rows` says which of the set they are."""

    rows: slice
    context: Float[np.ndarray, "window context"]
    future: Float[np.ndarray, "window horizon"]
    forecast: Forecast


def fitted(baseline: Baseline) -> Forecaster:
    """A forecast that is fitted to each window alone, as a forecaster."""
    return lambda context, windows, _: baseline.forecast(context, windows.horizon, windows.season)


def pretrained(backbone: Backbone, spec: ForecastSpec, *, context: int | None = None) -> Forecaster:
    """A backbone, adapted or not, as a forecaster; every batch continues one seeded stream of draws.

    `context` is how many of a window's last context steps it sees, all of them if not given.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    steps = context

    def forecast(context: Float[np.ndarray, "window context"], windows: WindowSet, rows: slice) -> Forecast:
        # Of these rows alone: a set that sees less would be a new index of all windows, for every batch.
        skipped = 0 if steps is None else windows.context - steps
        known = rows_of(windows, rows)
        quantiles = backbone.forecast(
            torch.from_numpy(context[:, skipped:]),
            windows.horizon,
            levels=LEVELS,
            samples=spec.samples,
            generator=generator,
            rows=replace(known, start=known.start + skipped * windows.step_seconds),
        )
        return Forecast(quantiles.numpy())

    return forecast


def rows_of(windows: WindowSet, rows: slice) -> Rows:
    """What a backbone may know of these windows besides their values."""
    group = windows.numbers(rows)
    return Rows(
        torch.from_numpy(windows.starts(rows)),
        windows.step_seconds,
        None if group is None else torch.from_numpy(group),
    )


def forecast_batches(
    forecaster: Forecaster, windows: WindowSet, *, batch_size: int, label: str = "forecast", progress: bool = True
) -> Iterator[Batch]:
    """Forecast `windows` in order; only a batch is in memory at a time."""
    slices = list(windows.batches(batch_size))
    for rows in tqdm(slices, desc=label, unit="batch", leave=False, disable=not progress):
        context, future = windows.batch(rows)
        yield Batch(rows, context, future, forecaster(context, windows, rows))


def forecast_windows(
    backbone: Backbone, windows: WindowSet, spec: ForecastSpec | None = None, *, progress: bool = False
) -> Forecast:
    """Forecast all of `windows` into memory: quantiles of shape (window, horizon, level)."""
    spec = spec or ForecastSpec()
    parts = forecast_batches(pretrained(backbone, spec), windows, batch_size=spec.batch_size, progress=progress)
    return Forecast(np.concatenate([part.forecast.quantiles for part in parts]))
