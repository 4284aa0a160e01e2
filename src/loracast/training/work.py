"""What is half done: the folder `OUT.work` beside a result that takes long, from which `resume` goes on."""

import os
import shutil
from pathlib import Path
from typing import Any

from loracast.errors import ConfigError
from loracast.files import digest, read_json, write_json

ASKED = "asked.json"
"""The digest of what was asked for: it also tells a folder of ours from one that is only called like it."""
CHECKPOINTS = "checkpoints"


def work_of(out: Path) -> Path:
    """Where the work on `out` lies until that is whole."""
    out = Path(os.path.abspath(out))
    return out.with_name(f"{out.name}.work")


def begin_work(out: Path, asked: dict[str, Any], *, resume: bool, overwrite: bool = False) -> Path:
    """Make `OUT.work`, or take what stands there for what is half done; returns it. The caller has claimed `out`.

    Raises ConfigError where the folder is not ours, holds checkpoints that nobody asked to continue or to replace, or
    was begun with something else than `asked`.
    """
    work = work_of(out)
    if work.exists() and not (work / ASKED).is_file() and (not work.is_dir() or any(work.iterdir())):
        raise ConfigError(f"{work} is not of loracast, which would work there. Rename it, or give another --out.")
    begun = (work / ASKED).is_file()
    if resume and begun:
        if read_json(work / ASKED) != digest(asked):
            raise ConfigError(
                f"{work} was begun with another table or other settings; to mix them would be neither. Resume with "
                "those, give another --out, or start again with --overwrite."
            )
        return work
    if begun:
        if not overwrite and any((work / CHECKPOINTS).glob("checkpoint-*")):
            raise ConfigError(
                f"{work} holds a training that was interrupted. Continue it with --resume, start again with "
                "--overwrite, or give another --out; nothing was changed."
            )
        shutil.rmtree(work)
    write_json(work / ASKED, digest(asked))
    return work
