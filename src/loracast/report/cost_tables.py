"""What arms cost: a table of all, and the costs of one below each other. What was not measured has no column."""

from collections.abc import Callable

from loracast.report import frames
from loracast.report.readable import ABSENT, count, duration, energy, memory, moment, share, size
from loracast.report.render import Column, Row, Table, records, table_of
from loracast.report.results import only
from loracast.report.tables import ARM, TRAINED, pairs, value_of
from loracast.study.summary import ArmSummary, Summary


def _of_training(row: Row, text: str) -> str:
    return text if row["trains"] else ABSENT


def _trained(name: str) -> Callable[[Row], float | str | None]:
    """A cost of training, which what trains nothing does not have."""
    return lambda row: row[name] if row["trains"] else None


COSTS = (
    TRAINED,
    Column(
        "of the model",
        lambda row: (
            "all, from scratch"
            if row["kind"] == "network"
            else share(row["trainable_parameters"], row["total_parameters"])
        ),
    ),
    Column(
        "training",
        lambda row: _of_training(row, duration(row["train_seconds"])),
        optional=True,
        value=_trained("train_seconds"),
    ),
    Column(
        "a step",
        lambda row: _of_training(row, moment(row["seconds_per_step"])),
        optional=True,
        value=_trained("seconds_per_step"),
    ),
    Column(
        "steps", lambda row: _of_training(row, count(row["train_steps"])), optional=True, value=_trained("train_steps")
    ),
    Column(
        "forecasting",
        lambda row: duration(row["forecast_seconds"]),
        optional=True,
        value=value_of("forecast_seconds"),
    ),
    Column("precision", lambda row: row["precision"] or ABSENT, words=True, optional=True, value=value_of("precision")),
    Column(
        "a window",
        lambda row: _milliseconds(row["forecast_milliseconds_per_window"]),
        optional=True,
        value=value_of("forecast_milliseconds_per_window"),
    ),
    Column(
        "peak memory", lambda row: memory(row["peak_memory_bytes"]), optional=True, value=value_of("peak_memory_bytes")
    ),
    Column(
        "on the GPU",
        lambda row: memory(row["peak_gpu_memory_bytes"]),
        optional=True,
        value=value_of("peak_gpu_memory_bytes"),
    ),
    Column("saved", lambda row: size(row["adapter_bytes"]), optional=True, value=value_of("adapter_bytes")),
    Column(
        "energy",
        lambda row: _of_training(row, energy(row["energy_joules"])),
        optional=True,
        value=_trained("energy_joules"),
    ),
    Column("seeds", lambda row: str(row["seeds"])),
    Column("kept step", lambda row: _of_training(row, row["best_step"] or ABSENT), optional=True),
)
LONGER = {
    "a step": "a training step", "steps": "training steps", "forecasting": "forecasting the test windows",
    "a window": "a window's forecast", "precision": "precision of the forecasts",
    "on the GPU": "peak memory on the GPU", "saved": "size of what is saved", "energy": "energy of training",
}  # fmt: skip
"""What a cost is called where no other stands beside it."""


def _milliseconds(value: float | None) -> str:
    return moment(None if value is None else value / 1e3)


def cost_table(summary: Summary) -> Table:
    """What each arm cost."""
    return table_of(frames.costs(summary), [ARM, *COSTS], title="What each arm cost")


def costs_of(summary: Summary, arm: ArmSummary) -> Table:
    """The costs of one arm that are known, one below the other."""
    [row] = records(frames.costs(only(summary, [arm])))
    found = [(LONGER.get(column.head, column.head), str(column.written(row))) for column in COSTS]
    return pairs([(name, text) for name, text in found if text != ABSENT], "What it cost")
