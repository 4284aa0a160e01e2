"""Thresholds beside what the series are like: description, not proof."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from loracast.study.ranks.properties import PROPERTIES
from loracast.study.ranks.sums import ALL

FEWEST_ROWS = 3
"""Below, every rank correlation is 1, -1 or undefined."""
WARNING = (
    "{rows} rows (a signal of a data set each) describe these data and do not prove a relation: with so few, large "
    "rank correlations arise by chance, signals of the same patients are not independent, and several properties are "
    "looked at."
)


def relate(sweeps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The second table: the threshold of every signal of every sweep beside the properties of its series, for JSON.

    `correlations` holds Spearman's coefficient between the threshold rank and each property with its number of rows;
    None where fewer than three rows have the property, or it or the threshold is the same in all of them.
    """
    rows = [_row(sweep, signal) for sweep in sweeps for signal in sweep["thresholds"] if signal != ALL]
    flat = sum(row["beats_zero_shot"] is not True for row in rows)
    warning = WARNING.format(rows=len(rows))
    if flat:
        warning += (
            f" In {flat} of them the threshold is not shown better than zero-shot on the test patients: there a small "
            "threshold says that tuning gained little, not that a small rank suffices."
        )
    kinds = sorted({f"{row['backbone']} {row['method']}" for row in rows})
    if len(kinds) > 1:
        told = ", ".join(kinds)
        warning += f" The sweeps are of different models or methods ({told}), which have thresholds of their own."
    return {
        "format": 1,
        "rows": rows,
        "correlations": {name: _spearman(rows, name) for name in PROPERTIES},
        "properties": dict(PROPERTIES),
        "warning": warning,
    }


def _row(sweep: Mapping[str, Any], signal: str) -> dict[str, Any]:
    threshold = sweep["thresholds"][signal]
    trained = {row["rank"]: row["trainable_parameters"] for row in sweep["rows"] if row["signal"] == signal}
    gain = threshold.get("vs_zero_shot")
    return {
        "data": sweep["data"],
        "signal": signal,
        "backbone": sweep["backbone"],
        "method": sweep["method"],
        "rank": threshold["rank"],
        "trainable_parameters": trained[threshold["rank"]],
        "beats_zero_shot": None if gain is None or gain["ci95"] is None else gain["ci95"][1] < 0,
        **{name: sweep["series"][signal][name] for name in PROPERTIES},
    }


def _spearman(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    known = [(row["rank"], row[name]) for row in rows if row[name] is not None]
    ranks, values = np.array(known, dtype=float).reshape(-1, 2).T
    defined = len(known) >= FEWEST_ROWS and len(set(ranks)) > 1 and len(set(values)) > 1
    return {"spearman": float(stats.spearmanr(ranks, values).statistic) if defined else None, "rows": len(known)}
