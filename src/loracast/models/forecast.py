"""Windows to quantiles and to scores, a batch at a time: the same for every kind of model."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from loracast.data.schema import Signal, signal_named
from loracast.data.windows import WindowSet
from loracast.models.base import Model
from loracast.scoring.sums import Sums, score_cells
from loracast.spec import ForecastSpec
from loracast.types import LEVELS, Forecast, Rows

Forecaster = Callable[[Float[np.ndarray, "window context"], WindowSet, slice], Forecast]
"""Contexts, the set that they are of, and which rows of it they are."""


@dataclass(frozen=True)
class Batch:
    """Some windows with their forecast; `rows` says which of the set they are."""

    rows: slice
    context: Float[np.ndarray, "window context"]
    future: Float[np.ndarray, "window horizon"]
    forecast: Forecast


def forecaster(model: Model, spec: ForecastSpec, *, context: int | None = None) -> Forecaster:
    """A model, adapted or not, as a forecaster; every batch continues one seeded stream of draws.

    `context` is how many of a window's last context steps it sees, all of them if not given.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    steps = context

    def forecast(context: Float[np.ndarray, "window context"], windows: WindowSet, rows: slice) -> Forecast:
        # Of these rows alone: a set that sees less would be a new index of all windows, for every batch.
        skipped = 0 if steps is None else windows.context - steps
        known = rows_of(windows, rows)
        quantiles = model.forecast(
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
    """What a model may know of these windows besides their values."""
    group = windows.numbers(rows)
    return Rows(
        torch.from_numpy(windows.starts(rows)),
        windows.step_seconds,
        None if group is None else torch.from_numpy(group),
        windows.season,
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
    model: Model, windows: WindowSet, spec: ForecastSpec | None = None, *, progress: bool = False
) -> Forecast:
    """Forecast all of `windows` into memory: quantiles of shape (window, horizon, level)."""
    spec = spec or ForecastSpec()
    parts = forecast_batches(forecaster(model, spec), windows, batch_size=spec.batch_size, progress=progress)
    return Forecast(np.concatenate([part.forecast.quantiles for part in parts]))


def score(
    forecaster: Forecaster,
    windows: WindowSet,
    *,
    batch_size: int,
    label: str,
    quantiles: Path | None = None,
    progress: bool = True,
) -> Sums:
    """Forecast `windows` batch by batch and add up the scores.

    `quantiles` takes a float32 .npy of shape (window, horizon, level), written through a memory map.
    """
    sums, signals = Sums(), signals_of(windows)
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
        sums.add(cells)
        if store is not None:
            store[batch.rows] = batch.forecast.quantiles
    if store is not None:
        store.flush()
    return sums


def signals_of(windows: WindowSet) -> dict[str, Signal]:
    """What is known of each signal, in the order of the windows' signal codes."""
    return {name: signal_named(name, windows.units) for name in windows.signals}


def _reserve(path: Path) -> None:
    """Take the whole file's room on the disk now: a memory map that finds none later kills the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
