"""Adapt pretrained time-series foundation models, and say honestly whether it was worth it.

Public names are resolved when they are first used, so that `import loracast` loads no torch; checkers and editors read
them below.

>>> import loracast as lc
>>> tuned = lc.adapt(table, "chronos-t5-nano", lc.LoRA(rank=2), horizon=6, context=24, training={"steps": 2})
>>> lc.evaluate(table, ["last-value", tuned], forecasting={"samples": 4}).leaderboard().columns[2]
'arm'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loracast.data.readers import read as read
    from loracast.data.simulator import simulate as simulate
    from loracast.data.table import Table as Table
    from loracast.doorway.adapted import Adapted as Adapted
    from loracast.doorway.adapted import adapt as adapt
    from loracast.doorway.evaluating import evaluate as evaluate
    from loracast.doorway.forecaster import Forecaster as Forecaster
    from loracast.doorway.forecaster import load as load
    from loracast.doorway.result import Result as Result
    from loracast.doorway.study import Study as Study
    from loracast.errors import AdapterError as AdapterError
    from loracast.errors import BackboneError as BackboneError
    from loracast.errors import BudgetError as BudgetError
    from loracast.errors import ConfigError as ConfigError
    from loracast.errors import DataError as DataError
    from loracast.errors import LoracastError as LoracastError
    from loracast.errors import LoracastWarning as LoracastWarning
    from loracast.errors import TrainingError as TrainingError
    from loracast.spec import ForecastSpec as ForecastSpec
    from loracast.spec import SplitSpec as SplitSpec
    from loracast.spec import TrainSpec as TrainSpec
    from loracast.spec import WindowSpec as WindowSpec
    from loracast.study.experiment import ExperimentSpec as ExperimentSpec
    from loracast.tuning.adapter import merge_adapter as merge_adapter
    from loracast.tuning.arm import ArmSpec as ArmSpec
    from loracast.tuning.methods import IA3 as IA3
    from loracast.tuning.methods import OFT as OFT
    from loracast.tuning.methods import AdaLoRA as AdaLoRA
    from loracast.tuning.methods import BitFit as BitFit
    from loracast.tuning.methods import DoRA as DoRA
    from loracast.tuning.methods import FourierFT as FourierFT
    from loracast.tuning.methods import Full as Full
    from loracast.tuning.methods import Head as Head
    from loracast.tuning.methods import LayerNorm as LayerNorm
    from loracast.tuning.methods import LoRA as LoRA
    from loracast.tuning.methods import PiSSA as PiSSA
    from loracast.tuning.methods import RsLoRA as RsLoRA
    from loracast.tuning.methods import VeRA as VeRA
    from loracast.tuning.methods import ZeroShot as ZeroShot
    from loracast.types import LEVELS as LEVELS

_HOMES = {
    "loracast.data.readers": ("read",),
    "loracast.data.simulator": ("simulate",),
    "loracast.data.table": ("Table",),
    "loracast.doorway.adapted": ("Adapted", "adapt"),
    "loracast.doorway.evaluating": ("evaluate",),
    "loracast.doorway.forecaster": ("Forecaster", "load"),
    "loracast.doorway.result": ("Result",),
    "loracast.doorway.study": ("Study",),
    "loracast.errors": (
        "LoracastError", "AdapterError", "BackboneError", "BudgetError", "ConfigError", "DataError", "TrainingError",
        "LoracastWarning",
    ),
    "loracast.spec": ("ForecastSpec", "SplitSpec", "TrainSpec", "WindowSpec"),
    "loracast.study.experiment": ("ExperimentSpec",),
    "loracast.tuning.adapter": ("merge_adapter",),
    "loracast.tuning.arm": ("ArmSpec",),
    "loracast.tuning.methods": (
        "AdaLoRA", "BitFit", "DoRA", "FourierFT", "Full", "Head", "IA3", "LayerNorm", "LoRA", "OFT", "PiSSA", "RsLoRA",
        "VeRA", "ZeroShot",
    ),
    "loracast.types": ("LEVELS",),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)
__version__ = "0.4.0"


if not TYPE_CHECKING:  # else any name would do for a checker

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(importlib.import_module(_HOME[name]), name)
        raise AttributeError(f"module 'loracast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
