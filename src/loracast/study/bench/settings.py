"""What a bench measures with, and what its file holds."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loracast.errors import ConfigError
from loracast.files import read_json

FORMAT = 1
WARM_UP = 3
"""Steps and one batch of forecasts before the clock starts: the first ones also reserve memory and choose kernels."""
_LEAST = {"context": 4, "samples": 2}


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
    samples: int = 20

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = _LEAST.get(name, 1)
            if value < least:
                raise ConfigError(f"{name.replace('_', ' ')} {value} given; a bench needs {least} or more.")


def read_bench(file: Path) -> dict[str, Any]:
    """What `bench` wrote; raises ConfigError for anything else."""
    again = "Give files that `loracast bench` wrote."
    try:
        content = read_json(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}). {again}") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not JSON ({error}). {again}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT or not {"hardware", "versions", "settings", "rows"} <= set(content):
        raise ConfigError(f"{file} is no bench of format {FORMAT}. {again}")
    return dict(content)
