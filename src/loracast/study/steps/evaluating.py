"""Evaluating: the naive floor, zero-shot and adapters, scored on the same windows of the test patients."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from loracast.data.table import Table, refuse_absent
from loracast.errors import AdapterError
from loracast.files import digest
from loracast.models.registry import check_backbone, load_backbone
from loracast.spec import ForecastSpec, SplitSpec, WindowSpec
from loracast.study.steps.asked import Settings, asked, base_of, fits_adapter, own_split
from loracast.study.summary import Summary
from loracast.tuning.arm import ArmSpec
from loracast.tuning.card import TrainedCard, read_card


def evaluate_table(
    table: Path | str | Table,
    *,
    adapters: Sequence[Path | str] = (),
    backbone: str = "chronos-t5-nano",
    window: WindowSpec | Settings | None = None,
    split: SplitSpec | Settings | None = None,
    forecasting: ForecastSpec | Settings | None = None,
    progress: bool = True,
) -> Summary:
    """Score the naive floor, zero-shot and adapters on the test patients of a table, as a summary.

    An adapter brings its backbone, its window and its split: on the table that it was trained on, the patients of its
    training are never scored. On another table the caller answers for that (check C09 says so). Raises AdapterError
    for a `split` that sets otherwise what the adapter brings.
    """
    refuse_absent(table)
    settings = asked(ForecastSpec, forecasting, "The forecast")
    cards = {Path(folder): read_card(Path(folder), TrainedCard) for folder in adapters}
    spec, sides, revision = asked(WindowSpec, window, "The window"), asked(SplitSpec, split, "The split"), None
    adapted = alike(cards)
    for card in adapted:
        if split is not None:
            own_split(card, sides)
        sides, revision, backbone = card.split, card.revision, base_of(card, backbone) or card.model
    check_backbone(backbone, revision=revision)
    opened = table if isinstance(table, Table) else Table.open(table)
    having: WindowSpec | None = None
    for card in adapted:
        spec, having = fits_adapter(spec, card, opened), card.window.cut
    from loracast.study.steps.scoring import Competitor, scored  # torch: what can be refused has been
    from loracast.tuning.adapter import load_adapter

    base = load_backbone(backbone, revision=revision)
    zero_shot = ArmSpec.model_validate({"model": base.card.name, "method": "zero-shot"})
    competitors = [Competitor(zero_shot.name, zero_shot, base)]
    for folder, name in _names(list(cards), zero_shot.name).items():
        card = cards[folder]
        model = load_adapter(folder, backbone=base_of(card, backbone))
        competitors.append(Competitor(name, card.arm, model, card=card, zero_shot=zero_shot.name))
    with tempfile.TemporaryDirectory(prefix="loracast-") as work:
        return scored(
            opened,
            competitors,
            Path(work),
            window=spec,
            split=sides,
            having=having,
            settings=settings,
            progress=progress,
        )


def _names(folders: Sequence[Path], taken: str) -> dict[Path, str]:
    """What tables call each adapter: its folder's name, with the way to it where two bear the same."""
    names: dict[Path, str] = {}
    for folder in folders:
        alone = [taken, *(path.name for path in folders)].count(folder.name) == 1
        names[folder] = folder.name if alone else str(folder) if str(folder) != taken else f"adapter {folder}"
    return names


def alike(cards: Mapping[Path, TrainedCard]) -> list[TrainedCard]:
    """The cards; raises AdapterError unless they can be scored on the same windows and against the same base."""
    same = {"base_sha256", "revision", "split", "window"}
    kinds = {digest(card.model_dump(mode="json", include=same)) for card in cards.values()}
    if len(kinds) > 1:
        raise AdapterError("These adapters have different backbones, windows or patient splits. Score them one by one.")
    return list(cards.values())
