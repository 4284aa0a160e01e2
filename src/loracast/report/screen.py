"""What the terminal shows of an experiment: one quantity a column, narrow enough for 80 columns.

What does not fit (every score with its interval, every comparison) is in the same tables as CSV or JSON.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from loracast.report import frames
from loracast.report.answers import FEW, answer_cell, answers, counted, explained, heavy_windows, subjects_of, title_of
from loracast.report.readable import ABSENT, count, duration, memory, number, percent
from loracast.report.render import Cell, Column, Row, Table, table_of, verdict_cell
from loracast.report.results import heading_of, short_name, source_of
from loracast.report.tables import ARM, precision, scored
from loracast.study.summary import ArmSummary, Summary

SHORT = {"vs_zero_shot": "zero-shot", "vs_full": "full"}
"""What the terminal calls whom an arm is held against."""


def screen_tables(summary: Summary) -> list[Table]:
    """The answer, the errors, and what the arms cost."""
    found = [_answer(summary), result_table(summary), _costs(summary)]
    return [replace(one, loud=summary.data.simulated) for one in found[:2]] + found[2:]


def _answer(summary: Summary) -> Table:
    arms: Sequence[ArmSummary] = subjects_of(summary)
    notes = [*explained(summary, interval="From and to:"), *heavy_windows(summary)]
    if len(arms) > FEW:
        return counted(summary, arms, notes)
    decimals, names = precision(summary), {arm.arm: short_name(arm) for arm in arms}

    def part(name: str) -> Callable[[Row], str]:
        return lambda row: number(row[name], decimals[row["signal"]] + 1, sign=name != "patients")

    columns = (
        *([Column("arm", lambda row: names[row["arm"]], words=True)] if len(arms) > 1 else []),
        Column("against", lambda row: str(SHORT.get(row["against"], row["reference"])), words=True, least=12),
        Column("answer", answer_cell, words=True, least=9),
        Column("MAE −\nits MAE", part("difference")),
        Column("95 %\nfrom", part("low")),
        Column("\nto", part("high")),
        Column("patients", lambda row: count(row["patients"])),
        Column("windows", lambda row: count(row["windows"])),
        Column("turn it", lambda row: count(row["flips"]) if row["flips"] else "", optional=True),
    )
    frame = answers(summary)
    if (frame["flips"].fillna(0) > 0).any():
        notes.append("“turn it”: how many patients would each change the answer if left out.")
    group = lambda row: heading_of(summary, row["signal"])  # noqa: E731
    return table_of(frame, columns, title=title_of(summary, arms), notes=notes, kind="answer", group=group)


def _measure(name: str) -> Callable[[Row], str]:
    return lambda row: number(row[name], row["decimals"], sign=name == "bias")


def _verdict(row: Row) -> Cell:
    told = verdict_cell(row["vs_zero_shot_verdict"])
    return replace(told, text="not shown") if told.text == "no difference shown" else told


RESULT = (
    replace(ARM, least=15),
    Column("MAE", lambda row: Cell(_measure("mae")(row), "best")),
    Column("95 %\nfrom", _measure("mae_low")),
    Column("\nto", _measure("mae_high")),
    Column("MAE −\nzero-shot", lambda row: number(row["vs_zero_shot_difference"], row["decimals"] + 1, sign=True)),
    Column("\nverdict", _verdict, words=True, least=9, optional=True),
    Column("bias", _measure("bias")),
    Column("MASE", lambda row: number(row["mase"], 3)),
    Column("CRPS", _measure("crps")),
    Column("in 80 %", lambda row: percent(row["coverage_80"])),
)
COSTS = (
    replace(ARM, least=15),
    Column("trained numbers", lambda row: count(row["trainable_parameters"])),
    Column("train time", lambda row: duration(row["train_seconds"]) if row["trainable_parameters"] else ABSENT),
    Column("peak memory", lambda row: memory(row["peak_memory_bytes"])),
)


def result_table(summary: Summary) -> Table:
    """The errors of every arm under each signal."""
    note = (
        "MAE, bias and CRPS in the unit of the signal; from, to: the 95 % interval of the MAE over patients and "
        "training seeds. RMSE and all other intervals: --format csv."
    )
    title = f"{summary.name}: {source_of(summary)}"
    return table_of(
        scored(summary), RESULT, title=title, notes=[note], group=lambda row: row["behind"].replace(": ", "\n")
    )


def _costs(summary: Summary) -> Table:
    return table_of(frames.costs(summary), COSTS, title="What the arms cost")
