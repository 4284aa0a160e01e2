"""Which column holds what: as the caller says, or by the names that such columns usually have.

A name is taken for what it says where one column alone bears it. What is not clear is refused with what was found; what
was taken by its name is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import Field

from loracast.data.given import Columns
from loracast.data.schema import SIGNALS
from loracast.data.times import Clock
from loracast.data.workspace import told_names
from loracast.errors import ConfigError, DataError
from loracast.spec import Frozen

CALLED: dict[str, tuple[str, ...]] = {
    "patient": ("patient", "patient_id", "subject_id", "person_id", "unique_id", "item_id"),
    "time": ("time", "timestamp", "datetime", "charttime", "ds"),
    "value": ("value", "valuenum", "y", "target"),
    "signal": ("signal", "variable"),
    "stay": ("stay", "stay_id", "icustay_id"),
}
"""How columns are called that are taken for what they say; the first name of each goes before the others.

Those of MIMIC, OMOP, Nixtla (`unique_id, ds, y`), AutoGluon (`item_id, timestamp, target`) and of what `melt` writes.
"""


class Reading(Frozen):
    """How measurements of one's own are read: which column holds what, and how it is written.

    A column that is not named is found by its name (`CALLED`). Where no column says which signal a value is of, values
    lie in a column a signal: `value` names these, or they are called as the signals that loracast knows.

    >>> Reading(patient="subject_id", grid="60min").patient
    'subject_id'
    """

    grid: str | None = None
    """Step of the regular grid, e.g. 15min."""
    patient: str | None = None
    """Column of the patient; if not given, patient, patient_id, subject_id, person_id, unique_id or item_id."""
    time: str | None = None
    """Column of the time; if not given, time, timestamp, datetime, charttime or ds."""
    value: str | dict[str, str] | tuple[str, ...] | None = None
    """Column of the values, or of those of each signal: heart_rate=HR; if not given, value, valuenum, y or target, or
    those that are called as known signals."""
    stay: str | None = None
    """Column of the stay or recording; if not given, stay, stay_id or icustay_id, if any."""
    signal: str | None = None
    """Column of the signal, or the name of the one signal; if not given, the column signal or variable, else what the
    column of the values is called."""
    unit: str | dict[str, str] | None = None
    """Unit of the values, or of a signal: 'mmol/L', lactate=mmol/L. Needed for a signal of your own; a known signal in
    another unit is converted."""
    unit_column: str | None = None
    """Column of the unit of each row; values are converted to the unit that is kept."""
    zone: str | None = None
    """Whose clock it is where times bear a zone or an offset: an IANA name, e.g. Europe/Berlin."""
    time_format: str | None = None
    """How times are written, where not as 2021-07-30 16:43: '%d.%m.%Y %H:%M', '%m/%d/%Y %I:%M %p'."""
    missing: tuple[str, ...] = ()
    """texts that stand for no value, besides NA, NULL, \\N and nothing."""
    decimal: str = "."
    """The decimal point of the values: . or a comma."""
    licence: str = "not stated"
    """Licence of the data; adapters carry it."""
    signals: tuple[str, ...] | None = Field(default=None, min_length=1)
    """those to keep of several signals; all if not given."""

    def resolved(self, columns: Columns) -> dict[str, Any]:
        """The settings, as JSON has them, that read another frame of the same columns alike: nothing to be found out.

        Without the licence, which is that of these data.
        """
        changed = self.model_dump(mode="json", exclude_defaults=True, exclude={"licence"})
        if columns.signal is not None:
            found: dict[str, Any] = {"value": columns.values[0], "signal": columns.signal}
        elif self.signal is not None:
            found = {"value": columns.values[0]}
        else:
            found = {"value": dict(zip(columns.constants, columns.values, strict=True))}
        stay = {} if columns.stay is None else {"stay": columns.stay}
        return {**changed, "patient": columns.patient, "time": columns.time, **stay, **found}


def assigned(reading: Reading, names: Sequence[str]) -> tuple[Columns, str | None]:
    """The column of each role among `names`, and what is to be said of those that were taken by their names.

    Raises DataError for a column that is not there, for a role that no column or more than one could have;
    ConfigError for settings that contradict each other.
    """
    patient, time = (_needed(role, getattr(reading, role), names) for role in ("patient", "time"))
    stay = reading.stay or _by_name("stay", names)
    values, signal, constants = _values(reading, names)
    clock = Clock(reading.zone, reading.time_format)
    columns = Columns(
        patient, time, values, signal, constants, stay, reading.unit_column, reading.missing, reading.decimal, clock
    )
    named = columns.named()
    missing = [f"{name!r} ({role})" for role, name in named if name not in names]
    if missing:
        raise DataError(f"No column {', '.join(missing)} in the table given. It has: {told_names(names)}.")
    # What is listed of signals and units must not be what is in another column: it would name patients.
    for role, name in named:
        taken = [other for other, others in named if other != role and others == name]
        if role in ("signal", "unit") and taken:
            raise ConfigError(f"Column {name!r} is given for the {role} and the {taken[0]}. Give one of its own.")
    if len(values) > 1 and reading.unit_column is not None:
        raise ConfigError(
            f"A column of units, {reading.unit_column!r}, is given for {len(values)} columns of values. Give the unit "
            "of each: unit={signal: unit}, --unit SIGNAL=UNIT."
        )
    return columns, _told(reading, columns, names)


def known(name: str) -> str | None:
    """The known signal that a column is called as, upper and lower case alike; None where it is none."""
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return plain if plain in SIGNALS else None


def _values(reading: Reading, names: Sequence[str]) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    """The columns of values; the column that says of which signal they are, or else the signal of each."""
    value, signal = reading.value, reading.signal
    if isinstance(value, (dict, tuple)):
        each = value if isinstance(value, dict) else {known(name) or name: name for name in value}
        twins = len(each) < len(value) or len(set(each.values())) < len(each)
        if signal is not None or twins or not each:
            raise ConfigError(
                f"value={value!r} and signal={signal!r} given. Name each column of values once; each is of the signal "
                "that value={signal: column} says or, in a list, that it is called as, and signal is left out."
            )
        return tuple(each.values()), None, tuple(each)
    by_column = signal if signal in names and signal != value else None
    if signal is None:
        by_column = _by_name("signal", names)
    if value is None:
        value = _by_name("value", names)
        wide = _wide(names)
        if by_column is None and wide and value is not None:
            raise DataError(
                f"Column {value!r} could hold the values, or those called as signals: {', '.join(wide.values())}. Say "
                "which: value='...' or value=['...', '...'], --value SIGNAL=COLUMN."
            )
        if value is None and by_column is None and signal is None and wide:
            return tuple(wide.values()), None, tuple(wide)
    value = _needed("value", value, names)
    if by_column is not None:
        return (value,), by_column, ()
    if signal is None and known(value) is None and reading.unit is None:
        raise DataError(
            f"Nothing says what is measured in {value!r}. Name the signal (signal=..., --signal), one of "
            f"{', '.join(SIGNALS)} or a column that says it; or state the unit (unit=..., --unit) to read {value!r} as "
            "a signal of your own."
        )
    return (value,), None, (signal or known(value) or value,)


def _wide(names: Sequence[str]) -> dict[str, str]:
    """The column that is called as each known signal; raises DataError where two are."""
    found: dict[str, str] = {}
    for column in names:
        signal = known(column)
        if signal in found:
            raise DataError(
                f"Columns {found[signal]!r} and {column!r} are both called as {signal}. Say which columns hold "
                "the values: value=['...', '...'], --value SIGNAL=COLUMN."
            )
        if signal is not None:
            found[signal] = column
    return found


def _by_name(role: str, names: Collection[str]) -> str | None:
    """The one column that is called as such columns are, if any; raises DataError where it could be several."""
    first, *_ = CALLED[role]
    found = [name for name in names if name.strip().lower() in CALLED[role]]
    if first in found or len(found) == 1:
        return first if first in found else found[0]
    if found:
        raise DataError(
            f"{' and '.join(map(repr, found))} could each be the column of the {role}. Say which "
            f"({role}=..., --{role})."
        )
    return None


def _needed(role: str, given: str | None, names: Collection[str]) -> str:
    found = _by_name(role, names) if given is None else given
    if found is None:
        also = f", and none is called as a known signal ({', '.join(SIGNALS)})" if role == "value" else ""
        raise DataError(
            f"No column of the {role} is named, none is called {', '.join(CALLED[role])}{also}. The table given has: "
            f"{told_names(names) or 'no columns'}. Say which it is ({role}=..., --{role})."
        )
    return found


def _told(reading: Reading, columns: Columns, names: Sequence[str]) -> str | None:
    """What to say of columns that were taken by names other than the first of each role; None where there are none."""
    found = [(role, name) for role, name in columns.named() if role in CALLED and getattr(reading, role) is None]
    taken = [
        f"{role} = {name}"
        for role, name in found
        if role == "stay" or (name != CALLED[role][0] and (role != "value" or len(columns.values) == 1))
    ]
    if reading.value is None and len(columns.values) > 1:
        taken.append(f"values = {', '.join(columns.values)}")
    if not taken:
        return None
    used = {name for _, name in columns.named()}
    idle = [name for name in names if name not in used]
    return f"Columns taken by their names: {', '.join(taken)}." + (f" Not read: {told_names(idle)}." if idle else "")
