"""Units: how they are spelt, what converts into what, and how values in another unit give themselves away.

A unit is never guessed. It is what the caller states, row by row or for a signal; what a column's name says and what
the values look like only lead to a refusal or a warning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from loracast.data.schema import SIGNALS
from loracast.errors import DataError

# How people write units, in small letters and without blanks, dots and brackets (`[degF]` is "degf").
UNIT_SPELLINGS: dict[str, tuple[str, ...]] = {
    "1/min": ("1/min", "/min", "min-1", "bpm", "beats/min", "breaths/min", "insp/min", "permin"),
    "1/s": ("1/s", "/s", "s-1", "hz"),
    "mmHg": ("mmhg", "mm_hg", "torr"),
    "kPa": ("kpa",),
    "%": ("%", "percent", "pct"),
    "1": ("1", "share", "fraction", "frac", "ratio"),
    "°C": ("°c", "c", "cel", "degc", "celsius", "degreescelsius", "degreesc"),
    "°F": ("°f", "f", "degf", "fahrenheit", "degreesfahrenheit", "degreesf"),
    "K": ("k", "kelvin"),
    "mg/dL": ("mg/dl", "mgdl", "mg/100ml", "mg%"),
    "mmol/L": ("mmol/l", "mmoll"),
    "µmol/L": ("umol/l", "umoll", "micromol/l"),
}


@dataclass(frozen=True)
class Conversion:
    """A value in the unit kept is `(value - minus) * times`."""

    minus: float
    times: float

    def inverse(self) -> Conversion:
        """The way back."""
        return Conversion(-self.minus * self.times, 1 / self.times)


AS_IT_IS = Conversion(0, 1)

# Exact by definition, but for kPa: 1 mmHg is 133.322 Pa (NIST SP 811, appendix B.8).
CONVERSIONS: dict[tuple[str, str], Conversion] = {
    ("°F", "°C"): Conversion(32, 1 / 1.8),
    ("K", "°C"): Conversion(273.15, 1),
    ("kPa", "mmHg"): Conversion(0, 7.50062),
    ("1", "%"): Conversion(0, 100),
    ("1/s", "1/min"): Conversion(0, 60),
    ("µmol/L", "mmol/L"): Conversion(0, 0.001),
}

# g/mol (PubChem, to two decimals): what turns mmol/L into mg/dL differs from substance to substance.
MOLAR_MASS: dict[str, float] = {"glucose": 180.16, "creatinine": 113.12, "lactate": 90.08, "bilirubin": 584.66}


@dataclass(frozen=True)
class Lookalike:
    """Where values of a known signal lie that were measured in another `unit`, and hardly any of its own do."""

    unit: str
    low: float
    high: float


LOOKALIKES: dict[str, tuple[Lookalike, ...]] = {
    "temperature": (Lookalike("°F", 77, 114), Lookalike("K", 299, 319)),
    "glucose": (Lookalike("mmol/L", 1, 33),),
    "sbp": (Lookalike("kPa", 5, 33),),
    "map": (Lookalike("kPa", 4, 25),),
    "dbp": (Lookalike("kPa", 2, 18),),
    "spo2": (Lookalike("1", 0.5, 1),),
}

# Of a signal of one's own only its unit is known. A share or a pressure may be anything.
LOOKALIKES_OF_UNITS: dict[str, tuple[Lookalike, ...]] = {
    "°C": LOOKALIKES["temperature"],
    "°F": (Lookalike("°C", 25, 46), Lookalike("K", 299, 319)),
}

# A name is searched for these in this order; `(?![a-z])` keeps "mg/dlow" from being a unit.
_IN_NAMES: tuple[tuple[str, str], ...] = (
    ("mmol/L", r"mmol[\s_./]*l(?![a-z])"),
    ("µmol/L", r"(u|micro)mol[\s_./]*l(?![a-z])"),
    ("mg/dL", r"mg[\s_./]*dl(?![a-z])"),
    ("kPa", r"(?<![a-z])kpa(?![a-z])"),
    ("mmHg", r"mm[\s_]*\[?hg(?![a-z])"),
    ("%", r"%|(?<![a-z])(percent|pct)(?![a-z])"),
    ("1", r"(?<![a-z])(fraction|frac|share|ratio)(?![a-z])"),
    ("1/min", r"(?<![a-z])bpm(?![a-z])|(/|(?<![a-z])per)[\s_]*min(?![a-z])"),
    ("1/s", r"(?<![a-z])hz(?![a-z])"),
    ("°F", r"fahrenheit|°\s*f(?![a-z])|deg(rees)?[\s_.]*f(?![a-z])"),
    ("°C", r"celsius|°\s*c(?![a-z])|deg(rees)?[\s_.]*c(?![a-z])"),
    ("K", r"(?<![a-z])kelvin(?![a-z])"),
)
_LONE_LETTER = re.compile(r"(?:^|[\s_.(\[/-])([fck])[)\]]*$|[a-z]([FCK])$")


def canonical(text: str) -> str | None:
    """The unit that is spelt so; None for one that is not known."""
    plain = re.sub(r"[\s.\[\]()]", "", text.lower().replace("µ", "u").replace("μ", "u").replace("º", "°"))
    return next((unit for unit, spellings in UNIT_SPELLINGS.items() if plain in spellings), None)


def unit_in(name: str, signal: str) -> str | None:
    """The unit that the name of a column states, such as `Glucose mmol/L` or `temp_f`; None where it states none.

    A letter at the end is a unit where `signal` is a temperature. A unit by something, as in mg/dL/min, is given whole.
    """
    plain = name.lower().replace("µ", "u").replace("μ", "u")
    for unit, pattern in _IN_NAMES:
        found = re.search(pattern, plain)
        if found:
            by = re.match(r"\s*/\s*[a-z]+", plain[found.end() :])
            return unit + by[0].replace(" ", "") if by else unit
    lone = _LONE_LETTER.search(name) or _LONE_LETTER.search(plain) if signal == "temperature" else None
    return canonical(lone[1] or lone[2]) if lone else None


def conversion(signal: str, given: str, kept: str) -> Conversion | None:
    """What turns values of a signal from the unit `given` into `kept`; None where that is not known."""
    one, other = canonical(given) or given.strip(), canonical(kept) or kept.strip()
    if one == other:
        return AS_IT_IS
    if (one, other) in CONVERSIONS:
        return CONVERSIONS[one, other]
    if (other, one) in CONVERSIONS:
        return CONVERSIONS[other, one].inverse()
    per_mmol = MOLAR_MASS.get(signal.lower(), 0) / 10
    molar = {"mmol/L": per_mmol, "µmol/L": per_mmol / 1000, "mg/dL": 1.0}
    if per_mmol and one in molar and other in molar:
        return Conversion(0, molar[one] / molar[other])
    return None


def convertible(signal: str, kept: str) -> list[str]:
    """The units that values of a signal are converted from."""
    return [unit for unit in UNIT_SPELLINGS if unit != kept and conversion(signal, unit, kept) is not None]


def lookalikes(signal: str, kept: str) -> tuple[Lookalike, ...]:
    """Where values of a signal that is kept in a unit would lie in another."""
    if signal in SIGNALS:
        return LOOKALIKES.get(signal, ())
    return LOOKALIKES_OF_UNITS.get(canonical(kept) or "", ())


def not_convertible(signal: str, given: str, kept: str) -> DataError:
    """The error of a unit that a signal cannot be brought from into the one it is kept in."""
    known = convertible(signal, kept)
    return DataError(
        f"{signal} is given in {given!r}, but is kept in {kept}, and what converts the one into the other is not "
        f"known{' (known: ' + ', '.join(known) + ')' if known else ''}. Convert the values to {kept} first, or give "
        "the signal a name of its own."
    )


def unit_of(name: str, given: str | None) -> str:
    """The unit a signal is kept in; raises DataError where the unit given is another, or where none is known."""
    if name not in SIGNALS:
        if given is None:
            raise DataError(
                f"{name!r} is neither a column nor a known signal ({', '.join(SIGNALS)}). "
                "State its unit (unit=..., --unit) to use it as a signal of your own."
            )
        return given
    kept = SIGNALS[name].unit
    if given is not None and canonical(given) != kept:
        raise DataError(
            f"{name} is given in {given!r}, but loracast keeps it in {kept}. Write the table from its measurements "
            f"with `loracast data table --unit {name}={given}`, or give the signal a name of its own."
        )
    return kept


def kept_units(names: list[str], stated: Mapping[str, str]) -> dict[str, str]:
    """The unit each signal is kept in; raises DataError where that stated cannot be brought into it."""
    kept = {}
    for name in names:
        kept[name] = SIGNALS[name].unit if name in SIGNALS else unit_of(name, stated.get(name))
        if name in stated and conversion(name, stated[name], kept[name]) is None:
            raise not_convertible(name, stated[name], kept[name])
    return kept


def refuse_names(columns: Mapping[str, str], stated: Mapping[str, str]) -> None:
    """Raise DataError where the column of a known signal states another unit than it is kept in, and the caller none.

    `columns` maps each signal to the name of its column.
    """
    for signal, column in columns.items():
        said = unit_in(column, signal)
        if said is None or signal in stated or signal not in SIGNALS or said == SIGNALS[signal].unit:
            continue
        kept = SIGNALS[signal].unit
        way = f"--unit {signal}={said} to have the values converted" if said in convertible(signal, kept) else ""
        raise DataError(
            f"The name of column {column!r} says {said}, but {signal} is kept in {kept}. Give "
            f"{way + ', or ' if way else ''}--unit {signal}={kept} if the values are in {kept} all the same."
        )
