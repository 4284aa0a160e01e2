"""The card of an adapter, `loracast.json`: what it belongs to, and what it was trained on. Validated when read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import ConfigDict, Field

from loracast.errors import AdapterError, ConfigError
from loracast.files import file_digest, read_json, regular
from loracast.scoring.facts import Validated
from loracast.spec import Frozen, SplitSpec, WindowSpec, parse
from loracast.tuning.arm import ArmSpec

CARD = "loracast.json"
FORMAT: Final = 2
MOST_CARD = 2**22
"""Bytes of a card; one of ours has four thousand."""
LOADED = ("adapter_config.json", "adapter_model.safetensors", "config.json", "model.safetensors", "trained.safetensors")
"""The files that decide what an adapter forecasts."""


class SeenWindow(Frozen):
    """The windows of the training, in steps of the grid."""

    context: int = Field(ge=1)
    horizon: int = Field(ge=1)
    step_seconds: int = Field(ge=1)
    joint: bool = False
    cut: WindowSpec | None = None
    """How they were cut, which a small table is split by; None in cards before 0.4."""


class SeenData(Frozen):
    """The table of the training, and who was on which side of it."""

    source: str
    simulated: bool
    licence: str
    table_fingerprint: str
    split_fingerprint: str


class Losses(Frozen):
    """The learning curve behind an adapter. Losses are `{"step": …, "loss": …}`."""

    train: list[dict[str, float]]
    validation: list[dict[str, float]]


class Training(Frozen):
    """What a card says of the data and the training behind an adapter."""

    seed: int
    split: SplitSpec
    window: SeenWindow
    signals: dict[str, str]
    """The unit of each signal."""
    levels: list[Annotated[float, Field(gt=0, lt=1)]] = Field(min_length=1)
    data: SeenData
    patients: dict[str, int]
    """A count for each of train, validation and test."""
    best_step: int
    validation_loss: float
    validation_loss_at_start: float
    validated: Validated | None = None
    """On whom the best step was chosen; None in cards of 0.2."""
    losses: Losses | None = None
    """None in cards that were written before they were kept."""
    reading: dict[str, Any] | None = None
    """How the frame of the training was read (names of its columns, unit, zone …); None where it was no frame."""
    base_dropout: bool | None = None
    """Whether the dropout of the base's own config acted in training; None in cards that do not say (it did)."""
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
    files: dict[str, str] | None = None
    """SHA-256 of each file of weights and settings beside the card; None of an adapter that was saved before 0.3."""


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
    content: Any = read_json(file, AdapterError, most=MOST_CARD)
    found = content.get("format", FORMAT) if isinstance(content, dict) else FORMAT
    if found != FORMAT:
        raise AdapterError(f"{file} has format {found}, which is not {FORMAT}: of another version. Adapt anew.")
    try:
        return parse(kind, content, str(file))
    except ConfigError as error:
        raise AdapterError(
            f"{error}\nThe card is damaged, or of another version. Copy it again, or adapt anew."
        ) from error


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of an adapter that decides what it forecasts."""
    return {name: file_digest(regular(folder / name, AdapterError)) for name in LOADED if (folder / name).exists()}


def check_files(folder: Path, card: Card) -> None:
    """Raise AdapterError where weights or settings beside a card are not those that it was written with."""
    if card.files is None:
        return
    found = digests_of(folder)
    for name in sorted({*card.files, *found}):
        if card.files.get(name) != found.get(name):
            what = (
                "is missing"
                if name not in found
                else "is none of its files"
                if name not in card.files
                else "was changed"
            )
            raise AdapterError(
                f"{folder / name} {what}: {CARD} states the SHA-256 of each file, and this is another. Copy the whole "
                "adapter again, or adapt anew."
            )
