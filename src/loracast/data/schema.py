"""What a long table holds: its signals, their units and ranges, and what travels in its metadata."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import inf

from loracast.errors import DataError


@dataclass(frozen=True)
class Signal:
    """One measured quantity: its unit, the range beyond which a value is an error of measurement or entry.

    A value is plausible if low <= value <= high; a low of 0 is itself excluded, since a monitor writes 0 where a
    lead is off. `scaled` is the fixed min-max range of Gupta et al. (arXiv 2405.10216), where the paper has one.
    """

    unit: str
    low: float
    high: float
    label: str
    scaled: tuple[float, float] | None = None


# Hard limits: clifpy's outlier table (heart rate, blood pressure, SpO2, glucose), mimic-code's pivoted vitals
# (respiration < 70), eicu-code's pivoted vitals (temperature 25-46 °C, so that hypothermia in sepsis survives).
SIGNALS: dict[str, Signal] = {
    "heart_rate": Signal("1/min", 0, 300, "heart rate", (0, 300)),
    "map": Signal("mmHg", 0, 250, "mean arterial pressure", (0, 190)),
    "sbp": Signal("mmHg", 0, 300, "systolic pressure"),
    "dbp": Signal("mmHg", 0, 200, "diastolic pressure"),
    "resp_rate": Signal("1/min", 0, 70, "respiratory rate", (0, 100)),
    "spo2": Signal("%", 50, 100, "oxygen saturation"),
    "temperature": Signal("°C", 25, 46, "temperature"),
    "glucose": Signal("mg/dL", 0, 2000, "glucose"),
}

METADATA_KEY = "loracast"


@dataclass(frozen=True)
class TableInfo:
    """What a long table says of itself, kept as JSON under the Parquet key `loracast`."""

    source: str
    simulated: bool
    grid_seconds: int
    units: Mapping[str, str]
    licence: str
    cohort: str | None = None
    zone: str | None = None
    """The IANA time zone whose clock the times are of, where the source stated instants."""

    def as_json(self) -> str:
        """One line of JSON."""
        content = {**asdict(self), "units": dict(self.units)}
        if self.zone is None:
            del content["zone"]
        return json.dumps(content, ensure_ascii=False)


def signals_named(names: Iterable[str]) -> tuple[str, ...]:
    """The names, in the order given; raises DataError where one is unknown, repeated, or where there is none."""
    chosen = tuple(names)
    unknown = [name for name in chosen if name not in SIGNALS]
    if unknown:
        raise DataError(f"Unknown signal: {', '.join(unknown)}. Known signals: {', '.join(SIGNALS)}.")
    if len(set(chosen)) != len(chosen) or not chosen:
        raise DataError(
            f"Signals {', '.join(chosen) or '(none)'} given. Name each once, and at least one of {', '.join(SIGNALS)}."
        )
    return chosen


def signal_named(name: str, units: Mapping[str, str]) -> Signal:
    """A known signal, or one of a caller's own: its name as label, its unit from the table, any finite value."""
    if name in SIGNALS:
        return SIGNALS[name]
    if name not in units:
        raise DataError(f"The unit of signal {name!r} is not stated. Write the table with its unit (unit=...).")
    return Signal(units[name], -inf, inf, name)
