"""The tables of a comparison of studies: what differs, the arms they share, what these cost on which machine."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from loracast.report.readable import duration, energy, interval, memory, moment, number, span
from loracast.report.render import Cell, Column, Row, Table, table_of, verdict_cell
from loracast.report.results import Results, heading_of, in_percent, mae_interval, mae_of
from loracast.report.tables import ARM, ORDER, precision, small, value_of
from loracast.report.words import machines_of
from loracast.study.summary import ArmSummary, Summary

WINDOW = ("context", "horizon", "stride", "season", "step_seconds", "joint", "split_fingerprint")
"""What two studies must share, beside the fingerprint of the data, to have scored the same windows."""
SHORT = 12
"""Signs of a fingerprint that are shown."""


class Study(NamedTuple):
    """A results folder under the letter by which the page calls it."""

    letter: str
    folder: Path
    results: Results

    @property
    def summary(self) -> Summary:
        """What all is read from."""
        return self.results.summary


def shared_arms(studies: Sequence[Study]) -> list[str]:
    """The arms that two studies or more have, in the order of the first."""
    names = [name for one in studies for name in dict.fromkeys(arm.arm for arm in one.summary.arms)]
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def same_windows(studies: Sequence[Study], signal: str) -> bool:
    """Whether all studies scored the same windows of a signal of the same patients, in the same unit."""
    facts = []
    for one in studies:
        data, windows = one.summary.data, one.summary.windows
        sizes = {
            (scores.n_windows, scores.n_patients)
            for arm in one.summary.arms
            if (scores := arm.scores.get(signal)) is not None
        }
        unit = data.signals[signal].unit if signal in data.signals else None
        facts.append((data.fingerprint, unit, sizes, *(getattr(windows, name) for name in WINDOW)))
    return bool(facts[0][2]) and all(fact == facts[0] for fact in facts)


NAMES = {
    "step_seconds": "length of a step", "joint": "signals jointly", "split_fingerprint": "fingerprint of the split",
}  # fmt: skip


def window_name(key: str) -> str:
    """What people call a field of the windows."""
    return NAMES.get(key, key)


def facts_of(one: Study) -> dict[str, str]:
    """What a study was made from, by what people call it."""
    summary = one.summary
    data, windows = summary.data, summary.windows
    found = {
        "data": f"{data.source} (simulated)" if data.simulated else data.source,
        "fingerprint of the data": data.fingerprint[:SHORT],
        "licence of the data": data.licence,
        "signals": ", ".join(heading_of(summary, name).replace(", ", " in ") for name in data.signals),
        "patients": _sides(data.patients),
        "windows": _sides(windows.counts),
    }
    for key in WINDOW:
        value = getattr(windows, key)
        shown = span(value) if key == "step_seconds" else str(value)
        shown = ("yes" if value else "no") if key == "joint" else shown
        found[window_name(key)] = shown[:SHORT] if key == "split_fingerprint" else shown
    found["seeds"] = ", ".join(map(str, summary.seeds))
    found |= {f"training: {name.replace('_', ' ')}": str(value) for name, value in (summary.training or {}).items()}
    for run in one.results.runs[:1]:
        found |= {f"version of {name}": version for name, version in run.result.versions.items()}
        found |= {f"forecast: {name.replace('_', ' ')}": str(value) for name, value in run.result.forecast.items()}
    return found | {"machine": machines_of(one.results)}


def _sides(counts: Mapping[str, int]) -> str:
    return " · ".join(f"{counts[part]:,} {part}" for part in ("train", "validation", "test") if part in counts)


def facts_tables(studies: Sequence[Study]) -> tuple[Table, Table]:
    """What differs between studies, and what is the same in all; of arms that share a name too."""
    facts = [facts_of(one) for one in studies]
    for name in shared_arms(studies):
        for fact, one in zip(facts, studies, strict=True):
            found = next((arm for arm in one.summary.arms if arm.arm == name), None)
            fact[f"settings of {name}"] = _settings(found) if found else "not in it"
    differ, alike = [], []
    for name in dict.fromkeys(name for fact in facts for name in fact):
        values = [fact.get(name) or "not recorded" for fact in facts]
        if len(set(values)) > 1:
            differ.append({"what": name} | {one.letter: value for one, value in zip(studies, values, strict=True)})
        else:
            alike.append({"what": name, "in all": values[0]})
    return (
        _facts_table(differ, [one.letter for one in studies], "What differs between the studies"),
        _facts_table(alike, ["in all"], "What is the same in all"),
    )


def _facts_table(rows: Sequence[Mapping[str, str]], names: Sequence[str], title: str) -> Table:
    columns = [Column(name, partial(_named, name=name), words=True) for name in ("what", *names)]
    return table_of(pd.DataFrame(rows, columns=["what", *names]), columns, title=title, kind="flow")


def _named(row: Row, *, name: str) -> str:
    return str(row[name])


def _settings(arm: ArmSummary) -> str:
    """How an arm is made, without what was left empty, and how many numbers it trains."""
    kept = {key: value for key, value in arm.settings.items() if value not in (None, {})}
    parts = [f"{key} {value if isinstance(value, str) else json.dumps(value)}" for key, value in kept.items()]
    return ", ".join([*parts, f"{arm.trainable_parameters:,} trained numbers"])


def arms_table(studies: Sequence[Study], signals: Sequence[str], alike: Sequence[str]) -> Table:
    """The shared arms under each signal: of each study the verdict and difference, and errors on the same windows."""
    summary, rows = studies[0].summary, []
    for signal in signals:
        decimals = {one.letter: precision(one.summary)[signal] for one in studies if signal in one.summary.data.signals}
        for name in shared_arms(studies):
            row: dict[str, Any] = {"arm": name, "signal": signal}
            for one in studies:
                row |= _arm_cells(one, name, signal, decimals.get(one.letter, 2), errors=signal in alike)
            rows.append(row)
    columns: list[Column] = [ARM]
    for one in studies:
        columns += _study_columns(one.letter)

    def group(row: Row) -> str:
        where = "the same windows" if row["signal"] in alike else "other windows: errors cannot be compared"
        return f"{heading_of(summary, row['signal'])}: {where}"

    return table_of(pd.DataFrame(rows), columns, title="The arms that studies share", kind="main", group=group)


def _arm_cells(one: Study, name: str, signal: str, decimals: int, *, errors: bool) -> dict[str, Any]:
    arm = next((arm for arm in one.summary.arms if arm.arm == name), None)
    letter = one.letter
    empty = {f"{key}_{letter}": None for key in ("verdict", "difference", "percent", "mae", "error")}
    if arm is None:
        return empty
    found, told = in_percent(arm, signal), dict[str, Any](empty)
    if found is not None:
        low_high = interval(found.ci95, 1)
        told |= {f"verdict_{letter}": found.verdict, f"percent_{letter}": found.value}
        told[f"difference_{letter}"] = f"{number(found.value, 1, sign=True)} % {low_high}".strip()
    if errors and (value := mae_of(arm, signal)) is not None:
        told[f"mae_{letter}"] = value
        told[f"error_{letter}"] = f"{number(value, decimals)} {interval(mae_interval(arm, signal), decimals)}".strip()
    return told


def _study_columns(letter: str) -> list[Column]:
    verdict, percents = f"verdict_{letter}", f"percent_{letter}"
    return [
        Column(
            f"{letter}: verdict",
            lambda row: verdict_cell(row[verdict]),
            words=True,
            value=lambda row: ORDER.get(row[verdict]),
        ),
        Column(
            f"{letter}: MAE − zero-shot", lambda row: small(row[f"difference_{letter}"] or ""), value=value_of(percents)
        ),
        Column(
            f"{letter}: MAE",
            lambda row: Cell(row[f"error_{letter}"] or ""),
            optional=True,
            value=value_of(f"mae_{letter}"),
        ),
    ]


COSTS = (
    ("training", "train_seconds", duration),
    ("a step", "seconds_per_step", moment),
    ("a window", "forecast_milliseconds_per_window", lambda value: moment(None if value is None else value / 1000)),
    ("peak memory", "peak_memory_bytes", memory),
    ("on the GPU", "peak_gpu_memory_bytes", memory),
    ("energy", "energy_joules", energy),
)


def costs_table(studies: Sequence[Study]) -> Table:
    """What the shared arms cost in each study, cost by cost; what was measured nowhere has no column."""
    rows = []
    for name in shared_arms(studies):
        row: dict[str, Any] = {"arm": name}
        for one in studies:
            arm = next((arm for arm in one.summary.arms if arm.arm == name), None)
            for _, key, _ in COSTS:
                value = None if arm is None else getattr(arm.costs, key)
                row[f"{key}_{one.letter}"] = value or None  # nothing trained costs nothing to train
        rows.append(row)
    columns: list[Column] = [ARM]
    for head, key, shown in COSTS:
        for one in studies:

            def written(row: Row, name: str = f"{key}_{one.letter}", shown: Any = shown) -> str:
                return str(shown(row[name]))

            columns.append(
                Column(f"{head} {one.letter}", written, optional=True, value=value_of(f"{key}_{one.letter}"))
            )
    return table_of(pd.DataFrame(rows), columns, title="Costs of the shared arms, study by study")
