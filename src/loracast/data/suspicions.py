"""What is probably not as it is told: values in another unit, measurements that disagree, a clock that went back.

None of it is mended. It is said and counted, and where most patients are concerned it is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from loracast.data.attrition import Note, counted
from loracast.data.units import convertible, lookalikes
from loracast.data.workspace import one
from loracast.errors import DataError
from loracast.files.texts import quoted

if TYPE_CHECKING:
    import duckdb

SHARE_OF_PATIENT = 0.1
"""From this share of a patient's values on, values where another unit would put them are no errors of measurement."""
SHARE_DISAGREEING = 0.01
"""Above this share of the measurements of a signal, those that disagree are told."""


def look_like_another_unit(
    con: duckdb.DuckDBPyConnection, units: Mapping[str, str], stated: Collection[str], fate: int
) -> list[Note]:
    """What to note of patients whose values in `events` lie where another unit would put them.

    Rows whose `fate` is less were dropped for a reason of their own. Raises DataError where most patients of a signal
    are concerned, unless its unit was `stated`.
    """
    notes = []
    for signal, kept in units.items():
        for other in lookalikes(signal, kept):
            like = f"value BETWEEN {other.low} AND {other.high}"
            of, patients, rows = one(
                con,
                f"SELECT count(*), count(*) FILTER (alike >= {SHARE_OF_PATIENT} * n), "
                f"CAST(coalesce(sum(alike) FILTER (alike >= {SHARE_OF_PATIENT} * n), 0) AS BIGINT) FROM ("
                f"SELECT count(*) AS n, count(*) FILTER ({like}) AS alike FROM events "
                f"WHERE signal = {quoted(signal)} AND fate >= {fate} AND value IS NOT NULL GROUP BY patient)",
            )
            if patients == 0:
                continue
            text = (
                f"{signal} of {patients:,} of {counted(of, 'patient')} looks like {_called(other.unit)}, not {kept} "
                f"({rows:,} values from {other.low:g} to {other.high:g})."
            )
            if 2 * patients > of and signal not in stated:
                way = f"--unit {signal}={other.unit} converts them; " if other.unit in convertible(signal, kept) else ""
                raise DataError(f"{text} {way}--unit {signal}={kept} says that they are in {kept} all the same.")
            notes.append(
                Note(
                    f"{text} They are not converted: a unit in each row can be (--unit-column).", signal, patients, rows
                )
            )
    return notes


def _called(unit: str) -> str:
    return "a share of 1" if unit == "1" else unit


def disagreeing(con: duckdb.DuckDBPyConnection) -> tuple[int, list[Note]]:
    """How many measurements in `measured` share their time with one that disagrees; notes of signals with many."""
    found = con.execute(
        "SELECT signal, CAST(sum(n) AS BIGINT), CAST(coalesce(sum(n) FILTER (disagree), 0) AS BIGINT), "
        "count(DISTINCT patient) FILTER (disagree) FROM measured GROUP BY signal ORDER BY signal"
    ).fetchall()
    notes = [
        Note(
            f"{rows / total:.1%} of the measurements of {signal} ({rows:,} of {total:,}, of "
            f"{counted(patients, 'patient')}) share their time with one that disagrees, and are averaged. Where they "
            "come of different quantities or devices, tell those apart first.",
            signal,
            patients,
            rows,
        )
        for signal, total, rows, patients in found
        if rows > SHARE_DISAGREEING * total
    ]
    return sum(rows for _, _, rows, _ in found), notes


def clock_went_back(con: duckdb.DuckDBPyConnection) -> Note | None:
    """A note where times in `given` seem to go through an hour twice; None where they do not.

    In the order of the rows, the times of a series step back by up to an hour once in a night from Saturday to Sunday,
    when clocks are set, and nowhere else: a table that is not sorted shows nothing. Counts the rows whose time was
    passed before.
    """
    stays, patients, rows = one(
        con,
        """
        WITH steps AS (
            SELECT patient, stay, signal, time, lag(time) OVER series AS before,
                   max(time) OVER (series ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS latest,
                   value IS NOT DISTINCT FROM lag(value) OVER series AS same
            FROM given WINDOW series AS (PARTITION BY patient, stay, signal ORDER BY rowid)
        ), series AS (
            SELECT patient, stay, count(*) FILTER (time <= latest) AS rows,
                   count(*) FILTER (time <= before) AS back,
                   count(DISTINCT date_trunc('day', time + INTERVAL 1 HOUR)) FILTER (time <= before) AS nights,
                   count(*) FILTER (time <= before AND time >= before - INTERVAL 1 HOUR AND (time < before OR NOT same)
                                    AND isodow(time + INTERVAL 1 HOUR) = 7 AND hour(time + INTERVAL 1 HOUR) < 5) AS set
            FROM steps GROUP BY patient, stay, signal
        )
        SELECT count(DISTINCT (patient, stay)), count(DISTINCT patient), CAST(coalesce(sum(rows), 0) AS BIGINT)
        FROM series WHERE back > 0 AND back = set AND back = nights
        """,
    )
    if stays == 0:
        return None
    return Note(
        f"The clock seems to have gone back in {counted(stays, 'stay')} of {counted(patients, 'patient')}: in a night "
        f"from Saturday to Sunday {counted(rows, 'measurement')} stand at a time that had passed. Nothing tells the "
        "two hours apart, so that measurements an hour apart are averaged. Give times with their offset and a --zone, "
        "or a --zone alone to leave that hour out.",
        None,
        patients,
        rows,
    )
