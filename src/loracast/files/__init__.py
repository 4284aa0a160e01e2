"""Files that appear whole or not at all, and files of others that are looked at first; texts made safe: `texts`.

One process at a time writes to a place, and nothing that stands is replaced or removed unasked. What is not whole yet
lies in a hidden folder beside its final name, `.NAME.XXXXXXXX.loracast.partial`, on which its process holds a lock of
the operating system. The system lets go of the lock when the process ends, however it ends: so a folder whose lock can
be had was left by a dead process, whatever its number was, and is swept.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.errors import ConfigError, DataError, LoracastError

if TYPE_CHECKING:
    from filelock import FileLock

PARTIAL = ".loracast.partial"
LOCK = ".loracast.lock"
NEW, OLD = "new", "old"
"""Where in such a folder the new lies, and the old while the new takes its name."""
MOST_TEXT = 2**28
"""Bytes of the largest JSON or TOML that is read: nothing that loracast writes comes near it."""
Mistake = type[LoracastError]


@contextmanager
def written(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary place to write to, and rename it to `path` once the block has succeeded.

    Works for a file and for a folder (the caller makes it). On any failure, a full disk included, the temporary is
    removed and whatever stood under `path` before is untouched. Raises ConfigError where something stands under `path`
    and `overwrite` is not given; with it the new is whole before the old goes.
    """
    with temporary_beside(path) as place:
        refuse_taken(path, overwrite=overwrite)
        temporary = place / NEW / _absolute(path).name
        temporary.parent.mkdir()
        yield temporary
        refuse_taken(path, overwrite=overwrite)  # it may have come meanwhile
        if temporary.is_dir():
            _replace_folder(temporary, _absolute(path), place)
        else:
            os.replace(temporary, path)


def _replace_folder(temporary: Path, path: Path, place: Path) -> None:
    """Rename the old aside and the new in. A kill between the two leaves the old to `_clear`, which puts it back."""
    if os.path.lexists(path):
        (place / OLD).mkdir()
        os.rename(path, place / OLD / path.name)
    os.rename(temporary, path)


@contextmanager
def claimed(
    out: Path, *sources: Path | str | None, overwrite: bool = False, inside: bool = False, beside: tuple[Path, ...] = ()
) -> Iterator[None]:
    """Keep `out` to this process for the length of a command, which will put something new there, made from `sources`.

    Raises ConfigError where another process is at it; where it, or a file that is written `beside` it, exists and
    `overwrite` is not given; where it is one of the sources or holds one, or lies in one that is a folder (a new
    file may where `inside` is true). Sources that are not there, such as names of the Hub, do not matter.
    """
    with alone(out):
        sweep(_absolute(out).parent)
        for path in (out, *beside):
            refuse_taken(path, overwrite=overwrite)
        _refuse_sources(out, sources, inside=inside and not out.exists())
        yield


@contextmanager
def alone(path: Path, *, wait: float = 0) -> Iterator[None]:
    """Keep every other process from `path` meanwhile, waiting for it for `wait` seconds at most.

    The system lets go of the lock if this process is killed. Raises ConfigError where another process has it.
    """
    from filelock import FileLock, Timeout  # asyncio comes with it, which most commands need not wait for

    place = _absolute(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    # Not at once: whoever sweeps here holds the lock for a moment, to see whether anybody else does.
    lock = FileLock(place.with_name(f".{place.name}{LOCK}"), timeout=max(wait, 0.25))
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"Another process is at {path}. Wait for it, or end it, or give another --out; nothing was changed."
        ) from error
    try:
        yield
    finally:
        _let_go(lock)


def _let_go(lock: "FileLock") -> None:
    """Release a lock and remove its file: before, so that the file of whoever takes it next is not removed."""
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


@contextmanager
def temporary_beside(path: Path, within: Path | None = None) -> Iterator[Path]:
    """A folder for what is not whole yet, beside `path` or `within` another folder; removed whatever happens.

    What dead processes left there is swept first.
    """
    path = _absolute(path)
    folder = path.parent if within is None else _absolute(within)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    place, lock = _held(folder, path.name)
    try:
        yield place
    finally:
        _clear(place)
        lock.release()


def _held(folder: Path, name: str) -> "tuple[Path, FileLock]":
    """A new folder of ours with its lock; another one where a process has swept it before it was locked."""
    from filelock import FileLock, Timeout

    # Only signs that DuckDB takes as they are in a database's name, and few enough for any file system.
    plain = re.sub(r"[^\w.-]", "_", name)[:64]
    while True:
        place = Path(tempfile.mkdtemp(PARTIAL, f".{plain}.", folder))
        lock = FileLock(place / "lock", timeout=0)
        with suppress(Timeout, FileNotFoundError):
            lock.acquire()
            return place, lock


def sweep(folder: Path, *, deep: bool = False) -> None:
    """Remove what dead processes left in `folder`, or `deep` anywhere below it.

    An old folder that was to be replaced, and whose name is free, is put back. What living processes hold, and what
    cannot be removed, stays.
    """
    find = folder.rglob if deep else folder.glob
    for place in list(find(f".*{PARTIAL}")):
        with suppress(OSError), _dead(place / "lock"):
            _clear(place)
    for file in list(find(f".*{LOCK}")):
        with suppress(OSError), _dead(file):
            file.unlink(missing_ok=True)


def _clear(place: Path) -> None:
    """Remove a folder of ours. Where the new in it has not taken its name, the old gets it back, or all stays."""
    for old in (place / OLD).glob("*"):
        if (place / NEW / old.name).exists():
            if os.path.lexists(place.parent / old.name):
                return
            os.rename(old, place.parent / old.name)
    shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _dead(file: Path) -> Iterator[None]:
    """Hold the lock of a process that has ended; raises OSError (a Timeout is one) where it lives."""
    from filelock import FileLock

    with FileLock(file, timeout=0):
        yield


def refuse_taken(path: Path, *, overwrite: bool = False) -> None:
    """Raise ConfigError where something stands under `path`, other than an empty folder, and is not to be replaced.

    A folder that the working directory lies in is never replaced.
    """
    if not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir())):
        return
    if not overwrite:
        raise ConfigError(
            f"{path} exists already, and nothing that stands is replaced unasked. Give another --out, or --overwrite "
            "(overwrite=True) to replace it once the new is whole."
        )
    if path.is_dir() and Path.cwd().is_relative_to(path.resolve()):
        raise ConfigError(f"{path} holds the working directory, so it is not replaced. Give another --out.")


def _refuse_sources(out: Path, sources: tuple[Path | str | None, ...], *, inside: bool) -> None:
    place = out.resolve()
    for source in sources:
        if source is None or not Path(source).exists():
            continue
        found = Path(source).resolve()
        if found == place:
            how = "is"
        elif found.is_relative_to(place):
            how = "holds"
        elif place.is_relative_to(found) and not inside:
            how = "lies in"
        else:
            continue
        raise ConfigError(f"--out {out} {how} what is read ({source}). Give another --out; nothing was changed.")


def _absolute(path: Path) -> Path:
    """The path with a name of its own, which `.` has not; links stay."""
    return Path(os.path.abspath(path))


def write_json(path: Path, content: Any, *, overwrite: bool = False) -> None:
    """Write `content` as indented JSON, whole or not at all; NaN and infinity are refused (use None).

    Raises ConfigError where `path` exists and `overwrite` is not given.
    """
    with written(path, overwrite=overwrite) as temporary:
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
