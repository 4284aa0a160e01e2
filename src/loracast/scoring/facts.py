"""What scoring finds, as facts: scores, differences, and what a check noticed. Words are made of them elsewhere."""

from typing import Literal

from loracast.spec import Frozen

Bounds = tuple[float, float]
"""A 95 % interval."""
Verdict = Literal["better", "worse", "no difference shown"]
Outcome = Literal["passed", "warning", "not applicable"]


class Excluded(Frozen):
    """What two scores had to leave out."""

    mase_windows: int
    """Windows whose context has no scale for MASE."""
    mape_cells: int
    """Targets that are 0, of which there is no percentage."""


class Scores(Frozen):
    """Every score of one arm on one signal, None where it is undefined."""

    mae: float | None
    rmse: float | None
    bias: float | None
    mse_scaled: float | None
    mape: float | None
    dtw_scaled: float | None
    mase: float | None
    crps: float | None
    coverage_80: float | None
    n_windows: int
    n_cells: int
    n_patients: int
    excluded: Excluded
    ci95: dict[str, Bounds | None]
    """The interval of each score by its name; None where it cannot be had (a single patient, say)."""
    by_step: dict[str, list[float | None]]
    """Some scores at each step of the horizon, by name."""


class Difference(Frozen):
    """The paired difference in MAE of an arm to another on one signal: the arm minus `reference`, below 0 is better."""

    reference: str
    """Name of the arm that it is compared with."""
    mae_difference: float | None
    ci95: Bounds | None
    verdict: Verdict
    patients: int


class Finding(Frozen):
    """One thing that a check noticed; what does not apply is None."""

    arm: str | None = None
    signal: str | None = None
    value: float | None = None
    of: float | None = None
    """The whole that `value` is a part of."""
    reference: str | None = None
    """Whom or what it is held against: an arm, a score, the two sides of a split."""
    verdict: Verdict | None = None


class Checked(Frozen):
    """What one check found: its code, whether it passed, and what it noticed."""

    code: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
