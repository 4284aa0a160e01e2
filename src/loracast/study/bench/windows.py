"""The windows that a bench trains and forecasts on."""

import numpy as np

from loracast.data.schema import SIGNALS
from loracast.data.windows import WindowSet

# Where adults in intensive care usually are, and how far one patient is from another (in the signal's unit).
_LEVELS = {"heart_rate": (88.0, 16.0), "map": (78.0, 11.0), "resp_rate": (20.0, 5.0)}
_STEP_SECONDS = 300
_HOUR = 3600 // _STEP_SECONDS
_PERSISTENCE = 0.95
"""How much of its distance from the patient's level a value keeps in a step."""
_MISSING = 0.15


def synthetic_windows(count: int, context: int, horizon: int, *, seed: int = 0) -> WindowSet:
    """`count` windows of five-minute heart rates, pressures and respiratory rates, in memory.

    Each is a series of its own that wanders around its level; 15 % of the values are missing, never all of them.
    """
    rng = np.random.default_rng(seed)
    steps = context + horizon
    signal = np.arange(count) % len(_LEVELS)
    level, spread = np.array(list(_LEVELS.values()))[signal].T
    level = np.maximum(level + spread * rng.standard_normal(count), spread)
    drift = np.zeros(count)
    values = np.empty((count, steps), np.float32)
    for step in range(steps):
        drift = _PERSISTENCE * drift + rng.standard_normal(count)
        values[:, step] = np.maximum(level + spread / 4 * drift, 1.0)
    gaps = rng.random((count, steps)) < _MISSING
    gaps[:, [0, context - 1, context]] = False
    values[gaps] = np.nan
    number, start = np.arange(count), np.zeros(count, np.int64)
    index = np.stack([number * steps, number, signal, start, number], axis=1)
    names = tuple(_LEVELS)
    units = {name: SIGNALS[name].unit for name in names}
    return WindowSet(values.reshape(-1), index, context, horizon, _HOUR, _STEP_SECONDS, names, units)
