"""A Lightning checkpoint read as data: its instructions are looked at, never carried out.

Such a file is a zip archive: the raw numbers of every tensor, and one program in the language of Python's object
serialisation that puts them together. Run by Python, that program can call anything. Here a small machine knows its
instructions for plain containers and tensors, builds those itself, and refuses the file at the first one that names
anything else. Nothing of the file is imported, called or looked up by name outside the tables below.
"""

import io
import math
import pickletools
import sys
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loracast.errors import BackboneError

_DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
_ORDERED, _SET, _TENSOR = "collections OrderedDict", "__builtin__ set", "torch._utils _rebuild_tensor_v2"
_DAMAGED = (OSError, zipfile.BadZipFile, ArithmeticError, EOFError, LookupError, RuntimeError, TypeError, ValueError)
_MOST_PROGRAM = 2**22


class _RefusedError(Exception):
    """Why the machine stopped; becomes a BackboneError that names the file."""


@dataclass(frozen=True)
class Name:
    """A dotted name that the program mentions; it stands for itself and is never resolved."""

    text: str


@dataclass
class Inert:
    """Stands where the file has an object of a class that the caller allowed by name; `state` is what it held.

    The state is not shown: a few bytes of a program can describe containers that are endless when written out.
    """

    name: str
    state: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of the file, not yet read: its shape is known and its place has been checked."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    _strides: tuple[int, ...]
    _offset: int
    _bytes: Callable[[], bytearray]

    def read(self) -> Tensor:
        """The values, on the CPU; raises BackboneError where they are damaged."""
        if not math.prod(self.shape):
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.frombuffer(self._bytes(), dtype=self.dtype)
        return flat.as_strided(self.shape, self._strides, self._offset).clone(memory_format=torch.contiguous_format)


def read_checkpoint(file: Path, allowed: Collection[str]) -> dict[str, Any]:
    """The top-level mapping of a Lightning checkpoint: plain containers, `StoredTensor`s and `Inert` objects.

    `allowed` are the full dotted names of the classes that may stand in the file; each becomes an `Inert`. Raises
    BackboneError, saying what was met, for any other name or instruction, for a file that is no such archive, that is
    cut short, or whose parts have not the sizes it states. Nothing is executed.
    """
    try:
        content = _Machine(_Archive(file), {" ".join(name.rsplit(".", 1)) for name in allowed}).run()
        if not isinstance(content, dict):
            raise _RefusedError(f"it holds a {type(content).__name__}, not the mapping of a checkpoint")
    # The reader of the zip format answers damage in many ways, and so does the machine's stack.
    except (_RefusedError, *_DAMAGED) as error:
        raise _refusal(file, error) from error
    return content


def _refusal(file: Path, error: Exception) -> BackboneError:
    return BackboneError(
        f"{file} is not read as a Lightning checkpoint: {error or type(error).__name__}. Nothing in it was executed. "
        "Download it again from where it was published; if it is refused again, do not open it by other means, but ask "
        "its owner for config.json and model.safetensors."
    )


class _Archive:
    """The zip file: one program, one stored (not compressed) member for each storage."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            self._members = {member.filename: member for member in members}
            roots = [name.removesuffix("data.pkl") for name in self._members if name.endswith("/data.pkl")]
            if len(roots) != 1 or len(members) != len(self._members):
                raise _RefusedError("the archive has no program, or more than one, or two members of one name")
            self._root = roots[0]
            size = file.stat().st_size
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                    raise _RefusedError(f"member {member.filename!r} is compressed, which torch never does")
            if sum(member.file_size for member in members) > size:
                raise _RefusedError("its members are stated to be larger than the file")
            order = f"{self._root}byteorder"
            if order in self._members and archive.read(order).decode("latin-1") != sys.byteorder:
                raise _RefusedError(f"its numbers are not in this machine's byte order ({sys.byteorder})")
            if self._members[f"{self._root}data.pkl"].file_size > _MOST_PROGRAM:
                raise _RefusedError("its program is longer than 4 MiB")
            self.program = archive.read(f"{self._root}data.pkl")

    def size(self, key: str) -> int:
        member = self._members.get(f"{self._root}data/{key}")
        if member is None:
            raise _RefusedError(f"storage {key!r} is missing from the archive")
        return member.file_size

    def read(self, key: str) -> bytearray:
        try:
            with zipfile.ZipFile(self._file) as archive:
                return bytearray(archive.read(f"{self._root}data/{key}"))
        except _DAMAGED as error:
            raise _refusal(self._file, error) from error


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class _Machine:
    """Runs the instructions of protocol 2 that plain containers and tensors need, and no other."""

    def __init__(self, archive: _Archive, allowed: Collection[str]) -> None:
        self._archive = archive
        self._allowed = allowed
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        argument: Any
        for instruction, argument, _ in pickletools.genops(io.BytesIO(self._archive.program)):
            name = instruction.name
            if name == "STOP":
                break
            if name == "PROTO":
                if argument != 2:
                    raise _RefusedError(f"its program is of protocol {argument}, not 2")
            elif name in _LITERALS:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name]())
            elif name in _TUPLES:
                self._stack.append(tuple(self._last(_TUPLES[name])))
            elif name in ("BINPUT", "LONG_BINPUT"):
                self._memo[argument] = self._stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self._stack.append(self._memo[argument])
            elif name == "GLOBAL":
                self._stack.append(self._name(argument))
            else:
                step = getattr(self, f"_do_{name.lower()}", None)
                if step is None:
                    raise _RefusedError(f"its program has the instruction {name}, which no such checkpoint needs")
                step()
        (result,) = self._stack
        return result

    def _name(self, text: str) -> Name:
        if text not in self._allowed and text not in _DTYPES and text not in (_ORDERED, _SET, _TENSOR):
            raise _RefusedError(f"its program asks for {text.replace(' ', '.')!r}, which is no tensor and no container")
        return Name(text)

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise _RefusedError("its program takes more than it has put")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _to_mark(self) -> list[Any]:
        place = next((i for i in reversed(range(len(self._stack))) if self._stack[i] is _MARK), None)
        if place is None:
            raise _RefusedError("its program closes what it has not opened")
        taken = self._stack[place + 1 :]
        del self._stack[place:]
        return taken

    def _do_mark(self) -> None:
        self._stack.append(_MARK)

    def _do_tuple(self) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _do_append(self) -> None:
        self._extend([self._stack.pop()])

    def _do_appends(self) -> None:
        self._extend(self._to_mark())

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise _RefusedError("its program appends to what is no list")
        self._stack[-1].extend(values)

    def _do_setitem(self) -> None:
        self._update(self._last(2))

    def _do_setitems(self) -> None:
        self._update(self._to_mark())

    def _update(self, pairs: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict) or len(pairs) % 2:
            raise _RefusedError("its program sets an item of what is no mapping")
        self._stack[-1].update(zip(map(_plain, pairs[::2]), pairs[1::2], strict=True))

    def _do_newobj(self) -> None:
        what, arguments = self._last(2)
        if not isinstance(what, Name) or what.text not in self._allowed or arguments != ():
            raise _RefusedError("its program makes an object of what may not be made")
        self._stack.append(Inert(what.text.replace(" ", ".")))

    def _do_build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, dict):  # A state_dict bears attributes, which are of no use without its class.
            raise _RefusedError("its program sets the state of what has none")

    def _do_reduce(self) -> None:
        what, arguments = self._last(2)
        match what, arguments:
            case Name(text=text), () if text == _ORDERED:
                self._stack.append({})
            case Name(text=text), (list() as values,) if text == _SET:
                self._stack.append(set(map(_plain, values)))
            case Name(text=text), tuple() if text == _TENSOR:
                self._stack.append(self._tensor(*arguments[:4]))
            case _:
                raise _RefusedError("its program calls what may not be called")

    def _do_binpersid(self) -> None:
        match self._stack.pop():
            case ("storage", Name(text=kind), str() as key, str(), int() as count) if kind in _DTYPES:
                dtype = _DTYPES[kind]
                if self._archive.size(key) != count * dtype.itemsize:
                    raise _RefusedError(f"storage {key!r} has not the size that the program states")
                self._stack.append(_Storage(dtype, key, count))
            case _:
                raise _RefusedError("its program refers to something outside that is no storage")

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> StoredTensor:
        # Tuples only: the program could change a list after it has been checked.
        if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
            raise _RefusedError("its program describes a tensor that cannot be")
        numbers = (offset, *shape, *strides)
        fits = isinstance(storage, _Storage) and len(shape) == len(strides) <= 8
        if not fits or not all(type(number) is int and number >= 0 for number in numbers):
            raise _RefusedError("its program describes a tensor that cannot be")
        reach = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if math.prod(shape) > storage.count or (math.prod(shape) > 0 and reach >= storage.count):
            raise _RefusedError(f"a tensor of shape {list(shape)} reaches beyond its storage {storage.key!r}")
        return StoredTensor(shape, storage.dtype, strides, offset, lambda: self._archive.read(storage.key))


def _plain(key: Any) -> Any:
    if not isinstance(key, str | int | float | bool | None):
        raise _RefusedError(f"its program has a {type(key).__name__} for a key")
    return key
