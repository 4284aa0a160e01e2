"""From what an experiment names as its data to a checked long table on disk."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from loracast.data.readers.cinc2019 import read_cinc2019
from loracast.data.readers.mimic3 import read_mimic3
from loracast.data.schema import signals_named
from loracast.data.simulator.cohort import simulate
from loracast.data.table import open_table
from loracast.errors import DataError
from loracast.spec import Cinc2019Data, DataSpec, Mimic3Data, SimulatedData
from loracast.types import Table

TABLE = "vitals.parquet"


def prepare(spec: DataSpec, folder: Path, say: Callable[[str], None]) -> Table:
    """Read what `spec` names into `folder`, unless a run before has done so, and open it.

    A caller's own table stays where it is.
    """
    if spec.source == "table":
        return _only(open_table(spec.path), spec.signals)
    out = folder / TABLE
    if out.is_file():
        say(f"{out} was read before; the source is not looked at again")
    else:
        _read(spec, out, say)
    return _only(open_table(out), spec.signals)


def _read(spec: Mimic3Data | SimulatedData | Cinc2019Data, out: Path, say: Callable[[str], None]) -> None:
    if isinstance(spec, Cinc2019Data):
        read_cinc2019(
            spec.path, out, signals=spec.signals, septic_only=spec.septic_only, min_hours=spec.min_hours, show=say
        )
        return
    source = spec.path if isinstance(spec, Mimic3Data) else out.parent / "tables"
    if isinstance(spec, SimulatedData) and not source.exists():
        say(f"Simulating {spec.patients} patients (no patient is real)")
        simulate(source, patients=spec.patients, seed=spec.seed)
    read_mimic3(
        source,
        out,
        signals=spec.signals,
        cohort=spec.cohort,
        grid=spec.grid,
        min_age=spec.min_age,
        min_hours=spec.min_hours,
        show=say,
    )


def _only(table: Table, signals: tuple[str, ...] | None) -> Table:
    """The table restricted to `signals`; raises DataError where one of them is not in it."""
    if signals is None:
        return table
    missing = [name for name in signals if name not in table.signals]
    if missing:
        signals_named([name for name in missing if name not in table.units])
        raise DataError(
            f"{table.path.name} has no {' and no '.join(missing)}. It has: {', '.join(table.signals)}. Name only "
            "those, or read the table again with --signals."
        )
    return replace(table, signals=tuple(signals))
