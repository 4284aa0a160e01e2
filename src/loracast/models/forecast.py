"""Windows to quantiles and to scores, a batch at a time: the same for every kind of model."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from loracast.data.schema import Signal, signal_named
from loracast.data.windows import WindowSet
from loracast.models.base import Model
from loracast.models.draws import Sampler, power_of_two, quantiles_of
from loracast.models.magnitude import factor_of, sized
from loracast.models.precision import computing, precision_of
from loracast.scoring.cells import score_cells
from loracast.scoring.noticed import Noticed
from loracast.scoring.sums import Sums
from loracast.spec import ForecastSpec
from loracast.types import LEVELS, Forecast, Rows

SCORED_TOGETHER = 512
"""How many windows are scored at a time: each call of NumPy costs as much as some hundred numbers."""
FEWEST_A_PASS, MOST_A_PASS = 16, 64
"""Windows that a network forecasts at a time, unless it says otherwise: a pass is always full, and a batch has 64."""
PARAMETERS_A_PASS = 1.2e9
"""Windows times parameters of a pass, about: of small networks a pass of few windows is mostly its overhead."""

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
    """A model, adapted or not, as a forecaster: each window from itself and the seed alone.

    `context` is how many of a window's last context steps it sees, all of them if not given.
    """
    steps = context

    def forecast(context: Float[np.ndarray, "window context"], windows: WindowSet, rows: slice) -> Forecast:
        # Of these rows alone: a set that sees less would be a new index of all windows, for every batch.
        skipped = 0 if steps is None else windows.context - steps
        known = rows_of(windows, rows)
        known = replace(known, start=known.start + skipped * windows.step_seconds)
        return predict(model, context[:, skipped:], windows.horizon, spec, known, halves=True)

    return forecast


def predict(
    model: Model,
    context: Float[np.ndarray, "window context"],
    horizon: int,
    spec: ForecastSpec,
    rows: Rows,
    levels: tuple[float, ...] = LEVELS,
    *,
    halves: bool = False,
) -> Forecast:
    """Quantiles of each window, which depend on that window (or its group) and the seed alone, to the last bit.

    The last bits of a product of matrices depend on its shape, and what is drawn may turn on them. So a pass always has
    as many windows as any other, the last one filled up with copies; its groups have as many signals as each other.
    Contexts far from 1 are brought nearer by a power of two (`models.magnitude`). What a model draws has a stream of
    its own for each window (`models.draws`). With `halves` those of either half of the paths come too.
    """
    given = torch.from_numpy(np.ascontiguousarray(context))
    factor = factor_of(given)
    given = sized(given, factor)
    parts = _parts(model, spec.samples) if halves else [slice(None)]
    found = torch.empty(len(parts), len(given), horizon, len(levels))
    size = model.windows_a_pass(spec.samples) if hasattr(model, "windows_a_pass") else _windows_a_pass(model)
    with computing(model, precision_of(model, spec)):
        for chosen, count, group in _passes(len(given), rows.group, rows.series, size):
            asked = replace(
                rows,
                start=rows.start[chosen],
                group=group,
                series=None if rows.series is None else rows.series[chosen],
            )
            settings: dict[str, Any] = {"samples": spec.samples, "seed": spec.seed, "rows": asked}
            if halves and isinstance(model, Sampler):
                paths = model.paths(given[chosen], horizon, **settings)[:count]
                for place, part in zip(found, parts, strict=True):
                    place[chosen[:count]] = quantiles_of(paths[:, part], levels)
            else:
                found[0, chosen[:count]] = model.forecast(given[chosen], horizon, levels=levels, **settings)[:count]
    quantiles = (found.double() / factor[:, :, None]).float().numpy()
    return Forecast(quantiles[0], levels, quantiles[1:] if len(parts) > 1 else None)


def _parts(model: Model, samples: int) -> list[slice]:
    """All paths and either half of them; all alone of a model that draws none."""
    half = samples // 2
    return [slice(None), *([slice(half), slice(half, 2 * half)] if isinstance(model, Sampler) else [])]


def _windows_a_pass(model: Model) -> int:
    """By the size of the network alone, a power of two, as batches mostly are."""
    fitting = power_of_two(int(PARAMETERS_A_PASS / max(1, model.card.parameters)))
    return min(MOST_A_PASS, max(FEWEST_A_PASS, fitting))


def _passes(
    count: int, group: Tensor | None, series: Tensor | None, size: int | None
) -> Iterator[tuple[Int[Tensor, " row"], int, Int[Tensor, " row"] | None]]:
    """The rows of each pass, how many of them are asked for (the others are copies), and their groups."""
    if size is None:
        yield torch.arange(count), count, group
        return
    members: dict[int, list[int]] = {}
    # In an order of the series' own: that in which a group's signals stand would change its last bits too.
    order = range(count) if series is None else series.argsort(stable=True).tolist()
    for row in order:
        members.setdefault(row if group is None else int(group[row]), []).append(row)
    for signals in sorted({len(rows) for rows in members.values()}):
        alike = [rows for rows in members.values() if len(rows) == signals]
        together = max(1, size // signals)
        for first in range(0, len(alike), together):
            some = alike[first : first + together]
            whole = torch.tensor(some + [some[0]] * (together - len(some)))
            numbers = torch.arange(together).repeat_interleave(signals)
            yield whole.flatten(), len(some) * signals, None if group is None else numbers


def rows_of(windows: WindowSet, rows: slice) -> Rows:
    """What a model may know of these windows besides their values."""
    group = windows.numbers(rows)
    return Rows(
        torch.from_numpy(windows.starts(rows)),
        windows.step_seconds,
        None if group is None else torch.from_numpy(group),
        windows.season,
        torch.from_numpy(windows.series(rows)),
    )


def forecast_batches(
    forecaster: Forecaster, windows: WindowSet, *, batch_size: int, label: str = "forecast", progress: bool = True
) -> Iterator[Batch]:
    """Forecast `windows` in order; only a batch is in memory at a time."""
    count = sum(1 for _ in windows.batches(batch_size)) if progress else None
    parts = windows.batches(batch_size)
    for rows in tqdm(parts, desc=label, unit="batch", total=count, leave=False, disable=not progress):
        context, future = windows.batch(rows)
        yield Batch(rows, context, future, forecaster(context, windows, rows))


def _gathered(batches: Iterator[Batch], size: int) -> Iterator[Batch]:
    """The same windows in the same order, at least `size` of them at a time but for the last."""
    some: list[Batch] = []
    for batch in batches:
        some.append(batch)
        if batch.rows.stop - some[0].rows.start >= size:
            yield _together(some)
            some = []
    if some:
        yield _together(some)


def _together(batches: list[Batch]) -> Batch:
    """Batches that follow each other as one."""
    return Batch(
        slice(batches[0].rows.start, batches[-1].rows.stop),
        np.concatenate([one.context for one in batches]),
        np.concatenate([one.future for one in batches]),
        _joined([one.forecast for one in batches]),
    )


def _joined(forecasts: list[Forecast]) -> Forecast:
    """Forecasts of windows that follow each other as one."""
    halves = [one.halves for one in forecasts if one.halves is not None]
    return Forecast(
        np.concatenate([one.quantiles for one in forecasts]),
        forecasts[0].levels,
        np.concatenate(halves, axis=1) if halves else None,
    )


def forecast_windows(
    model: Model, windows: WindowSet, spec: ForecastSpec | None = None, *, progress: bool = False
) -> Forecast:
    """Forecast all of `windows` into memory: quantiles of shape (window, horizon, level)."""
    spec = spec or ForecastSpec()
    parts = forecast_batches(forecaster(model, spec), windows, batch_size=spec.batch_size, progress=progress)
    return _joined([part.forecast for part in parts])


def score(
    forecaster: Forecaster,
    windows: WindowSet,
    *,
    batch_size: int,
    label: str,
    quantiles: Path | None = None,
    noticed: Noticed | None = None,
    token_width: Callable[[Tensor], Tensor] | None = None,
    progress: bool = True,
) -> Sums:
    """Forecast `windows` batch by batch and add up the scores.

    `quantiles` takes a float32 .npy of shape (window, horizon, level), written as it comes; `noticed` what is to be
    known of forecasts besides, for which `token_width` may tell the width of a token. Memory is that of a batch, or of
    `SCORED_TOGETHER` windows, and of the sums.
    """
    sums, signals = Sums(), signals_of(windows)
    shape = (len(windows), windows.horizon, len(LEVELS))
    parts = forecast_batches(forecaster, windows, batch_size=batch_size, label=label, progress=progress)
    with nullcontext() if quantiles is None else _opened(quantiles, shape) as store:
        for batch in _gathered(parts, SCORED_TOGETHER):
            cells = score_cells(
                batch.future,
                batch.forecast,
                batch.context,
                patient=windows.patient[batch.rows],
                signal=windows.signal[batch.rows],
                signals=signals,
            )
            sums.add(cells)
            if noticed is not None:
                width = None if token_width is None else token_width(torch.from_numpy(batch.context)).numpy()
                noticed.add(batch.context, batch.forecast.quantiles, windows.signal[batch.rows], width)
                noticed.add_drawn(batch.future, batch.forecast, windows.signal[batch.rows])
            if store is not None:
                store.write(batch.forecast.quantiles.astype(np.float32).tobytes())
    return sums


def signals_of(windows: WindowSet) -> dict[str, Signal]:
    """What is known of each signal, in the order of the windows' signal codes."""
    return {name: signal_named(name, windows.units) for name in windows.signals}


@contextmanager
def _opened(path: Path, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    """A float32 .npy of this shape, to be written from its first number to its last.

    Not through a memory map, whose pages would count as memory of this process. Its room on the disk is taken first: a
    disk that is too small is known before anything is forecast.
    """
    with path.open("wb") as file:
        head = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, head)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, file.tell() + 4 * math.prod(shape))
        yield file
