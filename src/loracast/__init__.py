"""Adapt pretrained time-series foundation models, and say honestly whether it was worth it.

Public names are resolved when they are first used, so that `import loracast` loads no torch.
"""

import importlib
from typing import Any

_HOME = {
    "read_mimic3": "loracast.data.mimic3",
    "read_cinc2019": "loracast.data.cinc2019",
    "write_table": "loracast.data.frame",
    "open_table": "loracast.data.frame",
    "simulate": "loracast.data.simulate",
    "load_backbone": "loracast.backbones",
    "load_adapter": "loracast.adapter",
    "adapt_table": "loracast.steps",
    "forecast_table": "loracast.steps",
    "evaluate_table": "loracast.steps",
    "read_experiment": "loracast.experiment",
    "run_experiment": "loracast.grid",
    "sweep_ranks": "loracast.sweep",
    "sweep_tables": "loracast.sweep",
    "merge_adapter": "loracast.adapter",
    "write_report": "loracast.report",
    "LoracastError": "loracast.errors",
}

__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'loracast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
