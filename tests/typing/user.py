"""What a user types, for the checker: never run. Each line must pass mypy --strict."""

from pathlib import Path
from typing import assert_type

import matplotlib.figure
import numpy as np
import pandas as pd
import polars as pl

import loracast as lc

frame = pd.DataFrame({"patient": ["p"], "time": [pd.Timestamp("2150-03-01")], "value": [80.0]})
table = lc.Table.from_frame(frame, patient="patient", time="time", value="value", signal="heart_rate", grid="60min")
assert_type(table, lc.Table)

tuned = lc.adapt(table, model="chronos-t5-nano", method=lc.LoRA(rank=2), horizon=6, context=24, seed=0)
assert_type(tuned, lc.Adapted)
lc.adapt(table, method="dora", training=lc.TrainSpec(steps=20), split=lc.SplitSpec(folds=5), window={"stride": 6})
assert_type(tuned.forecast(frame, quantile_levels=[0.1, 0.5, 0.9], grid="60min"), pd.DataFrame)
assert_type(tuned.forecast(pl.from_pandas(frame)), pl.DataFrame)
assert_type(tuned.forecast(table, samples=200), pd.DataFrame)
found = tuned.forecast(np.zeros((3, 48)), horizon=6)
found.mean(axis=0)
assert_type(tuned.history, pd.DataFrame)
assert_type(tuned.save("adapter", overwrite=True), Path)
assert_type(tuned.plot(), matplotlib.figure.Figure)
assert_type(tuned.plot(frame, most=3, truth=False), matplotlib.figure.Figure)
assert_type(lc.load("adapter"), lc.Forecaster)

result = lc.evaluate(table, ["last-value", "chronos-bolt-small", tuned, ("chronos-t5-nano", lc.DoRA(rank=1))])
assert_type(result, lc.Result)
assert_type(result.leaderboard("heart_rate", metric="crps"), pd.DataFrame)
assert_type(result.compare(tuned, "chronos-bolt-small"), pd.DataFrame)
assert_type(result.answer, str)
assert_type(result.summary.arms[0].trainable_parameters, int)
result.plot(tuned).savefig("fans.png")
result.report("out")

study = lc.Study(name="mine", data=table, arms=["chronos-t5-nano", ("chronos-t5-nano", lc.LoRA())], seeds=[0, 1])
assert_type(study.run("out", jobs=2, resume=True), lc.Result)
assert_type(lc.Study.from_toml("mimic3-demo").spec, lc.ExperimentSpec)
try:
    lc.Result.read("out")
except lc.ConfigError as error:
    print(error)
