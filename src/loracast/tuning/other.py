"""Any other tuner of PEFT, as `peft:NAME`: its settings are those of PEFT's own config class, which checks them.

Nothing is known of such a tuner here, so `attach` lets it through the gate first (`loracast.tuning.gate`).
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from pydantic import ConfigDict, Field, create_model, model_validator

from loracast.errors import ConfigError
from loracast.tuning.method import Method, PeftMethod, told

if TYPE_CHECKING:
    from peft import PeftConfig

    from loracast.models.base import Backbone

PREFIX = "peft:"
TUNERS = Path(__file__).parent / "tuners.json"
"""The tuners of one version of PEFT, written by `python docs/make_outlines.py`."""
OWN = ("lora", "adalora", "ia3", "vera", "fourierft", "oft")
OWN_NAMES = {**{name: name for name in OWN}, "ln_tuning": "layernorm"}
"""Tuners that have a class here, with the name of the method."""


@dataclasses.dataclass(frozen=True)
class Start:
    """Settings that are other here than PEFT's own defaults, and why."""

    settings: Mapping[str, Any]
    why: str


_NARROW = "PEFT's default is for matrices of language models, wider than those of small forecasters"
STARTS: Mapping[str, Start] = {
    "c3a": Start(
        {"init_weights": True, "block_size": 16},
        f"PEFT's default starts from random kernels, which change the forecast before the first step; {_NARROW}",
    ),
    "miss": Start({"r": 8}, _NARROW),
    "shira": Start({"r": 8}, _NARROW),
    "waveft": Start({"n_frequency": 100}, _NARROW),
}

_NOT_ASKED = frozenset(
    {
        "target_modules",  # that is `sites`
        "exclude_modules",  # a pattern in `sites` says the same
        "layers_to_transform",  # PEFT takes these two with a list of names only
        "layers_pattern",
        "modules_to_save",  # would train whole modules beside the tuner
        "inference_mode",
    }
)
_SIZES = ("r", "n_frequency", "block_size")


class OtherPeft(PeftMethod):
    """A tuner of PEFT without a class of its own here; the subclass for each is made from PEFT's config class."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    learning_rate = 1e-3
    proven = False
    tuner: ClassVar[type[PeftConfig]]
    """PEFT's config class."""

    @model_validator(mode="after")
    def _is_valid(self) -> OtherPeft:
        """Let PEFT's own class check the settings."""
        try:
            self._config("attention")
        except Exception as error:  # a package that it needs, say: whatever it is, these settings cannot be had
            raise ValueError(f"PEFT's {self.tuner.__name__} refuses: {error}".rstrip(".")) from error
        return self

    def config(self, model: Backbone, pattern: str) -> PeftConfig:
        """The config of the tuner."""
        return self._config(pattern)

    def _config(self, pattern: str) -> PeftConfig:
        return self.tuner(target_modules=pattern, **self.model_dump(exclude={"sites"}))

    def words(self) -> list[str]:
        """The size and what was set otherwise, by PEFT's own words."""
        shown = {**({self.size: getattr(self, self.size)} if self.size else {}), **self.changed()}
        return [f"{key}={told(value)}" for key, value in shown.items() if key != "sites"]

    def advice(self, *, start: bool = False) -> str:
        """What to do where it does not pass the gate; `start`: because it does not start as the identity."""
        fields = [key for key in type(self).model_fields if key != "sites" and (not start or key.startswith("init"))]
        told = f"Set another of PEFT's options ({', '.join(fields)}), " if fields else "Choose "
        return f"{told}other sites, or one of the methods of `loracast methods`."

    def __reduce__(self) -> tuple[Any, ...]:  # its class is made at run time, so that it cannot be found by its name
        return _made_again, (self.name, self.model_dump())


def _made_again(name: str, settings: dict[str, Any]) -> Method:
    return other_peft(name)(**settings)


def peft_names() -> list[str]:
    """The tuners of the installed PEFT that `peft:NAME` passes on, whether or not they go through the gate.

    Those of the version in `tuners.json` are known without importing it, which takes seconds.
    """
    known: dict[str, Any] = json.loads(TUNERS.read_text(encoding="utf-8"))
    return list(known["names"]) if known["version"] == version("peft") else asked_peft()


def asked_peft() -> list[str]:
    """The same, asked of the installed PEFT."""
    return [name for name, tuner in _tuners().items() if _refusal(name, tuner) is None]


@cache
def _tuners() -> dict[str, type[PeftConfig]]:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return {str(kind.value).lower(): tuner for kind, tuner in sorted(PEFT_TYPE_TO_CONFIG_MAPPING.items())}


def _refusal(name: str, tuner: type[PeftConfig]) -> str | None:
    """Why a tuner is not passed on; None where it is."""
    from peft import PromptLearningConfig

    if name in OWN_NAMES:
        return f"It has a class of its own here: use the method {OWN_NAMES[name]}."
    if issubclass(tuner, PromptLearningConfig) or name in ("adaption_prompt", "trainable_tokens"):
        return (
            "It trains what stands before, or among, the token embeddings of a language model, and a forecaster of "
            "series has no such tokens. Use a method that acts on matrices, such as lora."
        )
    if "target_modules" not in tuner.__dataclass_fields__:
        return "It acts on no named matrices of the network. Use a method that does, such as lora."
    return None


@cache
def other_peft(name: str) -> type[OtherPeft]:
    """The class of the method `peft:NAME`; raises ConfigError, with what to do, where there is none."""
    short = name.removeprefix(PREFIX)
    tuner = _tuners().get(short)
    if tuner is None:
        raise ConfigError(f"PEFT has no tuner {short!r}. It has, for {PREFIX}NAME: {', '.join(peft_names())}.")
    refusal = _refusal(short, tuner)
    if refusal is not None:
        raise ConfigError(f"{name} is not passed on. {refusal}")
    fields = _fields(short, tuner)
    made = create_model(tuner.__name__.removesuffix("Config"), __base__=OtherPeft, **fields)
    made.__doc__ = f"PEFT's {tuner.__name__.removesuffix('Config')}."
    made.name = name
    made.summary = f"{tuner.__name__.removesuffix('Config')} of PEFT"
    made.size = next((key for key in _SIZES if key in fields), None)
    made.tuner = tuner
    return made


def _fields(name: str, tuner: type[PeftConfig]) -> dict[str, Any]:
    """The fields of PEFT's dataclass, but for those of every config, as those of a pydantic model."""
    from peft import PeftConfig

    hints, starts = get_type_hints(tuner), STARTS[name].settings if name in STARTS else {}
    common = {one.name for one in dataclasses.fields(PeftConfig)} | _NOT_ASKED
    found: dict[str, Any] = {}
    for one in dataclasses.fields(tuner):
        if one.name in common or not one.init:
            continue
        if one.default_factory is not dataclasses.MISSING:
            usual = Field(default_factory=one.default_factory)
        else:
            usual = Field(default=... if one.default is dataclasses.MISSING else one.default)
        if one.name in starts:
            usual = Field(default=starts[one.name])
        usual.description = inspect.cleandoc(str(one.metadata.get("help", ""))) or None
        found[one.name] = (hints[one.name], usual)
    return found
