"""Records of one patient a file, from a folder or straight from archives, nothing extracted to disk.

An archive of anybody's may be damaged, encrypted, or unpack to a thousand times its size: what is read of it is bounded
by what it states and by what comes. Only the last part of a member's name is used, and no link is followed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from loracast.errors import DataError
from loracast.files import regular

TAR_OPENERS: dict[str, Callable[..., Any]] = {
    ".tar.xz": lzma.open,
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar": open,
}
MOST_A_RECORD = 2**20
"""Bytes of a patient's record; the longest of the Challenge 2019 has 60 thousand."""
MOST_AN_ARCHIVE = 2**31
"""Bytes that an archive may unpack to; both sets of the challenge have a quarter of a thousand million."""
_MOST_A_NAME = 2**16
# Each library has its own ways of saying that bytes are not what they should be.
_DAMAGED = (
    EOFError, IndexError, KeyError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError,
    lzma.LZMAError, struct.error, tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """The text of one patient's file; `told` is what a message calls it, by a number: the name is a patient."""

    patient: str
    text: str
    told: str


@dataclass
class Found:
    """How many records were read, how many links and the like bear the name of one, and how many files bear another."""

    files: int = 0
    linked: int = 0
    others: int = 0


def records_of(source: Path, found: Found) -> Iterator[Record]:
    """The records of a folder (searched throughout, archives included), an archive or a single file, one at a time.

    Counts them in `found`. Raises DataError where the source is missing, of another kind, damaged, encrypted, or larger
    than any such data.
    """
    if not source.exists():
        raise DataError(f"No such source: {source}. Give the folder or archive of the .psv files.")
    if not source.is_dir():
        yield from _unpacked(source, found)
        return
    for path in sorted(source.rglob("*")):
        archive = path.name.lower().endswith((".zip", *TAR_OPENERS)) and not path.name.startswith(".")
        if _is_record(path.name) and not path.is_file():
            found.linked += 1  # a link to nothing, a pipe
        elif (archive and not path.is_dir()) or _is_record(path.name):
            yield from _unpacked(path, found, within=source)


def _unpacked(path: Path, found: Found, within: Path | None = None) -> Iterator[Record]:
    """The records of an archive; a record is one itself."""
    lone = _is_record(path.name)
    # The name of a record in a folder is a patient.
    name = within if lone and within is not None else path
    if name is path:
        regular(path)
    opened = _zip if path.name.lower().endswith(".zip") else _tar
    members = _file(path) if lone else opened(path, found)
    try:
        for patient, content in members:
            found.files += 1
            told = f"File {found.files:,} of {name}"
            if len(content) > MOST_A_RECORD:
                raise DataError(f"{told} has more than {MOST_A_RECORD / 2**20:g} MiB, so it is no patient's record.")
            yield Record(patient, content.decode("utf-8"), told)
    except UnicodeDecodeError as error:
        raise DataError(
            f"File {found.files:,} of {name} is truncated or damaged: no UTF-8. Download it again."
        ) from error
    except _DAMAGED as error:
        # Not the library's own words: some name a member, which is a patient.
        raise DataError(f"{name} is truncated or damaged ({type(error).__name__}). Download it again.") from error


def _file(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as stream:
        yield path.stem, stream.read(MOST_A_RECORD + 1)


def _zip(path: Path, found: Found) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if _is_record(entry.filename)]
        found.others += sum(not entry.is_dir() for entry in archive.infolist()) - len(entries)
        if any(entry.flag_bits & 1 for entry in entries):
            raise DataError(f"{path} is encrypted. Unpack it with its password, and give the folder.")
        total = 0
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG) or entry.is_dir():
                found.linked += 1
                continue
            content = b""
            if entry.file_size <= MOST_A_RECORD:  # what it states; what comes may be more
                with archive.open(entry) as stream:
                    content = stream.read(MOST_A_RECORD + 1)
            total += max(len(content), entry.file_size)
            _refuse_bomb(path, total)
            if entry.file_size > MOST_A_RECORD:
                content = bytes(MOST_A_RECORD + 1)
            yield PurePosixPath(entry.filename).stem, content


def _tar(path: Path, found: Found) -> Iterator[tuple[str, bytes]]:
    opener = next((TAR_OPENERS[ending] for ending in TAR_OPENERS if path.name.lower().endswith(ending)), None)
    if opener is None:
        raise DataError(f"{path} is of no kind that can be read. Give a folder, a .zip or a {', '.join(TAR_OPENERS)}.")
    with opener(path, "rb") as unpacked:
        stream: Any = _Bounded(unpacked, path)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
            for member in archive:
                if not _is_record(member.name):
                    found.others += not member.isdir()
                    continue
                content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
                if content is None:
                    found.linked += 1
                else:
                    yield PurePosixPath(member.name).stem, content.read(MOST_A_RECORD + 1)
        # To the last byte: a cut between two members looks like the end to tarfile, but not to the decompressor.
        while rest := stream.read(1 << 20):
            if rest.strip(b"\0"):
                raise tarfile.ReadError("something follows the end of the archive")


class _Header(tarfile.TarInfo):
    """A member's header, which is whole; the long names and attributes before it, which tarfile reads, are bounded."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the block of zeros by which an archive says that it ends
        except tarfile.HeaderError as error:
            # tarfile would take a damaged header, or none, for the end, and lose every member from there on.
            raise tarfile.ReadError("a header is damaged or missing") from error
        plain = (*tarfile.REGULAR_TYPES, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE)
        if found.type not in plain and found.size > _MOST_A_NAME:
            raise tarfile.ReadError("a header is too long")
        return found


class _Bounded(io.RawIOBase):
    """What is unpacked, up to a bound."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path, self._total = stream, path, 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes; raises DataError beyond the bound."""
        content: bytes = self._stream.read(size)
        self._total += len(content)
        _refuse_bomb(self._path, self._total)
        return content


def _refuse_bomb(path: Path, total: int) -> None:
    if total > MOST_AN_ARCHIVE:
        raise DataError(
            f"{path} unpacks to more than {MOST_AN_ARCHIVE / 2**30:g} GiB, many times what both sets of the Challenge "
            "2019 have. If it is meant to, unpack it and give the folder."
        )


def _is_record(name: str) -> bool:
    """Whether a path is a patient's record; an archive made on a Mac holds `._` twins that are not."""
    base = PurePosixPath(name).name
    return base.lower().endswith(".psv") and not base.startswith(".")
