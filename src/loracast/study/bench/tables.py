"""A bench for the terminal, and the benches of several machines side by side."""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from loracast.errors import ConfigError
from loracast.report.readable import ABSENT, count, energy, memory, moment, number, plural, size
from loracast.study.bench.settings import read_bench

Row = dict[str, Any]


def bench_table(result: dict[str, Any]) -> Table:
    """One line an arm: the median step with its quartiles, forecasts, memory, bytes; below it why an arm has none."""
    failed = [row for row in result["rows"] if row["status"] != "done"]
    caption = "\n".join(f"{row['backbone']} {row['method']} {row['status']}: {row['reason']}" for row in failed)
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result["settings"].items())
    table = Table(title=f"{_machine(result)}\n{settings}", caption=caption or None, caption_justify="left")
    for column in ("backbone", "method"):
        table.add_column(column)
    has_gpu = any(row.get("peak_gpu_memory_bytes") for row in result["rows"])
    has_energy = any(row.get("energy_counters") for row in result["rows"])
    heads = ["trained", "step", "quartiles", "forecast/window", "memory"]
    heads += ["GPU memory"] * has_gpu + ["adapter"] + ["energy/step"] * has_energy
    for column in heads:
        table.add_column(column, justify="right")
    for row in result["rows"]:
        cells = _cells(row, has_gpu, has_energy) if row["status"] == "done" else [row["status"]]
        table.add_row(row["backbone"], row["method"], *cells)
    return table


def bench_markdown(result: dict[str, Any]) -> str:
    """The same as Markdown, without the quartiles."""
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result["settings"].items())
    heads = ["backbone", "method", "trained numbers", "a step", "a window's forecast", "peak memory", "adapter"]
    lines = [f"{_machine(result)}; {settings}.", "", f"| {' | '.join(heads)} |", "|---|---|" + "--:|" * 5]
    for row in result["rows"]:
        done = row["status"] == "done"
        trained, step, _, *rest = _cells(row, False, False) if done else [row["status"]] + [ABSENT] * 5
        lines.append(f"| {' | '.join([row['backbone'], row['method'], trained, step, *rest])} |")
    return "\n".join(lines) + "\n"


def _cells(row: Row, has_gpu: bool, has_energy: bool) -> list[str]:
    step = row["step_seconds"]
    forecast = row["forecast_milliseconds_per_window"] / 1000
    cells = [
        count(row["trainable_parameters"]),
        moment(step["median"]) if step else ABSENT,
        f"{moment(step['low'])} to {moment(step['high'])}" if step else ABSENT,
        moment(forecast),
        memory(row["peak_memory_bytes"]),
    ]
    cells += [memory(row["peak_gpu_memory_bytes"])] * has_gpu
    cells.append(size(row["adapter_bytes"]))
    return cells + [energy(row["energy_joules_per_step"])] * has_energy


def side_by_side(files: Sequence[Path]) -> Table:
    """Several machines' benches, arm by arm: times of each, and by how much each is slower than the first.

    A ratio above 1 is slower. Raises ConfigError for fewer than two files, for one that is no bench, and where
    settings differ.
    """
    heads, rows, machines = _laid_out(files)
    table = Table(caption="\n".join(machines), caption_justify="left")
    for n, head in enumerate(heads):
        table.add_column(head, justify="left" if n < 2 else "right")
    for row in rows:
        table.add_row(*row)
    return table


def side_by_side_markdown(files: Sequence[Path]) -> str:
    """The same as Markdown; raises as `side_by_side`."""
    heads, rows, machines = _laid_out(files)
    ruler = ["---", "---", *["---:"] * (len(heads) - 2)]
    lines = [f"| {' | '.join(row)} |" for row in (heads, ruler, *rows)]
    return "\n".join([*lines, "", *(f"- {machine}" for machine in machines)]) + "\n"


def _laid_out(files: Sequence[Path]) -> tuple[list[str], list[list[str]], list[str]]:
    """Heads, rows and a line on each machine."""
    results = [read_bench(file) for file in files]
    _refuse_unlike(files, results)
    letters = string.ascii_uppercase[: len(results)]
    heads = ["backbone", "method"]
    for what in ("step", "forecast"):
        heads += [f"{what} {letter}" for letter in letters]
        heads += [f"{what} {letter}/A" for letter in letters[1:]]
    heads += [f"memory {letter}" for letter in letters]
    tables = [{(row["backbone"], row["method"]): row for row in result["rows"]} for result in results]
    rows = []
    for key in dict.fromkeys(key for table in tables for key in table):
        arm = [table.get(key, {"status": ABSENT}) for table in tables]
        steps = [(row.get("step_seconds") or {}).get("median") for row in arm]
        forecasts = [row.get("forecast_milliseconds_per_window") for row in arm]
        seconds = [None if value is None else value / 1000 for value in forecasts]
        cells = [*_times(arm, steps), *_times(arm, seconds), *(_memory(row) for row in arm)]
        rows.append([*key, *cells])
    return heads, rows, [f"{letter}: {_machine(result)}" for letter, result in zip(letters, results, strict=True)]


def _refuse_unlike(files: Sequence[Path], results: list[dict[str, Any]]) -> None:
    if not 2 <= len(files) <= len(string.ascii_uppercase):
        raise ConfigError(
            f"{len(files)} file given. Give two or more that `loracast bench` wrote, the first to compare with."
        )
    first = results[0]["settings"]
    for file, result in zip(files, results, strict=True):
        unlike = [name for name in {**first, **result["settings"]} if first.get(name) != result["settings"].get(name)]
        if unlike:
            told = ", ".join(f"{name} {result['settings'].get(name)} against {first.get(name)}" for name in unlike)
            raise ConfigError(
                f"{file} and {files[0]} were measured with other settings ({told}), so their times are not comparable. "
                "Measure both with the same."
            )


def _times(arm: list[Row], seconds: list[float | None]) -> list[str]:
    """The time on each machine, then its ratio to the first."""
    told = [
        moment(s) if row["status"] in ("done", ABSENT) else row["status"] for row, s in zip(arm, seconds, strict=True)
    ]
    first = seconds[0]
    return told + [number(s / first if s is not None and first else None, 2) for s in seconds[1:]]


def _memory(row: Row) -> str:
    """Of the GPU where there is one, because that is what runs out first."""
    return memory(row.get("peak_gpu_memory_bytes") or row.get("peak_memory_bytes"))


def _machine(result: dict[str, Any]) -> str:
    hardware = result["hardware"]
    parts = [
        f"{hardware['processor']}, {plural(hardware['torch_threads'], 'thread')} on {hardware['logical_cores']} cores"
    ]
    if hardware["gpu"]:
        parts.append(f"{hardware['gpu']} ({memory(hardware['gpu_memory_bytes'])})")
    return "; ".join([*parts, hardware["dtype"], f"torch {result['versions']['torch']}"])
