"""What was searched, and on whom: every choice that was made after looking at errors, as facts beside the result."""

from collections.abc import Mapping, Sequence
from typing import Literal

from loracast.scoring.facts import Validated
from loracast.study.summary import ArmSummary, Choice, Sides
from loracast.types import FLOOR

Tried = str | float | None
LEAVE_OUT = ("model", "method", "revision", "training")
"""Settings of an arm that no one searches by."""


def choices_of(
    arms: Sequence[ArmSummary],
    validated: Mapping[str, Sequence[Validated]],
    *,
    patients: Sides,
    windows: Sides,
    ranks_on_validation: bool = False,
) -> list[Choice]:
    """The choices behind `arms`: steps on validation patients, settings in which arms differ, the best naive forecast.

    `validated` says of each arm on whom its steps were scored, one a seed where it is known; `patients` and `windows`
    count the sides. Where a sweep decides ranks on the validation patients, `ranks_on_validation` says so.
    """
    found = [_step(arm, validated[arm.arm][0]) for arm in arms if validated.get(arm.arm)]
    for what, names, tried in _settings(arms):
        side: Literal["validation", "test"] = "validation" if ranks_on_validation and what == "rank" else "test"
        found.append(
            Choice(what=what, arms=names, tried=tried, side=side, patients=patients[side], windows=windows[side])
        )
    compared = [arm for arm in arms if arm.vs_naive]
    if compared:
        best = dict.fromkeys(one.reference for arm in compared for one in arm.vs_naive.values())
        found.append(
            Choice(
                what="naive forecast",
                arms=[arm.arm for arm in compared],
                tried=list(FLOOR),
                kept=list(best),
                side="test",
                patients=patients["test"],
                windows=windows["test"],
            )
        )
    return found


def _step(arm: ArmSummary, on: Validated) -> Choice:
    """Which step of the training was kept, of those that validation was asked about."""
    return Choice(
        what="step", arms=[arm.arm], tried=[float(step) for step in on.steps], kept=[*arm.best_step],
        side="validation", patients=on.patients, windows=on.windows,
    )  # fmt: skip


def _settings(arms: Sequence[ArmSummary]) -> list[tuple[str, list[str], list[Tried]]]:
    """Each setting in which arms of one model and method differ: its name, the arms, and the values."""
    alike: dict[tuple[str, str], list[ArmSummary]] = {}
    for arm in arms:
        if arm.trains:
            alike.setdefault((arm.model, arm.method), []).append(arm)
    found = []
    for group in alike.values():
        for key in dict.fromkeys(key for arm in group for key in arm.settings if key not in LEAVE_OUT):
            values = list(dict.fromkeys(_told(arm.settings.get(key)) for arm in group))
            if len(values) > 1:
                found.append((key, [arm.arm for arm in group], values))
    return found


def _told(value: object) -> Tried:
    """A setting's value; what is no number as text."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return str(value)
