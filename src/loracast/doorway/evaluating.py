"""Evaluate models of any kind side by side: names, loaded or adapted ones, pairs to adapt first, objects of others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.data.table import Table
from loracast.doorway.adapted import Adapted, adapt, window_of
from loracast.doorway.data import opened
from loracast.doorway.forecaster import Forecaster, load
from loracast.doorway.quiet import bars, quiet
from loracast.doorway.result import Result
from loracast.errors import AdapterError, ConfigError
from loracast.files import claimed, refuse_taken, written
from loracast.files.private import PrivateFolder
from loracast.models.registry import is_listed, kind_of
from loracast.spec import ForecastSpec, SplitSpec, TrainSpec, WindowSpec
from loracast.tuning.arm import BY_KIND, ArmSpec
from loracast.tuning.card import TrainedCard
from loracast.tuning.method import Method

if TYPE_CHECKING:
    from loracast.models.base import Model
    from loracast.study.steps.scoring import Competitor


def evaluate(
    table: Table | Path | str,
    models: "Sequence[str | Forecaster | Model | tuple[str, Method | str]]",
    *,
    horizon: int | None = None,
    context: int | None = None,
    window: WindowSpec | Mapping[str, Any] | None = None,
    split: SplitSpec | Mapping[str, Any] | None = None,
    training: TrainSpec | Mapping[str, Any] | None = None,
    forecasting: ForecastSpec | Mapping[str, Any] | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    progress: bool | None = None,
) -> Result:
    """Score models on the same windows of the test patients, with intervals over patients.

    Each of `models` is a name, a `Forecaster` or `Adapted`, a pair of a name and a method, which is adapted here first,
    or any object with a `card` and a `forecast` as `loracast.models.base.Model` has them. The three naive forecasts are
    always scored too, and with an adapted model zero-shot of its base. Adapted models bring their window and their
    split: on the table of its training no patient of it is tested. Without one, patients are split by `seed` unless
    `split` says how.

    The result lies in the new folder `out`, or in a private temporary one. Raises ConfigError for what is no model, for
    two of one name; AdapterError for a split other than that of an adapted model, and for adapted models that differ in
    window or split; otherwise as `lc.load` and `lc.adapt` do.

    >>> result = lc.evaluate(table, ["chronos-t5-nano"], horizon=6, context=24, forecasting={"samples": 4})
    >>> result.arms
    ['last-value', 'seasonal-naive', 'context-mean', 'chronos-t5-nano zero-shot']
    """
    from loracast.study.steps.asked import asked, fits_adapter, own_split

    table = opened(table)
    spec = window_of(window, horizon=horizon, context=context)
    settings = asked(ForecastSpec, forecasting, "The forecast")
    sides = asked(SplitSpec, {"seed": seed} if split is None else split, "The split")
    if isinstance(models, str) or not isinstance(models, Sequence) or not len(models):
        raise ConfigError('Give a list of models to evaluate, such as ["chronos-t5-nano", tuned].')
    for one in models:
        _refuse_strange(one)
    adapted = [one for one in models if isinstance(one, Adapted)]
    having = None
    if adapted:
        card = _alike(adapted)
        if split is not None:
            own_split(card, sides)
        spec, sides, having = fits_adapter(spec, card, table), card.split, card.window.cut
    place = PrivateFolder("results") if out is None else Path(out)
    folder = place.path / "results" if isinstance(place, PrivateFolder) else place
    refuse_taken(folder)

    def made(one: Any) -> Any:
        if isinstance(one, tuple):
            return adapt(table, *one, window=spec, split=sides, training=training, seed=seed, progress=progress)
        return load(one) if isinstance(one, str) else one

    with quiet():
        objects = [made(one) for one in models]
        competitors, given = _competitors(objects, models)
        known = {"window": spec, "split": sides, "having": having, "settings": settings, "progress": bars(progress)}
        _scored(table, competitors, folder, **known)
    return Result(place, given)


def _scored(table: Table, competitors: "list[Competitor]", folder: Path, **settings: Any) -> None:
    """Score them, and leave the results folder, whole or not at all."""
    from loracast.study.steps.scoring import scored

    with claimed(folder, table.path), written(folder) as temporary:
        temporary.mkdir(parents=True)
        scored(table, competitors, temporary, **settings)


def _refuse_strange(one: Any) -> None:
    """Raise ConfigError for what is no model, before anything is loaded."""
    if isinstance(one, str):
        if kind_of(one) == "network":
            raise ConfigError(f"{one} is a network that is trained from nothing. Compare it in an lc.Study.")
        return
    pair = isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) and isinstance(one[1], str | Method)
    if not pair and not isinstance(one, Forecaster) and not (hasattr(one, "forecast") and hasattr(one, "card")):
        raise ConfigError(
            f"A {type(one).__name__} given, which is no model. Give a name, what lc.load or lc.adapt returned, a pair "
            'such as ("chronos-t5-nano", lc.LoRA(rank=2)), or an object with a `card` and a `forecast`.'
        )


def _alike(adapted: Sequence[Adapted]) -> TrainedCard:
    """The card whose window and split are those of all; raises AdapterError where they differ."""
    first = adapted[0].card
    for one in adapted:
        if (one.card.window, one.card.split) != (first.window, first.split):
            raise AdapterError(
                f"{adapted[0].name} and {one.name} have different windows or patient splits. Evaluate them one by one, "
                "or adapt both with the same window and split."
            )
    return first


def _competitors(objects: Sequence[Any], given: Sequence[Any]) -> "tuple[list[Competitor], list[tuple[Any, str]]]":
    """Who is scored, zero-shot before what was adapted from it; and the objects of the caller with their names."""
    from loracast.study.steps.scoring import Competitor

    plain: dict[str, Competitor] = {}
    for one in objects:
        if not isinstance(one, Adapted):
            arm = one.arm if isinstance(one, Forecaster) else _arm_of(one)
            if arm.name in plain:
                raise ConfigError(f"{arm.name} stands twice among the models. Leave one out.")
            plain[arm.name] = Competitor(arm.name, arm, one.model if isinstance(one, Forecaster) else one)
    found: dict[str, Competitor] = {}
    named: list[tuple[Any, str]] = []
    for one, asked in zip(objects, given, strict=True):
        if isinstance(one, Adapted):
            zero_shot = _zero_shot_of(one, [*plain.values(), *found.values()])
            found.setdefault(zero_shot.name, zero_shot)
            name = _free(one.name, {*plain, *found})
            found[name] = Competitor(name, one.arm, one.model, card=one.card, zero_shot=zero_shot.name)
        else:
            name = one.name if isinstance(one, Forecaster) else _arm_of(one).name
            found.setdefault(name, plain[name])
        named += [(one, name), (asked, name)]
    return list(found.values()), named


def _zero_shot_of(one: Adapted, known: "Sequence[Competitor]") -> "Competitor":
    """What an adapted model is held against: its base as it came, that of `known` where it is among them."""
    from loracast.models.registry import load_backbone
    from loracast.study.steps.scoring import Competitor

    base = one.card.model, one.card.revision
    for other in known:
        if other.card is None and (other.model.card.name, other.model.card.revision) == base:
            return other
    model = load_backbone(one.base, revision=one.card.revision)
    arm = ArmSpec.model_validate({"model": one.card.model, "method": "zero-shot", "revision": one.card.revision})
    return Competitor(arm.name, arm, model)


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken."""
    tries = (name if number == 1 else f"{name} ({number})" for number in range(1, len(taken) + 2))
    return next(one for one in tries if one not in taken)


def _arm_of(model: Any) -> ArmSpec:
    """The arm of an object of the caller's own; raises ConfigError where it is called like a model of loracast."""
    card = model.card
    if is_listed(card.name):
        raise ConfigError(f"{card.name!r} is a model of loracast. Call your own otherwise (model.card.name).")
    return ArmSpec.model_validate({"model": card.name, "method": BY_KIND.get(card.kind, "zero-shot")})
