"""The steps that follow the end of every series: a model's quantiles, batch by batch."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float
from tqdm.auto import tqdm

from loracast.data.pseudonyms import Pseudonyms
from loracast.data.schema import signal_named
from loracast.data.series import Tails, tails_of
from loracast.data.table import Table
from loracast.models.base import Model, check_window
from loracast.models.levels import check_paths
from loracast.models.precision import precision_of
from loracast.scoring.noticed import Noticed
from loracast.spec import ForecastSpec, WindowSpec
from loracast.study.summary import ForecastFacts
from loracast.types import LEVELS, Rows

ROWS_A_GROUP = 65_536
"""Rows of a forecast that are written together."""


@dataclass(frozen=True)
class ForecastPlan:
    """A model, and what is asked of it; `window` has its lengths filled in (`WindowSpec.resolved`).

    Raises BackboneError for a context that the model would cut short, ConfigError for levels that it cannot give.
    """

    model: Model
    window: WindowSpec
    settings: ForecastSpec
    levels: tuple[float, ...]
    clip: bool = False
    pseudonyms: Pseudonyms | None = None

    def __post_init__(self) -> None:
        check_window(self.model.card, self.context)
        if self.paths is not None and not set(self.levels) <= set(LEVELS):
            check_paths(self.levels, self.paths)

    @property
    def context(self) -> int:
        """Steps that the model sees."""
        assert self.window.context is not None
        return self.window.context

    @property
    def horizon(self) -> int:
        """Steps that it forecasts."""
        assert self.window.horizon is not None
        return self.window.horizon

    @property
    def paths(self) -> int | None:
        """Sample paths a series; None where the model draws none."""
        from loracast.study.run import paths_of

        return paths_of(self.model, self.settings)


def forecasts(table: Table, plan: ForecastPlan, *, progress: bool = True) -> Iterator[tuple[pa.Table, ForecastFacts]]:
    """The forecasts of a table's series, batch by batch, each with what there is to say of all so far."""
    series = too_sparse = 0
    signals = {name: signal_named(name, table.units) for name in table.signals}
    noticed, spec = Noticed(signals), plan.window
    parts = tails_of(table, plan.context, plan.settings.batch_size, joint=spec.joint)
    for tails in tqdm(parts, unit="batch", leave=False, disable=not progress):
        found = ahead(tails.context, rows_of_tails(tails, table.step_seconds, plan), plan)
        codes = np.array([table.signals.index(one.signal) for one in tails.series])
        known = ~np.isnan(found[:, 0, 0])
        noticed.add(tails.context[known], found[known], codes[known])
        if plan.clip:
            low, high = np.array([(facts.low, facts.high) for facts in signals.values()])[codes].T
            found = np.clip(found, low[:, None, None], high[:, None, None])
        series, too_sparse = series + len(known), too_sparse + int((~known).sum())
        facts = ForecastFacts(
            series=series,
            too_sparse=too_sparse,
            least_observed=spec.min_context_observed,
            context=plan.context,
            samples=plan.paths,
            precision=precision_of(plan.model, plan.settings),
            clipped=plan.clip,
            keyed=plan.pseudonyms is not None,
            signals=noticed.facts(),
        )
        yield tails.with_quantiles(found, plan.levels, table.step_seconds, plan.pseudonyms), facts


def write_forecasts(table: Table, plan: ForecastPlan, path: Path, *, progress: bool = True) -> ForecastFacts:
    """Write the forecasts of a table's series as Parquet, as they come; returns what there is to say of all."""
    told: ForecastFacts | None = None
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    with ExitStack() as stack:
        for part, facts in forecasts(table, plan, progress=progress):
            writer = writer or stack.enter_context(pq.ParquetWriter(path, part.schema))
            waiting.append(part)
            told = facts
            # Not a row group a batch: what a file says of its groups lies in memory until it is closed.
            if sum(map(len, waiting)) >= ROWS_A_GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
        assert told is not None, "an opened table has at least one series"
        assert writer is not None
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    return told


def rows_of_tails(tails: Tails, step_seconds: int, plan: ForecastPlan) -> Rows:
    """What a model may know of these series besides their values."""
    import torch

    return Rows(
        torch.from_numpy(tails.starts(step_seconds)),
        step_seconds,
        torch.from_numpy(tails.groups()) if plan.window.joint else None,
        plan.window.season or 1,
        torch.from_numpy(tails.numbers()),
    )


def ahead(
    context: Float[np.ndarray, "series context"], rows: Rows, plan: ForecastPlan
) -> Float[np.ndarray, "series horizon level"]:
    """The quantiles of the steps after each series, NaN for one of which too little was observed to say anything."""
    import torch

    from loracast.models.forecast import predict

    found = np.full((len(context), plan.horizon, len(plan.levels)), np.nan, np.float32)
    # The rule by which windows are cut, and so scored: of others nobody knows what a forecast is worth.
    observed = (~np.isnan(context)).mean(axis=1)
    rich = (observed >= plan.window.min_context_observed) & (observed > 0)
    if rich.any():
        kept = torch.from_numpy(rich)
        group, series = (None if one is None else one[kept] for one in (rows.group, rows.series))
        some = replace(rows, start=rows.start[kept], group=group, series=series)
        found[rich] = predict(plan.model, context[rich], plan.horizon, plan.settings, some, plan.levels).quantiles
    return found
