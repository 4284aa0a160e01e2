"""What the commands print: each function gives a table that rich can print and the other forms can write."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from loracast.report import frames, sweeps
from loracast.report.doubts import Reason, told_of
from loracast.report.lists import words_as_they_are
from loracast.report.readable import count, energy, memory, moment, number, plural, size
from loracast.report.render import Column, Row, Table, table_of
from loracast.report.screen import screen_tables
from loracast.report.words import choices_told
from loracast.study.ranks.result import RankSweep, Relation
from loracast.study.summary import Summary

if TYPE_CHECKING:
    pass

Facts = Mapping[str, Any]


def told_of_result(summary: Summary) -> list[Table | str]:
    """An experiment for the terminal: the answer, every arm, what was searched, and the checks that warn."""
    warned = [one for one in told_of(summary) if one.outcome == "warning"]
    lines = [f"! {one.code} {one.title}. {_shortly(one.reason)}".strip() for one in warned]
    head = f"{plural(len(warned), 'check')} of {len(summary.checks)} warn{'s' if len(warned) == 1 else ''}."
    searched = "What was searched, and on whom:\n" + "\n".join(f"- {told}" for told in choices_told(summary))
    split = []
    if summary.windows.split_by_windows:
        split = [
            "The split by all patients would have left a side without windows: those with some are shared out alone."
        ]
    return [*screen_tables(summary), searched, *split, "\n".join([head, *lines])]


def _shortly(reason: Reason) -> str:
    """A reason with as many of its findings as a page shows at once."""
    left = len(reason.parts) - reason.open
    more = f"; and {left} more" if left > 0 else ""
    return f"{reason.head}{'; '.join(reason.parts[: reason.open])}{more}{reason.tail}"


def threshold_table(sweep: RankSweep) -> Table:
    """A rank sweep: every rank on every signal, the threshold marked."""
    return sweeps.terminal_table(sweep)


def relation_table(relation: Relation) -> Table:
    """The thresholds of several sweeps beside what their series are like."""
    return replace(sweeps.relation_table(relation), title="Thresholds and what the series are like")


def bench_table(result: Facts) -> Table:
    """A bench, a line an arm: the median step with its quartiles, forecasts, memory, bytes; below what failed."""
    failed = [row for row in result["rows"] if row["status"] != "done"]
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result["settings"].items())

    columns = (
        words_as_they_are("model"),
        words_as_they_are("method"),
        Column("trained\nnumbers", lambda row: _if_done(row, count(row["trainable_parameters"]))),
        Column("a step", lambda row: moment(row["step_seconds"])),
        Column("quartiles\nfrom", lambda row: moment(row["step_seconds_low"])),
        Column("\nto", lambda row: moment(row["step_seconds_high"])),
        Column("a window's\nforecast", lambda row: moment(row["forecast_seconds_per_window"])),
        Column("peak\nmemory", lambda row: memory(row["peak_memory_bytes"])),
        Column("on the\nGPU", lambda row: memory(row["peak_gpu_memory_bytes"]), optional=True),
        Column("adapter", lambda row: size(row["adapter_bytes"])),
        Column("energy\nof a step", lambda row: energy(row["energy_joules_per_step"]), optional=True),
    )
    notes = [f"{row['backbone']} {row['method']} {row['status']}: {row['reason']}" for row in failed]
    return table_of(frames.bench(result), columns, title=f"{_machine(result)}; {settings}.", notes=notes)


def _if_done(row: Row, text: str) -> str:
    return text if row["status"] == "done" else str(row["status"])


def side_by_side(results: Mapping[str, Facts]) -> Table:
    """Several machines' benches by letter (`read_benches`), arm by arm: times of each, and against the first.

    A ratio above 1 is slower.
    """
    first, *others = results
    columns = [words_as_they_are("model"), words_as_they_are("method")]
    for name, head in zip(frames.TIMES, ("step", "forecast"), strict=True):
        columns += [Column(f"{head}\n{letter}", _time(name, letter)) for letter in results]
        columns += [Column(f"{head}\n{letter}/{first}", _ratio(f"{name}_{letter}/{first}")) for letter in others]
    columns += [Column(f"memory\n{letter}", _memory(f"memory_bytes_{letter}")) for letter in results]
    machines = [f"{letter}: {_machine(result)}" for letter, result in results.items()]
    return table_of(frames.benches(results), columns, notes=machines)


def _time(name: str, letter: str) -> Callable[[Row], str]:
    def written(row: Row) -> str:
        status = row[f"status_{letter}"]
        return moment(row[f"{name}_{letter}"]) if status in ("done", None) else str(status)

    return written


def _ratio(name: str) -> Callable[[Row], str]:
    return lambda row: number(row[name], 2)


def _memory(name: str) -> Callable[[Row], str]:
    return lambda row: memory(row[name])


def _machine(result: Facts) -> str:
    """`AMD EPYC, 2 threads on 2 cores; float32; torch 2.13.0`."""
    hardware = result["hardware"]
    threads = plural(hardware["torch_threads"], "thread")
    parts = [f"{hardware['processor']}, {threads} on {hardware['logical_cores']} cores"]
    if hardware["gpu"]:
        parts.append(f"{hardware['gpu']} ({memory(hardware['gpu_memory_bytes'])})")
    return "; ".join([*parts, hardware["dtype"], f"torch {result['versions']['torch']}"])
