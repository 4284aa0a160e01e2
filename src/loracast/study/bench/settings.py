"""What a bench measures with and on, and what its file holds."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loracast.data.schema import SIGNALS
from loracast.data.windows import WindowSet
from loracast.errors import ConfigError
from loracast.files import read_json

FORMAT = 1
WARM_UP = 3
"""Steps and one batch of forecasts before the clock starts: the first ones also reserve memory and choose kernels."""
_LEAST = {"context": 4, "samples": 2}

# Where adults in intensive care usually are, and how far one patient is from another (in the signal's unit).
_LEVELS = {"heart_rate": (88.0, 16.0), "map": (78.0, 11.0), "resp_rate": (20.0, 5.0)}
_STEP_SECONDS = 300
_HOUR = 3600 // _STEP_SECONDS
_PERSISTENCE = 0.95
"""How much of its distance from the patient's level a value keeps in a step."""
_MISSING = 0.15


@dataclass(frozen=True)
class Settings:
    """Times of two files can be laid side by side where these are equal. Lengths are in steps of the grid.

    Raises ConfigError for a number that is too small.
    """

    steps: int = 10
    batch_size: int = 32
    context: int = 72
    horizon: int = 36
    windows: int = 64
    samples: int = 100

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = _LEAST.get(name, 1)
            if value < least:
                raise ConfigError(f"{name.replace('_', ' ')} {value} given; a bench needs {least} or more.")


def read_bench(file: Path) -> dict[str, Any]:
    """What `bench` wrote; raises ConfigError for anything else."""
    again = "Give files that `loracast bench` wrote."
    content = read_json(file, ConfigError)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT or not {"hardware", "versions", "settings", "rows"} <= set(content):
        raise ConfigError(f"{file} is no bench of format {FORMAT}. {again}")
    return dict(content)


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
