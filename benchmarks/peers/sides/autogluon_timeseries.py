"""Chronos in the TimeSeriesPredictor of AutoGluon, as its manual calls it: zero-shot, from a folder, kept in memory."""

import atexit
import tempfile
from typing import Any

import numpy as np
import pandas as pd
from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor

LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
STEP = "5min"


def prepare(case: dict[str, Any], folder: str) -> Any:
    """A forecast of all windows: contexts to quantiles (window, step, level)."""
    # Of a folder whose name it does not know AutoGluon takes 8 windows at a time; its manual says 256 for Bolt.
    chronos = {"model_path": folder, "batch_size": 256, "torch_dtype": "float32", "device": "cpu"}
    place = tempfile.TemporaryDirectory()
    atexit.register(place.cleanup)
    predictor = TimeSeriesPredictor(
        prediction_length=case["horizon"],
        freq=STEP,
        quantile_levels=LEVELS,
        path=f"{place.name}/predictor",
        verbosity=0,
    )
    # What is fitted is nothing: the model takes its weights from the folder, and no other is compared with it.
    predictor.fit(
        table(np.arange(400, dtype=np.float32)[None]),
        hyperparameters={"Chronos": chronos},
        enable_ensemble=False,
        skip_model_selection=True,
    )
    predictor.persist()

    def forecast(context: np.ndarray) -> np.ndarray:
        found = predictor.predict(table(context), use_cache=False)
        return np.asarray(found[[str(level) for level in LEVELS]].to_numpy().reshape(len(context), -1, len(LEVELS)))

    return forecast


def table(context: np.ndarray) -> Any:
    """Windows as AutoGluon takes them: an item each, so many that their names sort as they stand."""
    windows, steps = context.shape
    times = pd.date_range("2020-01-01", periods=steps, freq=STEP)
    index = pd.MultiIndex.from_product([range(windows), times], names=["item_id", "timestamp"])
    return TimeSeriesDataFrame(pd.DataFrame({"target": context.ravel()}, index=index))
