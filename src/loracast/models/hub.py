"""A model's files on this machine: from a folder, the Hub's cache or the Hub itself, checked before they are used.

`huggingface_hub` resolves names, revisions, tokens and the cache, and reads HF_HOME, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE. This file adds what it leaves out: the content is held against the hash that the Hub states, all files
come from one commit, a download that never gets whole ends, and each error says what to do.
"""

import contextlib
import errno
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils.tqdm import tqdm
from safetensors import SafetensorError
from torch import Tensor, nn

from loracast.errors import BackboneError
from loracast.files import Mistake, read_json, regular
from loracast.models.foreign import MOST_CONFIG

Shapes = Mapping[str, tuple[int, ...]]

# What the HTTP library below huggingface_hub raises; which library that is has changed from release to release.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
_NOT_FETCHED = (_HTTP_ERROR, OSError, RuntimeError, ValueError, XetDownloadError)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS)
_MOST_RESTARTS = 2


@dataclass(frozen=True)
class Fetched:
    """A model's files in one folder; `commit` is the Hub's, None for a folder that a caller named."""

    folder: Path
    commit: str | None


class _NeverWholeError(OSError):
    """A server has broken off one file again and again."""


class _Patience(tqdm):
    """huggingface_hub's progress bar, which also ends a download that begins anew without end.

    A server that ignores the Range header and breaks off is asked again for ever, because each piece that arrives
    counts as progress; a beginning anew shows here as a step back.
    """

    restarts = 0

    def update(self, n: float | None = 1) -> bool | None:
        self.restarts += n is not None and n < 0
        if self.restarts > _MOST_RESTARTS:
            raise _NeverWholeError(f"it was broken off {self.restarts} times before its end")
        shown: bool | None = super().update(n)
        return shown


def fetch(location: str | Path, files: Sequence[str], revision: str | None) -> Fetched:
    """Make sure that `files` of a model are on this machine, all of one commit, and say where.

    A Path is a folder: its files must be there. A string is a name on the Hub: what the cache lacks is downloaded, and
    every file is checked against the hash that the Hub states. `revision` pins a commit, tag or branch (main if None).
    Raises BackboneError with what to do next.
    """
    if isinstance(location, Path):
        missing = [file for file in files if not (location / file).is_file()]
        if missing:
            raise BackboneError(
                f"{location} holds no {' and no '.join(missing)}. The folder of a model holds {' and '.join(files)}, "
                "as `save_pretrained` writes them; save or download it again."
            )
        return Fetched(location, None)
    wanted, folder = revision or constants.DEFAULT_REVISION, Path()
    for file in files:
        path = _file_of(location, file, wanted)
        _check_hash(path, location)
        folder = path.parents[file.count("/")]
        wanted = folder.name  # The commit: the files that follow must be of the same, whatever is pushed meanwhile.
    return Fetched(folder, wanted)


def _file_of(repository: str, file: str, revision: str) -> Path:
    """One file of a repository, in the cache."""
    try:
        if constants.HF_HUB_OFFLINE:
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
        if not _holds(repository, file, revision):
            # Asked first: hf_hub_download would wait for a Hub that does not answer for minutes, not seconds.
            url = hf_hub_url(repository, file, revision=revision, endpoint=constants.ENDPOINT)
            get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        return Path(hf_hub_download(repository, file, revision=revision, tqdm_class=_Patience))
    except _NOT_FETCHED as error:
        raise BackboneError(_why_not_fetched(repository, file, revision, error)) from error


def _holds(repository: str, file: str, revision: str) -> bool:
    try:
        hf_hub_download(repository, file, revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        return False
    return True


def _check_hash(path: Path, repository: str) -> None:
    """Raise BackboneError, and take the file out of the cache, where its content has not the hash that the Hub states.

    The cache links a file to a blob that is called after the Hub's ETag: the SHA-256 of a large file, git's SHA-1 of a
    small one (a plain SHA-1 on some private Hubs). Other names, or a cache without links, tell nothing.
    """
    blob = path.parent / path.readlink() if path.is_symlink() else path
    stated = blob.name
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", stated):
        return
    if len(stated) == 64:
        with path.open("rb") as stream:
            found = {hashlib.file_digest(stream, "sha256").hexdigest()}
    else:
        content = path.read_bytes()
        git = b"blob %d\0" % len(content) + content
        found = {hashlib.sha1(form, usedforsecurity=False).hexdigest() for form in (git, content)}
    if stated not in found:
        with contextlib.suppress(OSError):  # another process has been faster, or the cache is not ours to change
            path.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)
        raise BackboneError(
            f"{path.name} of {repository} has not the hash that the Hub states ({stated[:12]}…): it was damaged on its "
            "way, or changed in the cache. It is taken out of the cache where that may be written; load again to "
            f"download it anew. If that fails too, do not trust {constants.ENDPOINT}."
        )


def _why_not_fetched(repository: str, file: str, revision: str, error: Exception) -> str:
    """What went wrong, and what to do next."""
    where = repository if revision == constants.DEFAULT_REVISION else f"{repository} at revision {revision}"
    hub = constants.ENDPOINT
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    number = error.errno if isinstance(error, OSError) else None
    match error:
        case OfflineModeIsEnabled() | LocalEntryNotFoundError():
            return _absent(where, repository, f"{file} is not cached, and HF_HUB_OFFLINE forbids to ask {hub}.")
        case GatedRepoError():
            return f"{where} is gated. Accept its terms on {hub}/{repository}, then `hf auth login` or set HF_TOKEN."
        case RevisionNotFoundError():
            return f"{repository} has no revision {revision}. {hub}/{repository} lists its branches, tags and commits."
        case RemoteEntryNotFoundError():
            return (
                f"{where} has no {file} on {hub}, so it is no model that loracast can load. Choose another revision, "
                "or another model."
            )
        case RepositoryNotFoundError():
            return (
                f"{where} is not on {hub}, or is private. Check the name; for a private one `hf auth login` or set "
                "HF_TOKEN; HF_ENDPOINT names another Hub."
            )
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
        return (
            f"{hub} asks for a token ({error.response.status_code}) before it gives {where}. `hf auth login` or set "
            "HF_TOKEN to one that may read it; HF_ENDPOINT names another Hub."
        )
    if "Timeout" in type(error).__name__:
        why = (
            f"{hub} did not answer in time. Try again, or raise HF_HUB_ETAG_TIMEOUT ({constants.HF_HUB_ETAG_TIMEOUT} s"
            f" to an answer) or HF_HUB_DOWNLOAD_TIMEOUT ({constants.HF_HUB_DOWNLOAD_TIMEOUT} s to the next piece)."
        )
        return _absent(where, repository, why)
    if isinstance(error, _NeverWholeError) or "Consistency check" in reason or "RemoteProtocol" in type(error).__name__:
        return (
            f"{file} of {where} did not arrive whole from {hub} ({reason}). Nothing of it was kept. Try again; if it "
            "happens anew, the server or a proxy before it cuts it short."
        )
    if number in _NO_ROOM:
        return f"No room for {file} of {where} below {constants.HF_HUB_CACHE}. Free some, or set HF_HOME elsewhere."
    if number in _NO_PLACE:
        return f"{constants.HF_HUB_CACHE} is not yours to write to ({reason}). Set HF_HOME to a folder that is."
    return _absent(where, repository, f"{hub}: {reason}")


def _absent(where: str, repository: str, why: str) -> str:
    return (
        f"{where} is neither in the local cache nor to be had from the Hub: {why} With a connection, run `hf download "
        f"{repository}` once; without one, copy the cache or the model's folder here and give its path. HF_HOME says "
        "where the cache is, HF_ENDPOINT names a private Hub."
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model; raises BackboneError where it is no JSON object."""
    file = folder / "config.json"
    if not file.is_file():
        raise BackboneError(f"{folder} holds no config.json, so it is no saved backbone.")
    content = read_json(file, BackboneError, most=MOST_CONFIG)
    if not isinstance(content, dict):
        raise BackboneError(f"{file} holds no settings but a {type(content).__name__}. Save the model again.")
    return content


UNREADABLE = (
    SafetensorError,
    OSError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What damage makes safetensors raise."""


def read_tensors(file: Path, error: Mistake = BackboneError) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU; raises `error` where it is cut short or no such file."""
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(regular(file, error))
    except UNREADABLE as fault:
        raise error(
            f"{file} cannot be read as safetensors ({fault}): it is cut short or damaged. Save or copy it again."
        ) from fault
    return tensors


def refuse_broken(
    what: str | Path, tensors: Mapping[str, Tensor], error: Mistake = BackboneError, *, places: Collection[str] = ()
) -> None:
    """Raise `error` where weights are no floating-point numbers, or not finite: every forecast would be neither.

    `places` are tensors that hold whole numbers.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() == (name in places):
            raise error(f"{what} holds {name} as {tensor.dtype}, other numbers than it needs. Save or copy it again.")
        broken = tensor.numel() - int(torch.isfinite(tensor).sum())
        if broken:
            raise error(
                f"{what} holds {broken:,} of {tensor.numel():,} numbers of {name} that are not finite. It was damaged, "
                "or its training failed; save or copy it again."
            )


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a safetensors file, from its head alone; raises as `read_tensors`."""
    try:
        with safetensors.safe_open(regular(file, BackboneError), framework="pt") as content:
            return {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
    except UNREADABLE as fault:
        raise BackboneError(
            f"{file} cannot be read as safetensors ({fault}): it is cut short or damaged. Save or copy it again."
        ) from fault


def fill(net: nn.Module, tensors: Mapping[str, Tensor], location: str | Path) -> None:
    """Give a network (on the meta device) these weights, as float32; raises BackboneError unless they are its own."""
    refuse_other_weights(location, shapes_of(net.state_dict()), shapes_of(tensors))
    refuse_broken(location, tensors)
    net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)


def shapes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor, read or not."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def refuse_other_weights(location: str | Path, wanted: Shapes, found: Shapes) -> None:
    """Raise BackboneError, with names, where a file has not exactly the tensors that its config asks for."""
    faults = {
        "lacks": sorted(set(wanted) - set(found)),
        "has, beyond its config,": sorted(set(found) - set(wanted)),
        "has in another shape": [
            f"{name} {list(found[name])} for {list(wanted[name])}"
            for name in sorted(set(wanted) & set(found))
            if tuple(found[name]) != tuple(wanted[name])
        ],
    }
    said = [f"{what} {', '.join(names[:3])} ({len(names)} in all)" for what, names in faults.items() if names]
    if said:
        raise BackboneError(
            f"The weights of {location} do not belong to its config.json: the file {'; '.join(said)}. Nothing is made "
            "up; save or download the model again."
        )
