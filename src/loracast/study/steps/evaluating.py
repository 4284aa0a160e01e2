"""Evaluating: the naive floor, zero-shot and adapters, scored on the same windows of the test patients."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.data.table import Table, open_table
from loracast.data.windows import Windows, split_and_cut
from loracast.errors import AdapterError
from loracast.files import digest
from loracast.models.base import Model, check_window, within
from loracast.models.naive import FLOOR
from loracast.models.registry import check_backbone, load_backbone, load_model
from loracast.scoring.facts import Validated
from loracast.spec import ForecastSpec, SplitSpec, WindowSpec
from loracast.study.steps.asked import Settings, asked, base_of, fits_adapter, own_split
from loracast.study.summary import ArmFacts, Costs, Summary
from loracast.tuning.arm import ArmSpec
from loracast.tuning.card import TrainedCard, read_card

if TYPE_CHECKING:
    from loracast.scoring.sums import Sums


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
    opened = table if isinstance(table, Table) else open_table(table)
    settings = asked(ForecastSpec, forecasting, "The forecast")
    cards = {Path(folder): read_card(Path(folder), TrainedCard) for folder in adapters}
    spec, sides, revision = asked(WindowSpec, window, "The window"), asked(SplitSpec, split, "The split"), None
    having: WindowSpec | None = None
    for card in _alike(cards):
        if split is not None:
            own_split(card, sides)
        spec, sides, having = fits_adapter(spec, card, opened), card.split, card.window.cut
        revision = card.revision
        backbone = base_of(card, backbone) or card.model
    check_backbone(backbone, revision=revision)
    from loracast.models.forecast import forecaster, score, signals_of  # torch: what can be refused has been
    from loracast.scoring.noticed import Noticed
    from loracast.study.choices import choices_of
    from loracast.study.run import facts_of, paths_of
    from loracast.study.summarise import arm_summary, whole, with_best
    from loracast.tuning.adapter import load_adapter

    facts: list[ArmFacts] = []
    sums: dict[str, list[Sums]] = {}
    beside: list[dict[str, Any]] = []
    base = load_backbone(backbone, revision=revision)
    spec = within(spec, opened.step_seconds, [base.card])
    validated: dict[str, list[Validated]] = {}
    with tempfile.TemporaryDirectory(prefix="loracast-") as work:
        windows = split_and_cut(opened, sides, spec, Path(work) / "windows", having=having)
        _same_split(cards, windows)

        def add(name: str, model: Model, arm: ArmSpec, *, trained: int = 0, **known: Any) -> None:
            size = settings.batch_size
            facts.append(ArmFacts(**facts_of(arm, model, trained) | {"arm": name}))
            noticed, width = Noticed(signals_of(windows.test)), getattr(model, "token_width", None)
            more: dict[str, Any] = {"label": name, "progress": progress, "noticed": noticed, "token_width": width}
            sums[name] = [score(forecaster(model, settings), windows.test, batch_size=size, **more)]
            drawn = {"samples": paths_of(model, settings), "forecasts": noticed.facts()}
            beside.append({"seeds": [0], "best_step": [None], **drawn, **known})

        for name in FLOOR:
            add(name, load_model(name), ArmSpec.model_validate({"model": name}))
        check_window(base.card, windows.meta["context"])
        zero_shot = ArmSpec.model_validate({"model": base.card.name, "method": "zero-shot"})
        add(zero_shot.name, base, zero_shot)
        for folder, card in cards.items():
            adapted = load_adapter(folder, backbone=base_of(card, backbone))
            alone = [*sums, *(path.name for path in cards)].count(folder.name) == 1
            label = folder.name if alone else str(folder) if str(folder) not in sums else f"adapter {folder}"
            known = {"seeds": [card.seed], "best_step": [card.best_step]}
            add(label, adapted, card.arm, trained=card.trainable_parameters, **known)
            validated[label] = [card.validated] if card.validated else []
        foreign = {card.data.table_fingerprint for card in cards.values()} - {opened.fingerprint}
        arms = [
            arm_summary(one, sums, _references(one, zero_shot.name), hardware=[], costs=Costs(), **known)
            for one, known in zip(facts, beside, strict=True)
        ]
        arms = with_best(arms, sums)
        choices = choices_of(arms, validated, patients=windows.count_patients(), windows=windows.meta["counts"])
        more = {"seeds": [sides.seed], "adapters_of_other_tables": bool(foreign) if cards else None}
        return whole(opened.path.stem, windows, opened.path, arms, choices=choices, **more)


def _references(arm: ArmFacts, zero_shot: str) -> dict[str, str]:
    """What an adapter is held against: zero-shot, whatever it is itself."""
    return {"zero-shot": zero_shot} if arm.kind == "pretrained" and arm.arm != zero_shot else {}


def _alike(cards: Mapping[Path, TrainedCard]) -> list[TrainedCard]:
    """The cards; raises AdapterError unless they can be scored on the same windows and against the same base."""
    same = {"base_sha256", "revision", "split", "window"}
    kinds = {digest(card.model_dump(mode="json", include=same)) for card in cards.values()}
    if len(kinds) > 1:
        raise AdapterError("These adapters have different backbones, windows or patient splits. Score them one by one.")
    return list(cards.values())


def _same_split(cards: Mapping[Path, TrainedCard], windows: Windows) -> None:
    """Refuse to test on a patient of an adapter's training: on its own table, its own split must come out again."""
    for folder, card in cards.items():
        known, found = card.data, windows.meta
        same_table = known.table_fingerprint == found["table_fingerprint"]
        if same_table and known.split_fingerprint != found["split_fingerprint"]:
            raise AdapterError(
                f"{folder.name} was trained on this table with other patients on the training side than its card's "
                "split gives now, so patients of its training could be tested. Adapt again, or score another table."
            )
