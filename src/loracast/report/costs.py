"""What the arms cost, as tables: training, a step, memory, what is saved, a window's forecast, energy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from loracast.report.arms import is_scratch
from loracast.report.hardware import hardware_of
from loracast.report.markup import table
from loracast.report.readable import ABSENT, count, duration, energy, memory, moment, share, size
from loracast.report.results import Arm, Results

Written = Callable[[Arm], str]


@dataclass(frozen=True)
class Column:
    """A cost of an arm as text; an optional one is left out where no arm has it."""

    head: str
    written: Written
    optional: bool = False


def _trained(write: Callable[[float | None], str], key: str) -> Written:
    """A cost of training: a dash where nothing was trained."""
    return lambda arm: write(arm.get(key)) if arm.get("trainable_parameters") else ABSENT


def _part(arm: Arm) -> str:
    if is_scratch(arm):
        return "all, from scratch"
    return share(arm.get("trainable_parameters"), arm.get("total_parameters"))


def _kept_steps(arm: Arm) -> str:
    steps = arm.get("best_step")
    if not arm.get("trainable_parameters") or steps is None:
        return ABSENT
    return ", ".join(count(step) for step in (steps if isinstance(steps, list) else [steps])) or ABSENT


def _milliseconds(value: float | None) -> str:
    return moment(None if value is None else value / 1e3)


COLUMNS = (
    Column("trained numbers", lambda arm: count(arm.get("trainable_parameters"))),
    Column("of the model", _part),
    Column("training", _trained(duration, "train_seconds")),
    Column("a step", _trained(moment, "seconds_per_step"), optional=True),
    Column("steps", _trained(count, "train_steps"), optional=True),
    Column("forecasting", lambda arm: duration(arm.get("forecast_seconds"))),
    Column("a window", lambda arm: _milliseconds(arm.get("forecast_milliseconds_per_window")), optional=True),
    Column("peak memory", lambda arm: memory(arm.get("peak_memory_bytes"))),
    Column("on the GPU", lambda arm: memory(arm.get("peak_gpu_memory_bytes")), optional=True),
    Column("saved", lambda arm: size(arm.get("adapter_bytes")), optional=True),
    Column("energy", _trained(energy, "energy_joules"), optional=True),
    Column("seeds", lambda arm: str(len(arm["seeds"])) if arm.get("seeds") else ABSENT),
    Column("kept step", _kept_steps),
)


def _shown(arms: Sequence[Arm]) -> list[Column]:
    return [column for column in COLUMNS if not column.optional or any(column.written(arm) != ABSENT for arm in arms)]


def cost_table(results: Results) -> str:
    """What each arm cost, and on what machine it was measured."""
    arms = results.summary["arms"]
    columns = _shown(arms)
    rows = [(escape(str(arm["arm"])), *(escape(column.written(arm)) for column in columns)) for arm in arms]
    body = table(("arm", *(column.head for column in columns)), rows, caption="What each arm cost")
    machines = hardware_of(results)
    return body + (f'<p class="note">Times and memory were measured on {escape(machines)}.</p>' if machines else "")


def costs_of(arm: Arm) -> list[tuple[str, str]]:
    """The costs of one arm, name and text, those that are known."""
    names = {
        "a step": "a training step", "steps": "training steps", "forecasting": "forecasting the test windows",
        "a window": "a window's forecast", "on the GPU": "peak memory on the GPU", "saved": "size of what is saved",
        "energy": "energy of training",
    }  # fmt: skip
    found = [(names.get(column.head, column.head), column.written(arm)) for column in COLUMNS]
    return [(name, text) for name, text in found if text != ABSENT]
