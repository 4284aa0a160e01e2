"""Numbered reasons not to believe a result.

A check looks at the summary of an experiment and says "passed", "warning" with what it found, or "not applicable"
where there is nothing to look at. A warning does not stop anything: it stands in the report, which puts it in words.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Protocol

from loracast.scoring.facts import Checked, Difference, Finding, Forecasts, Scores
from loracast.types import Kind

FEWEST_TEST_PATIENTS = 20
"""C02: with fewer, intervals are rough."""
COVERAGE = (0.7, 0.9)
"""C05: the share of targets that the central 80 % interval may hold."""
FEWEST_SEEDS = 2
"""C06: with fewer, chance in training is not seen."""
MOST_OF_ONE_WINDOW = 0.2
"""C11: the share of an arm's error that one window may carry."""
FEWEST_PATHS = 50
"""C13: quantiles of fewer sample paths are rough."""
MOST_BY_DRAWING = 0.01
"""C16: the share of an arm's error that may come of drawing no more paths."""
COARSE = 0.25
"""C14: the share of a context's standard deviation that the width of a token may have."""
FLOOR: tuple[Kind, ...] = ("naive", "statistical")
"""C03, C05 and C15 do not look at these kinds of model: they are what others are held against."""

Splits = Mapping[str, Collection[object]]
"""The patients on each side of the split."""


class LookedAtData(Protocol):
    """What the checks look at of the data."""

    @property
    def simulated(self) -> bool:
        """Whether no patient lived them."""


class LookedAtArm(Protocol):
    """What the checks look at of an arm; `study.summary.ArmSummary` says what each is."""

    @property
    def arm(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def trains(self) -> bool: ...
    @property
    def seeds(self) -> Sequence[int]: ...
    @property
    def best_step(self) -> Sequence[int | None]: ...
    @property
    def scores(self) -> Mapping[str, Scores]: ...
    @property
    def samples(self) -> int | None: ...
    @property
    def forecasts(self) -> Mapping[str, Forecasts]: ...
    @property
    def vs_naive(self) -> Mapping[str, Difference]: ...
    @property
    def vs_zero_shot(self) -> Mapping[str, Difference]: ...
    @property
    def vs_full(self) -> Mapping[str, Difference]: ...


class LookedAt(Protocol):
    """What the checks look at: a summary, whether or not it has been checked before."""

    @property
    def data(self) -> LookedAtData:
        """The data behind the numbers."""

    @property
    def arms(self) -> Sequence[LookedAtArm]:
        """All arms."""

    @property
    def adapters_of_other_tables(self) -> bool | None:
        """Whether an adapter was trained on another table; None where all arms were trained on this one."""

    @property
    def twins(self) -> Mapping[str, int] | None:
        """Patients of one side whose series stand on another under another id, by the two sides; None if not known."""


Found = Sequence[Finding] | None
"""What a look finds: nothing if all is well, None where there is nothing to look at. An empty finding says that a check
found what its code stands for, of which there is no more to say."""


def run_checks(summary: LookedAt, *, splits: Splits) -> list[Checked]:
    """Every check on `summary`, in order of code. `splits` are compared; no patient is named in a finding."""
    return [_checked(code, look(summary, splits)) for code, look in CHECKS.items()]


def _checked(code: str, found: Found) -> Checked:
    if found is None:
        return Checked(code=code, outcome="not applicable")
    return Checked(code=code, outcome="warning" if found else "passed", findings=tuple(found))


def _shared_patients(_: LookedAt, splits: Splits) -> Found:
    """C01. A patient on both sides: `value` patients, `reference` the two sides, as "train and test"."""
    if len(splits) < 2:
        return None
    shared = {pair: len(set(splits[pair[0]]) & set(splits[pair[1]])) for pair in combinations(splits, 2)}
    return [Finding(value=number, reference=" and ".join(pair)) for pair, number in shared.items() if number]


def _few_patients(summary: LookedAt, _: Splits) -> Found:
    """C02. Few test patients: `value` of them on `signal`."""
    patients = {name: scores.n_patients for _, name, scores in _scored(summary.arms)}
    few = [Finding(signal=name, value=n) for name, n in patients.items() if n < FEWEST_TEST_PATIENTS]
    return few if patients else None


def _loses_to_naive(summary: LookedAt, _: Splits) -> Found:
    """C03. An arm that is not shown better on `signal` than the best naive forecast, the `reference`."""
    compared = [arm for arm in summary.arms if arm.kind not in FLOOR and arm.vs_naive]
    lost = [
        Finding(arm=arm.arm, signal=name, value=entry.mae_difference, reference=entry.reference, verdict=entry.verdict)
        for arm in compared
        for name, entry in arm.vs_naive.items()
        if entry.verdict != "better"
    ]
    return lost if compared else None


def _never_improved(summary: LookedAt, _: Splits) -> Found:
    """C04. No trained step better than the start: `value` of `of` seeds kept step 0."""
    trained = [arm for arm in summary.arms if arm.trains]
    stuck = [
        Finding(arm=arm.arm, value=sum(step == 0 for step in arm.best_step), of=len(arm.best_step))
        for arm in trained
        if 0 in arm.best_step
    ]
    return stuck if trained else None


def _miscovered(summary: LookedAt, _: Splits) -> Found:
    """C05. Intervals that are too narrow or too wide: the 80 % interval holds the share `value` of the targets."""
    scored = [(arm.arm, name, scores) for arm, name, scores in _scored(summary.arms) if arm.kind not in FLOOR]
    known = [(arm, name, scores.coverage_80) for arm, name, scores in scored if scores.coverage_80 is not None]
    low, high = COVERAGE
    off = [Finding(arm=arm, signal=name, value=share) for arm, name, share in known if not low <= share <= high]
    return off if known else None


def _one_seed(summary: LookedAt, _: Splits) -> Found:
    """C06. Trained with `value` seeds only."""
    trained = [arm for arm in summary.arms if arm.trains]
    single = [Finding(arm=arm.arm, value=len(arm.seeds)) for arm in trained if len(arm.seeds) < FEWEST_SEEDS]
    return single if trained else None


def _simulated(summary: LookedAt, _: Splits) -> Found:
    """C07. Data that no patient lived."""
    return [Finding()] if summary.data.simulated else []


def _left_out(summary: LookedAt, _: Splits) -> Found:
    """C08. What the score `reference` leaves out: `value` of `of` windows (mase) or targets (mape) of `signal`."""
    scored = {name: scores for _, name, scores in _scored(summary.arms)}
    found = []
    for name, scores in scored.items():
        left = scores.excluded
        for score, number, whole in (
            ("mase", left.mase_windows, scores.n_windows),
            ("mape", left.mape_cells, scores.n_cells),
        ):
            if number:
                found.append(Finding(signal=name, value=number, of=whole, reference=score))
    return found if scored else None


def _other_table(summary: LookedAt, _: Splits) -> Found:
    """C09. An adapter that is scored on another table than its own."""
    if summary.adapters_of_other_tables is None:
        return None
    return [Finding()] if summary.adapters_of_other_tables else []


def _one_patient(summary: LookedAt, _: Splits) -> Found:
    """C10. A verdict on `signal` that would be another without `value` of `of` patients, each left out alone."""
    known = [
        (arm.arm, name, entry)
        for arm in summary.arms
        for entries in (arm.vs_naive, arm.vs_zero_shot, arm.vs_full)
        for name, entry in entries.items()
        if entry.flips is not None
    ]
    found = [
        Finding(
            arm=arm, signal=name, value=entry.flips, of=entry.patients, reference=entry.reference, verdict=entry.verdict
        )
        for arm, name, entry in known
        if entry.flips
    ]
    return found if known else None


def _one_window(summary: LookedAt, _: Splits) -> Found:
    """C11. One window carries the share `value` of an arm's absolute error on `signal`."""
    known = [(arm.arm, name, worst) for arm, name, s in _scored(summary.arms) if (worst := s.worst_window) is not None]
    heavy = [
        Finding(arm=arm, signal=name, value=worst.share)
        for arm, name, worst in known
        if worst.share > MOST_OF_ONE_WINDOW
    ]
    return heavy if known else None


def _twins(summary: LookedAt, _: Splits) -> Found:
    """C12. The same series on both sides under different ids: `value` patients, `reference` the two sides."""
    if summary.twins is None:
        return None
    return [Finding(value=number, reference=pair) for pair, number in summary.twins.items() if number]


def _few_paths(summary: LookedAt, _: Splits) -> Found:
    """C13. Few sample paths: `value` of them."""
    drawn = [(arm.arm, arm.samples) for arm in summary.arms if arm.samples is not None]
    return [Finding(arm=arm, value=paths) for arm, paths in drawn if paths < FEWEST_PATHS] if drawn else None


def _coarse_tokens(summary: LookedAt, _: Splits) -> Found:
    """C14. Tokens of width `value` on `signal`, whose contexts spread by `of`."""
    known = [(arm.arm, name, told) for arm in summary.arms for name, told in arm.forecasts.items()]
    tokens = [(arm, name, told.token_width, told.spread) for arm, name, told in known
              if told.token_width is not None and told.spread is not None]  # fmt: skip
    coarse = [
        Finding(arm=arm, signal=name, value=width, of=spread)
        for arm, name, width, spread in tokens
        if width > COARSE * spread
    ]
    return coarse if tokens else None


def _implausible(summary: LookedAt, _: Splits) -> Found:
    """C15. Forecasts of what `signal` cannot be: `value` of `of` steps."""
    told = [(arm.arm, name, one) for arm in summary.arms if arm.kind not in FLOOR
            for name, one in arm.forecasts.items()]  # fmt: skip
    beyond = [
        Finding(arm=arm, signal=name, value=one.beyond_range, of=one.steps)
        for arm, name, one in told
        if one.beyond_range
    ]
    return beyond if told else None


def _drawing(summary: LookedAt, _: Splits) -> Found:
    """C16. Drawing no more paths adds about `value` to an arm's MAE of `of` on `signal`: an arm that draws none has no
    such part, so that a comparison between them is unfair by as much."""
    known = [(arm.arm, name, told.drawing_mae, arm.scores[name].mae) for arm in summary.arms
             for name, told in arm.forecasts.items() if name in arm.scores]  # fmt: skip
    drawn = [(arm, name, added, mae) for arm, name, added, mae in known if added is not None and mae is not None]
    dear = [
        Finding(arm=arm, signal=name, value=added, of=mae)
        for arm, name, added, mae in drawn
        if added > MOST_BY_DRAWING * mae
    ]
    return dear if drawn else None


CHECKS: dict[str, Callable[[LookedAt, Splits], Found]] = {
    "C01": _shared_patients,
    "C02": _few_patients,
    "C03": _loses_to_naive,
    "C04": _never_improved,
    "C05": _miscovered,
    "C06": _one_seed,
    "C07": _simulated,
    "C08": _left_out,
    "C09": _other_table,
    "C10": _one_patient,
    "C11": _one_window,
    "C12": _twins,
    "C13": _few_paths,
    "C14": _coarse_tokens,
    "C15": _implausible,
    "C16": _drawing,
}
"""The checks by code; the report says what each is called."""


def _scored(arms: Sequence[LookedAtArm]) -> Iterator[tuple[LookedAtArm, str, Scores]]:
    """Every arm with the name and the scores of each of its signals."""
    for arm in arms:
        for name, scores in arm.scores.items():
            yield arm, name, scores
