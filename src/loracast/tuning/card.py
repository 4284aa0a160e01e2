"""The card of an adapter, `loracast.json`: what it belongs to, and what it was trained on. Validated when read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import ConfigDict

from loracast.errors import AdapterError, ConfigError
from loracast.files import read_json
from loracast.spec import Frozen, SplitSpec, parse
from loracast.tuning.arm import ArmSpec

CARD = "loracast.json"
FORMAT: Final = 2


class SeenWindow(Frozen):
    """The windows of the training, in steps of the grid."""

    context: int
    horizon: int
    step_seconds: int
    joint: bool = False


class SeenData(Frozen):
    """The table of the training, and who was on which side of it."""

    source: str
    simulated: bool
    licence: str
    table_fingerprint: str
    split_fingerprint: str


class Training(Frozen):
    """What a card says of the data and the training behind an adapter."""

    seed: int
    split: SplitSpec
    window: SeenWindow
    signals: dict[str, str]
    """The unit of each signal."""
    levels: list[float]
    data: SeenData
    patients: dict[str, int]
    """A count for each of train, validation and test."""
    best_step: int
    validation_loss: float
    validation_loss_at_start: float
    versions: dict[str, str]


class Card(Frozen):
    """What an adapter is, and which base it belongs to."""

    # A card tells more where its adapter was trained on data.
    model_config = ConfigDict(extra="ignore")

    format: Literal[2]
    model: str
    family: str
    revision: str | None
    base_sha256: str
    """`base_digest` of the base's weights."""
    base_licence: str
    arm: ArmSpec
    trainable_parameters: int
    merged: bool = False


class TrainedCard(Card, Training):
    """The card of an adapter that was trained on data."""


Kind = TypeVar("Kind", bound=Card)


def read_card(folder: Path, kind: type[Kind]) -> Kind:
    """The card of an adapter; raises AdapterError where `folder` holds none, or one that `kind` does not fit."""
    file = folder / CARD
    if not file.is_file():
        raise AdapterError(
            f"{folder} holds no adapter: {CARD} is missing. `loracast adapt` and `loracast run` write them."
        )
    try:
        content: Any = read_json(file)
    except ValueError as error:
        raise AdapterError(f"{file} is not JSON ({error}). Copy the adapter again, or adapt anew.") from error
    found = content.get("format", FORMAT) if isinstance(content, dict) else FORMAT
    if found != FORMAT:
        raise AdapterError(f"{file} has format {found}, which is not {FORMAT}: of another version. Adapt anew.")
    try:
        return parse(kind, content, str(file))
    except ConfigError as error:
        raise AdapterError(
            f"{error}\nThe card is damaged, or of another version. Copy it again, or adapt anew."
        ) from error
