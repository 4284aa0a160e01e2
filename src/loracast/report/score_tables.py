"""Every score of an arm with its interval, and step by step: tables with a column a signal, or a column an arm."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from loracast.report import frames
from loracast.report.readable import ABSENT, count, number, percent, span
from loracast.report.render import Cell, Column, Row, Table, records, table_of
from loracast.report.results import behind, heading_of, only, unit_of
from loracast.report.tables import precision, small
from loracast.study.summary import ArmSummary, Summary

SCORES = {
    "mae": "MAE", "rmse": "RMSE", "bias": "Bias", "mase": "MASE", "crps": "CRPS", "coverage_80": "80 % coverage",
    "mse_scaled": "MSE of the paper (×10⁻⁴)", "mape": "MAPE (%)", "dtw_scaled": "DTW of the paper (×10⁻³)",
}  # fmt: skip
SCALES = {"mse_scaled": 1e4, "dtw_scaled": 1e3}
SIZES = {"n_patients": "patients", "n_windows": "windows", "n_cells": "observed targets"}


def score_table(summary: Summary, arm: ArmSummary) -> Table:
    """Every score of one arm with its interval, a row a score and two columns a signal."""
    found = {row["signal"]: row for row in records(frames.results(only(summary, [arm])))}
    precise = precision(summary)
    columns = [Column("score", lambda row: row["title"], words=True)]
    for signal in arm.scores:
        own, decimals = found[signal], precise[signal]

        def value(row: Row, own: Row = own, decimals: int = decimals) -> str:
            name = row["name"]
            return count(own[name]) if name in SIZES else _score(name, own[name], decimals)

        def bounds(row: Row, own: Row = own, decimals: int = decimals) -> Cell:
            name = row["name"]
            if name in SIZES or own[f"{name}_low"] is None:
                return small("")
            ends = [_score(name, own[f"{name}_{end}"], decimals, sign=False) for end in ("low", "high")]
            return small(f"[{ends[0]}, {ends[1]}]")

        columns += [Column(heading_of(summary, signal), value), Column("95 %", bounds)]
    titles = {
        name: title
        for name, title in (SCORES | SIZES).items()
        if any(found[signal][name] is not None for signal in arm.scores)
    }
    frame = pd.DataFrame(list(titles.items()), columns=["name", "title"])
    return table_of(frame, columns, title="Scores on the test patients")


def _score(name: str, value: float | None, decimals: int, *, sign: bool = True) -> str:
    if name == "coverage_80":
        return percent(value)
    physical = name in ("mae", "rmse", "bias", "crps")
    scaled = None if value is None else SCALES.get(name, 1.0) * value
    return number(scaled, decimals if physical else 3, sign=sign and name == "bias")


STEPS = {"mae": "MAE", "rmse": "RMSE", "bias": "Bias", "coverage_80": "80 % coverage"}


def step_tables(summary: Summary, arms: Sequence[ArmSummary]) -> list[tuple[str, list[Table]]]:
    """Under each signal's heading the scores at every step of the horizon, a column an arm."""
    frame, decimals = frames.steps(only(summary, arms)), precision(summary)
    found = {(row["signal"], row["arm"], row["seconds_ahead"]): row for row in records(frame)}
    told = []
    for signal in dict.fromkeys(signal for signal, _, _ in found):
        names = dict.fromkeys(arm for name, arm, _ in found if name == signal)
        ahead = pd.DataFrame({"ahead": sorted({seconds for name, _, seconds in found if name == signal})})
        made = []
        for score, title in STEPS.items():

            def written(row: Row, arm: str, signal: str = signal, score: str = score) -> str:
                own = found.get((signal, arm, row["ahead"]))
                return ABSENT if own is None else _score(score, own[score], decimals[signal])

            columns = [Column("ahead", lambda row: span(row["ahead"]), words=True)]
            columns += [Column(name, partial(written, arm=name)) for name in names]
            unit = unit_of(summary, signal)
            beside = f", {unit}" if unit and score != "coverage_80" else ""
            made.append(table_of(ahead, columns, title=f"{title}{beside}", kind="steps"))
        told.append((behind(summary, signal), made))
    return told
