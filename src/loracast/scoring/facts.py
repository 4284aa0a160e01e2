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


class WorstWindow(Frozen):
    """The window whose absolute errors add up to most, of an arm on one signal."""

    share: float
    """What part of the arm's whole absolute error it carries."""
    mae_without: float | None
    """The MAE of all other windows; None where there is no other."""


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
    worst_window: WorstWindow | None = None
    """None where it is not known (results before 0.3), or nothing was scored."""


class Forecasts(Frozen):
    """What was noticed of an arm's forecasts of one signal besides their scores; over all windows, observed or not."""

    steps: int
    """Steps that were forecast: windows × horizon."""
    beyond_range: int
    """Of these, steps with a quantile outside what the signal can be."""
    token_width: float | None = None
    """Mean width of a token, in the units of the signal; None where values are no tokens."""
    spread: float | None = None
    """Mean standard deviation of what is observed of a context, where there is a token width."""
    drawing_mae: float | None = None
    """About how much of the MAE comes of drawing no more sample paths; None where none are drawn, or it is not known
    (results before 0.5)."""
    drawing_crps: float | None = None
    """The same of the CRPS."""


class Difference(Frozen):
    """The paired difference in MAE of an arm to another on one signal: the arm minus `reference`, below 0 is better."""

    reference: str
    """Name of the arm that it is compared with."""
    mae_difference: float | None
    ci95: Bounds | None
    verdict: Verdict
    patients: int
    left_out: Bounds | None = None
    """The lowest and the highest difference when any one patient is left out; None for one patient, or not known."""
    flips: int | None = None
    """How many patients there are without whom, each left out alone, the verdict would be another; None where not
    known, or where the patients are too few for a verdict."""


class Validated(Frozen):
    """On whom the steps of a training were scored."""

    patients: int
    windows: int
    """Validation windows that a score reads."""
    steps: list[int]
    """The steps that were scored; the best of them was kept."""


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
