"""PhysioNet/CinC Challenge 2019: hourly records of one patient a file, from a folder or straight from an archive.

The files carry no dates. Hour ICULOS (hours since admission to the ICU) becomes the time 2100-01-01 00:00 + ICULOS
hours for every patient, so that dates mean nothing between patients. SepsisLabel selects patients and is never an
input: it is set six hours early, and knows the future. Set A comes from the hospital of MIMIC and may share patients
with it.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from loracast.data.attrition import Attrition
from loracast.data.gridding import Reason, fate, grid_and_write, nothing_left, out_of_range
from loracast.data.readers import Reader, quiet
from loracast.data.schema import SIGNALS, TableInfo, signals_named
from loracast.data.workspace import one, quoted, workspace
from loracast.errors import DataError
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
TAR_OPENERS: dict[str, Callable[..., Any]] = {
    ".tar.xz": lzma.open,
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar": open,
}
FILES_AT_ONCE = 500
DAMAGED = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    tarfile.ReadError,
    zipfile.BadZipFile,
    UnicodeDecodeError,
)


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
    """Only patients with a SepsisLabel."""
    min_hours: AtLeastZero = 12
    """Least number of hourly rows."""

    def read(self, out: Path | str, say: Say = quiet) -> Attrition:
        """Write the chosen signals as an hourly long table at `out`, and what was dropped beside it.

        Raises DataError for a missing or damaged source, a file without a needed column or with text for a number,
        two files of one name, an unknown signal, and where nobody is left (with the attrition table).
        """
        names = signals_named(self.signals)
        attrition = Attrition()
        units = {name: SIGNALS[name].unit for name in names}
        cohort = "septic" if self.septic_only else "all"
        info = TableInfo("cinc2019", False, GRID_SECONDS, units, LICENCE, cohort)
        with workspace(Path(out)) as con:
            _load(con, self.path, names, say)
            _select(con, self.septic_only, self.min_hours, attrition)
            reasons = _fates(con, names, attrition)
            grid_and_write(con, Path(out), info, attrition, reasons, say)
        return attrition


def _load(con: duckdb.DuckDBPyConnection, source: Path, names: Sequence[str], say: Say) -> None:
    """Fill the table `hours` (patient, hour, septic, one column a signal), a few hundred files at a time."""
    import numpy as np
    import pyarrow as pa

    columns = ", ".join(f"{name} DOUBLE" for name in names)
    con.execute(f"CREATE TABLE hours (patient VARCHAR, hour BIGINT, septic BOOLEAN, {columns})")
    files = _files(source)
    seen: set[str] = set()
    while chunk := list(islice(files, FILES_AT_ONCE)):
        for patient, _ in chunk:
            if patient in seen:
                raise DataError(f"{source} holds two files named {patient}.psv. Keep one of them: a file is a patient.")
            seen.add(patient)
        parsed = [_parsed(patient, text, names) for patient, text in chunk]
        rows = np.concatenate(parsed)
        table = {
            "patient": np.repeat([patient for patient, _ in chunk], [len(numbers) for numbers in parsed]),
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


def _files(source: Path) -> Iterator[tuple[str, str]]:
    """Patient and text of each .psv file, one at a time, nothing extracted to disk."""
    if not source.exists():
        raise DataError(f"No such source: {source}. Give the folder or archive of the .psv files.")
    if not source.is_dir():
        yield from _unpacked(source)
        return
    for path in sorted(source.rglob("*")):
        ending = path.name.lower().endswith
        if _is_record(path.name) or (ending((".zip", *TAR_OPENERS)) and not path.name.startswith(".")):
            yield from _unpacked(path)


def _unpacked(archive: Path) -> Iterator[tuple[str, str]]:
    """The records of an archive; a record is one itself."""
    try:
        if _is_record(archive.name):
            yield archive.stem, archive.read_text(encoding="utf-8")
        elif archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                for entry in file.namelist():
                    if _is_record(entry):
                        yield PurePosixPath(entry).stem, file.read(entry).decode("utf-8")
        else:
            yield from _tar_files(archive)
    except DAMAGED as error:
        raise DataError(f"{archive} is truncated or damaged ({error}). Download it again.") from error


def _tar_files(source: Path) -> Iterator[tuple[str, str]]:
    opener = next((TAR_OPENERS[ending] for ending in TAR_OPENERS if source.name.lower().endswith(ending)), None)
    if opener is None:
        raise DataError(
            f"{source} is of no kind that can be read. Give a folder, a .zip or a {', '.join(TAR_OPENERS)}."
        )
    with opener(source, "rb") as stream:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() and _is_record(member.name) else None
                if content is not None:
                    yield PurePosixPath(member.name).stem, content.read().decode("utf-8")
        # To the last byte: a cut between two members looks like the end to tarfile, but not to the decompressor.
        while stream.read(1 << 20):
            pass


def _is_record(name: str) -> bool:
    """Whether a path is a patient's record; an archive made on a Mac holds `._` twins that are not."""
    base = PurePosixPath(name).name
    return base.lower().endswith(".psv") and not base.startswith(".")


def _parsed(patient: str, text: str, names: Sequence[str]) -> np.ndarray:
    """Numbers of one file, shape (hour, 2 + signal): ICULOS, SepsisLabel, then the signals, NaN where not measured."""
    import numpy as np

    lines = text.splitlines()
    header = lines[0].split("|") if lines else []
    wanted = ["ICULOS", "SepsisLabel", *(COLUMNS[name] for name in names)]
    missing = [column for column in wanted if column not in header]
    if missing:
        raise DataError(
            f"{patient}.psv has no column {', '.join(missing)}. It has: {', '.join(header) or 'nothing'}. Give the "
            "files of the Challenge 2019 as published."
        )
    places = [header.index(column) for column in wanted]
    try:
        cells = [line.split("|") for line in lines[1:] if line]
        numbers = np.array([[row[place] for place in places] for row in cells], dtype=np.float64)
    except (ValueError, IndexError) as error:
        raise DataError(f"{patient}.psv has a line that does not fit its header, or text for a number.") from error
    numbers = numbers.reshape(-1, len(wanted))
    if not np.isfinite(numbers[:, 0]).all():
        raise DataError(f"{patient}.psv has an hour without ICULOS. Give the files of the Challenge 2019 as published.")
    return numbers


def _select(con: duckdb.DuckDBPyConnection, septic_only: bool, min_hours: float, attrition: Attrition) -> None:
    con.execute(
        "CREATE TABLE candidates AS SELECT patient, bool_or(septic) AS septic, count(*) AS hours FROM hours "
        "GROUP BY patient"
    )
    rules = [("patients in the files", "true")]
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
