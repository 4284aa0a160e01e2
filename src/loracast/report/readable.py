"""How numbers are written for people: counts, measures with their interval, durations, memory."""

import math
from collections.abc import Iterable

ABSENT = "–"
_MOST_DECIMALS = 7


def exists(value: float | None) -> bool:
    """Whether there is a number to show: neither null nor NaN nor infinite."""
    return value is not None and math.isfinite(value)


def decimals_for(values: Iterable[float | None]) -> int:
    """Decimals that leave about three significant digits in the smallest of `values`; 2 where there is none.

    At most five beside a value of 0.001 or more; as many as it takes where all are smaller.
    """
    sizes = [abs(value) for value in values if value is not None and math.isfinite(value) and value != 0]
    smallest = min(sizes, default=1.0)
    most = 5 if max(sizes, default=1.0) >= 1e-3 else 400
    return max(1, min(most, 2 - math.floor(math.log10(smallest)))) if smallest < 1 else (1 if smallest >= 100 else 2)


def number(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """A number with a true minus sign, and never a negative zero; `sign` writes the plus as well.

    With more decimals than can be counted at a glance, three significant digits and a power of ten: `3.20e−9`.
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    text = f"{abs(value):,.{min(decimals, _MOST_DECIMALS)}f}"
    if decimals > _MOST_DECIMALS and value:
        digits, power = f"{abs(value):.2e}".split("e")
        text = f"{digits}e{int(power)}".replace("-", "−")
    if not any(digit in "123456789" for digit in text):
        return text
    return ("−" if value < 0 else "+" if sign else "") + text


def interval(bounds: tuple[float, float] | None, decimals: int) -> str:
    """An interval as `[3.10, 3.78]`, or nothing where there is none."""
    if bounds is None:
        return ""
    return f"[{number(bounds[0], decimals)}, {number(bounds[1], decimals)}]"


def count(value: float | None) -> str:
    """A count with thousands separated: `49,152`."""
    return f"{round(value):,}" if value is not None and math.isfinite(value) else ABSENT


def plural(value: int, noun: str) -> str:
    """`1 patient`, `12 patients`, `1 series`."""
    return f"{value:,} {noun if value == 1 or noun.endswith('s') else noun + 's'}"


def percent(fraction: float | None, decimals: int = 1) -> str:
    """A fraction as percent: `81.3 %`."""
    return ABSENT if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.{decimals}f} %"


def share(part: float | None, whole: float | None) -> str:
    """What part of a whole, in percent with two significant digits: `0.59 %`."""
    if part is None or not whole:
        return ABSENT
    value = 100 * part / whole
    if value == 0:
        return "0 %"
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f} %" if value < 100 else f"{value:.0f} %"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units: `< 0.1 s`, `0.4 s`, `12 s`, `1 min 12 s`, `2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "< 0.1 s" if seconds else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def span(seconds: float | None) -> str:
    """A planned time span, as short as it can be said: `5 min`, `6 h`, `1 h 30 min`, `2 d`."""
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    whole, parts = round(seconds), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if whole >= size and not (size == 86400 and whole % size):
            parts.append(f"{whole // size} {unit}")
            whole %= size
    return " ".join(parts) or "0 s"


def memory(size: float | None) -> str:
    """Bytes as `640 MB` or `1.2 GB` (powers of ten)."""
    if size is None or not math.isfinite(size):
        return ABSENT
    return f"{size / 1e9:.1f} GB" if size >= 0.9995e9 else f"{size / 1e6:.0f} MB"


def size(value: float | None) -> str:
    """Bytes of a file as `812 B`, `24 kB`, `1.3 MB` or `1.2 GB` (powers of ten)."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if value >= 0.9995e9:
        return f"{value / 1e9:.1f} GB"
    if value >= 0.9995e6:
        return f"{value / 1e6:.1f} MB" if value < 9.95e6 else f"{value / 1e6:.0f} MB"
    return f"{value / 1e3:.0f} kB" if value >= 999.5 else f"{value:.0f} B"


def moment(seconds: float | None) -> str:
    """A short time with two significant digits: `0.42 ms`, `12 ms`, `1.3 s`."""
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    if seconds >= 0.9995:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:,.0f} s"
    milliseconds = 1e3 * seconds
    if milliseconds < 0.01:
        return "< 0.01 ms" if milliseconds else "0 ms"
    return f"{milliseconds:.{max(0, min(2, 1 - math.floor(math.log10(milliseconds))))}f} ms"


def energy(joules: float | None) -> str:
    """Energy as `120 J`, `4.2 kJ` or `1.3 MJ`."""
    if joules is None or not math.isfinite(joules):
        return ABSENT
    for scale, unit in ((1e6, "MJ"), (1e3, "kJ")):
        if joules >= 0.9995 * scale:
            return f"{joules / scale:.1f} {unit}"
    return f"{joules:.0f} J" if joules >= 1 or not joules else f"{joules:.2f} J"
