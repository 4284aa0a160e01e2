"""A folder that nobody has asked for: rows of patients lie in it as long as an object that needs them."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from loracast.files import _clear, _held, sweep

if TYPE_CHECKING:
    from filelock import FileLock


class PrivateFolder:
    """A folder in the system's temporary one, for this user alone, that goes away with this object or its process.

    The process holds a lock on it: what was left by a process that was killed is removed when the next such folder is
    made. A copy of the object in a forked process removes nothing.

    >>> private = PrivateFolder("frame")
    >>> private.path.is_dir()
    True
    """

    def __init__(self, name: str) -> None:
        folder = Path(tempfile.gettempdir())
        sweep(folder)
        self.path, lock = _held(folder, name)
        self._remove = weakref.finalize(self, _removed, self.path, lock, os.getpid())

    def close(self) -> None:
        """Remove the folder now."""
        self._remove()


def _removed(path: Path, lock: FileLock, owner: int) -> None:
    if os.getpid() == owner:
        _clear(path)
        lock.release()
