"""Measurements in columns of a caller's own: read as they are told to be written, or refused with what would help."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loracast.data.attrition import Note, counted
from loracast.data.schema import SIGNALS
from loracast.data.times import FIRST_YEAR, LAST_YEAR, Clock, out_of_years, zone_refused
from loracast.data.units import AS_IT_IS, Conversion, conversion, kept_units, not_convertible, refuse_names
from loracast.data.workspace import one, told_names
from loracast.errors import ConfigError, DataError
from loracast.files.texts import identifier, quoted

if TYPE_CHECKING:
    import duckdb

MISSING = ("", "NA", "NULL", r"\N")
"""Texts that stand for no value wherever values are text, beside NaN."""
TEXTS_TOLD = 10


@dataclass(frozen=True)
class Columns:
    """The columns that hold what, and what else is told of them.

    Where there is no column `signal` all values are of the one signal `constant`.
    """

    patient: str
    time: str
    value: str
    signal: str | None
    constant: str
    stay: str | None = None
    unit: str | None = None
    missing: tuple[str, ...] = ()
    decimal: str = "."
    clock: Clock = field(default_factory=Clock)

    def named(self) -> dict[str, str]:
        """The column of each role that has one."""
        roles = ("patient", "time", "value", "signal", "stay", "unit")
        return {role: name for role in roles if (name := getattr(self, role)) is not None}


def refuse_columns(columns: Columns, found: Mapping[str, str]) -> None:
    """Raise DataError for columns that are not `found`, and for a column of times that holds something else."""
    named = columns.named()
    missing = [f"{name!r} ({role})" for role, name in named.items() if name not in found]
    if missing:
        raise DataError(f"No column {', '.join(missing)} in the table given. It has: {told_names(found)}.")
    # What is listed of signals and units must not be what is in another column: it would name patients.
    for role in ("signal", "unit"):
        taken = [other for other, name in named.items() if other != role and name == named.get(role)]
        if taken:
            raise ConfigError(
                f"Column {named[role]!r} is given for the {role} and the {taken[0]}. Give one of its own."
            )
    if columns.decimal not in (".", ","):
        raise ConfigError(f"--decimal {columns.decimal!r} given. Give . or ,")
    kind, clock = found[columns.time], columns.clock
    if not kind.startswith(("TIMESTAMP", "DATE", "VARCHAR")):
        raise DataError(
            f"Column {columns.time!r} holds {kind}, not times. Give dates with times, such as 2021-07-30 16:43:00."
        )
    if clock.time_format is not None and kind != "VARCHAR":
        raise ConfigError(f"--time-format is for times that are text; column {columns.time!r} holds {kind}. Leave it.")


def listed(names: Sequence[str]) -> str:
    """The first names of many, and how many more there are."""
    more = f" and {len(names) - TEXTS_TOLD:,} more" if len(names) > TEXTS_TOLD else ""
    return ", ".join(names[:TEXTS_TOLD]) + more


def load(con: duckdb.DuckDBPyConnection, origin: str, columns: Columns, found: Mapping[str, str]) -> None:
    """Fill the table `given` (patient, stay, signal, time, value, unit, unsure), refusing what cannot be read.

    `unsure` are times that the clock of the zone showed twice or never.
    """

    def text(column: str) -> str:
        return f"trim(CAST({identifier(column)} AS VARCHAR))"

    clock, kind = columns.clock, found[columns.time]
    when = text(columns.time) if kind == "VARCHAR" else identifier(columns.time)
    # NaN, and what stands for it in a text or a number, is no value; any other text is garbled.
    written = f"CASE WHEN {_is_missing(text(columns.value), columns.missing)} THEN NULL ELSE {text(columns.value)} END"
    con.execute(
        f"""
        CREATE TABLE given AS
        SELECT patient, stay, signal, time, CASE WHEN NOT isnan(number) THEN number END AS value, unit, unsure, zoned,
               written IS NOT NULL AND number IS NULL AS garbled
        FROM (
            SELECT *, TRY_CAST({_number("written", columns.decimal)} AS DOUBLE) AS number
            FROM (
                SELECT {_identifier(text(columns.patient))} AS patient,
                       {_identifier(text(columns.stay or columns.patient))} AS stay,
                       {quoted(columns.constant) if columns.signal is None else f"nullif({text(columns.signal)}, '')"}
                           AS signal,
                       {clock.time(when, kind)} AS time, {clock.unsure(when, kind)} AS unsure,
                       {clock.bears_zone(when, kind)} AS zoned, {written} AS written,
                       {"NULL" if columns.unit is None else f"nullif({text(columns.unit)}, '')"} AS unit
                FROM {origin}
            )
        )
        """
    )
    (total,) = one(con, "SELECT count(*) FROM given")
    if total == 0:
        raise DataError("The table given has no rows.")
    (zoned,) = one(con, "SELECT count(*) FROM given WHERE zoned")
    if zoned and clock.zone is None:
        raise zone_refused(f"column {columns.time!r}", zoned)
    for condition, what in _faults(columns).items():
        count, first = one(con, f"SELECT count(*), coalesce(min(rowid), 0) FROM given WHERE {condition}")
        if count:
            help_ = _texts(con, origin, columns, total) if condition == "garbled" else ""
            raise DataError(
                f"{count:,} of {total:,} rows {what}. The first is row {first + 1:,} below the names. {help_}"
                "Correct or remove them; none is guessed or skipped."
            )


def _faults(columns: Columns) -> dict[str, str]:
    """What may be wrong with a row of `given`: the SQL condition, and how it is said."""
    form = columns.clock.time_format
    unread = "Say how times are written, e.g. --time-format '%d-%m-%Y %H:%M' for day, month, year; numbers are no times"
    if form is not None:
        unread = f"They are not written as --time-format {form!r} says"
    years = f"before {FIRST_YEAR} or after {LAST_YEAR}: is a day taken for a year? Say how with --time-format"
    return {
        "patient IS NULL OR stay IS NULL": "have no patient or stay",
        "signal IS NULL": "have no signal",
        "time IS NULL": f"have a time in {columns.time!r} that does not parse as year-month-day hour:minute. {unread}",
        out_of_years("time"): f"have a year in {columns.time!r} that lies {years}",
        "garbled": f"have text instead of a number in {columns.value!r}",
        "isinf(value)": f"have an infinite value in {columns.value!r}",
    }


def _identifier(text: str) -> str:
    """SQL of a patient or stay: nobody where the text stands for none, as NA in an export of R and NaN in a number."""
    return f"CASE WHEN NOT ({_is_missing(text, ())} OR lower({text}) = 'nan') THEN {text} END"


def _is_missing(text: str, missing: Sequence[str]) -> str:
    """SQL condition: a text stands for no value; a number does whatever way it is written (-999, -999.0)."""
    among = ", ".join(quoted(one.strip()) for one in (*MISSING, *missing))
    numbers = [repr(number) for one in missing if (number := _number_of(one)) is not None]
    as_number = f" OR coalesce(TRY_CAST({text} AS DOUBLE) IN ({', '.join(numbers)}), false)" if numbers else ""
    return f"{text} IN ({among}){as_number}"


def _number_of(text: str) -> float | None:
    """The finite number that a text is, if it is one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _number(text: str, decimal: str) -> str:
    """SQL of a number's text; a point in a number with a decimal comma would be one between thousands."""
    # DuckDB takes 1_000 for a thousand, as programs write it and no instrument does.
    strange = "_" if decimal == "." else "[_.]"
    read = text if decimal == "." else f"replace({text}, ',', '.')"
    return f"CASE WHEN regexp_matches({text}, '{strange}') THEN '?' ELSE {read} END"


def _texts(con: duckdb.DuckDBPyConnection, origin: str, columns: Columns, total: int) -> str:
    """The texts that stand for numbers, with counts: only short words without digits, which name nobody.

    Empty where most rows have text, so that it may be the wrong column, and where there are many different ones.
    """
    text = f"trim(CAST({identifier(columns.value)} AS VARCHAR))"
    garbled = (
        f"TRY_CAST({_number(text, columns.decimal)} AS DOUBLE) IS NULL AND NOT {_is_missing(text, columns.missing)}"
    )
    people = "SELECT patient FROM given UNION SELECT stay FROM given"
    found = con.execute(
        f"SELECT {text} AS word, count(*) AS n FROM {origin} WHERE {garbled} AND {text} NOT IN ({people}) "
        f"GROUP BY word ORDER BY n DESC, word LIMIT {TEXTS_TOLD + 1}"
    ).fetchall()
    if columns.value in (columns.patient, columns.stay) or 2 * sum(n for _, n in found) > total:
        return "Is it the column of the values? "
    words = [(word, n) for word, n in found if len(word) <= 12 and not any(c.isdigit() or c.isspace() for c in word)]
    if not words or len(found) > TEXTS_TOLD:
        return ""
    listed = ", ".join(f"{word!r} ({n:,})" for word, n in words)
    return f"Texts: {listed}. --missing takes those that stand for no value, e.g. --missing {words[0][0]}. "


def convert(
    con: duckdb.DuckDBPyConnection, names: list[str], columns: Columns, stated: Mapping[str, str]
) -> tuple[dict[str, str], list[Note]]:
    """Bring the values of `given` into the units that are kept; return these, and notes of what was converted.

    The unit of a row is that of its unit column; else the one `stated` for its signal; else the one the signal is kept
    in. A signal of one's own is kept in the unit stated, or in the one unit that its rows have. Raises DataError where
    the name of a column says another unit, and where a unit is not known or stated.
    """
    if columns.unit is None:
        refuse_names(dict.fromkeys(names, columns.value), stated)
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
