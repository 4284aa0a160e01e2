"""Synthetic series, a whole batch at a time, their noise drawn in the spectrum: nothing measured, nothing private.

`draw(seed, indices, context, horizon)` makes each series from its own index alone, so a corpus needs no disk, any
worker makes the same item, and the series of a batch are those that each index would give by itself. All that is
random comes from one tape of numbers a series (Philox, keyed by seed and index); what is made of it is arithmetic on
whole batches, and takes less than the network that learns from it. The ingredients are those that series of nature
have: levels that drift or return, seasons that agree over many cycles, calendars, trends with breaks, levels that
shift and stay, single outliers that return, responses that decay, counts, rounding, gaps, any unit. None imitates
vital signs; the simulator in `loracast.data.simulator` shares no code with this file. Noise by its spectrum follows
Timmer and Koenig ("On generating power law noise", A&A 300, 1995).
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Periods that calendars produce at common sampling rates; a third of the draws leaves them for any other period.
CALENDAR_PERIODS = (4, 5, 6, 7, 8, 12, 14, 24, 28, 30, 48, 52, 60, 96, 144, 168, 288)
_WAVE = 128
"""Points of a season's shape, between which it is straight."""
_HARMONICS = 10
_SLOW = 8
"""Waves of which a slow change is made, the slowest one of twice the series' length."""
_UNIFORMS, _NORMALS = 160, 128
_LAST = 0.05
"""The share of series whose last value of the context is an outlier."""


@dataclass(frozen=True)
class Series:
    """Some series: `values` is float32 of shape (series, context + horizon), NaN where a value is missing.

    `period` is the planted season of each in steps, 1 where there is none.
    """

    values: Tensor
    period: Tensor


class _Tape:
    """All that is random in some series: columns of single numbers, handed out in turn, and rows as long as a series.

    What is handed out next depends on how much was, and on nothing drawn: so it is the same for every series.
    """

    def __init__(self, uniforms: Tensor, normals: Tensor, length: int) -> None:
        self.length, self.padded = length, _fast(2 * length)
        self.time = torch.arange(length, dtype=torch.float32, device=uniforms.device)
        self._uniforms, self._normals = uniforms, normals
        self._rows: Tensor | None = None  # all; of a part, those of the whole
        self._taken = length, length

    @classmethod
    def of(cls, seed: int, indices: Sequence[int], length: int, device: torch.device) -> "_Tape":
        uniforms = np.empty((len(indices), length + _UNIFORMS), np.float32)
        normals = np.empty((len(indices), length + _fast(2 * length) + _NORMALS), np.float32)
        for row, index in enumerate(indices):
            chance = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
            chance.random(out=uniforms[row], dtype=np.float32)
            chance.standard_normal(out=normals[row], dtype=np.float32)
        return cls(torch.from_numpy(uniforms).to(device), torch.from_numpy(normals).to(device), length)

    @property
    def when(self) -> Tensor:
        """A uniform number for each step: when something happens there."""
        return self._columns(self._uniforms, 0, self.length)

    @property
    def white(self) -> Tensor:
        """A normal number for each step, of which none tells of another."""
        return self._columns(self._normals, 0, self.length)

    def _columns(self, source: Tensor, first: int, count: int) -> Tensor:
        assert first + count <= source.shape[1]
        columns = source[:, first : first + count]
        return columns if self._rows is None else columns[self._rows]

    def in_some(self, share: float, make: Callable[..., Tensor], *own: Tensor, others: Tensor | None = None) -> Tensor:
        """What `make` makes of a share of the series, and `others` (0) elsewhere; of these alone, to be quick.

        Besides the tape of these series `make` is given their rows of `own`.
        """
        chosen = self.happens(share)[:, 0]
        rows = chosen.nonzero()[:, 0]
        # One at least: what is made takes its numbers from the tape, wanted or not.
        made_of = rows if len(rows) else rows.new_zeros(1)
        part = copy.copy(self)
        part._rows = made_of if self._rows is None else self._rows[made_of]
        made = make(part, *(one[made_of] for one in own))
        self._taken = part._taken
        base = made.new_zeros(len(chosen), self.length) if others is None else others
        return base.index_copy(0, rows, made[: len(rows)])

    def uniform(self, low: float = 0.0, high: float = 1.0, count: int = 1) -> Tensor:
        """Numbers of shape (series, count) between two bounds."""
        first, normals = self._taken
        self._taken = first + count, normals
        numbers = self._columns(self._uniforms, first, count)
        return numbers if (low, high) == (0.0, 1.0) else low + (high - low) * numbers

    def power(self, low: float, high: float) -> Tensor:
        """Ten to a power between two bounds."""
        return 10.0 ** self.uniform(low, high)

    def happens(self, share: float) -> Tensor:
        """True in a share of the series."""
        return self.uniform() < share

    def normal(self, count: int = 1) -> Tensor:
        """Standard normal numbers of shape (series, count)."""
        uniforms, first = self._taken
        self._taken = uniforms, first + count
        return self._columns(self._normals, first, count)

    def one_of(self, values: Sequence[float]) -> Tensor:
        """One of these for each series."""
        table = torch.tensor(values, dtype=torch.float32, device=self._uniforms.device)
        return table[(self.uniform() * len(values)).long().clamp(max=len(values) - 1)]


def draw(
    seed: int, indices: Sequence[int], context: int, horizon: int, *, device: torch.device | str = "cpu"
) -> Series:
    """The series `indices` of the corpus `seed`, each of `context + horizon` steps on a scale of its own.

    >>> [tuple(draw(0, range(2), 16, 8).values.shape), bool(draw(0, [1], 16, 8).period[0] >= 1)]
    [(2, 24), True]
    """
    tape = _Tape.of(seed, indices, context + horizon, torch.device(device))
    first, second = _periods(tape, context)
    seasons = tape.in_some(0.55, _seasons, first, second)
    x = seasons + tape.in_some(0.8, _level) + tape.in_some(0.85, _noise) + tape.in_some(0.4, _trend)
    x = _standard(x + tape.in_some(0.12, _shifts) + tape.in_some(0.12, _responses))
    # A level a hundred times its changes is a frequent thing; more would be lost in the digits of a float32.
    x = tape.in_some(0.2, _multiplied, x, others=x + tape.power(-2.0, 2.0) * tape.one_of((1,) * 9 + (-1,)))
    x = tape.in_some(0.07, _counted, x, others=x)
    x = _outliers(tape, tape.in_some(0.05, _held, x, others=x), context)
    x = tape.in_some(0.25, _rounded, x, others=x)
    x = tape.in_some(0.07, _cut, x, others=x)
    x = _missing(tape, x, context)
    unit = torch.where(tape.happens(0.2), -1.0, 1.0) * tape.power(-6.0, 6.0)
    planted = torch.where((seasons != 0).any(dim=1), first[:, 0], 1.0)
    return Series(unit * x, planted)


def _fast(length: int) -> int:
    """The next length that a Fourier transform likes."""
    while True:
        left = length
        for factor in (2, 3, 5):
            while left % factor == 0:
                left //= factor
        if left == 1 and length % 2 == 0:
            return length
        length += 1


def _spread(x: Tensor) -> Tensor:
    around = x - x.mean(dim=1, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(around, dim=1, keepdim=True)
    return (length / math.sqrt(x.shape[1])).clamp(min=1e-6)


def _standard(x: Tensor) -> Tensor:
    """Brought to a spread of 1 around the first value: around the mean, a context would tell the future's."""
    return (x - x[:, :1]) / _spread(x)


def _coloured(tape: _Tape, slope: Tensor, corner: Tensor) -> Tensor:
    """Stationary noise whose power falls as frequency to the `slope` beyond a `corner` (cycles a step); spread 1.

    Drawn at twice the length and cut: the circle that a spectrum closes would tie the end to the beginning.
    """
    numbers = torch.view_as_complex(tape.normal(tape.padded).reshape(-1, tape.padded // 2, 2))
    frequency = torch.arange(1, numbers.shape[1] + 1, dtype=torch.float32, device=numbers.device) / tape.padded
    amplitude = torch.exp((frequency.square() + corner.square()).log() * (-slope / 4))
    spectrum = torch.cat([torch.zeros_like(numbers[:, :1]), numbers * amplitude], dim=1)
    noise: Tensor = torch.fft.irfft(spectrum, n=tape.padded)
    return noise[:, : tape.length] / _spread(noise)


def _slow(tape: _Tape) -> Tensor:
    """A slow change of spread about 1, of waves no shorter than a quarter of the series."""
    wave = torch.arange(1, _SLOW + 1, dtype=torch.float32, device=tape.time.device)[:, None]
    angle = math.pi * wave * tape.time / tape.length
    return tape.normal(2 * _SLOW) @ torch.cat([angle.sin() / wave, angle.cos() / wave]) / 1.25


def _level(tape: _Tape) -> Tensor:
    """A level that drifts for good or comes back, from rough to smooth."""
    shortest = math.log10(1.5 / tape.length)
    slope, corner = tape.uniform(0.3, 4.0), tape.power(shortest, -0.5)
    # A walk is a sum of steps, not a slope of two: a spectrum drawn on a circle would bring it back to its start.
    walks = tape.happens(0.5)
    step_slope = torch.where(tape.happens(0.5), 0.0, tape.uniform(0.0, 3.0))
    noise = _coloured(tape, torch.where(walks, step_slope, slope), torch.where(walks, tape.power(-2.0, -0.5), corner))
    steps = torch.where(tape.happens(0.3), _heavy(noise, tape.uniform(0.4, 1.2)), noise)
    return tape.power(-1.0, 0.6) * torch.where(walks, _standard(steps.cumsum(dim=1)), noise)


def _heavy(noise: Tensor, weight: Tensor) -> Tensor:
    """The same noise with heavier tails."""
    return torch.sinh(weight * noise) / weight


def _noise(tape: _Tape) -> Tensor:
    """What cannot be forecast: its tails may be heavy, its strength may change."""
    white = tape.white
    noise = torch.where(tape.happens(0.3), _heavy(white, tape.uniform(0.3, 1.0)), white)
    changing = torch.where(tape.happens(0.2), tape.uniform(0.2, 0.8), 0.0)
    return tape.power(-2.0, 0.3) * noise * torch.exp(changing * _slow(tape))


def _periods(tape: _Tape, context: int) -> tuple[Tensor, Tensor]:
    """Two seasons' steps, (series, 1) each; the second is often a multiple of the first: the week of a day, say."""
    first, other = _period(tape, context), _period(tape, context)
    multiple = first * tape.one_of((2, 3, 4, 7, 7, 7, 12))
    return first, torch.where(tape.happens(0.5) & (multiple <= tape.length), multiple, other)


def _period(tape: _Tape, context: int) -> Tensor:
    """Steps of a season, mostly such that the context holds two cycles or more."""
    fitting = [period for period in CALENDAR_PERIODS if 2 * period <= context] or [4]
    calendar, bound = tape.one_of(fitting), math.log10(max(4.0, context / 2))
    period = torch.where(tape.happens(0.6), calendar, tape.power(math.log10(3), bound).round())
    period = torch.where(tape.happens(0.1), period * tape.uniform(0.96, 1.04), period)
    return torch.where(tape.happens(0.07), tape.power(bound, math.log10(max(5.0, 2.0 * context))), period)


def _seasons(tape: _Tape, first: Tensor, second: Tensor) -> Tensor:
    """A season, perhaps other at the weekends of its days, and in 3 of 10 series one more."""
    weekend = tape.in_some(0.12, _weekend, first)
    wave = _season(tape, first) * (1 - weekend) + tape.uniform(-1.5, 1.5) * weekend
    return tape.power(-0.8, 0.9) * (wave + tape.in_some(0.3, _further, second))


def _further(tape: _Tape, period: Tensor) -> Tensor:
    return tape.power(-0.7, 0.3) * _season(tape, period)


def _season(tape: _Tape, period: Tensor) -> Tensor:
    """A shape that repeats, of up to ten harmonics or on and off, its strength and pace perhaps changing; spread 1."""
    harmonic = torch.arange(1, _HARMONICS + 1, device=period.device)
    numbers = torch.view_as_complex(tape.normal(2 * _HARMONICS).reshape(-1, _HARMONICS, 2))
    most = torch.where(tape.happens(0.25), 1.0, tape.uniform(1.0, _HARMONICS + 1.0).floor())
    fall = harmonic ** -tape.uniform(0.0, 2.0)
    numbers = numbers * (fall * (harmonic <= most))
    shape = torch.fft.irfft(torch.cat([torch.zeros_like(numbers[:, :1]), numbers], dim=1), n=_WAVE)
    point = torch.arange(_WAVE, device=period.device) / _WAVE
    share, edge = tape.uniform(0.04, 0.6), tape.uniform(0.01, 0.1)
    switched = ((share / 2 - (point - 0.5).abs()) / edge).clamp(0, 1)
    shape = torch.where(tape.happens(0.2), switched, shape)
    shape = (shape - shape.mean(dim=1, keepdim=True)) / _spread(shape)
    pace = torch.where(tape.happens(0.1), tape.uniform(0.0, 0.15), 0.0)
    phase = (tape.time / period + tape.uniform(8.0, 9.0) + pace * _slow(tape)).frac().abs() * _WAVE
    before = phase.long().clamp(max=_WAVE - 1)
    low, high = shape.gather(1, before), shape.gather(1, (before + 1) % _WAVE)
    changing = torch.where(tape.happens(0.35), tape.uniform(0.0, 0.5), 0.0)
    return (low + (phase - before) * (high - low)) * torch.exp(changing * _slow(tape))


def _weekend(tape: _Tape, period: Tensor) -> Tensor:
    """How far a step belongs to two days of seven, where a day is one `period`."""
    day = (tape.time / period + 7 * tape.uniform()).floor() % 7
    return (day >= 5) * tape.uniform(0.3, 1.0)


def _trend(tape: _Tape) -> Tensor:
    """A straight line with up to two breaks, or one that grows or levels off exponentially."""
    at, breaks, slopes, bent = tape.time / tape.length, tape.uniform(count=2), tape.normal(3), tape.happens(0.5)
    line = slopes[:, :1] * at
    for one in range(2):
        line = line + bent * slopes[:, one + 1 : one + 2] * 1.5 * (at - breaks[:, one : one + 1]).clamp(min=0)
    rate = tape.uniform(-5.0, 3.0)
    curve = slopes[:, :1].sign() * (torch.exp(rate * at) - 1) / rate.abs().clamp(min=0.1)
    form = torch.where(tape.happens(0.3), curve, line)
    return tape.power(-0.7, 0.9) * form / _spread(form)


def _shifts(tape: _Tape) -> Tensor:
    """Up to three levels that are left for good at some step."""
    at, size = tape.uniform(count=3) * tape.length, tape.normal(3)
    size = size * (torch.arange(3, device=size.device) < tape.uniform(1.0, 4.0).floor())
    return tape.power(-0.3, 0.6) * ((tape.time[:, None] >= at[:, None, :]) * size[:, None, :]).sum(dim=2)


def _responses(tape: _Tape) -> Tensor:
    """Pulses at random times that decay, or rise and fall."""
    often, when = tape.power(-2.3, -0.8), tape.when
    pulses = (when < often) * torch.exp((when / often).clamp(max=1))
    last = torch.arange(tape.padded, device=often.device) / tape.power(-0.3, 1.3)
    response = torch.exp(-last.clamp(max=60)) * torch.where(tape.happens(0.5), last, 1.0)
    spectrum = torch.fft.rfft(pulses, n=tape.padded) * torch.fft.rfft(response)
    made: Tensor = torch.fft.irfft(spectrum, n=tape.padded)[:, : tape.length]
    return tape.power(-0.3, 0.6) * made / _spread(made)


def _multiplied(tape: _Tape, x: Tensor) -> Tensor:
    """Parts that multiply instead of adding up."""
    return torch.exp((tape.uniform(0.1, 1.2) * _standard(x)).clamp(-8, 8))


def _counted(tape: _Tape, x: Tensor) -> Tensor:
    """Events counted by a rate that changes as the series does."""
    rate = torch.exp((tape.uniform(-2.0, 3.5) + tape.uniform(0.1, 1.0) * _standard(x)).clamp(-6, 8))
    # Poisson by Anscombe's root (1948), which is normal from a rate of 1 on; below, an event or none.
    white = tape.white
    many = (((rate + 0.375).sqrt() + white / 2).clamp(min=0.6).square() - 0.375).round().clamp(min=0)
    return torch.where(rate < 1, (torch.special.ndtr(white) > torch.exp(-rate)).float(), many)


def _held(tape: _Tape, x: Tensor) -> Tensor:
    """Written down only now and then, and repeated between."""
    every = tape.uniform(2.0, 6.0).floor()
    return x.gather(1, ((tape.time / every).floor() * every).long().clamp(max=tape.length - 1))


def _outliers(tape: _Tape, x: Tensor, context: int) -> Tensor:
    """Up to four single values far off, in a sixth of the series; in a twentieth the last value of the context."""
    at = (tape.uniform(count=4) * tape.length).long().clamp(max=tape.length - 1)
    some = (torch.arange(4, device=x.device) < tape.uniform(1.0, 5.0).floor()) & tape.happens(0.15)
    last = tape.happens(_LAST)
    at[:, :1] = torch.where(last, torch.full_like(at[:, :1], context - 1), at[:, :1])
    some[:, :1] |= last
    side = torch.where(tape.happens(0.5), 1.0, -1.0) * torch.where(tape.uniform(count=4) < 0.2, -1.0, 1.0)
    size = side * (2 + 10 * tape.uniform(count=4).square()) * _spread(x) * some
    return x.scatter_add(1, at, size)


def _rounded(tape: _Tape, x: Tensor) -> Tensor:
    """Read off in steps, from a fiftieth of the spread to more than it."""
    step = _spread(x) * tape.power(-1.7, 0.2)
    return (x / step).round() * step


def _cut(tape: _Tape, x: Tensor) -> Tensor:
    """Bounded from above, or from below, as a share of 100 % is."""
    middle, reach, side = x.mean(dim=1, keepdim=True), tape.uniform(0.0, 1.5) * _spread(x), tape.one_of((1, -1))
    return middle + side * torch.minimum(side * (x - middle), reach)


def _missing(tape: _Tape, x: Tensor, context: int) -> Tensor:
    """Gaps: single values, a stretch, the end of the context, and what was before a series began."""
    time = tape.time
    gap = tape.when > 1 - torch.where(tape.happens(0.12), tape.power(-1.7, -0.15), 0.0)
    start, length = tape.uniform() * tape.length, tape.uniform() * tape.length / 4
    gap |= (time >= start) & (time < start + torch.where(tape.happens(0.1), length, 0.0))
    end = context - torch.where(tape.happens(0.06), (1 + tape.uniform() * min(24, context // 3)).floor(), 0.0)
    gap |= (time >= end) & (time < context)
    gap |= time < torch.where(tape.happens(0.06), tape.uniform(0.0, 0.8) * context, 0.0)
    return x.masked_fill(gap, torch.nan)
