"""A DuckDB database beside the output, for the length of one reading: memory stays flat, the rest spills to disk."""

from __future__ import annotations

import csv
import errno
import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from loracast.errors import DataError

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT = "1GB"
DUCKDB_REASONS = ("Expected Number of Columns", "Invalid unicode", "Value with unterminated quote")


@contextmanager
def workspace(out: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in a temporary folder beside `out`, removed afterwards whatever happens.

    Raises DataError where a file that is being read is damaged or the disk is full; rows of patients that DuckDB
    quotes in its messages are left out.
    """
    import duckdb  # a reader's settings must be known without it

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            con = duckdb.connect(str(Path(folder) / "work.duckdb"))
            try:
                con.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
                con.execute(f"SET temp_directory = {quoted(Path(folder) / 'spill')}")
                con.execute("SET enable_progress_bar = false")
                yield con
            finally:
                con.close()
    except duckdb.Error as error:
        # What a caller's file or disk can cause. Everything else that DuckDB raises would be a mistake of ours.
        theirs = (
            duckdb.IOException,
            duckdb.InvalidInputException,
            duckdb.ConversionException,
            duckdb.OutOfMemoryException,
        )
        if not isinstance(error, theirs) and not _is_full(str(error)):
            raise
        raise DataError(_explained(str(error), out)) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        raise DataError(_explained(str(error), out)) from error


def quoted(text: str | Path) -> str:
    """A SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def csv_source(path: Path) -> str:
    """A table function over a CSV file: every column as text, quotes as RFC 4180 has them, nothing sniffed.

    DuckDB would decide on quoting from the first rows, and MIMIC quotes its first value after a hundred thousand; and
    it would take a file with one broken line for one without a header.
    """
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as stream:
            first = stream.readline()
        names = next(csv.reader([first.decode("utf-8-sig").rstrip("\r\n")]), [])
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise DataError(f"{path} is truncated or damaged ({error}). Download it again.") from error
    if not names or len(set(names)) != len(names):
        raise DataError(f"{path} does not begin with a line of different column names. Give a CSV file with a header.")
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in names)
    ending = "'\\r\\n'" if first.endswith(b"\r\n") else "'\\n'"
    return (
        f"read_csv({quoted(path)}, auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', "
        f"new_line = {ending}, columns = {{{columns}}})"
    )


def source_of(path: Path) -> str:
    """A table function over a `.csv`, `.csv.gz` or `.parquet` file; raises DataError for another kind."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        return f"read_parquet({quoted(path)})"
    if name.endswith((".csv", ".csv.gz")):
        return csv_source(path)
    raise DataError(f"{path} is of no kind that can be read. Give a .csv, .csv.gz or .parquet file.")


def columns_of(con: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    """Name and SQL type of each column of a table function, in order."""
    return {row[0]: row[1] for row in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def one(con: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    """The single row of a query of counts."""
    (row,) = con.execute(query).fetchall()
    return tuple(row)


def _explained(message: str, out: Path) -> str:
    first, *rest = message.splitlines()
    # DuckDB quotes the line it stumbled over, which is a patient's.
    text = " ".join([first, *(line for line in rest if line.startswith(DUCKDB_REASONS))])
    if _is_full(message):
        return f"The disk under {out.parent} is full: {text}. Nothing was written to {out}. Free some space and repeat."
    if "GZIP" in text.upper():
        return f"A compressed file is truncated or damaged: {text}. Download it again and compare its checksum."
    return f"Reading failed: {text}. Check that the file is whole; nothing was written to {out}."


def _is_full(message: str) -> bool:
    return any(sign in message for sign in ("No space left", "File too large", "Disk quota exceeded"))
