"""An arm: one model with one method, as an experiment asks for it."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import Field, SerializeAsAny, ValidationError, model_serializer, model_validator

from loracast.errors import ConfigError
from loracast.models.registry import kind_of
from loracast.spec import Asked, Share, TrainSpec, parse
from loracast.tuning.method import Method, PeftMethod
from loracast.tuning.methods import method_named
from loracast.types import Kind

BY_KIND: dict[Kind, str] = {"naive": "as-is", "statistical": "as-is", "network": "scratch"}
"""The method of a model that has one only; a pretrained one has many, and a caller must choose."""


class ArmSpec(Asked):
    """One model with one method; what is left out is the method's own default (`loracast methods` lists them).

    In a file, and as JSON, the settings of the method stand beside the others: `{model, method, rank, alpha, …}`.

    >>> ArmSpec(model="chronos-t5-nano", method="lora", rank=4).name
    'chronos-t5-nano lora r=4'
    """

    model: str
    """A known name, a name on the Hub, or a folder."""
    method: SerializeAsAny[Method]
    revision: str | None = None
    """Commit, tag or branch on the Hub; pinned in the adapter's card."""
    learning_rate: float | None = Field(default=None, gt=0)
    patients: Share = 1.0
    """Share of the training patients that this arm learns from; a smaller share is part of a larger one."""
    context: int | None = Field(default=None, ge=4)
    """The last steps of the window's context that this arm sees; all of them if not given."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Keys of `[training]` that are others for this arm: `{steps = 600}`."""

    UNNAMED: ClassVar[frozenset[str]] = frozenset({"as-is", "scratch"})

    def __hash__(self) -> int:
        return hash(self.name)

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, given: Any) -> Any:
        """Put the settings of the method, which stand beside the arm's own, into the method."""
        if not isinstance(given, Mapping) or isinstance(given.get("method"), Method):
            return given
        content = {key: value for key, value in given.items() if key in cls.model_fields}
        settings = {key: value for key, value in given.items() if key not in content and value is not None}
        content["method"] = _method(content.get("method"), content.get("model"), settings)
        return content

    @model_validator(mode="after")
    def _has_a_use(self) -> "ArmSpec":
        named = [name for name in ("learning_rate", "patients", "training") if name in self.changed]
        if named and not self.method.trains:
            raise ValueError(f"method {self.method.name!r} has no use for {', '.join(named)}; leave it out")
        if self.training:
            try:
                parse(TrainSpec, self.training, "training")
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self

    @model_serializer(mode="wrap")
    def _flat(self, handler: Callable[["ArmSpec"], dict[str, Any]]) -> dict[str, Any]:
        content = handler(self)
        own = content.pop("method", {})
        return {"model": content.pop("model"), "method": self.method.name, **own, **content}

    @property
    def changed(self) -> set[str]:
        """The arm's own settings that differ from their defaults.

        >>> sorted(ArmSpec(model="chronos-t5-nano", method=LoRA(), patients=0.5).changed)
        ['method', 'model', 'patients']
        """
        bare = type(self).model_fields
        return {name for name in bare if getattr(self, name) != bare[name].get_default(call_default_factory=True)}

    @property
    def name(self) -> str:
        """What tables and folders call this arm: model, method, its size, and what was set otherwise than usual.

        Neither its revision nor its training is told: arms that differ in these alone are for two experiments.

        >>> ArmSpec(model="chronos-t5-nano", method=LoRA(rank=4), patients=0.5).name
        'chronos-t5-nano lora r=4 patients=0.5'
        """
        parts = [self.label] if self.method.name in self.UNNAMED else [self.label, self.method.name]
        parts += self.method.words()
        parts += [f"patients={self.patients:g}"] if self.patients != 1 else []
        parts += [f"lr={self.learning_rate:g}"] if self.learning_rate else []
        if isinstance(self.method, PeftMethod) and "sites" in self.method.changed():
            parts.append(f"sites={self.method.sites}")
        return " ".join(parts + ([f"context={self.context}"] if self.context is not None else []))

    @property
    def label(self) -> str:
        """The model without the folders, or the owner on the Hub, before its name.

        >>> ArmSpec(model="amazon/chronos-bolt-small", method=LoRA()).label
        'chronos-bolt-small'
        """
        return self.model.rstrip("/").rsplit("/", 1)[-1]

    @property
    def terms(self) -> tuple[str, str | None, int | None]:
        """What an arm shares with the zero-shot arm that it is held against: model, revision, the context it sees.

        >>> ArmSpec(model="chronos-t5-nano", method=LoRA(), context=24).terms
        ('chronos-t5-nano', None, 24)
        """
        return self.model, self.revision, self.context

    def as_json(self) -> dict[str, Any]:
        """The arm for a result file, without the place of its model on this machine.

        >>> ArmSpec(model="models/mine", method=LoRA()).as_json()["model"]
        'mine'
        """
        return self.model_dump(mode="json") | {"model": self.label}

    def training_of(self, spec: TrainSpec, parameters: int) -> TrainSpec:
        """The training of this arm with everything filled in, for a network of so many numbers.

        >>> ArmSpec(model="chronos-t5-nano", method=LoRA()).training_of(TrainSpec(), 500_000).learning_rate
        0.001
        """
        own = parse(TrainSpec, self.method.training(spec).model_dump() | self.training, "The arm's training")
        rate = self.learning_rate or own.learning_rate or self.method.rate(parameters)
        return own.model_copy(update={"learning_rate": rate or None})


def _method(name: Any, model: Any, settings: dict[str, Any]) -> Method:
    """The method `name` (that of the model's kind if not given) with its settings."""
    if name is None:
        name = BY_KIND.get(kind_of(str(model)))
        if name is None:
            raise ValueError("method is missing: give one, such as zero-shot, lora or full")
    try:
        kind = method_named(str(name))
    except ConfigError as error:
        raise ValueError(str(error).rstrip(".")) from error
    strange = [key for key in settings if key not in kind.model_fields]
    if strange:
        told = f"Its settings: {', '.join(kind.model_fields)}" if kind.model_fields else "It has no settings"
        keys = [key for key in ArmSpec.model_fields if key not in ("model", "method")]
        raise ValueError(f"method {name!r} takes no {strange[0]}. {told}; an arm's: {', '.join(keys)}")
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise ValueError("; ".join(dict.fromkeys(_fault(one) for one in error.errors()))) from error


def _fault(found: Any) -> str:
    """One mistake in a method's settings, in a line."""
    said = str(found["msg"]).removeprefix("Value error, ")
    # A setting that may be of several types has a place for each of them.
    return f"{found['loc'][0]}: {said} ({found['input']!r} given)" if found["loc"] else said
