"""Ranges, duplicates and the regular grid: from measurements to the long table, every dropped row counted.

A reader fills the table `events` (patient, stay, signal, time, value, fate), where `fate` is the index of the first
reason to drop the row, or the number of reasons where there is none. The rest is the same for every source.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loracast.data.attrition import Attrition, Note, counted, write_attrition
from loracast.data.schema import METADATA_KEY, SIGNALS, TableInfo
from loracast.data.suspicions import disagreeing, look_like_another_unit
from loracast.data.times import FIRST_YEAR, LAST_YEAR, out_of_years, set_clocks
from loracast.data.workspace import one, parquet_source
from loracast.errors import DataError
from loracast.files import file_digest, written
from loracast.files.texts import plain_path, quoted
from loracast.types import Say

if TYPE_CHECKING:
    import duckdb

DAY_SECONDS = 86_400
GRID_UNITS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": DAY_SECONDS}
MOST_CELLS_PER_OBSERVED = 1000
REPEATS = "repeats (same stay, signal, time and value) averaged"
DISAGREEING = "measurements that disagree (same stay, signal and time) averaged"
EMPTY_ADVICE = (
    "Loosen the cohort (--cohort all, --min-age, --min-hours), name other signals, or check the unit of the values."
)


@dataclass(frozen=True)
class Reason:
    """Why rows are dropped: the step's name in the attrition table, and the SQL condition that holds for them.

    `counts_stays` is False while rows of stays outside the cohort are still among those left.
    """

    step: str
    holds: str
    counts_stays: bool = True


def grid_seconds(grid: str) -> int:
    """Seconds of a grid such as "60min", "5min" or "1h"; raises DataError unless it divides a day."""
    match = re.fullmatch(r"\s*([0-9]{1,6})\s*([a-z]+)\s*", grid.lower())
    seconds = int(match[1]) * GRID_UNITS.get(match[2], 0) if match else 0
    if seconds == 0 or DAY_SECONDS % seconds:
        raise DataError(f"Grid {grid!r} given. Give a step that divides a day, such as 5min, 15min, 60min or 1h.")
    return seconds


def grid_text(seconds: int) -> str:
    """A grid as a caller writes it: 60min, 90s."""
    return f"{seconds // 60}min" if seconds % 60 == 0 else f"{seconds}s"


def regular_step(con: duckdb.DuckDBPyConnection) -> tuple[int, str]:
    """The step of the times in `given`, in seconds, and what to say of it.

    It is the one that is seen most often, if it divides a day and every other one is a multiple of it: what is missing
    leaves a gap. Raises DataError, with that step as advice, where the times are not so regular.
    """
    steps = (
        "SELECT epoch_us(time) - lag(epoch_us(time)) OVER (PARTITION BY patient, stay, signal ORDER BY time) AS step "
        "FROM (SELECT DISTINCT patient, stay, signal, time FROM given WHERE value IS NOT NULL)"
    )
    found = con.execute(
        f"SELECT step, count(*) AS n FROM ({steps}) WHERE step IS NOT NULL GROUP BY step ORDER BY n DESC, step"
    ).fetchall()
    if not found:
        raise DataError("No series has two times, so that its step is unknown. Give the grid (grid='60min', say).")
    micro, seen = found[0]
    total = sum(n for _, n in found)
    other = sum(n for step, n in found if step % micro)
    if micro % 1_000_000 or DAY_SECONDS * 1_000_000 % micro or other:
        usual = f"{micro / 1e6:g} s"
        fits = micro % 1_000_000 == 0 and DAY_SECONDS * 1_000_000 % micro == 0
        advice = f"grid='{grid_text(micro // 1_000_000)}'" if fits else "one that divides a day, such as grid='60min'"
        raise DataError(
            f"The times have no regular step that divides a day: {seen:,} of {total:,} steps are {usual}, the most "
            f"frequent one, and {other:,} are no multiple of it. Say which grid to put them on: {advice}."
        )
    seconds = micro // 1_000_000
    return seconds, f"Grid {grid_text(seconds)}: the step of the times, which all lie on it."


def out_of_range(signals: Sequence[str], value: str = "value") -> str:
    """SQL condition: the value is beyond the plausible range of its signal. Unknown signals have none."""
    cases = []
    for name in signals:
        if name in SIGNALS:
            kind = SIGNALS[name]
            # A lower bound of 0 is itself excluded: a monitor writes 0 where a lead is off.
            above = ">" if kind.low == 0 else ">="
            inside = f"{value} {above} {kind.low} AND {value} <= {kind.high}"
            cases.append(f"WHEN {quoted(name)} THEN NOT ({inside})")
    return f"CASE signal {' '.join(cases)} ELSE false END" if cases else "false"


def fate(reasons: Sequence[Reason]) -> str:
    """SQL expression: the index of the first reason that holds, or the number of reasons."""
    cases = " ".join(f"WHEN {reason.holds} THEN {i}" for i, reason in enumerate(reasons))
    return f"CAST(CASE {cases} ELSE {len(reasons)} END AS TINYINT)"


def cell_of(time: str, seconds: int) -> str:
    """SQL expression: label of the cell of a time, the multiple of the grid (from the epoch) at or after it.

    Closed on the right, as mimic-code's hour bins: a cell holds (label - grid, label].
    """
    micro = seconds * 1_000_000
    return f"make_timestamp(epoch_us({time}) + ({micro} - epoch_us({time}) % {micro}) % {micro})"


def grid_and_write(
    con: duckdb.DuckDBPyConnection,
    out: Path,
    info: TableInfo,
    attrition: Attrition,
    reasons: Sequence[Reason],
    show: Say,
    *,
    stated: Collection[str] = (),
    overwrite: bool = False,
) -> None:
    """Count the fates of `events`, merge duplicates, average into cells, and write the long table with its attrition.

    The last of the `reasons` is to be that a value is out of its range; `stated` are the signals whose unit the caller
    has stated. With a zone in `info` the times of `events` are instants. The same measurements give the same bytes, in
    whatever order the source had them. Raises DataError with the attrition table where nothing is left, and where the
    values of most patients look like another unit, ConfigError where `out` exists and `overwrite` is not given.
    """
    _count_fates(con, attrition, reasons)
    # Before nothing may be left: in another unit all values may be out of range.
    attrition.notes += look_like_another_unit(con, info.units, stated, len(reasons) - 1)
    if attrition.steps[-1].rows == 0:
        raise nothing_left(attrition)
    if info.zone is not None:
        _set_clocks(con, info.zone, len(reasons), attrition)
    show("Averaging the measurements into cells")
    # One thread from here on: sums of doubles depend on the order of their terms.
    con.execute("SET threads = 1")
    con.execute(
        "CREATE TABLE sorted AS SELECT patient, stay, signal, time, value FROM events "
        f"WHERE fate = {len(reasons)} ORDER BY patient, stay, signal, time, value"
    )
    con.execute("DROP TABLE events")
    _refuse_years(con)
    # What a conversion of units does to the last digits is no disagreement.
    con.execute(
        "CREATE TABLE measured AS SELECT patient, stay, signal, time, avg(value) AS value, count(*) AS n, "
        "max(value) - min(value) > 1e-6 * greatest(abs(max(value)), abs(min(value))) AS disagree FROM sorted "
        "GROUP BY patient, stay, signal, time ORDER BY patient, stay, signal, time"
    )
    con.execute("DROP TABLE sorted")
    _count_table(con, attrition, REPEATS, "measured", "sum(CASE WHEN disagree THEN n ELSE 1 END)")
    _count_table(con, attrition, DISAGREEING, "measured")
    disagree, notes = disagreeing(con)
    attrition.notes += notes
    con.execute(
        f"CREATE TABLE cells AS SELECT patient, stay, signal, {cell_of('time', info.grid_seconds)} AS cell, "
        "avg(value) AS value FROM measured GROUP BY ALL"
    )
    _count_table(con, attrition, "measurements averaged into grid cells (observed cells)", "cells")
    _refuse_emptiness(con, attrition.steps[-1].rows or 0, info.grid_seconds)
    show(f"Writing {out}")
    with written(out, overwrite=overwrite) as temporary:
        _copy(con, temporary, info)
        attrition.table = {**_described(con, temporary, info.grid_seconds), "disagreeing": disagree}
        write_attrition(attrition, out, overwrite=overwrite)


def nothing_left(attrition: Attrition) -> DataError:
    """The error of an empty cohort, with the table that shows why it is empty."""
    return DataError(f"Nothing is left to forecast. {EMPTY_ADVICE} What was dropped:\n{attrition.as_text()}")


def _refuse_emptiness(con: duckdb.DuckDBPyConnection, observed: int, seconds: int) -> None:
    """A stay that spans years on a fine grid is two stays under one name; its empty cells could fill the disk."""
    span = f"(epoch_us(max(cell)) - epoch_us(min(cell))) // {seconds * 1_000_000} + 1"
    (total,) = one(
        con, f"SELECT CAST(sum(n) AS BIGINT) FROM (SELECT {span} AS n FROM cells GROUP BY patient, stay, signal)"
    )
    if total > MOST_CELLS_PER_OBSERVED * observed:
        raise DataError(
            f"{observed:,} observed cells would lie among {total:,}: the measurements of a stay are too far apart for "
            f"a grid of {seconds} s. Tell stays or recordings apart (stay=..., --stay), or choose a coarser grid."
        )


def _copy(con: duckdb.DuckDBPyConnection, path: Path, info: TableInfo) -> None:
    """Write the cells with the missing ones between them: each cell is followed by empty ones up to the next.

    A series is named by its stay and signal, and by its patient too where two patients share the name of a stay.
    """
    keys = ["stay", "signal"]
    (shared,) = one(
        con, "SELECT count(*) FROM (SELECT stay FROM cells GROUP BY stay HAVING count(DISTINCT patient) > 1)"
    )
    if shared:
        keys.insert(0, "patient")
    step = f"INTERVAL {info.grid_seconds} SECOND"
    con.execute(
        f"""
        COPY (
            SELECT patient, stay, series, signal, time, CASE WHEN time = cell THEN value END AS value
            FROM (
                SELECT *, unnest(range(cell, coalesce(next_cell, cell + {step}), {step})) AS time
                FROM (
                    SELECT *, {_joined(keys)} AS series,
                           lead(cell) OVER (PARTITION BY patient, stay, signal ORDER BY cell) AS next_cell
                    FROM cells
                )
            )
            ORDER BY series, time
        ) TO {quoted(plain_path(path))}
        (FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{METADATA_KEY}: {quoted(info.as_json())}}})
        """
    )


def _joined(columns: Sequence[str]) -> str:
    """SQL of the columns with strokes between; a stroke within one is written as %2F, so that no two keys are one."""
    return " || '/' || ".join(f"replace(replace({name}, '%', '%25'), '/', '%2F')" for name in columns)


def _set_clocks(con: duckdb.DuckDBPyConnection, zone: str, fate: int, attrition: Attrition) -> None:
    stays, patients = set_clocks(con, zone, fate)
    if stays:
        attrition.notes.append(
            Note(
                f"The clock of {zone} was set within {counted(stays, 'stay')} of {counted(patients, 'patient')}. Their "
                "times go on by the clock of their first measurement, so that every hour is one.",
                patients=patients,
            )
        )


def _refuse_years(con: duckdb.DuckDBPyConnection) -> None:
    (count,) = one(con, f"SELECT count(*) FROM sorted WHERE {out_of_years('time')}")
    if count:
        raise DataError(
            f"{count:,} measurements lie before the year {FIRST_YEAR} or after {LAST_YEAR}. Correct their times, or "
            "say how they are written."
        )


def _count_fates(con: duckdb.DuckDBPyConnection, attrition: Attrition, reasons: Sequence[Reason]) -> None:
    rows = con.execute("SELECT signal, fate, count(*) FROM events GROUP BY ALL ORDER BY ALL").fetchall()
    lasts = con.execute(
        "SELECT patient, max(fate) FROM events WHERE stay IS NOT NULL GROUP BY patient, stay"
    ).fetchall()
    ends = con.execute(
        "SELECT signal, last, count(*) FROM (SELECT signal, max(fate) AS last FROM events WHERE patient IS NOT NULL "
        "GROUP BY patient, signal) GROUP BY ALL"
    ).fetchall()
    signals = _in_order({signal for signal, _, _ in rows})
    for i, reason in enumerate(reasons):
        left = {name: sum(n for signal, at, n in rows if signal == name and at > i) for name in signals}
        stays = [patient for patient, last in lasts if last > i]
        attrition.add(
            reason.step,
            patients=len(set(stays)) if reason.counts_stays else None,
            stays=len(stays) if reason.counts_stays else None,
            rows=sum(left.values()),
            signals=left,
            lost={name: n for name in signals for signal, last, n in ends if signal == name and last == i},
        )


def _count_table(
    con: duckdb.DuckDBPyConnection, attrition: Attrition, step: str, table: str, count: str = "count(*)"
) -> None:
    counts = dict(con.execute(f"SELECT signal, CAST({count} AS BIGINT) FROM {table} GROUP BY signal").fetchall())
    patients, stays = one(con, f"SELECT count(DISTINCT patient), count(DISTINCT (patient, stay)) FROM {table}")
    attrition.add(
        step,
        patients=patients,
        stays=stays,
        rows=sum(counts.values()),
        signals={name: counts[name] for name in _in_order(set(counts))},
    )


def _described(con: duckdb.DuckDBPyConnection, path: Path, seconds: int) -> dict[str, object]:
    found = con.execute(
        f"SELECT signal, count(DISTINCT series), count(*), count(value) FROM {parquet_source(path)} GROUP BY signal"
    ).fetchall()
    each = {signal: {"series": series, "rows": n, "observed": seen} for signal, series, n, seen in found}
    total = {key: sum(counts[key] for counts in each.values()) for key in ("series", "rows", "observed")}
    return {
        "grid_seconds": seconds,
        "sha256": file_digest(path),
        **total,
        "missing": total["rows"] - total["observed"],
        "signals": {name: each[name] for name in _in_order(set(each))},
    }


def _in_order(names: set[str]) -> list[str]:
    """Known signals in the order of SIGNALS, then a caller's own by name."""
    return [name for name in SIGNALS if name in names] + sorted(names - set(SIGNALS))
