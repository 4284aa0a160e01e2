"""Adapt pretrained time-series foundation models, and say honestly whether it was worth it.

Public names are resolved when they are first used, so that `import loracast` loads no torch.
"""

import importlib
from typing import Any

_HOME = {
    "read": "loracast.data.readers",
    "Table": "loracast.data.table",
    "write_table": "loracast.data.readers.table",
    "open_table": "loracast.data.table",
    "simulate": "loracast.data.simulator",
    "load_model": "loracast.models.registry",
    "load_backbone": "loracast.models.registry",
    "load_adapter": "loracast.tuning.adapter",
    "merge_adapter": "loracast.tuning.adapter",
    "adapt_table": "loracast.study.steps.adapting",
    "forecast_table": "loracast.study.steps.forecasting",
    "evaluate_table": "loracast.study.steps.evaluating",
    "read_experiment": "loracast.study.experiment",
    "run_experiment": "loracast.study.study",
    "sweep_ranks": "loracast.study.ranks.sweep",
    "sweep_tables": "loracast.study.ranks.sweep",
    "write_report": "loracast.report",
    "LoracastError": "loracast.errors",
}

__all__ = sorted(_HOME)
__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'loracast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
