"""Synthetic series for pretraining: nothing measured, nothing private, every item made anew from its number.

`draw(seed, index, length)` is a pure function, so a corpus needs no disk, any worker makes the same item, and a
resumed run sees exactly what an uninterrupted one would have seen. The families follow KernelSynth and TSMixup
(Ansari et al., "Chronos: Learning the Language of Time Series", TMLR 2024, section 4.2) and add what Gaussian
processes do not draw: trends with breaks, steps, spikes, counts, intermittent demand and autoregressions. No
family imitates vital signs; the simulator in `loracast.data.simulator` shares no code with this file.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter

Array = NDArray[np.float64]

# Periods that calendars produce at common sampling rates; a third of the draws leaves them for any other period.
CALENDAR_PERIODS = (4, 5, 6, 7, 8, 12, 14, 24, 28, 30, 48, 52, 60, 96)


@dataclass(frozen=True)
class Series:
    """One synthetic series.

    `values` is float64 of shape (length,), NaN where a value is missing; `period` is the planted season in steps,
    1 where there is none.
    """

    values: Array
    period: int


def _period(rng: Generator, length: int) -> int:
    if rng.random() < 2 / 3:
        fitting = [p for p in CALENDAR_PERIODS if 2 * p <= length]
        return int(rng.choice(fitting))
    return int(rng.integers(3, max(4, length // 3)))


def _standardise(x: Array) -> Array:
    spread = x.std()
    return (x - x.mean()) / spread if spread > 1e-9 else np.zeros_like(x)


def _covariance(rng: Generator, length: int, period: int, grain: float) -> Array:
    """One base kernel on `length` equidistant points, as a matrix (length, length)."""
    t = np.arange(length) / length
    gap = np.abs(t[:, None] - t[None, :])
    kind = rng.integers(6)
    if kind == 0:
        return np.exp(-0.5 * (gap / float(rng.choice([0.02, 0.05, 0.1, 0.3, 1.0]))) ** 2)
    if kind in (1, 2):
        roughness = float(rng.choice([0.5, 1.0, 2.0]))
        return np.exp(-2 * np.sin(np.pi * gap * length / period) ** 2 / roughness**2)
    if kind == 3:
        return (1 + gap**2 / (2 * float(rng.choice([0.1, 1.0, 10.0])) * 0.1**2)) ** -float(rng.choice([0.1, 1.0, 10.0]))
    if kind == 4:
        origin = rng.uniform(-0.2, 1.2)
        return (t[:, None] - origin) * (t[None, :] - origin) * 3
    return np.eye(length) * float(rng.choice([0.05, 0.3, 1.0])) * grain**2


def kernel_synth(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """A Gaussian process whose kernel is a random sum and product of one to five base kernels (KernelSynth)."""
    period = _period(rng, length)
    kernel = _covariance(rng, length, period, grain)
    for _ in range(rng.integers(0, 5)):
        other = _covariance(rng, length, period, grain)
        kernel = kernel + other if rng.random() < 0.5 else kernel * other
    jitter = 1e-6 * max(1.0, float(np.trace(kernel)) / length)
    values = np.linalg.cholesky(kernel + jitter * np.eye(length)) @ rng.standard_normal(length)
    return Series(_standardise(values), period)


def _waveform(rng: Generator, period: int, length: int) -> Array:
    """A random periodic shape: a few harmonics with falling amplitude, or a free template, repeated."""
    phase = np.arange(length) % period / period
    if rng.random() < 0.6:
        harmonics = np.arange(1, rng.integers(2, 7))
        amplitude = rng.standard_normal(len(harmonics)) / harmonics ** rng.uniform(0.3, 2.0)
        shift = rng.uniform(0, 2 * np.pi, len(harmonics))
        wave = (amplitude * np.sin(2 * np.pi * np.outer(phase, harmonics) + shift)).sum(1)
    else:
        template = rng.standard_normal(period)
        for _ in range(rng.integers(0, 4)):
            template = (np.roll(template, 1) + 2 * template + np.roll(template, -1)) / 4
        wave = template[np.arange(length) % period]
    return _standardise(wave)


def seasonal(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """One or two seasons whose strength may drift, over coloured noise."""
    period = _period(rng, length)
    drift = 1 + rng.uniform(0, 0.5) * _walk(rng, length) if rng.random() < 0.4 else 1.0
    values = _waveform(rng, period, length) * drift
    if rng.random() < 0.4:
        values = values + rng.uniform(0.2, 1.0) * _waveform(rng, _period(rng, length), length)
    values = values + grain * 10 ** rng.uniform(-2, 0.2) * autoregressive(rng, length).values
    return Series(_standardise(values), period)


def _walk(rng: Generator, length: int) -> Array:
    return _standardise(np.cumsum(rng.standard_normal(length)))


def trend(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """A piecewise linear, exponential or saturating trend, often with a season on it (added or multiplied)."""
    t = np.linspace(0, 1, length)
    kind = rng.integers(3)
    if kind == 0:
        slopes = rng.standard_normal(rng.integers(1, 5))
        pieces = np.minimum((t * len(slopes)).astype(int), len(slopes) - 1)
        values = np.cumsum(slopes[pieces])
    elif kind == 1:
        values = rng.choice([-1, 1]) * np.exp(rng.uniform(-3, 3) * t)
    else:
        values = rng.choice([-1, 1]) / (1 + np.exp(-rng.uniform(4, 20) * (t - rng.uniform(0, 1))))
    values, period = _standardise(values), 1
    if rng.random() < 0.6:
        period = _period(rng, length)
        wave = rng.uniform(0.05, 1.0) * _waveform(rng, period, length)
        values = values + (wave * (1 + 0.3 * values) if rng.random() < 0.3 else wave)
    values = values + grain * 10 ** rng.uniform(-2, -0.3) * rng.standard_normal(length)
    return Series(_standardise(values), period)


def autoregressive(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """A stable autoregression of order one to three (some poles complex), a random walk, or one with momentum."""
    burn = 64
    kind = rng.random()
    if kind < 0.15:
        return Series(_walk(rng, length), 1)
    if kind < 0.4:
        poles = np.array([rng.uniform(0.3, 0.95), rng.uniform(0.9, 0.999)])
    elif kind < 0.75:
        poles = np.array([1 - 10 ** rng.uniform(-2.5, -0.1)])
    else:
        angle = 2 * np.pi / rng.uniform(3, max(4.0, length / 3))
        radius = 1 - 10 ** rng.uniform(-3, -0.7)
        poles = radius * np.exp(1j * np.array([angle, -angle]))
    feedback = -np.real(np.poly(poles))[1:]
    shock = rng.standard_normal(length + burn)
    if rng.random() < 0.2:
        shock = rng.standard_t(rng.uniform(2.5, 6), length + burn)
    if rng.random() < 0.15:
        shock = shock * np.exp(rng.uniform(0.2, 0.8) * _walk(rng, length + burn))
    values = _standardise(lfilter([1.0], np.concatenate([[1.0], -feedback]), shock)[burn:])
    if rng.random() < 0.4:
        values = values + grain * 10 ** rng.uniform(-1.5, -0.1) * rng.standard_normal(length)
    return Series(_standardise(values), 1)


def steps(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """A level that jumps at random times, held in between, under noise."""
    jumps = rng.random(length) < rng.uniform(1, 8) / length
    level = np.cumsum(jumps * rng.standard_normal(length))
    if rng.random() < 0.4:
        level = np.where(jumps, rng.standard_normal(length), np.nan)
        level[0] = rng.standard_normal()
        level = level[np.maximum.accumulate(np.where(np.isnan(level), 0, np.arange(length)))]
    values = _standardise(level) + grain * 10 ** rng.uniform(-2.5, 0) * autoregressive(rng, length).values
    return Series(_standardise(values), 1)


def spikes(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """Pulses, at regular or random times, that decay over a base; sometimes a slow rise and fall after each."""
    period = _period(rng, length)
    regular = rng.random() < 0.5
    at = np.zeros(length)
    where = (
        np.arange(rng.integers(period), length, period) if regular else np.flatnonzero(rng.random(length) < 1 / period)
    )
    at[where] = rng.choice([-1, 1]) * rng.lognormal(0, rng.uniform(0, 0.7), len(where))
    tau = rng.uniform(0.3, period / 2)
    response = np.exp(-np.arange(length) / tau)
    if rng.random() < 0.4:
        response = np.arange(length) / tau * response
    values = (
        np.convolve(at, response)[:length] + grain * 10 ** rng.uniform(-2.5, -0.5) * autoregressive(rng, length).values
    )
    return Series(_standardise(values), period if regular else 1)


def counts(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """Counts and intermittent demand: mostly zeros in some, seasonal intensities in others; never negative."""
    period = _period(rng, length)
    intensity = np.exp(rng.uniform(-2, 3.5) + rng.uniform(0, 1) * _waveform(rng, period, length))
    if rng.random() < 0.5:
        intensity = rng.gamma(rng.uniform(0.5, 5), 1, length) * intensity
    values = rng.poisson(intensity).astype(float)
    if rng.random() < 0.4:
        values = values * (rng.random(length) < rng.uniform(0.1, 0.9))
    return Series(values, period)


def noise(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """Independent draws: what a forecaster must answer with a level and an honest spread."""
    kind = rng.integers(3)
    if kind == 0:
        return Series(rng.standard_normal(length), 1)
    if kind == 1:
        return Series(rng.lognormal(0, rng.uniform(0.2, 1.2), length), 1)
    return Series(rng.standard_t(rng.uniform(2.5, 8), length), 1)


def drifting(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """A level that drifts: a velocity with memory, a weak pull to a mean, kicks at random times, a noisy reading.

    The state-space form of what smoothing methods forecast; how noisy the reading is against the drift decides
    whether the last value or a long average is the better forecast.
    """
    burn = 32
    shock = rng.standard_normal(length + burn)
    if rng.random() < 0.3:
        shock = rng.standard_t(rng.uniform(2.5, 6), length + burn)
    if rng.random() < 0.4:
        kicked = rng.random(length + burn) < 1 / rng.uniform(6, 40)
        shock = shock + kicked * rng.choice([-1, 1], length + burn) * rng.uniform(2, 8)
    memory = 0.0 if rng.random() < 0.3 else rng.uniform(0.2, 0.95)
    pull = 10 ** rng.uniform(-3, -0.7)
    level = lfilter([1.0], np.convolve([1.0, -memory], [1.0, pull - 1.0]), shock)[burn:]
    if rng.random() < 0.6:
        step = float(np.diff(level).std())
        level = level + grain * step * 10 ** rng.uniform(-1.5, 0.7) * rng.standard_normal(length)
    return Series(_standardise(level), 1)


FAMILIES: dict[str, tuple[Callable[[Generator, int, float], Series], float]] = {
    "kernel-synth": (kernel_synth, 0.20),
    "seasonal": (seasonal, 0.20),
    "autoregressive": (autoregressive, 0.28),
    "trend": (trend, 0.10),
    "steps": (steps, 0.07),
    "spikes": (spikes, 0.05),
    "counts": (counts, 0.05),
    "noise": (noise, 0.05),
}
_DRAWS = [family for family, _ in FAMILIES.values()]
_WEIGHTS = np.array([weight for _, weight in FAMILIES.values()])
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def ts_mixup(rng: Generator, length: int, grain: float = 1.0) -> Series:
    """A convex combination of two or three series of any family, each scaled by its mean magnitude (TSMixup)."""
    parts = [_DRAWS[rng.choice(len(_DRAWS), p=_WEIGHTS)](rng, length, grain) for _ in range(rng.integers(2, 4))]
    shares = rng.dirichlet(np.full(len(parts), 1.5))
    values = np.zeros(length)
    for share, part in zip(shares, parts, strict=True):
        values += share * part.values / max(float(np.abs(part.values).mean()), 1e-6)
    return Series(values, parts[int(np.argmax(shares))].period)


def _placed(rng: Generator, x: Array) -> Array:
    """Put a shape on a level: series of nature rarely swing around zero, and mean scaling sees the level first."""
    kind = rng.random()
    if kind < 0.1:
        return x
    spread = max(float(x.std()), 1e-9)
    if kind < 0.25:
        # A shape is centred over its whole length; left there, the mean of a context would tell the future's.
        return x + spread * rng.standard_normal()
    centred: Array = x - x.mean()
    if kind < 0.85:
        variation = 10 ** rng.uniform(-2.5, 0)
        return float(rng.choice([-1, 1], p=[0.1, 0.9])) * (1 + variation * centred / spread)
    return np.exp(rng.uniform(0.1, 1.0) * centred / spread)


def _observed(rng: Generator, x: Array) -> Array:
    """What an instrument leaves of a series: rounding, saturation, gaps."""
    x = x.copy()
    if rng.random() < 0.2:
        step = max(float(x.std()), 1e-9) * rng.uniform(0.1, 1.0)
        x = np.round(x / step) * step
    if rng.random() < 0.1:
        bound = np.quantile(x, rng.uniform(0.7, 0.98))
        x = np.minimum(x, bound) if rng.random() < 0.5 else np.maximum(x, -bound)
    if rng.random() < 0.2:
        x[rng.random(len(x)) < rng.uniform(0.02, 0.7)] = np.nan
    if rng.random() < 0.15:
        start = rng.integers(len(x))
        x[start : start + rng.integers(1, max(2, len(x) // 4))] = np.nan
    return x


def draw(seed: int, index: int, length: int, grain: float = 1.0, drift: float = 0.0) -> Series:
    """Return item `index` of the corpus `seed`: `length` values on an arbitrary scale, NaN where missing.

    `grain` scales the noise that is laid over a shape; at 0 nothing is, and nothing is missing or rounded. `drift` is
    the share of items that are `drifting` rather than of the corpus's families: a short run leans on what it has seen
    most of, and what is measured in nature mostly drifts.
    """
    rng = np.random.default_rng((seed, index))
    if drift and rng.random() < drift:
        series = drifting(rng, length, grain)
    elif rng.random() < 0.2:
        series = ts_mixup(rng, length, grain)
    else:
        series = _DRAWS[rng.choice(len(_DRAWS), p=_WEIGHTS)](rng, length, grain)
    x = series.values
    if rng.random() < 0.1:
        x = x[::-1]
    if rng.random() < 0.2:
        x = -x
    x = _placed(rng, x)
    return Series(_observed(rng, x) if grain else x, series.period)
