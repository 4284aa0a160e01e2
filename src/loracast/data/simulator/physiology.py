"""Vital signs of simulated ICU stays: no patient is real.

Each sign is a resting level plus what moves all of them together: a shared autonomic drive (Ornstein-Uhlenbeck, 40
min) and a slow drift (6 h), the circadian rhythm (heart rate and temperature highest in the late afternoon), nursing
rounds every four hours by the clock, brief desaturations, and septic severity: it rises over hours, and falls after
treatment, fast in the pressures (vasopressors), slowly in heart rate, with a lag in temperature and oxygenation.
Beat-to-beat and measurement noise come on top. The numbers are chosen to look like an adult ICU (surviving sepsis:
MAP near 60, heart rate near 115 at the worst); none is fitted to patients' data.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.signal import lfilter

Course = Float[np.ndarray, "stay step"]

ROUND_HOURS = 4
ROUND_MINUTES = 15
DESATURATION_MINUTES = 12
DESATURATIONS_PER_HOUR = 0.12
LAG_MINUTES = 75

# Values that a living patient's monitor shows; well within the plausible ranges, so that nothing planted is dropped.
LIMITS = {
    "heart_rate": (35, 190),
    "map": (38, 140),
    "sbp": (55, 220),
    "dbp": (22, 120),
    "resp_rate": (6, 50),
    "spo2": (76, 100),
    "temperature": (34.0, 41.2),
}


@dataclass(frozen=True)
class _Severity:
    """Septic severity, 0 to about 1.4, as each organ feels it."""

    heart: Course
    pressure: Course
    lagged: Course


def vital_signs(
    rng: np.random.Generator, hour_of_day: Course, septic: Bool[np.ndarray, " stay"], step_minutes: int
) -> dict[str, Course]:
    """Values of each sign, shape (stay, step), before anyone rounds or charts them.

    `hour_of_day` is the clock at each step, 0 to 24.
    """
    stays = len(septic)
    shape = hour_of_day.shape
    severity = _severity(rng, shape, septic, step_minutes)

    def level(mean: float, spread: float) -> Course:
        return rng.normal(mean, spread, (stays, 1))

    def drift(tau_minutes: float) -> Course:
        return _drift(rng, shape, tau_minutes / step_minutes)

    day = np.cos(2 * np.pi * (hour_of_day - 16.5) / 24) * (1 - 0.4 * np.minimum(severity.heart, 1))
    drive, slow = drift(40), drift(360)
    rounds = _rounds(rng, hour_of_day, step_minutes)
    dips = _dips(rng, severity.lagged, step_minutes)
    noise = rng.standard_normal((4, *shape))

    heart_rate = level(82, 9) + 6 * day + 30 * severity.heart + 5 * drive + 4 * slow + 9 * rounds + 5 * dips
    heart_rate += 2.2 * drift(10) + 1.0 * noise[0]
    pressure = level(82, 6) + 3 * day - 23 * severity.pressure + 3.5 * drive + 3 * slow + 4 * drift(240) + 7 * rounds
    pressure += 2.4 * drift(12) + 1.2 * noise[1]
    pulse = np.maximum(level(48, 7) - 9 * severity.heart + 4 * drift(60), 18)
    breathing = level(17.5, 2) + 0.8 * day + 9 * severity.heart + 1.2 * drive + 2.5 * rounds + 3 * dips
    breathing += 1.4 * drift(15) + 0.7 * noise[2]
    oxygen = level(97.2, 0.8) - 3.2 * severity.lagged - 5.5 * dips + 0.6 * drift(45)
    warmth = level(36.8, 0.2) + 0.3 * day + 1.5 * severity.lagged + 0.15 * drift(240) + 0.05 * noise[3]
    signs = {
        "heart_rate": heart_rate,
        "map": pressure,
        "sbp": pressure + pulse * 2 / 3,
        "dbp": pressure - pulse / 3,
        "resp_rate": breathing,
        "spo2": oxygen,
        "temperature": warmth,
    }
    return {name: np.clip(values, *LIMITS[name]) for name, values in signs.items()}


def _severity(
    rng: np.random.Generator, shape: tuple[int, ...], septic: Bool[np.ndarray, " stay"], step_minutes: int
) -> _Severity:
    """One episode a septic stay, and a relapse in a third of them; others have little to be treated for."""
    stays = len(septic)
    hours = np.arange(shape[1]) * step_minutes / 60

    def each(low: float, high: float) -> Course:
        return rng.uniform(low, high, (stays, 1))

    peak = np.where(septic[:, None], each(0.6, 1.4), each(0.0, 0.25))
    onset = each(-3, 10)
    treated = onset + each(2, 6)
    recovery = each(6, 14)
    relapse = treated + each(8, 20)
    relapse_peak = np.where(rng.random((stays, 1)) < 0.35, 0.6 * peak, 0.0)
    rise = each(0.5, 1.2)

    def episode(at: Course, until: Course, height: Course, decay: Course) -> Course:
        onward = height / (1 + np.exp(-(hours - at) / rise))
        return np.asarray(onward * np.exp(-np.maximum(hours - until, 0) / decay))

    heart = episode(onset, treated, peak, recovery) + episode(relapse, relapse + 2.5, relapse_peak, recovery)
    pressors = recovery / 3
    pressure = episode(onset, treated, peak, pressors) + episode(relapse, relapse + 2.5, relapse_peak, pressors)
    keep = np.exp(-step_minutes / LAG_MINUTES)
    start = heart[:, :1] * keep
    lagged, _ = lfilter([1 - keep], [1, -keep], heart, axis=1, zi=start)
    return _Severity(heart, pressure, lagged)


def _drift(rng: np.random.Generator, shape: tuple[int, ...], tau_steps: float) -> Course:
    """A stationary Ornstein-Uhlenbeck path of unit variance, sampled at the steps."""
    keep = np.exp(-1 / tau_steps)
    shocks = rng.standard_normal(shape)
    start = keep * rng.standard_normal((shape[0], 1))
    path, _ = lfilter([np.sqrt(1 - keep**2)], [1, -keep], shocks, axis=1, zi=start)
    return np.asarray(path)


def _pulses(strengths: Course, peak_steps: float) -> Course:
    """Each strength becomes a response that peaks after `peak_steps` at that strength, then fades (t exp(-t))."""
    keep = np.exp(-1 / peak_steps)
    scale = np.e / peak_steps
    return np.asarray(lfilter([0, scale * keep], [1, -2 * keep, keep**2], strengths, axis=1))


def _rounds(rng: np.random.Generator, hour_of_day: Course, step_minutes: int) -> Course:
    """Turning, suction and washing every four hours by the clock, more or less vigorous."""
    due = np.floor(hour_of_day / ROUND_HOURS)
    begins = np.zeros(hour_of_day.shape)
    begins[:, 1:] = due[:, 1:] != due[:, :-1]
    return _pulses(begins * rng.gamma(6, 1 / 6, begins.shape), ROUND_MINUTES / step_minutes)


def _dips(rng: np.random.Generator, severity: Course, step_minutes: int) -> Course:
    """Brief desaturations, more frequent the sicker the patient is."""
    chance = DESATURATIONS_PER_HOUR * step_minutes / 60 * (1 + 2 * severity)
    begins = rng.random(severity.shape) < chance
    return _pulses(begins * rng.uniform(0.4, 1.4, begins.shape), DESATURATION_MINUTES / step_minutes)
