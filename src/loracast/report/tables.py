"""The tables of an experiment: which columns of a frame people are shown, and how each is written.

Physical measures carry as many decimals as the lowest MAE of the signal needs, differences one more.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import pandas as pd

from loracast.report import frames
from loracast.report.readable import (
    ABSENT,
    count,
    decimals_for,
    duration,
    interval,
    number,
    percent,
    share,
)
from loracast.report.render import Cell, Column, Row, Table, records, table_of, verdict_cell
from loracast.report.results import (
    behind,
    heading_of,
    label_of,
    mae_of,
    only,
    scored_signals,
    slugs_of,
    source_of,
    unit_of,
)
from loracast.report.words import dropped
from loracast.study.summary import ArmSummary, Summary

AGAINST = {
    "vs_zero_shot": "zero-shot", "vs_naive": "the best naive forecast", "vs_full": "full fine-tuning",
    "vs_best": "the best arm",
}  # fmt: skip
MARKS = {"better": "▼", "worse": "▲"}


def scored(summary: Summary) -> pd.DataFrame:
    """The frame of results with what its display needs: decimals, headings, links."""
    frame = frames.results(summary)
    decimals, slugs = precision(summary), slugs_of(summary)
    frame = frame.assign(
        decimals=frame["signal"].map(decimals),
        label=[label_of(summary, name) for name in frame["signal"]],
        heading=[heading_of(summary, name) for name in frame["signal"]],
        behind=[behind(summary, name) for name in frame["signal"]],
        page=[f"arms/{slugs[name]}.html" for name in frame["arm"]],
    )
    return frame


def precision(summary: Summary) -> dict[str, int]:
    """The decimals of each signal's errors."""
    return {name: decimals_for(mae_of(arm, name) for arm in summary.arms) for name in summary.data.signals}


def _measure(row: Row, name: str) -> str:
    return number(row[name], row["decimals"], sign=name == "bias")


def _best(row: Row, name: str) -> Cell:
    """An error, marked where it is the lowest of its signal, or not shown to be worse than that."""
    best = row[name] is not None and row["vs_best_verdict"] != "worse"
    return Cell(_measure(row, name), "best" if best else "")


def within(row: Row, low: str, high: str, decimals: int) -> str:
    """An interval of a row, or nothing where there is none."""
    return interval(None if row[low] is None else (row[low], row[high]), decimals)


def spread(row: Row, decimals: int) -> str:
    """The range of a difference when any one patient is left out: `−0.31 to −0.12`; empty where it is not known."""
    if row["left_out_low"] is None:
        return ""
    return " to ".join(number(row[f"left_out_{end}"], decimals, sign=True) for end in ("low", "high"))


def turns(flips: int | None, patients: int | None) -> str:
    """How fragile a verdict is: `turns without 2 of 30`; empty where it is not, or not known."""
    return f"turns without {flips} of {patients}" if flips else ""


def verdict_told(verdict: str | None, flips: int | None, patients: int | None) -> Cell:
    """A verdict in its colour, with how fragile it is."""
    told = verdict_cell(verdict)
    return replace(told, text=f"{told.text}, {turns(flips, patients)}") if told.text and flips else told


def _mae_interval(row: Row) -> str:
    return within(row, "mae_low", "mae_high", row["decimals"])


def _mae_within(row: Row) -> str:
    return f"{_measure(row, 'mae')} {_mae_interval(row)}".strip()


def _difference(row: Row) -> str:
    return number(row["vs_zero_shot_difference"], row["decimals"] + 1, sign=True)


def _difference_interval(row: Row) -> str:
    return within(row, "vs_zero_shot_low", "vs_zero_shot_high", row["decimals"] + 1)


def _train_time(row: Row) -> str:
    return duration(row["train_seconds"]) if row["trainable_parameters"] else ABSENT


def small(text: str) -> Cell:
    """An interval beside its number."""
    return Cell(text, "interval")


def _behind(row: Row) -> str:
    return ABSENT if row["n_patients"] is None else f"{count(row['n_patients'])}, {count(row['n_windows'])}"


def value_of(name: str) -> Callable[[Row], float | str | None]:
    """What a page sorts by: the raw number or name of a row."""
    return lambda row: row[name]


ORDER = {"better": 0, "no difference shown": 1, "worse": 2}
ARM = Column("arm", lambda row: row["arm"], words=True, value=value_of("arm"))
TRAINED = Column(
    "trained numbers", lambda row: count(row["trainable_parameters"]), value=value_of("trainable_parameters")
)
COVERAGE = Column("80 % coverage", lambda row: percent(row["coverage_80"]), value=value_of("coverage_80"))
VERDICT = Column(
    "verdict",
    lambda row: verdict_told(row["vs_zero_shot_verdict"], row["vs_zero_shot_flips"], row["vs_zero_shot_patients"]),
    words=True,
    value=lambda row: ORDER.get(row["vs_zero_shot_verdict"]),
)
BEHIND = Column("patients, windows", _behind)

PLAIN = (
    Column("signal", lambda row: row["heading"], words=True),
    ARM,
    TRAINED,
    Column("train time", _train_time),
    BEHIND,
    Column("MAE [95 %]", _mae_within),
    Column("RMSE", lambda row: _measure(row, "rmse")),
    Column("bias", lambda row: _measure(row, "bias")),
    Column("MASE", lambda row: number(row["mase"], 3)),
    Column("CRPS", lambda row: _measure(row, "crps")),
    COVERAGE,
    Column("MAE − zero-shot [95 %]", lambda row: f"{_difference(row)} {_difference_interval(row)}".strip()),
    VERDICT,
)
"""In a document: Markdown and LaTeX."""

PAGE = (
    replace(ARM, written=lambda row: Cell(row["arm"], link=row["page"])),
    VERDICT,
    Column("MAE", lambda row: _best(row, "mae"), value=value_of("mae"), order="ascending"),
    Column("95 %", lambda row: small(_mae_interval(row))),
    Column("MAE − zero-shot", _difference, value=value_of("vs_zero_shot_difference")),
    Column("95 %", lambda row: small(_difference_interval(row))),
    Column("RMSE", lambda row: _measure(row, "rmse"), value=value_of("rmse")),
    Column("bias", lambda row: _measure(row, "bias"), value=value_of("bias")),
    Column("MASE", lambda row: number(row["mase"], 3), value=value_of("mase")),
    Column("CRPS", lambda row: _measure(row, "crps"), value=value_of("crps")),
    COVERAGE,
    TRAINED,
)
"""On the page: who, whether better than zero-shot, by how much; then all else."""


def main_table(summary: Summary) -> Table:
    """Errors in physical units for the page, best first under each signal; bold are MAEs not shown to be worse."""
    title = "Errors on the test patients, in the unit of each signal"
    return table_of(
        best_first(summary, scored(summary), "mae"), PAGE, title=title, kind="main", group=lambda row: row["behind"]
    )


def best_first(summary: Summary, frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of each signal from the lowest `name` to the highest, what has none last; signals as in the data."""
    places = {signal: place for place, signal in enumerate(summary.data.signals)}
    ordered = frame.assign(place=frame["signal"].map(places), low=pd.to_numeric(frame[name]))
    return ordered.sort_values(["place", "low"], kind="stable", na_position="last")


def plain_table(summary: Summary, *, grouped: bool = False) -> Table:
    """The same for a document, a row a signal and arm; `grouped` under a heading a signal, as LaTeX needs it."""
    group = (lambda row: row["label"]) if grouped else None
    return table_of(scored(summary), PLAIN, title=f"Data: {source_of(summary)}.", group=group)


def compact_table(summary: Summary, arms: Collection[str] | None = None) -> Table:
    """A line an arm, for a README: error and difference to zero-shot of each signal.

    `arms` chooses by name, method or kind. ▼ and ▲ stand where the 95 % interval of the paired difference excludes 0.
    The last column tells on how many signals an arm is shown better (▼) or worse (▲) than full fine-tuning.
    """
    found = {(row["arm"], row["signal"]): row for row in records(scored(summary))}
    columns = [ARM, TRAINED, Column("train time", _train_time)]
    for signal in scored_signals(summary):

        def error(row: Row, signal: str = signal) -> str:
            return _mae_within(found[row["arm"], signal])

        def difference(row: Row, signal: str = signal) -> str:
            own = found[row["arm"], signal]
            return f"{_difference(own)} {MARKS.get(own['vs_zero_shot_verdict'], '')}".strip()

        columns += [Column(f"{heading_of(summary, signal)}: MAE [95 %]", error), Column("− zero-shot", difference)]

    def against_full(row: Row) -> str:
        verdicts = [found[row["arm"], signal]["vs_full_verdict"] for signal in scored_signals(summary)]
        told = [f"{verdicts.count(verdict)} {mark}" for verdict, mark in MARKS.items() if verdict in verdicts]
        return ABSENT if not any(verdicts) else ", ".join(told) or "none shown"

    frame = frames.costs(summary)
    if arms is not None:
        frame = frame[frame[["arm", "method", "kind"]].isin(list(arms)).any(axis=1)]
    patients, windows = summary.data.patients["test"], summary.windows.counts["test"]
    seeds = ", ".join(map(str, sorted({seed for arm in summary.arms for seed in arm.seeds})))
    title = f"Data: {source_of(summary)}; {patients:,} test patients, {windows:,} test windows; seeds {seeds}."
    return table_of(frame, [*columns, Column("against full", against_full)], title=title)


def paper_table(summary: Summary) -> Table:
    """The three scores of the paper, in its scaled space, of the signals that have them."""
    names = ["mse_scaled", "mape", "dtw_scaled"]
    frame = scored(summary)
    known = frame[names].notna().any(axis=1).groupby(frame["signal"]).transform("any")
    columns = (
        ARM,
        Column("MSE (×10⁻⁴)", lambda row: _scaled(row["mse_scaled"], 1e4)),
        Column("MAPE (%)", lambda row: number(row["mape"], 2)),
        Column("DTW (×10⁻³)", lambda row: _scaled(row["dtw_scaled"], 1e3)),
    )
    title = "The three scores of the paper, after its fixed min–max scaling"
    return table_of(frame[known], columns, title=title, kind="narrow", group=lambda row: row["label"])


def _scaled(value: float | None, factor: float, decimals: int = 2) -> str:
    return number(None if value is None else factor * value, decimals)


def pairs(found: Sequence[tuple[str, str]], title: str, *, code: bool = False) -> Table:
    """Names and texts below each other; `code` writes the texts as they would be typed."""
    columns = (
        Column("what", lambda row: row["what"], words=True),
        Column("value", lambda row: Cell(row["value"], "code" if code else ""), words=True),
    )
    return table_of(pd.DataFrame(found, columns=["what", "value"]), columns, title=title, kind="narrow")


def full_table(summary: Summary) -> Table:
    """Adapters against full fine-tuning of the same backbone."""
    frame, decimals = frames.comparisons(summary), precision(summary)
    frame = frame[(frame["against"] == "vs_full") & (frame["trainable_parameters"] > 0)]

    def difference(row: Row) -> str:
        return number(row["difference"], decimals[row["signal"]] + 1, sign=True)

    columns = (
        ARM,
        Column(
            "verdict",
            lambda row: verdict_told(row["verdict"], row["flips"], row["patients"]),
            words=True,
            value=lambda row: ORDER.get(row["verdict"]),
        ),
        Column("MAE − full", difference, value=value_of("difference"), order="ascending"),
        Column("95 %", lambda row: small(within(row, "low", "high", decimals[row["signal"]] + 1))),
        Column("without any one patient", lambda row: spread(row, decimals[row["signal"]] + 1), optional=True),
        TRAINED,
        Column("of full fine-tuning", lambda row: share(row["trainable_parameters"], row["reference_parameters"])),
    )
    return table_of(
        best_first(summary, frame, "difference"),
        columns,
        title="Adapters against full fine-tuning of the same backbone",
        group=lambda row: behind(summary, row["signal"]),
    )


def comparison_table(summary: Summary, arm: ArmSummary) -> Table:
    """Every comparison of one arm: with whom, difference, interval, verdict."""
    frame, decimals = frames.comparisons(only(summary, [arm])), precision(summary)

    def difference(row: Row) -> str:
        value = number(row["difference"], decimals[row["signal"]] + 1, sign=True)
        return f"{value} {unit_of(summary, row['signal'])}".strip()

    columns = (
        Column("signal", lambda row: label_of(summary, row["signal"]), words=True),
        Column("compared with", lambda row: f"{AGAINST[row['against']]} ({row['reference']})", words=True),
        Column("MAE − its MAE", difference),
        Column("95 %", lambda row: small(within(row, "low", "high", decimals[row["signal"]] + 1))),
        Column("patients", lambda row: count(row["patients"])),
        Column("without any one patient", lambda row: spread(row, decimals[row["signal"]] + 1), optional=True),
        Column("verdict", lambda row: verdict_told(row["verdict"], row["flips"], row["patients"]), words=True),
    )
    title = "Paired differences on the same windows; below 0 is better"
    return table_of(frame, columns, title=title)


def attrition_table(summary: Summary) -> Table:
    """The attrition in numbers, with what is left of each signal."""
    columns = [Column("step", lambda row: row["step"], words=True)]
    columns += [Column(name, _counted(name), optional=True) for name in frames.LEFT]
    columns.append(Column("dropped", lambda row: dropped(row) or ABSENT))
    columns += [
        Column(label_of(summary, name), _counted(f"rows_{name}"), optional=True) for name in summary.data.signals
    ]
    title = "What was left after each step; rows of each signal"
    return table_of(frames.attrition(summary), columns, title=title, kind="flow")


def _counted(name: str) -> Callable[[Row], str]:
    return lambda row: count(row[name])
