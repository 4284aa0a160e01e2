"""Measurements in columns of a caller's own: read as they are told to be written, or refused with what would help."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loracast.data.times import FIRST_YEAR, LAST_YEAR, Clock, out_of_years, zone_refused
from loracast.data.workspace import one
from loracast.errors import ConfigError, DataError
from loracast.files.texts import identifier, quoted

if TYPE_CHECKING:
    import duckdb

MISSING = ("", "NA", "NULL", r"\N")
"""Texts that stand for no value wherever values are text, beside NaN."""
TEXTS_TOLD = 10


_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
_NOTHING = '"NULL"'
"""SQL type of a column that holds nothing at all."""


@dataclass(frozen=True)
class Columns:
    """The columns that hold what, and what else is told of them.

    Where there is no column `signal`, `constants` has the signal of each column of `values`; else there is one.
    """

    patient: str
    time: str
    values: tuple[str, ...]
    signal: str | None
    constants: tuple[str, ...]
    stay: str | None = None
    unit: str | None = None
    missing: tuple[str, ...] = ()
    decimal: str = "."
    clock: Clock = field(default_factory=Clock)

    def named(self) -> list[tuple[str, str]]:
        """Each role with a column, and the column."""
        one = (("patient", self.patient), ("time", self.time), ("signal", self.signal), ("stay", self.stay))
        more = [(role, name) for role, name in (*one, ("unit", self.unit)) if name is not None]
        return [*more[:2], *(("value", name) for name in self.values), *more[2:]]


def refuse_kinds(columns: Columns, found: Mapping[str, str]) -> None:
    """Raise DataError for a column whose SQL type in `found` is none that its role can have."""
    if columns.decimal not in (".", ","):
        raise ConfigError(f"--decimal {columns.decimal!r} given. Give . or ,")
    for role, name in columns.named():
        kind = found[name]
        shown = kind.partition("(")[0]
        if role == "time":
            if not kind.startswith(("TIMESTAMP", "DATE", "VARCHAR")):
                raise DataError(
                    f"Column {name!r} holds {shown}, not times. Give dates with times, such as 2021-07-30 16:43:00; "
                    "where it counts hours, say, add them to a date (pd.Timestamp('2000-01-01') + "
                    "pd.to_timedelta(hours, 'h'))."
                )
            if columns.clock.time_format is not None and kind != "VARCHAR":
                raise ConfigError(f"--time-format is for times that are text; column {name!r} holds {shown}. Leave it.")
        elif kind not in ("VARCHAR", "UUID", _NOTHING) and not _NUMBER.fullmatch(kind):
            wanted = "numbers" if role == "value" else f"a name of the {role}: give texts or whole numbers"
            raise DataError(f"Column {name!r} ({role}) holds {shown}, not {wanted}. Convert it first.")


def listed(names: Sequence[str]) -> str:
    """The first names of many, and how many more there are."""
    more = f" and {len(names) - TEXTS_TOLD:,} more" if len(names) > TEXTS_TOLD else ""
    return ", ".join(names[:TEXTS_TOLD]) + more


def load(con: duckdb.DuckDBPyConnection, origin: str, columns: Columns, found: Mapping[str, str]) -> None:
    """Fill the table `given` (patient, stay, signal, time, value, unit, unsure), refusing what cannot be read.

    `unsure` are times that the clock of the zone showed twice or never. A row with several columns of values is as
    many rows of `given`.
    """
    clock, kind = columns.clock, found[columns.time]
    when = _text(columns.time) if kind == "VARCHAR" else identifier(columns.time)
    source, signal, value, typed = _long(origin, columns, found)
    if typed:
        numbers = ", ".join(repr(known) for one in columns.missing if (known := _number_of(one)) is not None)
        number = f"CASE WHEN typed NOT IN ({numbers}) THEN typed END" if numbers else "typed"
        written = "CAST(NULL AS VARCHAR)"
    else:
        # NaN, and what stands for it in a text or a number, is no value; any other text is garbled.
        number = f"TRY_CAST({_number('written', columns.decimal)} AS DOUBLE)"
        written = f"CASE WHEN {_is_missing(value, columns.missing)} THEN NULL ELSE {value} END"
    con.execute(
        f"""
        CREATE TABLE given AS
        SELECT patient, stay, signal, time, CASE WHEN NOT isnan(number) THEN number END AS value, unit, unsure, zoned,
               written IS NOT NULL AND number IS NULL AS garbled
        FROM (
            SELECT *, {number} AS number
            FROM (
                SELECT {_identifier(columns.patient, found)} AS patient,
                       {_identifier(columns.stay or columns.patient, found)} AS stay, {signal} AS signal,
                       {clock.time(when, kind)} AS time, {clock.unsure(when, kind)} AS unsure,
                       {clock.bears_zone(when, kind)} AS zoned, {written} AS written,
                       {value if typed else "NULL"} AS typed,
                       {"NULL" if columns.unit is None else f"nullif({_text(columns.unit)}, '')"} AS unit
                FROM {source}
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
    each = len(columns.values)
    for condition, what in _faults(columns).items():
        count, first = one(con, f"SELECT count(*), coalesce(min(rowid), 0) FROM given WHERE {condition}")
        if count:
            help_ = _texts(con, source, value, columns, total) if condition == "garbled" else ""
            raise DataError(
                f"{count:,} of {total:,} {'rows' if each == 1 else 'values'} {what}. The first is row "
                f"{first // each + 1:,} below the names. {help_}Correct or remove them; none is guessed or skipped."
            )


def _text(column: str) -> str:
    """SQL of a column as text without blanks around it."""
    return f"trim(CAST({identifier(column)} AS VARCHAR))"


def _long(origin: str, columns: Columns, found: Mapping[str, str]) -> tuple[str, str, str, bool]:
    """SQL of the rows with one value each, of their signal and value; and whether values are numbers, not texts."""
    typed = all(_NUMBER.fullmatch(found[name]) for name in columns.values)
    values = [f"CAST({identifier(name)} AS DOUBLE)" if typed else _text(name) for name in columns.values]
    if columns.signal is not None:
        return origin, f"nullif({_text(columns.signal)}, '')", values[0], typed
    if len(values) == 1:
        return origin, quoted(columns.constants[0]), values[0], typed
    signals = ", ".join(quoted(name) for name in columns.constants)
    # Lists of one length come undone side by side. No column of a caller's is called so: a name has no line end.
    taken = f"*, unnest([{signals}]) AS {_SIGNAL}, unnest([{', '.join(values)}]) AS {_VALUE}"
    return f"(SELECT {taken} FROM {origin})", _SIGNAL, _VALUE, typed


_SIGNAL, _VALUE = identifier("the signal\n"), identifier("the value\n")


def _faults(columns: Columns) -> dict[str, str]:
    """What may be wrong with a row of `given`: the SQL condition, and how it is said."""
    form, values = columns.clock.time_format, " or ".join(map(repr, columns.values))
    unread = "Say how times are written, e.g. --time-format '%d-%m-%Y %H:%M' for day, month, year; numbers are no times"
    if form is not None:
        unread = f"They are not written as --time-format {form!r} says"
    years = f"before {FIRST_YEAR} or after {LAST_YEAR}: is a day taken for a year? Say how with --time-format"
    return {
        "patient IS NULL OR stay IS NULL": "have no patient or stay",
        "signal IS NULL": "have no signal",
        "time IS NULL": f"have a time in {columns.time!r} that does not parse as year-month-day hour:minute. {unread}",
        out_of_years("time"): f"have a year in {columns.time!r} that lies {years}",
        "garbled": f"have text instead of a number in {values}",
        "isinf(value)": f"have an infinite value in {values}",
    }


def _identifier(column: str, found: Mapping[str, str]) -> str:
    """SQL of a patient or stay: nobody where the text stands for none, as NA in an export of R and NaN in a number.

    A whole number is written as one although pandas makes it 12.0 where another row has none.
    """
    text = _text(column)
    if found[column] in ("FLOAT", "DOUBLE"):
        number = identifier(column)
        whole = f"abs({number}) < {2**53} AND {number} = trunc({number})"
        text = f"CASE WHEN {whole} THEN CAST(CAST({number} AS BIGINT) AS VARCHAR) ELSE {text} END"
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


def _texts(con: duckdb.DuckDBPyConnection, source: str, text: str, columns: Columns, total: int) -> str:
    """The texts that stand for numbers, with counts: only short words without digits, which name nobody.

    Empty where most rows have text, so that it may be the wrong column, and where there are many different ones.
    """
    garbled = (
        f"TRY_CAST({_number(text, columns.decimal)} AS DOUBLE) IS NULL AND NOT {_is_missing(text, columns.missing)}"
    )
    people = "SELECT patient FROM given UNION SELECT stay FROM given"
    found = con.execute(
        f"SELECT {text} AS word, count(*) AS n FROM {source} WHERE {garbled} AND {text} NOT IN ({people}) "
        f"GROUP BY word ORDER BY n DESC, word LIMIT {TEXTS_TOLD + 1}"
    ).fetchall()
    if {columns.patient, columns.stay} & set(columns.values) or 2 * sum(n for _, n in found) > total:
        return "Is it the column of the values? "
    words = [(word, n) for word, n in found if len(word) <= 12 and not any(c.isdigit() or c.isspace() for c in word)]
    if not words or len(found) > TEXTS_TOLD:
        return ""
    listed = ", ".join(f"{word!r} ({n:,})" for word, n in words)
    return f"Texts: {listed}. --missing takes those that stand for no value, e.g. --missing {words[0][0]}. "
