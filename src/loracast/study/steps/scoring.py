"""Scoring several models side by side, on the same windows of the test patients: what every evaluation comes to."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loracast.data.table import Table
from loracast.data.windows import Windows, split_and_cut
from loracast.errors import AdapterError
from loracast.files import digest
from loracast.models.base import Model, check_window, within
from loracast.models.forecast import forecaster, score, signals_of
from loracast.models.precision import precision_of
from loracast.models.registry import families, load_model
from loracast.scoring.compare import summarise
from loracast.scoring.noticed import Noticed
from loracast.scoring.sums import Sums
from loracast.spec import ForecastSpec, SplitSpec, WindowSpec
from loracast.study.choices import choices_of
from loracast.study.run import facts_of, paths_of
from loracast.study.runs import Run
from loracast.study.summarise import arm_summary, whole, with_best, write_examples
from loracast.study.summary import (
    CELLS,
    QUANTILES,
    RESULT,
    SUMMARY,
    Costs,
    RunResult,
    Summary,
    write_facts,
)
from loracast.training import cost
from loracast.tuning.arm import ArmSpec
from loracast.tuning.card import TrainedCard
from loracast.types import FLOOR


@dataclass(frozen=True)
class Competitor:
    """A model that is scored: what tables call it, its arm, and where it was adapted, the card that says on whom.

    `zero_shot` is the name of the competitor that an adapted one is held against.
    """

    name: str
    arm: ArmSpec
    model: Model
    card: TrainedCard | None = None
    zero_shot: str | None = None


def scored(
    table: Table,
    competitors: Sequence[Competitor],
    out: Path,
    *,
    window: WindowSpec,
    split: SplitSpec,
    settings: ForecastSpec,
    having: WindowSpec | None = None,
    progress: bool = True,
) -> Summary:
    """Score the naive floor and `competitors` on the test patients, and leave `out` as a results folder.

    `having` are the windows by which the patients are shared out, if others than `window` (`split_and_cut`). Those that
    are scored lie under `out` meanwhile. Raises AdapterError where patients that an adapter was trained on could be
    tested, BackboneError for a context that a model would cut short.
    """
    floor = [_floor(name) for name in FLOOR if name not in {one.name for one in competitors}]
    every = [*floor, *competitors]
    window = within(window, table.step_seconds, [one.model.card for one in every])
    windows = split_and_cut(table, split, window, out / "data" / "windows", having=having)
    cards = {one.name: one.card for one in competitors if one.card is not None}
    refuse_trained_patients(cards, windows)
    for one in every:
        check_window(one.model.card, windows.meta["context"])
    runs = [Run(one.name, _seed(one), _folder(out, place, one.name), one.arm) for place, one in enumerate(every)]
    results, sums = [], {}
    for one, run in zip(every, runs, strict=True):
        result, own = _score(one, run.folder, windows, settings, progress=progress)
        results.append(result)
        sums[one.name] = [own]
    write_examples(windows.test, runs)
    for run in runs:
        (run.folder / QUANTILES).unlink()
    summary = _summary(table, windows, every, results, sums, seed=split.seed)
    shutil.rmtree(out / "data")
    write_facts(summary, out / SUMMARY)
    return summary


def _floor(name: str) -> Competitor:
    return Competitor(name, ArmSpec.model_validate({"model": name}), load_model(name))


def _seed(one: Competitor) -> int:
    return one.card.seed if one.card else 0


def _folder(out: Path, place: int, name: str) -> Path:
    """A folder of its own for what is kept of a competitor, whatever signs are in its name."""
    return out / "runs" / f"{place:03d}-{re.sub(r'[^A-Za-z0-9.]+', '-', name)[:80]}"


def _score(
    one: Competitor, folder: Path, windows: Windows, settings: ForecastSpec, *, progress: bool
) -> tuple[RunResult, Sums]:
    """Forecast and score the test windows, and leave in `folder` what a run leaves."""
    folder.mkdir(parents=True)
    noticed, width = Noticed(signals_of(windows.test)), getattr(one.model, "token_width", None)
    sums = score(
        forecaster(one.model, settings),
        windows.test,
        batch_size=settings.batch_size,
        label=one.name,
        quantiles=folder / QUANTILES,
        noticed=noticed,
        token_width=width,
        progress=progress,
    )
    card, known = one.card, one.model.card
    facts = facts_of(one.arm, one.model, card.trainable_parameters if card else 0) | {"arm": one.name}
    result = RunResult(
        **facts,
        run_id=digest([facts, windows.meta["table_fingerprint"], windows.meta["split_fingerprint"]]),
        seed=_seed(one),
        revision=known.revision,
        base_sha256=card.base_sha256 if card else None,
        train_patients=card.patients["train"] if card else None,
        best_step=card.best_step if card else None,
        validated=card.validated if card else None,
        costs=Costs(),
        data={key: windows.meta[key] for key in ("source", "simulated", "table_fingerprint", "split_fingerprint")},
        windows={key: windows.meta[key] for key in ("context", "horizon", "stride", "season", "joint", "counts")},
        forecast=settings.model_dump(mode="json"),
        hardware=cost.hardware(),
        versions=cost.versions(families()[known.family].packages if known.family in families() else ()),
        scores=summarise([sums]),
        samples=paths_of(one.model, settings),
        precision=precision_of(one.model, settings),
        forecasts=noticed.facts(),
    )
    sums.to_parquet(folder / CELLS)
    write_facts(result, folder / RESULT)
    return result, sums


def _summary(
    table: Table,
    windows: Windows,
    competitors: Sequence[Competitor],
    results: Sequence[RunResult],
    sums: Mapping[str, Sequence[Sums]],
    *,
    seed: int,
) -> Summary:
    """All of them laid side by side."""
    arms = with_best(
        [
            arm_summary(
                result,
                sums,
                {} if one.zero_shot is None else {"zero-shot": one.zero_shot},
                seeds=[result.seed],
                best_step=[result.best_step],
                hardware=[],
                costs=Costs(),
                samples=result.samples,
                precision=result.precision,
                forecasts=result.forecasts,
            )
            for one, result in zip(competitors, results, strict=True)
        ],
        sums,
    )
    choices = choices_of(
        arms,
        {one.arm: [one.validated] if one.validated else [] for one in results},
        patients=windows.count_patients(),
        windows=windows.meta["counts"],
    )
    trained_on = {one.card.data.table_fingerprint for one in competitors if one.card is not None}
    return whole(
        table.path.stem,
        windows,
        table.path,
        arms,
        choices=choices,
        seeds=[seed],
        adapters_of_other_tables=bool(trained_on - {table.fingerprint}) if trained_on else None,
    )


def refuse_trained_patients(cards: Mapping[str, TrainedCard], windows: Windows) -> None:
    """Refuse to test on a patient of an adapter's training: on its own table, its own split must come out again."""
    for name, card in cards.items():
        known, found = card.data, windows.meta
        same_table = known.table_fingerprint == found["table_fingerprint"]
        if same_table and known.split_fingerprint != found["split_fingerprint"]:
            raise AdapterError(
                f"{name} was trained on this table with other patients on the training side than its card's "
                "split gives now, so patients of its training could be tested. Adapt again, or score another table."
            )
