"""How inputs are damaged, and what is held of each: refused in words of our own, or read as what it says."""

import copy
import json
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from loracast.errors import LoracastError

EXAMPLES = int(os.environ.get("LORACAST_FUZZ", "12"))
"""Damaged inputs of each kind; `make fuzz` asks for many."""
fuzz = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
OUTCOMES: Counter[str] = Counter()
TOKENS = (
    *(b"\n", b"\r", b"\r\n", b",", b";", b'"', b"|", b"\0", b"\xff", b"\xef\xbb\xbf", b"NaN", b"inf", b"-", b"1e999"),
    *(b"9" * 30, b"2024-13-45", b"294247-01-10", b"null", b"[" * 2000, b"../", b"PAR1", b"PK\x01\x02"),
)
ODD = (
    *(None, True, -1, 0, 2**40, 10**400, 1e308, float("nan"), "", "x" * 300, "../../etc"),
    *([], {}, [[]], [1, "a"], {"a": {}}),
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with one to three places cut off, flipped, taken out, overwritten, put in or doubled."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 40))
        match draw(st.sampled_from(("cut", "flip", "drop", "over", "put", "double"))):
            case "cut":
                content = content[:place]
            case "flip":
                content = (
                    content[:place]
                    + bytes(b ^ (1 << length % 8) for b in content[place : place + 1])
                    + content[place + 1 :]
                )
            case "drop":
                content = content[:place] + content[place + length :]
            case "over":
                token = draw(st.sampled_from(TOKENS))
                content = content[:place] + token + content[place + len(token) :]
            case "put":
                content = content[:place] + draw(st.sampled_from(TOKENS)) + content[place:]
            case "double":
                content = content[: place + length] + content[place:]
    return content


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, one in inner for place in _places(one, (*way, key)))]


@st.composite
def changed(draw: st.DrawFn, content: Any) -> bytes:
    """JSON with one to three of its values replaced by something odd, taken out, or called by another name."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(_places(content)))
        odd = copy.deepcopy(draw(st.sampled_from(ODD)))
        if not way:
            content = odd if draw(st.integers(0, 9)) == 0 else content
            continue
        inner = content
        for key in way[:-1]:
            inner = inner[key]
        match draw(st.sampled_from(("odd", "drop", "add"))):
            case "odd":
                inner[way[-1]] = odd
            case "drop":
                del inner[way[-1]]
            case "add" if isinstance(inner, dict):
                inner[draw(st.sampled_from(("auto_map", "quantization_config", "_attn_implementation", "n")))] = odd
        if not isinstance(content, dict | list):
            break
    return json.dumps(content).encode()


def told(kind: str, read: Callable[[], Any]) -> Any:
    """What `read` gives, None where it refuses; any other exception is a failure. Notes which."""
    with suppress(LoracastError):
        found = read()
        OUTCOMES[f"{kind}: read"] += 1
        return (found,)
    OUTCOMES[f"{kind}: refused"] += 1
    return None
