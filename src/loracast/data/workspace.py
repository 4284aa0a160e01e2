"""A DuckDB database beside the output, for the length of one reading: memory stays flat, the rest spills to disk."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from loracast.errors import DataError

MEMORY_LIMIT = "1GB"
# What a caller's file or disk can cause. Everything else that DuckDB raises would be a mistake of ours.
CALLER_ERRORS = (
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.ConversionException,
    duckdb.OutOfMemoryException,
)


@contextmanager
def workspace(out: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in a temporary folder beside `out`, removed afterwards whatever happens.

    Raises DataError where a file that is being read is damaged or the disk is full; rows of patients that DuckDB
    quotes in its messages are left out.
    """
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
    except CALLER_ERRORS as error:
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


def csv_source(path: Path, delimiter: str = ",") -> str:
    """A table function over a CSV file: every column as text, quotes as RFC 4180 has them, nothing sniffed.

    DuckDB would decide on quoting from the first rows, and MIMIC quotes its first value after a hundred thousand.
    """
    return (
        f"read_csv({quoted(path)}, header = true, delim = {quoted(delimiter)}, quote = '\"', escape = '\"', "
        "all_varchar = true)"
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
    row = con.execute(query).fetchone()
    assert row is not None
    return tuple(row)


def _explained(message: str, out: Path) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip() and "Original Line" not in line]
    text = " ".join(lines[:2])
    if "No space left" in text or "File too large" in text or "quota" in text.lower():
        return f"The disk under {out.parent} is full: {text}. Nothing was written to {out}. Free some space and repeat."
    if "GZIP" in text.upper():
        return f"A compressed file is truncated or damaged: {text}. Download it again and compare its checksum."
    return f"Reading failed: {text}. Check that the file is whole; nothing was written to {out}."
