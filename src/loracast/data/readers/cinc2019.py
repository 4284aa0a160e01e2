"""PhysioNet/CinC Challenge 2019: hourly records of one patient a file, from a folder or straight from an archive.

The files carry no dates. Hour ICULOS (hours since admission to the ICU) becomes the time 2100-01-01 00:00 + ICULOS
hours for every patient, so that dates mean nothing between patients. SepsisLabel selects patients and is never an
input: it is set six hours early, and knows the future. Set A comes from the hospital of MIMIC and may share patients
with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from loracast.data.attrition import Attrition, Note
from loracast.data.gridding import Reason, fate, grid_and_write, nothing_left, out_of_range
from loracast.data.readers import Reader, quiet
from loracast.data.readers.archive import Found, Record, records_of
from loracast.data.schema import SIGNALS, TableInfo, signals_named
from loracast.data.workspace import one, told_names, workspace
from loracast.errors import DataError
from loracast.files.texts import quoted
from loracast.spec import AtLeastZero
from loracast.types import Say

if TYPE_CHECKING:
    import duckdb
    import numpy as np

COLUMNS: dict[str, str] = {
    "heart_rate": "HR",
    "map": "MAP",
    "sbp": "SBP",
    "dbp": "DBP",
    "resp_rate": "Resp",
    "spo2": "O2Sat",
    "temperature": "Temp",
    "glucose": "Glucose",
}

EPOCH = "TIMESTAMP '2100-01-01 00:00:00'"
GRID_SECONDS = 3600
LICENCE = "CC BY 4.0 (Reyna et al., Crit Care Med 48(2):210-217, 2020; doi 10.13026/v64v-d857)"
FILES_AT_ONCE = 100
MOST_HOURS = 100_000
"""More than eleven years in the ICU; the longest record has 336 hours."""


class Cinc2019Reader(Reader):
    """The .psv files of the Challenge 2019, whose names are patient and stay.

    They come as a .tar, .tar.xz, .tar.gz or .zip, or as a folder (searched throughout) of files and archives.
    """

    summary: ClassVar[str] = "Read the PhysioNet/CinC Challenge 2019."
    example: ClassVar[str] = "loracast data cinc2019 training_setB.tar.xz --septic-only --out septic.parquet"

    source: Literal["cinc2019"] = "cinc2019"
    path: Path
    """Folder or archive of the .psv files."""
    signals: tuple[str, ...] = ("heart_rate", "map", "resp_rate")
    """heart_rate, map, sbp, dbp, resp_rate, spo2, temperature, glucose."""
    septic_only: bool = False
    """Only patients with a SepsisLabel of 1 at some hour; all their hours are kept, most of them before it."""
    min_hours: AtLeastZero = 12
    """Least number of hourly rows."""

    def read(
        self, out: Path | str, say: Say = quiet, *, overwrite: bool = False, temp: Path | None = None
    ) -> Attrition:
        """Write the chosen signals as an hourly long table at `out`, and what was dropped beside it.

        Raises DataError for a missing or damaged source, a file without a needed column or with text for a number,
        two files of one name, an unknown signal, and where nobody is left (with the attrition table). `overwrite` and
        `temp`: see `Reader.read`.
        """
        names = signals_named(self.signals)
        attrition = Attrition()
        units = {name: SIGNALS[name].unit for name in names}
        cohort = "septic" if self.septic_only else "all"
        info = TableInfo("cinc2019", False, GRID_SECONDS, units, LICENCE, cohort)
        with workspace(Path(out), self.path, overwrite=overwrite, temp=temp) as con:
            found = _load(con, self.path, names, say)
            _select(con, found, self.septic_only, self.min_hours, attrition)
            reasons = _fates(con, names, attrition)
            grid_and_write(con, Path(out), info, attrition, reasons, say, overwrite=overwrite)
        return attrition


def _load(con: duckdb.DuckDBPyConnection, source: Path, names: Sequence[str], say: Say) -> Found:
    """Fill the table `hours` (patient, hour, septic, one column a signal), a few hundred files at a time."""
    import numpy as np
    import pyarrow as pa

    columns = ", ".join(f"{name} DOUBLE" for name in names)
    con.execute(f"CREATE TABLE hours (patient VARCHAR, hour BIGINT, septic BOOLEAN, {columns})")
    found = Found()
    seen: set[str] = set()
    records = _numbers(records_of(source, found), names, seen)
    while chunk := list(islice(records, FILES_AT_ONCE)):
        rows = np.concatenate([numbers for _, numbers in chunk])
        table = {
            "patient": np.repeat([patient for patient, _ in chunk], [len(numbers) for _, numbers in chunk]),
            "hour": rows[:, 0].astype(np.int64),
            "septic": rows[:, 1] == 1,
            **{name: rows[:, 2 + i] for i, name in enumerate(names)},
        }
        con.register("chunk", pa.table(table))
        con.execute("INSERT INTO hours SELECT * FROM chunk")
        con.unregister("chunk")
        say(f"Read {len(seen):,} patients")
    if not seen:
        raise DataError(f"No .psv file in {source}. Give the folder or archive of training_setA or training_setB.")
    if found.linked:
        say(f"{found.linked:,} members named .psv are links or no files at all, and were not read")
    if found.others:
        say(f"{found.others:,} members of other names were not read")
    return found


def _numbers(records: Iterable[Record], names: Sequence[str], seen: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each patient with the numbers of the file; its text is let go of at once. Patients are added to `seen`."""
    for record in records:
        if record.patient in seen:
            raise DataError(f"{record.told} has the name of another. Keep one of the two: a file is a patient.")
        seen.add(record.patient)
        yield record.patient, _parsed(record, names)


def _parsed(record: Record, names: Sequence[str]) -> np.ndarray:
    """Numbers of one file, shape (hour, 2 + signal): ICULOS, SepsisLabel, then the signals, NaN where not measured.

    Messages count the files: their names are patients.
    """
    import numpy as np

    lines = record.text.splitlines()
    header = lines[0].split("|") if lines else []
    wanted = ["ICULOS", "SepsisLabel", *(COLUMNS[name] for name in names)]
    missing = [column for column in wanted if column not in header]
    published = "Give the files of the Challenge 2019 as published."
    if missing:
        has = told_names(header) if any(header) else "nothing"
        raise DataError(f"{record.told} has no column {', '.join(missing)}. It has: {has}. {published}")
    if len(set(header)) < len(header):
        raise DataError(f"{record.told} has two columns of one name. {published}")
    places = [header.index(column) for column in wanted]
    cells = [line.split("|") for line in lines[1:] if line]
    if any(len(row) != len(header) for row in cells):
        raise DataError(f"{record.told} has a line that does not fit its header. {published}")
    if any(
        "_" in line or not line.isascii() for line in lines[1:]
    ):  # Python reads 1_0 as ten, and digits of every script
        raise DataError(f"{record.told} has signs that no number has. {published}")
    try:
        numbers = np.array([[row[place] for place in places] for row in cells], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{record.told} has text for a number. {published}") from error
    numbers = numbers.reshape(-1, len(wanted))
    hours, labels = numbers[:, 0], numbers[:, 1]
    if not ((hours >= 0) & (hours <= MOST_HOURS) & (hours == np.floor(hours))).all():
        raise DataError(
            f"{record.told} has an hour without ICULOS, or with one that is no number of hours. {published}"
        )
    if not np.isin(labels, (0, 1)).all():
        raise DataError(f"{record.told} has a SepsisLabel that is neither 0 nor 1. {published}")
    return numbers


def _select(
    con: duckdb.DuckDBPyConnection, found: Found, septic_only: bool, min_hours: float, attrition: Attrition
) -> None:
    """Choose the patients, counting those that each rule drops."""
    for step, count in (("members named .psv", found.files + found.linked), ("files, not links", found.files)):
        attrition.add(step, patients=count, stays=count)
    con.execute(
        "CREATE TABLE candidates AS SELECT patient, bool_or(septic) AS septic, count(*) AS hours FROM hours "
        "GROUP BY patient"
    )
    rules = [("patients with an hourly row", "true")]
    if septic_only:
        rules.append(("septic (a SepsisLabel of 1)", "septic"))
    rules.append((f"{min_hours:g} hourly rows or more", f"hours >= {min_hours}"))
    held = "true"
    for step, rule in rules:
        held = f"{held} AND {rule}"
        (count,) = one(con, f"SELECT count(*) FROM candidates WHERE {held}")
        attrition.add(step, patients=count, stays=count)
    if attrition.steps[-1].patients == 0:
        raise nothing_left(attrition)
    con.execute(f"DELETE FROM hours WHERE patient NOT IN (SELECT patient FROM candidates WHERE {held})")
    if septic_only:
        hours, before = one(con, "SELECT count(*), count(*) FILTER (NOT septic) FROM hours")
        attrition.notes.append(
            Note(
                f"{before / hours:.0%} of the hours of these patients ({before:,} of {hours:,}) bear a "
                "SepsisLabel of 0: these are patients who became septic, not hours of sepsis.",
                patients=attrition.steps[-1].patients,
            )
        )


def _fates(con: duckdb.DuckDBPyConnection, names: Sequence[str], attrition: Attrition) -> list[Reason]:
    """Make the table `events` from the hours of the patients selected; return the reasons its fates refer to."""
    (hours,) = one(con, "SELECT count(*) FROM hours")
    attrition.add("hourly entries of the chosen signals", rows=hours * len(names), signals=dict.fromkeys(names, hours))
    reasons = [
        Reason("with a value", "value IS NULL OR isnan(value)"),
        Reason("within the plausible range", out_of_range(names)),
    ]
    each = " UNION ALL ".join(
        f"SELECT patient, patient AS stay, {quoted(name)} AS signal, {EPOCH} + to_hours(hour) AS time, {name} AS value "
        "FROM hours"
        for name in names
    )
    con.execute(f"CREATE TABLE events AS SELECT *, {fate(reasons)} AS fate FROM ({each})")
    return reasons
