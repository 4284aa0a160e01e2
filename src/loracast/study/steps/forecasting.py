"""Forecasting: what follows every series of a long table, as a table of quantiles."""

from collections.abc import Iterator, Sequence
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
from loracast.files import claimed, refuse_taken, written
from loracast.models.base import Model, check_window, within
from loracast.models.levels import check_levels, check_paths
from loracast.models.registry import load_backbone
from loracast.scoring.noticed import Noticed
from loracast.spec import ForecastSpec, WindowSpec
from loracast.study.steps.asked import Settings, asked, base_of, fits_adapter
from loracast.study.summary import ForecastFacts
from loracast.tuning.card import TrainedCard, read_card
from loracast.types import LEVELS, Rows


def forecast_table(
    table: Path | str | Table,
    out: Path | str,
    *,
    adapter: Path | str | None = None,
    backbone: str = "chronos-t5-nano",
    window: WindowSpec | Settings | None = None,
    forecasting: ForecastSpec | Settings | None = None,
    quantiles: Sequence[float] = LEVELS,
    clip: bool = False,
    keyed: Path | str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ForecastFacts:
    """Forecast the steps that follow the end of every series, into a Parquet table; returns what there is to say of it.

    With an adapter, `backbone` is read only where it is a folder, or the adapter's card cannot find its own.
    Columns: patient, stay, series, signal, time, a column a level of `quantiles` (`q0.1` … `q0.9`) in the units of the
    signal, and status. Patient and stay are named as in the table, or with `keyed`, a file that holds a key, by
    pseudonyms (`data.pseudonyms`). A series of whose context less than `min_context_observed` of the window was
    measured gets null instead of numbers, as such a context is never scored; steps before a series begins count as not
    measured. With `joint` all signals of a stay are forecast from the stay's last cell on. `clip` sets quantiles
    outside a signal's plausible range to its bounds. What stands at `out` is replaced only with `overwrite`. Raises
    ConfigError for that, where another process is at `out`, or it is what is read, and for levels that are none, or
    that the model cannot give.
    """
    table = table if isinstance(table, Table) else Table.open(table)
    settings, spec = asked(ForecastSpec, forecasting, "The forecast"), asked(WindowSpec, window, "The window")
    levels = ascending(quantiles)
    pseudonyms = None if keyed is None else Pseudonyms.of_file(Path(keyed))
    out, sources = Path(out), (table.path, adapter, backbone, keyed)
    refuse_taken(out, overwrite=overwrite)
    if adapter is None:
        model: Model = load_backbone(backbone)
    else:
        card = read_card(Path(adapter), TrainedCard)
        spec = fits_adapter(spec, card, table)
        from loracast.tuning.adapter import load_adapter  # torch: what can be refused without it has been

        model = load_adapter(Path(adapter), backbone=base_of(card, backbone))
    spec = within(spec, table.step_seconds, [model.card]).resolved(table.step_seconds)
    plan = ForecastPlan(model, spec, settings, levels, clip=clip, pseudonyms=pseudonyms)
    told = None
    with claimed(out, *sources, overwrite=overwrite, inside=True), written(out, overwrite=overwrite) as temporary:
        writer = None
        for part, facts in forecasts(table, plan, progress=progress):
            writer = writer or pq.ParquetWriter(temporary, part.schema)
            writer.write_table(part)
            told = facts
        assert writer is not None, "an opened table has at least one series"
        writer.close()
    assert told is not None
    return told


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
            clipped=plan.clip,
            keyed=plan.pseudonyms is not None,
            signals=noticed.facts(),
        )
        yield tails.with_quantiles(found, plan.levels, table.step_seconds, plan.pseudonyms), facts


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
        found[rich] = predict(plan.model, context[rich], plan.horizon, plan.settings, some, plan.levels)
    return found


def ascending(given: Sequence[float]) -> tuple[float, ...]:
    """The levels in ascending order, each once; raises ConfigError for what is no level."""
    check_levels(given)
    return tuple(sorted(set(given)))
