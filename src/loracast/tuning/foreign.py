"""PEFT's adapter_config.json, which may be anybody's: held against what the card's method gives, and never obeyed."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.errors import AdapterError
from loracast.files import read_json

if TYPE_CHECKING:
    from peft import PeftConfig

PEFT_CONFIG = "adapter_config.json"
MOST_CONFIG = 2**20
"""Bytes of such a file; one of PEFT's has a thousand."""
# What PEFT writes of the training or the machine, and no forecast depends on.
_NOT_HELD = frozenset({"deltaT", "rank_pattern", "runtime_config", "tfinal", "tinit", "total_step"})


def refuse_other_config(file: Path, own: PeftConfig) -> None:
    """Raise AdapterError unless the file describes the adapter that `own`, the config of the card's method, builds."""
    from peft import PeftConfig

    again = "Copy the adapter again, or adapt anew."
    content = read_json(file, AdapterError, most=MOST_CONFIG)
    if not isinstance(content, dict):
        raise AdapterError(f"{file} holds no settings of PEFT but a {type(content).__name__}. {again}")
    passed = _NOT_HELD | {one.name for one in dataclasses.fields(PeftConfig)} - {"peft_type"}
    wanted = {name: _plain(value) for name, value in own.to_dict().items()}
    for name, value in content.items():
        if name in passed:
            continue
        if name not in wanted and value:
            raise AdapterError(f"{file} sets {name!r}, which the PEFT that is installed does not know. {again}")
        if name in wanted and _plain(value) != wanted[name]:
            raise AdapterError(
                f"{file} has another {name!r} than the method of its card gives: one of the two was changed, or they "
                f"are of other versions. {again}"
            )


def _plain(value: Any) -> Any:
    """A setting as JSON has it, whatever the order of a set."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(one) for one in value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
