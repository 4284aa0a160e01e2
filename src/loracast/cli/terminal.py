"""What surrounds every command: results on stdout, notes on stderr, exit codes, and where a result may go."""

import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from loracast.errors import ConfigError, LoracastError
from loracast.files import refuse_taken
from loracast.files.texts import terminal_text
from loracast.training import distributed

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPED_WIDTH = 200
"""Columns of a table that no terminal shows: as many as it needs, because rich would cut names short at 80."""

INTERRUPTED = 130
ENDED = 143
"""What a shell makes of the end by SIGTERM."""
# What the place that a caller has named can do to us. Any other OSError is a mistake of ours.
CALLER_ERRNOS = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EFBIG,
        errno.EIO,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
# Libraries in C++ and Rust report a full disk in words, each in an exception of its own.
FULL_DISK = (
    *("No space left on device", "File too large", "Disk quota exceeded", "Read-only file system"),
    *("PytorchStreamWriter failed writing", "inline_container.cc"),
)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


def say(line: str) -> None:
    """Print a note of progress to stderr; of several processes that train together the main one does."""
    if distributed.is_main():
        typer.echo(terminal_text(line), err=True)


def show(result: "RenderableType") -> None:
    """Print a table or text to stdout; of several processes that train together the main one does."""
    if not distributed.is_main():
        return
    if isinstance(result, str):
        typer.echo(terminal_text(result))
        return
    from rich.console import Console  # for tables alone: a refusal need not wait for it

    Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH).print(result, markup=False)


def table_out(context: typer.Context, path: Path) -> Path:
    """Check, before any work is done, that a Parquet table can be put at `path`; raises ConfigError."""
    return _file_out(context, path, "Parquet", "vitals.parquet")


def json_out(context: typer.Context, path: Path) -> Path:
    """Check, before any work is done, that a JSON file can be put at `path`; raises ConfigError."""
    return _file_out(context, path, "JSON", "result.json")


def page_out(context: typer.Context, path: Path) -> Path:
    """Check, before any work is done, that a page can be put at `path`; raises ConfigError."""
    return _file_out(context, path, "HTML", "compare.html")


def _file_out(context: typer.Context, path: Path, kind: str, example: str) -> Path:
    ending = Path(example).suffix
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder. Give a file, such as {path / example}.")
    if path.suffix != ending:
        raise ConfigError(f"--out {path} would be a {kind} file by another name. Give one that ends in {ending}.")
    return _free(context, path)


def folder_out(context: typer.Context, path: Path | None) -> Path | None:
    """Check, before any work is done, that a folder can be put at `path`; raises ConfigError."""
    if path is None:
        return None
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file. Give a folder, or a name that is not taken.")
    return _free(context, path)


def temp_in(path: Path | None) -> Path | None:
    """Check that `--temp` is a folder; raises ConfigError."""
    if path is not None and not path.is_dir():
        raise ConfigError(f"--temp {path} is no folder. Give one that is there, on a disk with room.")
    return path


def _free(context: typer.Context, path: Path) -> Path:
    """Refuse a place that is taken, in a command that writes its result at once; others continue what they began."""
    asked = context.params
    if "overwrite" in asked and not asked.get("resume"):
        refuse_taken(path, overwrite=asked["overwrite"])
    return _below_folders(path)


def _below_folders(path: Path) -> Path:
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ConfigError(f"--out {path} cannot be written: {above} is a file, not a folder. Give another --out.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {path} cannot be written: {above} is not yours to write to. Give another --out.")
    return path


def run_command(command: Callable[..., Any], arguments: Sequence[str] | None) -> None:
    """Run a typer command as a process: 0 fine, 2 the caller's mistake, 1 ours, 130 interrupted.

    A caller's mistake prints its message without a traceback. SIGTERM ends the command as Ctrl-C does, with 143, so
    that nothing temporary is left.
    """
    _quiet_libraries()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # not where a caller has its own way with it
        signal.signal(signal.SIGTERM, _end)
    try:
        command(args=list(arguments) if arguments is not None else None, prog_name="loracast")
    except SystemExit as end:
        if end.code in (INTERRUPTED, ENDED):
            _fail(_STOPPED, end.code)
        raise
    except LoracastError as error:
        _fail(f"Error: {error}", 2)
    except Exception as error:
        if any(sign in str(error) for sign in _DUCKDB_STOPPED):
            _fail(_STOPPED, INTERRUPTED)
        reason = _callers_reason(error)
        if reason is not None:
            _fail(f"Error: {reason}", 2)
        _close_bars()
        _print_places(error)
        _fail("This is a mistake of loracast, not yours. Please report it with the lines above.", 1)


def _end(*_: Any) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is cleared away now is cleared away whole
    sys.exit(ENDED)


def _print_places(error: BaseException) -> None:
    """Print what was raised and where, as a traceback has it; not its words, which may quote a row or an id."""
    for one in reversed(list(_chain(error))):
        sys.stderr.write("".join(traceback.format_tb(one.__traceback__)))
        told = "its words are left out: they may quote data; LORACAST_TRACEBACK=1 shows them"
        words = str(one) if os.environ.get("LORACAST_TRACEBACK") else f"({told})"
        sys.stderr.write(f"{type(one).__module__}.{type(one).__qualname__}: {words}\n\n")


def _callers_reason(error: Exception) -> str | None:
    """What a full disk, a forbidden place or too little memory is called; None for a mistake of ours."""
    for one in _chain(error):
        text = str(one)
        if isinstance(one, OSError) and one.errno in CALLER_ERRNOS:
            full = one.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            remedy = "Free some space, or give another --out." if full else "Give another path."
            return f"{one.strerror}: {one.filename or 'while writing'}. {remedy} {_UNTOUCHED}"
        if any(sign in text for sign in FULL_DISK):
            first = text.splitlines()[0]
            return f"No room left on the disk ({first}). Free some space, or give another --out. {_UNTOUCHED}"
        if isinstance(one, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
            return "Out of memory. Lower batch_size, samples, context or rank, or use a smaller backbone."
    return None


_UNTOUCHED = "Nothing half-written is left under a final name."
_STOPPED = f"Interrupted. {_UNTOUCHED} run, adapt and pretrain continue with --resume."
_DUCKDB_STOPPED = ("Query interrupted", "INTERRUPT Error")  # what Ctrl-C becomes while DuckDB works


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _fail(message: str, code: int) -> NoReturn:
    _close_bars()
    coloured = False if os.environ.get("NO_COLOR") else None  # None: where a terminal shows it
    typer.secho(terminal_text(message), fg=typer.colors.RED, err=True, color=coloured)
    sys.exit(code)


def _close_bars() -> None:
    """End progress bars that an error has left half-way, so that the message stands on a line of its own."""
    std = sys.modules.get("tqdm.std")
    for bar in list(getattr(std.tqdm, "_instances", ())) if std else ():
        bar.close()


def _quiet_libraries() -> None:
    """Keep the libraries' bars, start-up notes and warnings to developers out of a command's output.

    Here and nowhere else, so that the Python interface leaves its caller's settings alone; `-W` and the libraries' own
    variables still win.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers' bar of loading weights obeys it too
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that knows no "→" gets a question mark, not a crash.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
