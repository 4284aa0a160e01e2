"""Vital signs of simulated ICU stays, and how they are charted: no patient is real.

Each sign is a resting level plus what moves all of them together: a shared autonomic drive (Ornstein-Uhlenbeck, 40
min) and a slow drift (6 h), the circadian rhythm (heart rate and temperature highest in the late afternoon), nursing
rounds every four hours by the clock, brief desaturations, and septic severity: it rises over hours, and falls after
treatment, fast in the pressures (vasopressors), slowly in heart rate, with a lag in temperature and oxygenation.
Beat-to-beat and measurement noise come on top. The numbers are chosen to look like an adult ICU (surviving sepsis:
MAP near 60, heart rate near 115 at the worst); none is fitted to patients' data.

They are charted rounded, in two vocabularies of items, with the faults of real charts. Every fault is recorded, so
that what a reader should return is known exactly: `truth` is what was charted cleanly, `reasons` says why a row is not
clean.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int
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


Mask = Bool[np.ndarray, "stay step"]

# Item charted first and item of the second instrument, by signal; a monitor without a second one repeats itself.
CAREVUE: dict[str, tuple[int, int]] = {
    "heart_rate": (211, 211),
    "map": (52, 456),
    "sbp": (51, 455),
    "dbp": (8368, 8441),
    "resp_rate": (618, 615),
    "spo2": (646, 646),
    "temperature": (678, 676),
}
METAVISION: dict[str, tuple[int, int]] = {
    "heart_rate": (220045, 220045),
    "map": (220052, 220181),
    "sbp": (220050, 220179),
    "dbp": (220051, 220180),
    "resp_rate": (220210, 224690),
    "spo2": (220277, 220277),
    "temperature": (223761, 223762),
}
# What a reader must leave alone: calculated twins of the temperature, and the upper alarm of the heart rate.
TWINS = {678: 677, 676: 679}
ALARM_ITEM = 220046

# A value beyond any range, as disconnected leads and slipped fingers write them.
IMPOSSIBLE = {
    "heart_rate": (0.0, 999.0),
    "map": (-8.0, 326.0),
    "sbp": (0.0, 11647.0),
    "dbp": (-3.0, 404.0),
    "resp_rate": (0.0, 118.0),
    "spo2": (0.0, 9.0),
    "temperature": (0.0, 7.2),
}
# A value one could have but did not: a flushed line, a counted T wave. No reader can tell; `artefact` marks it.
ARTEFACT_FACTOR = {"heart_rate": 1.9, "map": 1.7, "sbp": 1.4, "dbp": 1.6, "resp_rate": 1.9}

# Share of the charted cells with each fault.
LOST = {"out of range": 0.003, "no value": 0.0015, "no stay": 0.001, "flagged as an error": 0.002}
SHARES = {"pair": 0.015, "repeated": 0.003, "flagged beside": 0.003, "another year": 0.0005, "artefact": 0.0015}
MISFILED_SHARE = 0.02
MONITOR_OFF_PER_HOUR = 0.07
SENSOR_OFF_PER_HOUR = 0.05
YEAR_SECONDS = 365 * 86_400


@dataclass
class Chart:
    """Rows of CHARTEVENTS as columns, one list entry a batch of rows; `reason` is "" for a clean row."""

    stay: list[Int[np.ndarray, " row"]] = field(default_factory=list)
    item: list[Int[np.ndarray, " row"]] = field(default_factory=list)
    seconds: list[Int[np.ndarray, " row"]] = field(default_factory=list)
    value: list[Float[np.ndarray, " row"]] = field(default_factory=list)
    reason: list[np.ndarray] = field(default_factory=list)

    def add(self, stay: np.ndarray, item: np.ndarray, seconds: np.ndarray, value: np.ndarray, reason: str = "") -> None:
        """Append rows; all arrays have one length."""
        self.stay.append(stay)
        self.item.append(item)
        self.seconds.append(seconds)
        self.value.append(value)
        self.reason.append(np.full(len(stay), reason, dtype=object))

    def columns(self) -> dict[str, np.ndarray]:
        """The rows as columns, sorted by stay, time and item."""
        parts = {name: np.concatenate(getattr(self, name)) for name in ("stay", "item", "seconds", "value", "reason")}
        order = np.lexsort((parts["value"], parts["item"], parts["seconds"], parts["stay"]))
        return {name: column[order] for name, column in parts.items()}


@dataclass(frozen=True)
class Truth:
    """What a reader should find in the cells of one signal, shape (stay, step); NaN where nothing clean was charted."""

    value: Course
    artefact: Mask


@dataclass(frozen=True)
class _Slots:
    """Where a sign is charted: the time of each step, which steps, and in which vocabulary the stay is."""

    seconds: Int[np.ndarray, "stay step"]
    charted: Mask
    metavision: Bool[np.ndarray, " stay"]


def chart(
    rng: np.random.Generator,
    signs: Mapping[str, Course],
    seconds: Int[np.ndarray, "stay step"],
    inside: Mask,
    metavision: Bool[np.ndarray, " stay"],
    step_minutes: int,
) -> tuple[dict[str, np.ndarray], dict[str, Truth]]:
    """Chart every sign at every step `inside` its stay; return the rows and the truth.

    `seconds` is the time of each step from the epoch. Temperature is charted once an hour, the rest at every step.
    """
    rows = Chart()
    off = _gaps(rng, inside.shape, MONITOR_OFF_PER_HOUR, (20, 90), step_minutes)
    hourly = (np.arange(inside.shape[1]) % (60 // step_minutes) == 0)[None, :]
    truth = {}
    for name, values in signs.items():
        sensor_off = _gaps(rng, inside.shape, SENSOR_OFF_PER_HOUR, (15, 60), step_minutes)
        charted = inside & ~off & ~sensor_off
        if name == "temperature":
            truth[name] = _chart_temperature(rng, rows, values, _Slots(seconds, charted & hourly, metavision))
        else:
            truth[name] = _chart_sign(rng, rows, name, values, _Slots(seconds, charted, metavision))
    alarm = inside & hourly & metavision[:, None]
    where = np.nonzero(alarm)
    rows.add(where[0], np.full(len(where[0]), ALARM_ITEM), seconds[alarm], np.full(len(where[0]), 120.0), "alarm limit")
    return rows.columns(), truth


def _chart_sign(rng: np.random.Generator, rows: Chart, name: str, values: Course, slots: _Slots) -> Truth:
    charted, metavision = slots.charted, slots.metavision
    values = np.round(values)
    items = np.where(metavision[:, None], METAVISION[name], CAREVUE[name])
    cuff = rng.random(len(items)) < 0.3
    items[cuff] = items[cuff][:, ::-1]
    stay, step = np.nonzero(charted)
    value, first, second, time = values[charted], items[stay, 0], items[stay, 1], slots.seconds[charted]
    lost, kind = _drawn(rng, len(stay), LOST, metavision[stay])
    extra, quirk = _drawn(rng, len(stay), SHARES, metavision[stay])
    extra &= ~lost
    truth = np.full(values.shape, np.nan)
    artefact = np.zeros(values.shape, dtype=bool)
    truth[stay[~lost], step[~lost]] = value[~lost]

    def put(at: np.ndarray, item: np.ndarray, number: np.ndarray, reason: str = "", later: int = 0) -> None:
        rows.add(stay[at], item[at], time[at] + later, number[at], reason)

    wrong = np.where(rng.random(len(stay)) < 0.5, *IMPOSSIBLE[name])
    put(lost & (kind == "out of range"), first, wrong, "out of range")
    put(lost & (kind == "no value"), first, np.full(len(stay), np.nan), "no value")
    put(lost & (kind == "no stay"), first, value, "no stay")
    put(lost & (kind == "flagged as an error"), first, value, "flagged as an error")
    pair = extra & (quirk == "pair") & (first != second)
    apart = rng.integers(1, 4, len(stay))
    put(pair, first, value + apart)
    put(pair, second, value - apart)
    spoilt = extra & (quirk == "artefact") & (name in ARTEFACT_FACTOR)
    put(spoilt, first, np.round(value * ARTEFACT_FACTOR.get(name, 1)), "artefact")
    artefact[stay[spoilt], step[spoilt]] = True
    put(~lost & ~pair & ~spoilt, first, value)
    put(extra & (quirk == "repeated"), first, value)
    put(extra & (quirk == "flagged beside"), first, np.round(value * 0.8), "flagged as an error")
    put(extra & (quirk == "another year"), first, value, "another year", YEAR_SECONDS)
    return Truth(truth, artefact)


def _chart_temperature(rng: np.random.Generator, rows: Chart, values: Course, slots: _Slots) -> Truth:
    """In °F or °C by the stay's thermometer; some Fahrenheit filed as Celsius, and CareVue's calculated twins."""
    charted, metavision = slots.charted, slots.metavision
    items = np.where(metavision[:, None], METAVISION["temperature"], CAREVUE["temperature"])
    celsius = rng.random(len(items)) < 0.35
    stay, step = np.nonzero(charted)
    item, time, in_celsius = items[stay, celsius[stay].astype(int)], slots.seconds[charted], celsius[stay]
    fahrenheit = np.round(values[charted] * 1.8 + 32, 1)
    written = np.where(in_celsius, np.round(values[charted], 1), fahrenheit)
    misfiled = in_celsius & (rng.random(len(stay)) < MISFILED_SHARE)
    rows.add(stay[~misfiled], item[~misfiled], time[~misfiled], written[~misfiled])
    rows.add(stay[misfiled], item[misfiled], time[misfiled], fahrenheit[misfiled], "°F filed as °C")
    twin = ~metavision[stay]
    # The other unit of the same measurement, which a reader of both would count twice.
    other = np.where(in_celsius, fahrenheit, np.round(values[charted], 1))
    twins = np.vectorize(TWINS.get, otypes=[np.int64])(item[twin]) if twin.any() else item[twin]
    rows.add(stay[twin], twins, time[twin], other[twin], "calculated twin")
    truth = np.full(values.shape, np.nan)
    truth[stay, step] = np.where(misfiled, np.nan, np.where(in_celsius, written, (written - 32) / 1.8))
    return Truth(truth, np.zeros(values.shape, dtype=bool))


def _drawn(
    rng: np.random.Generator, count: int, shares: Mapping[str, float], metavision: Bool[np.ndarray, " row"]
) -> tuple[Bool[np.ndarray, " row"], np.ndarray]:
    """Which of `count` rows get a fault, and which; only MetaVision can flag an error."""
    edges = np.cumsum(list(shares.values()))
    at = np.searchsorted(edges, rng.random(count))
    kinds = np.array([*shares, ""], dtype=object)[at]
    flagged = np.isin(kinds.astype(str), ["flagged as an error", "flagged beside"])
    return (at < len(edges)) & (~flagged | metavision), kinds


def _gaps(
    rng: np.random.Generator, shape: tuple[int, ...], per_hour: float, minutes: tuple[int, int], step_minutes: int
) -> Mask:
    """Spells without charting: each begins by chance and lasts for a number of minutes within `minutes`."""
    begins = rng.random(shape) < per_hour * step_minutes / 60
    lasts = rng.integers(minutes[0] // step_minutes, minutes[1] // step_minutes + 1, shape)
    steps = np.arange(shape[1])
    ends = np.maximum.accumulate(np.where(begins, steps + lasts, 0), axis=1)
    return np.asarray(steps < ends)
