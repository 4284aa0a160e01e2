"""The tables of a rank sweep: how few numbers are enough for each signal, the error at each rank, the series."""

from collections.abc import Callable, Mapping

import pandas as pd

from loracast.report import frames
from loracast.report.doubts import note_of, properties_told, rule_of, warning_of, who_swept
from loracast.report.readable import ABSENT, count, decimals_for, duration, number, percent
from loracast.report.render import Cell, Column, Row, Table, records, table_of
from loracast.report.tables import within
from loracast.study.ranks.result import ALL, RankSweep, Relation

Labels = Mapping[str, str]
"""Signal to what people call it."""


def _label(signal: str, labels: Labels | None) -> str:
    """A signal's label, or what can be made of its key where nothing better is known."""
    if signal == ALL:
        return "all signals"
    return labels[signal] if labels and signal in labels else signal.replace("_", " ")


def _decimals(sweep: RankSweep) -> dict[str, int]:
    """The decimals of each signal's errors: three at least, for ranks differ little."""
    sizes: dict[str, list[float | None]] = {}
    for row in sweep.rows:
        sizes.setdefault(row.signal, []).extend([row.validation.value, row.test.value])
    return {signal: max(3, decimals_for(values)) for signal, values in sizes.items()}


def _measured(name: str, decimals: Mapping[str, int], *, more: int = 0) -> Callable[[Row], str]:
    """Writes an error with its interval; a difference, with one digit `more`, always has its sign."""

    def written(row: Row) -> str:
        places = decimals[row["signal"]] + more
        value = number(row[name], places, sign=bool(more))
        return f"{value} {within(row, f'{name}_low', f'{name}_high', places)}".strip()

    return written


def thresholds_table(sweep: RankSweep, labels: Labels | None = None, *, title: str = "") -> Table:
    """The threshold of each signal."""
    decimals = _decimals(sweep)
    columns = (
        Column("signal", lambda row: _label(row["signal"], labels), words=True),
        Column("error", lambda row: row["metric"].upper(), words=True),
        Column("rank of the lowest validation error", lambda row: str(row["best_rank"])),
        Column("threshold", lambda row: str(row["rank"])),
        Column("threshold by seed", lambda row: row["by_seed"] or ABSENT),
        Column("test error at the threshold", _measured("test", decimals)),
        Column("test error − that of the best rank [95 %]", _measured("test_difference", decimals, more=1)),
    )
    told = title or f"Ranks of {who_swept(sweep)}. Rule: {rule_of(sweep)}"
    return table_of(frames.thresholds(sweep), columns, title=told)


def ranks_table(sweep: RankSweep, labels: Labels | None = None, *, title: str = "The error at each rank") -> Table:
    """The error at each rank, zero-shot before and full fine-tuning behind."""
    decimals = _decimals(sweep)
    difference = _measured("difference", decimals, more=1)

    def away(row: Row) -> str:
        if row["difference"] is None:
            return ABSENT
        return f"{difference(row)} {_judged(row)}"

    def overfits(row: Row) -> str:
        if row["overfit"] is None:
            return ABSENT
        return f"flagged (gap {number(row['overfit_gap'], 3, sign=True)})" if row["overfit"] else "no"

    columns = (
        Column("signal", lambda row: f"{_label(row['signal'], labels)} ({row['metric'].upper()})", words=True),
        Column("rank", _rank),
        Column("trained numbers", lambda row: count(row["trainable_parameters"])),
        Column("validation error [95 %]", _measured("validation", decimals)),
        Column("test error [95 %]", _measured("test", decimals)),
        Column("validation error − that of the best rank [95 %]", away),
        Column("overfitting", overfits),
        Column("train time", lambda row: duration(row["train_seconds"])),
    )
    return table_of(frames.ranks(sweep), columns, title=title, kind="ranks")


def _judged(row: Row) -> str:
    """What a rank's difference to the best shows, by the margin where the sweep had one."""
    if row["worse_than_best_rank"]:
        return "worse" if not row["within_margin"] else "worse, within the margin"
    if row["within_margin"] is None:
        return "not shown worse"
    return "within the margin" if row["within_margin"] else "not shown"


def _rank(row: Row) -> str:
    return str(row["method"] if row["rank"] is None else row["rank"])


def terminal_table(sweep: RankSweep) -> Table:
    """Every rank on every signal for the terminal; the threshold is marked, what the rule rules out is dim."""

    def told(write: Callable[[Row], str]) -> Callable[[Row], Cell]:
        return lambda row: Cell(write(row), "dim" if row["worse_than_best_rank"] else "")

    def place(row: Row) -> str:
        if row["rank"] is None:
            return f"  {row['method']}"
        mark, star = ("→" if row["rank"] == row["threshold"] else " "), " *" if row["rank"] == row["best_rank"] else ""
        return f"{mark} {row['rank']}{star}"

    def away(row: Row) -> str:
        if row["rank"] is None or row["rank"] == row["best_rank"]:
            return ABSENT
        return _digits(row["difference"], sign=True)

    def end(name: str) -> Callable[[Row], Cell]:
        beside = name.startswith("difference")

        def written(row: Row) -> str:
            is_best = beside and row["rank"] == row["best_rank"]
            return "" if row[name] is None or is_best else _digits(row[name], sign=beside)

        return told(written)

    columns = (
        Column("rank", told(place), words=True, least=11),
        Column("trained", told(lambda row: count(row["trainable_parameters"]))),
        Column("valid-\nation", told(lambda row: _digits(row["validation"]))),
        Column("95 %\nfrom", end("validation_low")),
        Column("\nto", end("validation_high")),
        Column("−\nbest", told(away)),
        Column("95 %\nfrom", end("difference_low")),
        Column("\nto", end("difference_high")),
        Column("test", told(lambda row: _digits(row["test"]))),
        Column("shown\nworse", told(lambda row: "worse" if row["worse_than_best_rank"] else ""), optional=True),
    )
    seeds = f"{len(sweep.seeds)} seed{'' if len(sweep.seeds) == 1 else 's'}"
    title = (
        f"{sweep.data}: {sweep.model} {sweep.method}, {seeds}, {sweep.patients['validation']} validation and "
        f"{sweep.patients['test']} test patients"
    )
    legend = f"From, to: a 95 % interval over patients and seeds. * has the lowest validation error. → {rule_of(sweep)}"
    by_seed = (f"{signal} {', '.join(map(str, found.by_seed))}" for signal, found in sweep.thresholds.items())
    frame = frames.ranks(sweep)
    overfit = [f"{row['signal']} {row['rank']}" for row in records(frame) if row["overfit"]]
    notes = [legend, f"Thresholds of each seed alone: {'; '.join(by_seed)}.", *map(note_of, sweep.notes)]
    if overfit:
        notes.insert(2, f"Overfits in most seeds: {', '.join(overfit)}.")
    return table_of(
        frame, columns, title=title, notes=notes,
        group=lambda row: f"{row['signal']}, {row['metric'].upper()}",
    )  # fmt: skip


def _digits(value: float | None, *, sign: bool = False) -> str:
    """Three significant digits, zeros at the end too: 1.30."""
    return ABSENT if value is None else f"{value:{'+' if sign else ''}#.3g}".rstrip(".")


def series_table(sweep: RankSweep, labels: Labels | None = None) -> Table:
    """What the series of each signal are like, beside the rank that was enough."""
    heads = {"length": "steps", "missing": "not observed", "scale_distance": "distance of scales"}

    def written(name: str) -> Callable[[Row], str]:
        if name == "missing":
            return lambda row: percent(row[name])
        return lambda row: count(row[name]) if name == "length" else number(row[name], 3)

    columns = [Column("signal", lambda row: _label(row["signal"], labels), words=True)]
    columns += [
        Column(heads.get(name, name.replace("_", " ")), written(name))
        for name in dict.fromkeys(name for properties in sweep.series.values() for name in properties)
    ]
    columns.append(Column("threshold", lambda row: ABSENT if row["threshold"] is None else str(row["threshold"])))
    note = (
        "Of the training series, beside the rank that was enough. Noise: 0 for a smooth series, 1 for white noise. "
        "Seasonality: the autocorrelation at the season. Distance of scales: log10 of the spread within a context over "
        "that of the synthetic pretraining corpus. A handful of signals shows no law."
    )
    return table_of(frames.series(sweep), columns, title="Properties of the series", notes=[note])


def relation_table(found: Relation, *, correlations: bool = True) -> Table:
    """Thresholds beside what the series are like, with what may not be concluded.

    The last two rows have Spearman's coefficients and their numbers of rows; a document may do without.
    """
    shown = {True: "shown", False: "not shown", None: ABSENT}

    def property_of(name: str) -> Callable[[Row], str | Cell]:
        return lambda row: Cell(row[name], "best") if isinstance(row[name], str) else _digits(row[name])

    columns = [
        Column("data", lambda row: row["data"], words=True, least=6),
        Column("signal", lambda row: _label(row["signal"], None), words=True, least=6),
        Column("threshold", lambda row: "" if row["rank"] is None else str(row["rank"])),
        Column("better\nthan\nzero-shot", lambda row: "" if row["rank"] is None else shown[row["beats_zero_shot"]]),
        *(Column(name.replace("_", "\n"), property_of(name)) for name in found.correlations),
    ]
    frame = frames.relation(found)
    if correlations:
        told = {name: _digits(one.spearman, sign=True) for name, one in found.correlations.items()}
        known = {name: str(one.rows) for name, one in found.correlations.items()}
        last = pd.DataFrame([{"data": "Spearman", "signal": "", **told}, {"data": "rows", "signal": "", **known}])
        frame = pd.concat([frame.astype(object), last], ignore_index=True)
    return table_of(frame, columns, notes=[warning_of(found), *properties_told(found.correlations)])
