"""The libraries of `loracast[baselines]`, imported when they are first needed (neuralforecast takes seconds)."""

import importlib
from types import ModuleType

from loracast.errors import ConfigError


def needed(module: str) -> ModuleType:
    """Import `module`; raises ConfigError where its library is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module.split('.')[0]} cannot be imported ({error}), and baselines other than the naive floor need it. "
            'Install it with: pip install "loracast[baselines]"'
        ) from error
