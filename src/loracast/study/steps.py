"""The single steps on a caller's own long table: adapt, forecast, evaluate."""

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from tqdm.auto import tqdm
from transformers import set_seed

from loracast.data.pseudonyms import Pseudonyms
from loracast.data.schema import signal_named
from loracast.data.series import Tails, tails_of
from loracast.data.split import split_patients
from loracast.data.table import open_table, patients_of
from loracast.data.twins import count_twins
from loracast.data.windows import Windows, cut_windows, open_windows
from loracast.errors import AdapterError, ConfigError
from loracast.files import claimed, digest, written
from loracast.models.base import Model, check_window, within
from loracast.models.forecast import forecaster, predict, score, signals_of
from loracast.models.levels import check_levels, check_paths
from loracast.models.naive import FLOOR
from loracast.models.registry import is_listed, load_backbone, load_model
from loracast.scoring.facts import Validated
from loracast.scoring.noticed import Noticed
from loracast.scoring.sums import Sums
from loracast.spec import ForecastSpec, SplitSpec, TrainSpec, WindowSpec, parse
from loracast.study.choices import choices_of
from loracast.study.run import facts_of, paths_of, training_facts, validated_on
from loracast.study.summarise import arm_summary, whole, with_best
from loracast.study.summary import ArmFacts, Costs, ForecastFacts, Summary
from loracast.training import distributed
from loracast.training.fit import fit
from loracast.training.task import window_task
from loracast.training.trackers import check_trackers
from loracast.training.work import ASKED, CHECKPOINTS, begin_work, work_of
from loracast.tuning.adapter import base_digest, load_adapter, save_adapter
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.tuning.card import CARD, TrainedCard, read_card
from loracast.tuning.methods import methods
from loracast.types import LEVELS, Rows, Say, Table

Settings = Mapping[str, Any]
logger = logging.getLogger(__name__)


def adapt_table(
    table: Path | str | Table,
    out: Path | str,
    *,
    arm: Settings,
    window: Settings | None = None,
    training: Settings | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    track: Sequence[str] = (),
    say: Say = logger.warning,
) -> TrainedCard:
    """Adapt a backbone to a long table and save the adapter to `out`; returns its card.

    `arm`, `window` and `training` take the keys of `ArmSpec`, `WindowSpec` and `TrainSpec`. Patients are split by
    `seed`; training sees the training patients, early stopping the validation patients, nobody the test patients.
    Windows and checkpoints lie under `OUT.work` until the adapter is saved, so that `resume` can continue. What stands
    at `out`, and checkpoints that are not resumed, are replaced only with `overwrite`, `out` once the new adapter is
    whole. `track` names trackers; their local files lie in the folder of `out`. `say` is told where memory runs out.
    Raises ConfigError where another process is at `out`, or `out` is or holds what is read.

    Under torchrun every process calls this: the main one cuts the windows and writes, `batch_size` is the total.
    """
    out = Path(out)
    spec = parse(ArmSpec, dict(arm), "The arm")
    if not spec.method.trains or "pretrained" not in spec.method.kinds:
        trained = ", ".join(name for name, one in methods().items() if one.trains and "pretrained" in one.kinds)
        raise ConfigError(f"{spec.method.name!r} adapts nothing. To adapt, choose one of: {trained}.")
    loop = parse(TrainSpec, dict(training or {}), "The training")
    distributed.share_of(loop.batch_size)
    check_trackers(track)
    table = table if isinstance(table, Table) else open_table(table)
    cut, split = _window(window), parse(SplitSpec, {"seed": seed}, "The split")
    backbone = load_backbone(spec.model, revision=spec.revision)
    cut = within(cut, table.step_seconds, [backbone.card])
    check_window(backbone.card, spec.context or cut.resolved(table.step_seconds).context or 0)
    base = base_digest(backbone)
    set_seed(seed)
    attached = attach(backbone, spec.method)
    asked: dict[str, Any] = {"seed": seed, "table": table.fingerprint}
    asked |= {name: part.model_dump(mode="json") for name, part in (("arm", spec), ("training", loop), ("window", cut))}
    ours = resume and _is_saved(out, spec, seed, table)
    with claimed(out, table.path, spec.model, overwrite=overwrite or ours) if distributed.is_main() else nullcontext():
        with distributed.main_first():
            windows = _prepared(out, table, cut, split, asked, resume=resume, overwrite=overwrite)
            if distributed.is_main():
                _tell_twins(windows, say)
        train = windows.train.of_patients(spec.patients, seed).seeing(spec.context)
        seen = windows.validation.seeing(spec.context)
        plan = spec.training_of(loop, backbone.card.parameters)
        curve = fit(
            window_task(attached, train, seen, name=spec.name, validation_windows=plan.validation_windows),
            plan,
            work_of(out) / CHECKPOINTS,
            seed=seed,
            resume=resume,
            progress=progress,
            say=say,
            track=track,
            run_name=f"{out.name}: {spec.name}, seed {seed}",
            results=out.absolute().parent,
        )
        with distributed.main_first():
            if distributed.is_main():
                on = validated_on(seen, plan, curve)
                facts = training_facts(windows, train, curve, seed, split, on)
                save_adapter(attached, spec, out, base=base, training=facts, overwrite=overwrite or ours)
                shutil.rmtree(work_of(out))
    return read_card(out, TrainedCard)


def _is_saved(out: Path, spec: ArmSpec, seed: int, table: Table) -> bool:
    """Whether `out` is what an adaptation left that was killed between saving it and clearing its work away."""
    if not (out / CARD).is_file() or not (work_of(out) / ASKED).is_file():
        return False
    card = read_card(out, TrainedCard)
    arm = card.arm.model_copy(update={"model": spec.model})
    return (arm, card.seed, card.data.table_fingerprint) == (spec, seed, table.fingerprint)


def _prepared(
    out: Path, table: Table, cut: WindowSpec, split: SplitSpec, asked: dict[str, Any], *, resume: bool, overwrite: bool
) -> Windows:
    """The windows under `OUT.work`, cut by the main process."""
    folder = work_of(out) / "windows"
    if not distributed.is_main():
        return open_windows(folder)
    work = begin_work(out, asked, resume=resume, overwrite=overwrite)
    if (folder / "windows.json").is_file():
        return open_windows(folder)
    try:
        return _windows(table, folder, cut, split)
    except BaseException:
        shutil.rmtree(work)
        raise


def forecast_table(
    table: Path | str | Table,
    out: Path | str,
    *,
    adapter: Path | str | None = None,
    backbone: str = "chronos-t5-nano",
    window: Settings | None = None,
    forecasting: Settings | None = None,
    quantiles: Sequence[float] = LEVELS,
    clip: bool = False,
    keyed: Path | str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ForecastFacts:
    """Forecast the steps that follow the end of every series, into a Parquet table; returns what there is to say of it.

    With an adapter, `backbone` is read only where it is a folder, or the adapter's card cannot find its own.
    Columns: patient, stay, series, signal, time, a column a level of `quantiles` (`q0.1` … `q0.9`) in the units of the
    signal, and status. Patient and stay are named as in the table, or with `keyed`, a file that holds a key, by
    pseudonyms (`data.pseudonyms`). A series of whose context less than `min_context_observed` of the window was
    measured gets null instead of numbers, as such a context is never scored; steps before a series begins count as not
    measured. With `joint` all signals of a stay are forecast from the stay's last cell on. `clip` sets quantiles
    outside a signal's plausible range to its bounds. What stands at `out` is replaced only with `overwrite`. Raises
    ConfigError for that, where another process is at `out`, or it is what is read, and for levels that are none, or
    that the model cannot give.
    """
    table = table if isinstance(table, Table) else open_table(table)
    settings = parse(ForecastSpec, dict(forecasting or {}), "The forecast")
    levels = _levels(quantiles)
    pseudonyms = None if keyed is None else Pseudonyms.of_file(Path(keyed))
    spec = _window(window)
    if adapter is None:
        model: Model = load_backbone(backbone)
    else:
        card = read_card(Path(adapter), TrainedCard)
        spec = _fits_adapter(spec, card, table)
        model = load_adapter(Path(adapter), backbone=_base_of(card, backbone))
    spec = within(spec, table.step_seconds, [model.card]).resolved(table.step_seconds)
    assert spec.context is not None
    check_window(model.card, spec.context)
    paths = paths_of(model, settings)
    if paths is not None and not set(levels) <= set(LEVELS):
        check_paths(levels, paths)
    series = too_sparse = 0
    signals = {name: signal_named(name, table.units) for name in table.signals}
    noticed = Noticed(signals)
    out, sources = Path(out), (table.path, adapter, backbone, keyed)
    with claimed(out, *sources, overwrite=overwrite, inside=True), written(out, overwrite=overwrite) as temporary:
        writer = None
        parts = tails_of(table, spec.context, settings.batch_size, joint=spec.joint)
        for tails in tqdm(parts, unit="batch", disable=not progress):
            found = _ahead(model, tails, table, spec, settings, levels)
            codes = np.array([table.signals.index(one.signal) for one in tails.series])
            known = ~np.isnan(found[:, 0, 0])
            noticed.add(tails.context[known], found[known], codes[known])
            if clip:
                low, high = np.array([(facts.low, facts.high) for facts in signals.values()])[codes].T
                found = np.clip(found, low[:, None, None], high[:, None, None])
            part = tails.with_quantiles(found, levels, table.step_seconds, pseudonyms)
            writer = writer or pq.ParquetWriter(temporary, part.schema)
            writer.write_table(part)
            series, too_sparse = series + len(known), too_sparse + int((~known).sum())
        assert writer is not None, "an opened table has at least one series"
        writer.close()
    return ForecastFacts(
        series=series,
        too_sparse=too_sparse,
        least_observed=spec.min_context_observed,
        context=spec.context,
        samples=paths,
        clipped=clip,
        keyed=pseudonyms is not None,
        signals=noticed.facts(),
    )


def _ahead(
    model: Model, tails: Tails, table: Table, spec: WindowSpec, settings: ForecastSpec, levels: tuple[float, ...]
) -> Float[np.ndarray, "series horizon level"]:
    """The quantiles of the steps after each series, NaN for one of which too little was observed to say anything."""
    assert spec.horizon is not None
    found = np.full((len(tails.series), spec.horizon, len(levels)), np.nan, np.float32)
    # The rule by which windows are cut, and so scored: of others nobody knows what a forecast is worth.
    rich = (tails.observed() >= spec.min_context_observed) & (tails.observed() > 0)
    if rich.any():
        rows = Rows(
            torch.from_numpy(tails.starts(table.step_seconds)[rich]),
            table.step_seconds,
            torch.from_numpy(tails.groups()[rich]) if spec.joint else None,
            spec.season or 1,
            torch.from_numpy(tails.numbers()[rich]),
        )
        found[rich] = predict(model, tails.context[rich], spec.horizon, settings, rows, levels)
    return found


def _levels(given: Sequence[float]) -> tuple[float, ...]:
    """The levels in ascending order, each once; raises ConfigError for what is no level."""
    check_levels(given)
    return tuple(sorted(set(given)))


def evaluate_table(
    table: Path | str | Table,
    *,
    adapters: Sequence[Path | str] = (),
    backbone: str = "chronos-t5-nano",
    window: Settings | None = None,
    forecasting: Settings | None = None,
    split_seed: int = 0,
    progress: bool = True,
) -> Summary:
    """Score the naive floor, zero-shot and adapters on the test patients of a table, as a summary.

    An adapter brings its backbone, its window and its split: on the table that it was trained on, the patients of its
    training are never scored. On another table the caller answers for that (check C09 says so).
    """
    opened = table if isinstance(table, Table) else open_table(table)
    settings = parse(ForecastSpec, dict(forecasting or {}), "The forecast")
    cards = {Path(folder): read_card(Path(folder), TrainedCard) for folder in adapters}
    spec, split, revision = _window(window), parse(SplitSpec, {"seed": split_seed}, "The split"), None
    for card in _alike(cards):
        spec, split = _fits_adapter(spec, card, opened), card.split
        revision = card.revision
        backbone = _base_of(card, backbone) or card.model
    facts: list[ArmFacts] = []
    sums: dict[str, list[Sums]] = {}
    beside: list[dict[str, Any]] = []
    base = load_backbone(backbone, revision=revision)
    spec = within(spec, opened.step_seconds, [base.card])
    validated: dict[str, list[Validated]] = {}
    with tempfile.TemporaryDirectory(prefix="loracast-") as work:
        windows = _windows(opened, Path(work) / "windows", spec, split)
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
            adapted = load_adapter(folder, backbone=_base_of(card, backbone))
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
        more = {"seeds": [split.seed], "adapters_of_other_tables": bool(foreign) if cards else None}
        return whole(opened.path.stem, windows, opened.path, arms, choices=choices, **more)


def _tell_twins(windows: Windows, say: Say) -> None:
    """Say where the same series stands on two sides of the split (check C12 of an evaluation)."""
    for pair, number in count_twins(windows).items():
        if number:
            say(
                f"Check C12: {number} patients have a series that also stands under another id ({pair}). The same "
                "person may have two ids in the source: what is chosen or tested on them is then too good."
            )


def _references(arm: ArmFacts, zero_shot: str) -> dict[str, str]:
    """What an adapter is held against: zero-shot, whatever it is itself."""
    return {"zero-shot": zero_shot} if arm.kind == "pretrained" and arm.arm != zero_shot else {}


def _base_of(card: TrainedCard, backbone: str) -> str | None:
    """Where the caller says that an adapter's base is; None where the card's own name is enough.

    A folder is always used: it may be called like a released model, and be the only copy on this machine.
    """
    folder = not is_listed(backbone) and Path(backbone).exists()
    return backbone if folder or not is_listed(card.model) else None


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


def _window(settings: Settings | None) -> WindowSpec:
    return parse(WindowSpec, {k: v for k, v in (settings or {}).items() if v is not None}, "The window")


def _fits_adapter(spec: WindowSpec, card: TrainedCard, table: Table) -> WindowSpec:
    """The window with what the adapter's card adds; raises AdapterError where grid or signals are not its own."""
    own = card.window
    if own.step_seconds != table.step_seconds:
        raise AdapterError(
            f"The adapter was trained on steps of {own.step_seconds} s; {table.path.name} has steps of "
            f"{table.step_seconds} s. Read the data again with the adapter's --grid."
        )
    strange = sorted(set(table.signals) - set(card.signals))
    if strange:
        raise AdapterError(
            f"The adapter was trained on {', '.join(card.signals)}; {table.path.name} also holds "
            f"{', '.join(strange)}. Read the table with the adapter's signals only, or adapt to these too."
        )
    filled = {key: getattr(spec, key) or getattr(own, key) for key in ("context", "horizon", "joint")}
    return spec.model_copy(update=filled)


def _windows(table: Table, folder: Path, spec: WindowSpec, split: SplitSpec) -> Windows:
    return cut_windows(table, split_patients(patients_of(table), split), spec, folder)
