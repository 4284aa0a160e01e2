"""Values of a caller's own brought into the units that are kept; what was converted is said and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from loracast.data.attrition import Note, counted
from loracast.data.given import TEXTS_TOLD, Columns
from loracast.data.schema import SIGNALS
from loracast.data.units import AS_IT_IS, Conversion, conversion, kept_units, not_convertible, refuse_names
from loracast.data.workspace import one
from loracast.errors import DataError
from loracast.files.texts import quoted

if TYPE_CHECKING:
    import duckdb


def convert(
    con: duckdb.DuckDBPyConnection, names: list[str], columns: Columns, stated: Mapping[str, str]
) -> tuple[dict[str, str], list[Note]]:
    """Bring the values of `given` into the units that are kept; return these, and notes of what was converted.

    The unit of a row is that of its unit column; else the one `stated` for its signal; else the one the signal is kept
    in. A signal of one's own is kept in the unit stated, or in the one unit that its rows have. Raises DataError where
    the name of a column says another unit, and where a unit is not known or stated.
    """
    if columns.unit is None:
        each = dict(zip(columns.constants, columns.values, strict=True)) if columns.signal is None else {}
        refuse_names({name: each.get(name, columns.values[0]) for name in names}, stated)
        rows: list[tuple[str, str | None, int]] = [(name, None, 0) for name in names]
    else:
        rows = con.execute("SELECT signal, unit, count(*) FROM given GROUP BY ALL ORDER BY ALL").fetchall()
        rows = [row for row in rows if row[0] in names]
        stated = {**_only_units(names, rows), **stated}
        _refuse_units(columns, rows, stated)
    kept = kept_units(names, stated)
    notes = []
    for signal, unit, _ in rows:
        given = unit or stated.get(signal, kept[signal])
        found = conversion(signal, given, kept[signal])
        if found is None:
            raise not_convertible(signal, given, kept[signal])
        if found != AS_IT_IS:
            notes.append(_converted(con, signal, unit, given, kept[signal], found))
    return kept, notes


def _only_units(names: list[str], rows: Sequence[tuple[str, str | None, int]]) -> dict[str, str]:
    """The unit of each signal of one's own whose rows all have the same."""
    units = {name: {unit for signal, unit, _ in rows if signal == name and unit} for name in names}
    return {name: next(iter(found)) for name, found in units.items() if name not in SIGNALS and len(found) == 1}


def _refuse_units(columns: Columns, rows: Sequence[tuple[str, str | None, int]], stated: Mapping[str, str]) -> None:
    """Raise DataError for rows without a unit where none is stated, and units that convert into none that is kept."""
    wrong: list[str] = []
    for signal, unit, n in rows:
        if unit is None:
            if signal not in stated:
                wrong.append(f"{signal}: no unit ({n:,} rows)")
            continue
        kept = SIGNALS[signal].unit if signal in SIGNALS else stated.get(signal)
        if kept is None:
            wrong.append(f"{signal}: {_shown(unit)} ({n:,} rows), one of several: say which to keep")
        elif conversion(signal, unit, kept) is None:
            wrong.append(f"{signal}: {_shown(unit)} ({n:,} rows), not {kept}")
    if wrong:
        more = f", and {len(wrong) - TEXTS_TOLD:,} more" if len(wrong) > TEXTS_TOLD else ""
        raise DataError(
            f"Column {columns.unit!r} holds units that cannot be used: {'; '.join(wrong[:TEXTS_TOLD])}{more}. State "
            "with --unit SIGNAL=UNIT what a signal is kept in or rows without a unit are in, or correct them."
        )


def _shown(unit: str) -> str:
    """A unit as it is written; not what may be something else, such as an identifier in the wrong column."""
    return repr(unit) if len(unit) <= 16 and sum(c.isdigit() for c in unit) <= 2 else "a text that is no unit"


def _converted(
    con: duckdb.DuckDBPyConnection, signal: str, unit: str | None, given: str, kept: str, found: Conversion
) -> Note:
    rows = f"signal = {quoted(signal)} AND unit IS NOT DISTINCT FROM {'NULL' if unit is None else quoted(unit)}"
    patients, count = one(
        con, f"SELECT count(DISTINCT patient), count(*) FROM given WHERE {rows} AND value IS NOT NULL"
    )
    # Which rows are done stays known: the unit of a row is not changed.
    con.execute(f"UPDATE given SET value = (value - {found.minus!r}) * {found.times!r} WHERE {rows}")
    text = f"{counted(count, 'measurement')} of {signal}, of {counted(patients, 'patient')}, converted from"
    return Note(f"{text} {given} to {kept}.", signal, patients, count)
