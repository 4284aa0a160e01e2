"""The answer in a line a signal: whether what was adapted is shown better than what one would use without it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from loracast.report.answers import ASKED, answer_cell, answers, subjects_of
from loracast.report.readable import number, plural
from loracast.report.render import Cell, records
from loracast.report.results import label_of, scored_signals, unit_of
from loracast.report.tables import AGAINST, precision, within
from loracast.report.words import capital
from loracast.study.summary import Summary


class Part(NamedTuple):
    """One comparison: with whom, what is shown in a word or two, and the number behind it."""

    against: str
    told: tuple[Cell, ...]
    numbers: str = ""


class Line(NamedTuple):
    """The answer on one signal, and on how many it stands."""

    signal: str
    parts: tuple[Part, ...]
    on: str


def lines_of(summary: Summary) -> list[Line]:
    """A line a signal that was compared; of several arms it is counted how many are better, and none is picked."""
    frame, arms = answers(summary), len(subjects_of(summary))
    lines = []
    for signal in scored_signals(summary):
        own = frame[frame["signal"] == signal]
        found = [
            _one(summary, rows[0]) if arms == 1 else _several(rows, arms)
            for against in ASKED
            if (rows := records(own[own["against"] == against]))
        ]
        if found:
            on = f"on {plural(int(own['patients'].max()), 'patient')}"
            lines.append(Line(capital(label_of(summary, signal)), tuple(found), on))
    return lines


def _one(summary: Summary, row: Any) -> Part:
    """What is shown of the only arm; the difference stands beside the verdict against zero-shot alone."""
    numbers = ""
    if row["against"] == "vs_zero_shot" and row["difference"] is not None:
        places, unit = precision(summary)[row["signal"]] + 1, unit_of(summary, row["signal"])
        value = f"{number(row['difference'], places, sign=True)} {unit}".strip()
        numbers = f"MAE {value} {within(row, 'low', 'high', places)}".strip()
    return Part(AGAINST[row["against"]], (answer_cell(row),), numbers)


def _several(rows: Sequence[Any], arms: int) -> Part:
    """How many are shown better and worse; of how many, where not all `arms` were compared."""
    verdicts = pd.Series([row["verdict"] for row in rows])
    better, worse = int((verdicts == "better").sum()), int((verdicts == "worse").sum())
    of = "" if len(rows) == arms else f" of {len(rows)}"
    told = [Cell(f"{better or 'none'}{of}{' better' if better else ''}", "better" if better else "open")]
    if worse:
        told.append(Cell(f"{worse} worse", "worse"))
    return Part(AGAINST[rows[0]["against"]], tuple(told))
