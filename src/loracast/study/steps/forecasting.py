"""Forecasting: what follows every series of a long table, as a table of quantiles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float
from tqdm.auto import tqdm

from loracast.data.pseudonyms import Pseudonyms
from loracast.data.schema import signal_named
from loracast.data.series import Tails, tails_of
from loracast.data.table import Table, open_table
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
    table = table if isinstance(table, Table) else open_table(table)
    settings, spec = asked(ForecastSpec, forecasting, "The forecast"), asked(WindowSpec, window, "The window")
    levels = _levels(quantiles)
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
    assert spec.context is not None
    check_window(model.card, spec.context)
    from loracast.study.run import paths_of

    paths = paths_of(model, settings)
    if paths is not None and not set(levels) <= set(LEVELS):
        check_paths(levels, paths)
    series = too_sparse = 0
    signals = {name: signal_named(name, table.units) for name in table.signals}
    noticed = Noticed(signals)
    with claimed(out, *sources, overwrite=overwrite, inside=True), written(out, overwrite=overwrite) as temporary:
        writer = None
        parts = tails_of(table, spec.context, settings.batch_size, joint=spec.joint)
        for tails in tqdm(parts, unit="batch", disable=not progress):
            found = _ahead(model, tails, table, spec, settings, levels)
            codes = np.array([table.signals.index(one.signal) for one in tails.series])
            known = ~np.isnan(found[:, 0, 0])
            noticed.add(tails.context[known], found[known], codes[known])
            if clip:
                low, high = np.array([(facts.low, facts.high) for facts in signals.values()])[codes].T
                found = np.clip(found, low[:, None, None], high[:, None, None])
            part = tails.with_quantiles(found, levels, table.step_seconds, pseudonyms)
            writer = writer or pq.ParquetWriter(temporary, part.schema)
            writer.write_table(part)
            series, too_sparse = series + len(known), too_sparse + int((~known).sum())
        assert writer is not None, "an opened table has at least one series"
        writer.close()
    return ForecastFacts(
        series=series,
        too_sparse=too_sparse,
        least_observed=spec.min_context_observed,
        context=spec.context,
        samples=paths,
        clipped=clip,
        keyed=pseudonyms is not None,
        signals=noticed.facts(),
    )


def _ahead(
    model: Model, tails: Tails, table: Table, spec: WindowSpec, settings: ForecastSpec, levels: tuple[float, ...]
) -> Float[np.ndarray, "series horizon level"]:
    """The quantiles of the steps after each series, NaN for one of which too little was observed to say anything."""
    import torch

    from loracast.models.forecast import predict

    assert spec.horizon is not None
    found = np.full((len(tails.series), spec.horizon, len(levels)), np.nan, np.float32)
    # The rule by which windows are cut, and so scored: of others nobody knows what a forecast is worth.
    rich = (tails.observed() >= spec.min_context_observed) & (tails.observed() > 0)
    if rich.any():
        rows = Rows(
            torch.from_numpy(tails.starts(table.step_seconds)[rich]),
            table.step_seconds,
            torch.from_numpy(tails.groups()[rich]) if spec.joint else None,
            spec.season or 1,
            torch.from_numpy(tails.numbers()[rich]),
        )
        found[rich] = predict(model, tails.context[rich], spec.horizon, settings, rows, levels)
    return found


def _levels(given: Sequence[float]) -> tuple[float, ...]:
    """The levels in ascending order, each once; raises ConfigError for what is no level."""
    check_levels(given)
    return tuple(sorted(set(given)))
