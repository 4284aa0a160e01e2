"""What a caller asks of a step, as settings; and whether it fits the adapter that it is asked of. Loads no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loracast.data.table import Table
from loracast.errors import AdapterError, ConfigError
from loracast.models.registry import is_listed
from loracast.spec import Frozen, Spec, SplitSpec, WindowSpec, parse
from loracast.tuning.card import TrainedCard

Settings = Mapping[str, Any]


def asked(kind: type[Spec], given: Spec | Settings | None, what: str) -> Spec:
    """What was given as an object of `kind`: that itself, or its keys, of which None stands for one that is left out.

    Raises ConfigError for settings of another kind, and as `parse` does.
    """
    if isinstance(given, kind):
        return given
    if isinstance(given, Frozen) or not isinstance(given, Mapping | None):
        raise ConfigError(f"{what} is a {type(given).__name__}. Give a {kind.__name__}, or its keys in a dict.")
    return parse(kind, {key: value for key, value in (given or {}).items() if value is not None}, what)


def base_of(card: TrainedCard, backbone: str) -> str | None:
    """Where the caller says that an adapter's base is; None where the card's own name is enough.

    A folder is always used: it may be called like a released model, and be the only copy on this machine.
    """
    folder = not is_listed(backbone) and Path(backbone).exists()
    return backbone if folder or not is_listed(card.model) else None


def fits_adapter(spec: WindowSpec, card: TrainedCard, table: Table) -> WindowSpec:
    """The window with what the adapter's card adds; raises AdapterError where grid or signals are not its own."""
    own, given = card.window, spec.model_fields_set
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
    if own.cut is not None:
        left = [key for key in ("stride", "min_context_observed", "min_target_observed") if key not in given]
        filled |= {key: getattr(own.cut, key) for key in left}
    return spec.model_copy(update=filled)


def own_split(card: TrainedCard, split: SplitSpec) -> None:
    """Raise AdapterError where a caller's split sets otherwise what the adapter's own says: who trained it would be
    tested."""
    wrong = [key for key in sorted(split.model_fields_set) if getattr(split, key) != getattr(card.split, key)]
    if wrong:
        told = "; ".join(f"{key} {getattr(split, key)} given, {getattr(card.split, key)} its own" for key in wrong)
        raise AdapterError(
            f"An adapter brings its own split of the patients, and another could test those that it was trained on "
            f"({told}). Leave {' and '.join(wrong)} out, or adapt with that split."
        )
