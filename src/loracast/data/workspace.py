"""A DuckDB database beside the output, for the length of one reading: memory stays flat, the rest spills to disk.

What DuckDB and Arrow make of a caller's file becomes a DataError here. Their own messages quote lines and values, which
are a patient's: only what is known to hold none is passed on.
"""

from __future__ import annotations

import csv
import errno
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.data.attrition import attrition_path
from loracast.errors import ConfigError, DataError
from loracast.files import claimed, regular, temporary_beside
from loracast.files.texts import one_file, plain_path, quoted

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT = "1GB"
# Nothing is fetched, whatever a file's name or content asks for.
OFFLINE = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}
ENCODINGS = ("utf-8", "latin-1")
LONGEST_HEADER = 2**20
"""Bytes of the first line of a CSV file; more is no header."""
REASONS = (
    (
        "not utf-8 encoded",
        "the text is not UTF-8: say how it is encoded (--encoding latin-1, say), or save it as UTF-8",
    ),
    ("Invalid unicode", "the text is not UTF-8: say how it is encoded (--encoding latin-1, say), or save it as UTF-8"),
    ("unterminated quote", "a quote is not closed, or stands within a value"),
    ("invalid state", "its lines end in different ways, or a quote stands where none may"),
    ("Maximum line size", "a line is longer than 2 MB, as where a quote is not closed"),
    ("magic bytes", "it is no Parquet file, or cut short"),
    ("too small to be a Parquet", "it is no Parquet file, or cut short"),
    ("No files found", "it is not there any more"),
)
"""What DuckDB says, and what it means."""


@contextmanager
def workspace(
    out: Path, *sources: Path, overwrite: bool = False, temp: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in a temporary folder beside `out`, or in `temp`, removed afterwards whatever happens.

    A long table will be written at `out`, with its attrition beside it, from `sources`: nobody else may write there
    meanwhile. Raises ConfigError as `claimed` does, DataError where a file that is being read is damaged or the disk
    is full; rows of patients that DuckDB quotes in its messages are left out.
    """
    try:
        with (
            claimed(out, *sources, overwrite=overwrite, inside=True, beside=(attrition_path(out),)),
            temporary_beside(out, temp) as folder,
            reading(out, temp),
        ):
            con = connect(folder / "work.duckdb")
            try:
                con.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
                con.execute(f"SET temp_directory = {quoted(folder / 'spill')}")
                # Only where it is on: in a notebook without ipywidgets even to turn it off is refused.
                if one(con, "SELECT current_setting('enable_progress_bar')") == (True,):
                    con.execute("SET enable_progress_bar = false")
                con.execute("SET TimeZone = 'UTC'")  # else times would depend on where the machine stands
                yield con
            finally:
                con.close()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        raise DataError(_explained(str(error), out, temp)) from error


def connect(path: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A connection to a database (in memory without a path) that fetches nothing; raises DataError for its name."""
    import duckdb  # a reader's settings must be known without it

    if path is None:
        return duckdb.connect(config=OFFLINE)
    text = plain_path(path)
    if "?" in text:
        raise DataError(f"{path.parent.parent} has a ? in its path, which DuckDB cannot work in. Give another --out.")
    return duckdb.connect(text, config=OFFLINE)


@contextmanager
def reading(out: Path, temp: Path | None = None) -> Iterator[None]:
    """Turn what a caller's file makes DuckDB raise into a DataError that quotes nothing of it.

    What is read goes to `out`, by way of `temp`. Wrong SQL is a mistake of ours and goes through, as does an
    interruption.
    """
    import duckdb

    ours = (duckdb.ParserException, duckdb.SyntaxException, duckdb.BinderException, duckdb.CatalogException)
    try:
        yield
    except duckdb.Error as error:
        full = _is_full(str(error))
        if isinstance(error, (*ours, duckdb.InterruptException)) and not full:
            raise
        raise DataError(_explained(str(error), out, temp)) from None  # a traceback would quote DuckDB
    except (OverflowError, UnicodeDecodeError) as error:  # a time or a text that Python has no room for
        raise DataError(f"Reading failed: a time or text is out of range. {_NOTHING} {out}.") from error


@contextmanager
def parquet(path: Path) -> Iterator[None]:
    """Turn what a damaged Parquet file makes Arrow raise into a DataError that quotes nothing of it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, KeyError, OverflowError, UnicodeDecodeError, ValueError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file ({type(error).__name__}): of another kind, cut short or damaged. "
            "Write or download it again."
        ) from error


def csv_source(path: Path, *, delimiter: str = ",", encoding: str = "utf-8", skip_rows: int = 0) -> str:
    """A table function over a CSV file: every column as text, quotes as RFC 4180 has them, nothing sniffed.

    DuckDB would decide on quoting from the first rows, and MIMIC quotes its first value after a hundred thousand; and
    it would take a file with one broken line for one without a header. A column without a name gets one.
    """
    if len(delimiter) != 1 or delimiter in '"\r\n' or encoding not in ENCODINGS:
        raise ConfigError(
            f"Delimiter {delimiter!r} and encoding {encoding!r} given. Give one character, such as ; or a tab, and "
            f"one of {', '.join(ENCODINGS)}."
        )
    names, ending = _header(path, delimiter, encoding, skip_rows)
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({one_file(path)}, auto_detect = false, header = true, delim = {quoted(delimiter)}, quote = '\"', "
        f"escape = '\"', encoding = {quoted(encoding)}, skip = {skip_rows}, new_line = '{ending}', "
        f"hive_partitioning = false, columns = {{{columns}}})"
    )


# Up to the first end of a line that is within no quotes.
_FIRST_LINE = re.compile(rb'((?:[^"\r\n]++|"(?:[^"]|"")*+")*+)(\r\n|\r|\n|\Z)')


def _header(path: Path, delimiter: str, encoding: str, skip_rows: int) -> tuple[list[str], str]:
    """The names of a CSV file's columns, and how its first line ends."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(regular(path), "rb") as stream:
            for _ in range(skip_rows):
                if not stream.readline(LONGEST_HEADER):
                    break
            first = stream.readline(LONGEST_HEADER)
            if opener is gzip.open:  # to the end: DuckDB does not look at a gzip's checksum
                while stream.read(2**20):
                    pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged ({error}). Download it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Copy it again.") from error
    found = _FIRST_LINE.match(first)
    if found is None or len(found[1]) >= LONGEST_HEADER - 2:
        raise DataError(f"{path} has no header: its first line does not end, or a quote in it. {_HEADER}")
    try:
        line = found[1].decode("utf-8-sig" if encoding == "utf-8" else encoding)
        names = next(csv.reader([line], delimiter=delimiter), [])
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} has a header that is no {encoding.upper()}. Say how it is encoded (--encoding, such as latin-1), "
            "or save it as UTF-8."
        ) from error
    except csv.Error as error:  # a name of 128 KiB
        raise DataError(f"{path} has a header that cannot be read. {_HEADER}") from error
    if not names:
        raise DataError(f"{path} does not begin with a line of different column names. {_HEADER}")
    others = [sign for sign in (",", ";", "\t", "|") if sign != delimiter and sign in names[0]]
    if len(names) == 1 and others:
        raise DataError(
            f"{path} has one column only, with {others[0]!r} in its name: its delimiter is not {delimiter!r}. Say so "
            f"(--delimiter {others[0]!r})."
        )
    names = [name if name.strip() else _unnamed(place, names) for place, name in enumerate(names)]
    refuse_twins(str(path), names)
    return names, {b"\r\n": "\\r\\n", b"\r": "\\r"}.get(found[2], "\\n")


_HEADER = "Give a CSV file with a header."


def _unnamed(place: int, names: Sequence[str]) -> str:
    """A name for a column that has none, as pandas gives it."""
    name = f"Unnamed: {place}"
    return name if name not in names else f"{name} (without a name)"


def refuse_twins(what: str, names: Sequence[str]) -> None:
    """Raise DataError where two columns have one name but for upper and lower case: DuckDB takes them for one."""
    lower = [name.lower() for name in names]
    twins = [name for name, small in zip(names, lower, strict=True) if lower.count(small) > 1]
    if twins:
        raise DataError(
            f"{what} does not begin with a line of different column names, upper and lower case alike: "
            f"{told_names(twins)}. Rename one of them."
        )


def told_names(names: Iterable[str]) -> str:
    """Names of columns for a message; not those that look like a row of values, which would be a patient's."""
    shown = list(names)
    if any(re.fullmatch(r"[\d\s.:,/TZ+-]*\d[\d\s.:,/TZ+-]*", name) for name in shown):
        return (
            f"{len(shown)} columns whose names are numbers or times (not shown: a row without a header is a patient's)"
        )
    return ", ".join(shown)


def source_of(path: Path, **csv_form: Any) -> str:
    """A table function over a `.csv`, `.csv.gz` or `.parquet` file, or over a folder `….parquet` of such files.

    `csv_form` is what `csv_source` takes, for a CSV file alone. Raises DataError for another kind.
    """
    name = path.name.lower()
    if name.endswith(".parquet"):
        return parquet_source(path)
    if name.endswith((".csv", ".csv.gz")):
        return csv_source(path, **csv_form)
    raise DataError(f"{path} is of no kind that can be read. Give a .csv, .csv.gz or .parquet file.")


def parquet_source(path: Path) -> str:
    """A table function over a Parquet file, or over a folder that was written in parts.

    The folders above are no part of it: DuckDB would take `year=1/` in a path for a column.
    """
    import pyarrow.parquet as pq

    files, keyed = [path], False
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*.parquet") if file.is_file() and file.name[0] not in "._")
        if not inside:
            raise DataError(f"{path} is a folder without .parquet files. Give a file, or a folder of its parts.")
        files, keyed = inside, any("=" in part for file in inside for part in file.relative_to(path).parts[:-1])
        if keyed and any("=" in part for part in path.absolute().parts):
            raise DataError(f"{path} has a = in its path, which reads as one more column of its parts. Move it.")
    with parquet(path):
        refuse_twins(str(path), pq.read_schema(regular(files[0])).names)
    listed = ", ".join(one_file(regular(file)) for file in files)
    return f"read_parquet([{listed}], hive_partitioning = {str(keyed).lower()})"


def columns_of(con: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    """Name and SQL type of each column of a table function, in order."""
    return {row[0]: row[1] for row in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}


def one(con: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    """The single row of a query of counts."""
    (row,) = con.execute(query).fetchall()
    return tuple(row)


_NOTHING = "Check that the file is whole; nothing was written to"


def _explained(message: str, out: Path, temp: Path | None = None) -> str:
    text = _without_values(message)
    if _is_full(message):
        places = " or ".join(str(place) for place in (out.parent, temp) if place is not None)
        return (
            f"The disk under {places} is full. Nothing was written to {out}. Free some space, or put what is needed "
            "meanwhile elsewhere (temp=..., --temp), and repeat."
        )
    if "GZIP" in message.upper():
        return f"A compressed file is truncated or damaged: {text}. Download it again and compare its checksum."
    return f"Reading failed: {text}. {_NOTHING} {out}."


def _without_values(message: str) -> str:
    """What DuckDB says, but for lines and values that it quotes: kind of error, number of the line, file and reason."""
    kind = re.match(r"[A-Z][A-Za-z-]*( [A-Z][A-Za-z-]*)* Error", message)
    parts = [kind[0] if kind else "an error of DuckDB"]
    line = re.search(r"CSV Error on Line: (\d+)", message)
    file = re.search(r"^ *file = (/.+)$", message, re.MULTILINE)
    columns = re.search(r"Expected Number of Columns: \d+ Found: \d+", message)
    parts += [f"line {int(line[1]):,}"] if line else []
    parts += [f"of {file[1]}"] if file and Path(file[1]).is_file() else []
    reason = columns[0] if columns else next((meant for sign, meant in REASONS if sign in message), None)
    return ", ".join(parts) + (f" ({reason})" if reason else "")


def _is_full(message: str) -> bool:
    return any(sign in message for sign in ("No space left", "File too large", "Disk quota exceeded"))
