"""Times: one rule for text and typed columns, whatever time zone the machine is in.

A time without a zone is the clock on the wall where the patient lay, and is kept as it stands. A time with a zone or an
offset is refused, unless a zone (an IANA name) says which wall that is. Then every time becomes an instant, times
without a zone by the clock of the zone, and each stay is put on the grid by the clock that hung there at its first
measurement, which is not set anew within the stay: no hour is measured twice or left out where clocks change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loracast.data.workspace import one
from loracast.errors import ConfigError, DataError
from loracast.files.texts import quoted

if TYPE_CHECKING:
    import duckdb

# MIMIC's dates are shifted to years up to 2210; a day taken for a year, or nanoseconds for seconds, lie far outside.
FIRST_YEAR, LAST_YEAR = 1800, 2299

_DATE = r"\d{4}[-/ ]\d{1,2}[-/ ]\d{1,2}"
_CLOCK = r"[T ]\s*\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
# Letters are three or more, so that AM and PM are no zone.
_ZONE = r"\s*([Zz]|[+-]\d{1,2}(:?\d{2}){0,2}|[A-Za-z][A-Za-z_+-]{2,}(/[A-Za-z_+-]+)*)"
WITHOUT_ZONE = quoted(f"{_DATE}({_CLOCK})?")
WITH_ZONE = quoted(f"{_DATE}{_CLOCK}{_ZONE}")


# What in a format's letters would be a zone in the times: Z, CET, Europe/Berlin, +02:00.
_LITERAL_ZONE = re.compile(r"\b([A-Z]{2,5}|Z)\b|[+-]\d{1,2}(:?\d{2})?\b|[A-Z][a-z]+/[A-Z]")
_DATES = (("Yy", "mbB", "d"), ("Yy", "j"), ("G", "V", "uwaA"), ("Yy", "UW", "uwaA"), ("c",), ("x",))
"""What tells a date: one directive of each group."""


def _directives(form: str) -> set[str]:
    """The letters after the percent signs of a format."""
    return set(re.findall(r"%-?(.)", form))


def _is_zoned(kind: str) -> bool:
    """Whether a SQL type holds instants: TIMESTAMP WITH TIME ZONE, TIMESTAMPTZ_NS."""
    return "TIME ZONE" in kind or kind.startswith("TIMESTAMPTZ")


@dataclass(frozen=True)
class Clock:
    """How times are written, and whose clock they are: `zone` an IANA name, `time_format` as strptime has it."""

    zone: str | None = None
    time_format: str | None = None

    def check(self, con: duckdb.DuckDBPyConnection) -> None:
        """Raise ConfigError for a zone or a format that does not exist."""
        import duckdb

        known = "SELECT count(*) FROM pg_timezone_names() WHERE name = "
        if self.zone is not None and one(con, known + quoted(self.zone)) == (0,):
            raise ConfigError(
                f"--zone {self.zone!r} is no time zone. Give a name of the IANA database, such as Europe/Berlin, "
                "America/New_York or UTC."
            )
        if self.time_format is not None:
            try:
                con.execute(f"SELECT try_strptime('', {quoted(self.time_format)})").fetchall()
            except duckdb.Error as error:
                raise ConfigError(
                    f"--time-format {self.time_format!r} is no format of a time. Give one such as %d-%m-%Y %H:%M "
                    "(day, month, year, hour, minute) or %m/%d/%Y %I:%M %p."
                ) from error
            self._check_format(self.time_format)

    @staticmethod
    def _check_format(form: str) -> None:
        if _LITERAL_ZONE.search(re.sub(r"%-?.", " ", form)):
            raise ConfigError(
                f"--time-format {form!r} takes a time zone or an offset for letters. Write %z for an offset and for Z, "
                "and say with --zone whose clock is meant."
            )
        told = _directives(form)
        if not any(all(told & set(part) for part in date) for date in _DATES):
            raise ConfigError(
                f"--time-format {form!r} tells no whole date, so that all days would be one. Give one with day, month "
                "and year, such as %d-%m-%Y %H:%M."
            )

    @property
    def _bears(self) -> bool:
        """Whether the format has a place for a zone or an offset."""
        return bool(_directives(self.time_format or "") & {"z", "Z"})

    def _written(self, column: str) -> str:
        """SQL of a text whose times DuckDB reads: no blank before an offset, and a Z as it takes it."""
        if self.time_format is not None:
            return f"regexp_replace({column}, '[Zz]$', '+00')" if self._bears else column
        return f"regexp_replace(regexp_replace({column}, '\\s+([+-]\\d)', '\\1'), 'z$', 'Z')"

    def bears_zone(self, column: str, kind: str) -> str:
        """SQL: whether a time in a column of SQL type `kind` bears a zone or an offset."""
        if kind == "VARCHAR" and self.time_format is None:
            return f"coalesce(regexp_full_match({column}, {WITH_ZONE}), false)"
        return str(_is_zoned(kind) or (kind == "VARCHAR" and self._bears)).lower()

    def _without_zone(self, column: str, kind: str) -> str:
        """SQL of a time on the wall; null where it bears a zone or is no time."""
        if kind != "VARCHAR":
            return "CAST(NULL AS TIMESTAMP)" if _is_zoned(kind) else f"TRY_CAST({column} AS TIMESTAMP)"
        if self.time_format is None:
            return f"CASE WHEN regexp_full_match({column}, {WITHOUT_ZONE}) THEN TRY_CAST({column} AS TIMESTAMP) END"
        if self.bears_zone(column, kind) == "true":
            return "CAST(NULL AS TIMESTAMP)"
        return f"try_strptime({column}, {quoted(self.time_format)})"

    def _with_zone(self, column: str, kind: str) -> str:
        """SQL of an instant, in UTC without saying so."""
        moment = f"CAST({column} AS TIMESTAMPTZ)"  # of nanoseconds too
        if kind == "VARCHAR":
            text = self._written(column)
            moment = f"TRY_CAST({text} AS TIMESTAMPTZ)"
            if self.time_format is not None:
                moment = f"try_strptime({text}, {quoted(self.time_format)})"
        return f"timezone('UTC', {moment})"

    def time(self, column: str, kind: str) -> str:
        """SQL of the time: on the wall without a zone, an instant in UTC with one; null where it is no time.

        Without a zone a time that bears one is null too: ask `bears_zone`.
        """
        wall = self._without_zone(column, kind)
        if self.zone is None:
            return wall
        bears = self.bears_zone(column, kind)
        instant = f"timezone('UTC', timezone({quoted(self.zone)}, {wall}))"
        if bears == "false":
            return instant
        return f"CASE WHEN {bears} THEN {self._with_zone(column, kind)} ELSE {instant} END"

    def unsure(self, column: str, kind: str) -> str:
        """SQL: whether the clock of the zone showed a time without a zone twice, or never."""
        if self.zone is None:
            return "false"
        wall, zone = self._without_zone(column, kind), quoted(self.zone)
        instant = f"timezone({zone}, {wall})"
        again = " OR ".join(
            f"timezone({zone}, {instant} {step}) = {wall}"
            for step in ("+ INTERVAL 1 HOUR", "- INTERVAL 1 HOUR", "+ INTERVAL 30 MINUTE", "- INTERVAL 30 MINUTE")
        )
        return f"coalesce(timezone({zone}, {instant}) <> {wall} OR {again}, false)"


def out_of_years(time: str) -> str:
    """SQL condition: the time lies in no year that a patient of ours, or a shifted date, lies in."""
    return f"NOT ({time} BETWEEN TIMESTAMP '{FIRST_YEAR}-01-01' AND TIMESTAMP '{LAST_YEAR}-12-31 23:59:59.999999')"


def zone_refused(where: str, count: int) -> DataError:
    """The error of times that bear a zone where none was stated."""
    return DataError(
        f"{count:,} times in {where} bear a time zone or an offset. Say with --zone whose clock the patients lived by, "
        "e.g. --zone Europe/Berlin, and they are converted to it; or write them without."
    )


def set_clocks(con: duckdb.DuckDBPyConnection, zone: str, fate: int) -> tuple[int, int]:
    """Put the times of `events`, which are instants, on the clock that hung in the zone when their stay began.

    A stay begins at the first of its measurements of that `fate`. Returns how many stays the clock was set in, and how
    many patients they are of.
    """
    local = f"timezone({quoted(zone)}, timezone('UTC', {{0}})) - {{0}}"
    con.execute(
        f"CREATE TABLE clocks AS SELECT patient, stay, {local.format('first')} AS shift, "
        f"{local.format('first')} <> {local.format('last')} AS changes FROM (SELECT patient, stay, min(time) AS first, "
        f"max(time) AS last FROM events WHERE fate = {fate} GROUP BY patient, stay)"
    )
    con.execute(
        "UPDATE events SET time = events.time + clocks.shift FROM clocks "
        "WHERE events.patient = clocks.patient AND events.stay = clocks.stay"
    )
    stays, patients = one(con, "SELECT count(*), count(DISTINCT patient) FROM clocks WHERE changes")
    con.execute("DROP TABLE clocks")
    return stays, patients
