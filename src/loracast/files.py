"""Files that appear whole or not at all, files of others that are looked at first, and texts made safe for DuckDB."""

import hashlib
import json
import os
import re
import shutil
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loracast.errors import ConfigError, DataError, LoracastError

MOST_TEXT = 2**28
"""Bytes of the largest JSON or TOML that is read: nothing that loracast writes comes near it."""
Mistake = type[LoracastError]


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a temporary sibling of `path` to write to, and rename it to `path` once the block has succeeded.

    Works for a file and for a folder (the caller makes it). On any failure, a full disk included, the temporary is
    removed and whatever stood under `path` before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir():
            _remove(path)
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all; NaN and infinity are refused (use None)."""
    with written(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def regular(path: Path, error: Mistake = DataError) -> Path:
    """The path of a file, looked at before it is opened: a pipe would make the reader wait for ever.

    Raises `error` where it is missing, a link to nothing, a folder, a pipe, socket or device, or not yours to read.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as missing:
        what = "is a link to a file that is not there" if path.is_symlink() else "is not there"
        raise error(f"{path} {what}. Give a file that exists.") from missing
    except (OSError, ValueError) as fault:  # a circle of links, a forbidden folder, a zero byte in the name
        why = (fault.strerror if isinstance(fault, OSError) else None) or "its name cannot be that of a file"
        raise error(f"{path} cannot be read ({why}). Give another path.") from fault
    if stat.S_ISDIR(mode):
        raise error(f"{path} is a folder, where a file is wanted. Give a file.")
    if not stat.S_ISREG(mode):
        raise error(f"{path} is a pipe, a socket or a device, where a file is wanted. Copy its content to a file.")
    if not os.access(path, os.R_OK):
        raise error(f"{path} is not yours to read. Ask its owner, or give another file.")
    return path


def read_text(path: Path, error: Mistake = DataError, *, most: int = MOST_TEXT) -> str:
    """A text file in UTF-8; raises `error` as `regular` does, and where it is no such text or beyond `most` bytes."""
    try:
        with regular(path, error).open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as fault:
        raise error(f"{path} cannot be read ({fault.strerror}). Copy it again.") from fault
    if len(content) > most:
        raise error(f"{path} has more than {most / 2**20:g} MiB, which no such file needs. Give the right file.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(f"{path} is not UTF-8 (byte {fault.start:,}). Save it as UTF-8, or copy it again.") from fault


def read_json(path: Path, error: Mistake = DataError, *, most: int = MOST_TEXT) -> Any:
    """Read a JSON file; raises `error` as `read_text` does, and where it is not JSON or names a key twice.

    Content is never quoted: it may be a patient's.
    """
    text = read_text(path, error, most=most)
    try:
        return json.loads(text, object_pairs_hook=_without_twins, parse_constant=_not_json)
    except json.JSONDecodeError as fault:
        raise error(f"{path} is not JSON ({fault.msg}, line {fault.lineno}). {_AGAIN}") from fault
    except _TwinsError as fault:
        raise error(f"{path} is not JSON that has one meaning: it {fault}. {_AGAIN}") from fault
    except ValueError as fault:  # a whole number of thousands of digits
        raise error(f"{path} is not JSON that can be read: a number is too long. {_AGAIN}") from fault
    except RecursionError as fault:
        raise error(f"{path} is not JSON that can be read: it is nested too deeply. {_AGAIN}") from fault


_AGAIN = "Copy it again, or have it written anew."


class _TwinsError(ValueError):
    """What JSON has twice, or should not have."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _TwinsError("names a key twice")
    return found


def _not_json(name: str) -> Any:
    raise _TwinsError(f"holds {name}, which is no number")


def read_toml(path: Path, error: Mistake = ConfigError) -> dict[str, Any]:
    """Read a TOML file; raises `error` as `read_text` does, and where it is not TOML."""
    try:
        return tomllib.loads(read_text(path, error, most=2**22))
    except tomllib.TOMLDecodeError as fault:
        raise error(f"{path.name} is not valid TOML: {fault}.") from fault
    except (RecursionError, ValueError) as fault:  # a whole number of thousands of digits
        why = "it is nested too deeply" if isinstance(fault, RecursionError) else "a number is too long"
        raise error(f"{path.name} is not valid TOML: {why}.") from fault


def digest(content: Any) -> str:
    """Sixteen hexadecimal digits that stand for any JSON-able content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def quoted(text: str | Path) -> str:
    """A SQL string literal; of a path that is written to, give it whole (`absolute`): DuckDB reads a leading ~."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def one_file(path: Path) -> str:
    """A SQL string literal: the DuckDB pattern that fits this file and no other, whatever is in its name.

    DuckDB takes `[ ] * ?` for a pattern, what begins with `~` or `s3://` for another place, and a backslash for the end
    of a folder's name. The last has no other spelling: raises DataError for it, and for a name that is not UTF-8.
    """
    text = plain_path(path)
    return quoted(re.sub(r"[\[*?]", lambda sign: f"[{sign[0]}]", text))


def plain_path(path: Path) -> str:
    """A whole path that DuckDB can be given; raises DataError where it has signs that DuckDB reads otherwise."""
    text = str(path.absolute())
    if "\\" in text and os.sep == "/":
        raise DataError(f"{text} has a backslash in its path, which DuckDB takes for a folder. Rename it.")
    if "\0" in text or not _is_utf8(text):
        shown = text.encode(errors="replace").decode()
        raise DataError(f"{shown} has a name that is no text in UTF-8. Rename it.")
    return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
