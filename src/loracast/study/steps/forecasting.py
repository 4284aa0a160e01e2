"""Forecasting: what follows every series of a long table, as a table of quantiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loracast.data.pseudonyms import Pseudonyms
from loracast.data.table import Table, refuse_absent
from loracast.files import claimed, refuse_taken, written
from loracast.models.base import Model, within
from loracast.models.levels import check_levels
from loracast.models.registry import check_backbone, load_backbone
from loracast.spec import ForecastSpec, WindowSpec
from loracast.study.steps.asked import Settings, asked, base_of, fits_adapter
from loracast.tuning.card import TrainedCard, read_card
from loracast.types import LEVELS

if TYPE_CHECKING:
    from loracast.study.summary import ForecastFacts


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
) -> "ForecastFacts":
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
    refuse_absent(table)
    settings, spec = asked(ForecastSpec, forecasting, "The forecast"), asked(WindowSpec, window, "The window")
    levels = ascending(quantiles)
    out = Path(out)
    refuse_taken(out, overwrite=overwrite)
    card = None if adapter is None else read_card(Path(adapter), TrainedCard)
    if card is None:
        check_backbone(backbone)
    pseudonyms = None if keyed is None else Pseudonyms.of_file(Path(keyed))
    table = table if isinstance(table, Table) else Table.open(table)
    if adapter is None or card is None:
        model: Model = load_backbone(backbone)
    else:
        spec = fits_adapter(spec, card, table)
        from loracast.tuning.adapter import load_adapter  # torch: what can be refused without it has been

        model = load_adapter(Path(adapter), backbone=base_of(card, backbone))
    from loracast.study.steps.ahead import ForecastPlan, write_forecasts

    spec = within(spec, table.step_seconds, [model.card]).resolved(table.step_seconds)
    plan = ForecastPlan(model, spec, settings, levels, clip=clip, pseudonyms=pseudonyms)
    sources = (table.path, adapter, backbone, keyed)
    with claimed(out, *sources, overwrite=overwrite, inside=True), written(out, overwrite=overwrite) as temporary:
        return write_forecasts(table, plan, temporary, progress=progress)


def ascending(given: Sequence[float]) -> tuple[float, ...]:
    """The levels in ascending order, each once; raises ConfigError for what is no level."""
    check_levels(given)
    return tuple(sorted(set(given)))
