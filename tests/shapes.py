"""Shapes are held: whoever hands a function of loracast an array of another shape or kind than it says fails the test.

A function, a property or a dataclass whose annotations name a shape (`Float[Tensor, "batch step"]`) is wrapped as soon
as its file is imported; jaxtyping and beartype do the checking. Other annotations are mypy's: many name types that are
imported for checkers alone. A test that hands over another shape on purpose calls `function.__wrapped__`.
"""

import builtins
import importlib.abc
import importlib.util
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property, wraps
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
from beartype import beartype

SHAPES = re.compile(r"\b(Float|Int|UInt|Bool)\[")
ALIAS = re.compile(r"^    ([A-Z]\w*) = ((?:Float|Int|UInt|Bool)\[.*\])$", re.MULTILINE)
IMPORTED = re.compile(r"^    from (loracast[\w.]*) import ([\w, ]+)$", re.MULTILINE)
"""What stands below `if TYPE_CHECKING:`."""


def shaped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which holds its callers and itself to the shapes in its annotations, if it has some."""
    aliases = _aliases(function.__module__)
    if not any(SHAPES.search(_text(hint, aliases)) for hint in getattr(function, "__annotations__", {}).values()):
        return function
    held: list[Callable[..., Any]] = []

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not held:  # only now: what the annotations name, such as torch, need not be imported before
            held.append(_held(function))
        return held[0](*args, **kwargs)

    return checked


def _text(hint: Any, aliases: Mapping[str, str]) -> str:
    text = hint if isinstance(hint, str) else repr(hint)
    return re.sub(r"\b\w+\b", lambda found: aliases.get(found[0], found[0]), text) if aliases else text


@cache
def _aliases(module: str) -> dict[str, str]:
    """The names that a module gives to shapes for checkers alone, or takes from another module, and what they mean."""
    spec = importlib.util.find_spec(module)
    source = getattr(spec.loader, "get_source", lambda _: None)(module) if spec is not None else None
    found = dict(ALIAS.findall(source or ""))
    for place, names in IMPORTED.findall(source or ""):
        theirs = ALIAS.findall(Path(str(importlib.util.find_spec(place).origin)).read_text(encoding="utf-8"))
        found |= {name: means for name, means in theirs if name in names.split(", ")}
    return found


def _held(function: Any) -> Callable[..., Any]:
    """A twin of the function with no other annotations than its shapes, checked."""
    names = _Names({**vars(jaxtyping), "np": np, **function.__globals__})
    aliases = _aliases(function.__module__)
    texts = {name: _text(hint, aliases) for name, hint in function.__annotations__.items()}
    hints = {name: text if isinstance(function.__annotations__[name], str) else function.__annotations__[name]
             for name, text in texts.items() if SHAPES.search(text)}  # fmt: skip
    if any("Tensor" in texts[name] for name in hints):
        from torch import Tensor

        names["Tensor"] = Tensor
    twin = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__qualname__, twin.__module__ = function.__qualname__, function.__module__
    twin.__annotations__ = {
        name: eval(hint, {}, names) if isinstance(hint, str) else hint for name, hint in hints.items()
    }  # our own code
    return jaxtyping.jaxtyped(twin, typechecker=beartype)


class _Names(dict[str, Any]):
    """Names in annotations; what is imported for checkers alone may be anything here."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


def hold(module: types.ModuleType) -> None:
    """Wrap what is defined in a module, in place."""
    for name, found in list(vars(module).items()):
        if getattr(found, "__module__", None) != module.__name__:
            continue
        if isinstance(found, types.FunctionType):
            setattr(module, name, shaped(found))
        elif isinstance(found, type):
            _hold_class(found)


def _hold_class(kind: type) -> None:
    for name, found in list(vars(kind).items()):
        if isinstance(found, types.FunctionType):
            setattr(kind, name, shaped(found))
        elif isinstance(found, staticmethod | classmethod):
            setattr(kind, name, type(found)(shaped(found.__func__)))
        elif isinstance(found, property) and found.fget is not None:
            setattr(kind, name, property(shaped(found.fget), found.fset, found.fdel, found.__doc__))
        elif isinstance(found, cached_property):
            found.func = shaped(found.func)


class _Loader(importlib.abc.Loader):
    """Loads as another loader does, and holds the module to its shapes."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self._loader.exec_module(module)
        hold(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if name.split(".")[0] != "loracast":
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


def enforce() -> None:
    """Hold every file of loracast to its shapes that is imported from now on.

    A process of its own that a test starts may have imported loracast before the tests: it is left alone.
    """
    if "loracast" not in sys.modules:
        sys.meta_path.insert(0, _Finder())
