"""Numbered reasons not to believe a result.

A check looks at the summary of an experiment and says "passed", "warning" with a reason, or "not applicable" with
what it would need. A warning does not stop anything: it stands in the report, where the reader decides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

Outcome = Literal["passed", "warning", "not applicable"]
Summary = Mapping[str, Any]
Splits = Mapping[str, set[str]] | Mapping[str, set[int]]
Arm = Mapping[str, Any]

FEWEST_TEST_PATIENTS = 20
COVERAGE = (0.7, 0.9)


@dataclass(frozen=True)
class Finding:
    """What a check found; `reason` is None if it passed."""

    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True)
class Check:
    """One reason not to believe a result: its code, what it is called, and the function that looks."""

    code: str
    title: str
    look: Callable[[Summary, Splits], Finding]


PASSED = Finding("passed")


def run_checks(summary: Summary, *, splits: Splits) -> list[dict[str, str | None]]:
    """Every check on `summary` (the contents of summary.json), in order of code, fit for JSON.

    `splits` names the patients on each side of the split; they are compared, never repeated in a reason.
    """
    found = [(check, check.look(summary, splits)) for check in CHECKS]
    return [{"code": c.code, "title": c.title, "outcome": f.outcome, "reason": f.reason} for c, f in found]


def _shared_patients(summary: Summary, splits: Splits) -> Finding:
    if len(splits) < 2:
        return Finding("not applicable", "The sides of the split were not given.")
    shared = {pair: len(set(splits[pair[0]]) & set(splits[pair[1]])) for pair in combinations(splits, 2)}
    found = [f"{number} in both {one} and {other}" for (one, other), number in shared.items() if number]
    return _warning_of(found, "The same patients were trained or chosen on and tested: ", "")


def _few_patients(summary: Summary, splits: Splits) -> Finding:
    patients = {name: scores["n_patients"] for _, name, scores in _scored(summary["arms"])}
    few = [f"{number} for {name}" for name, number in patients.items() if number < FEWEST_TEST_PATIENTS]
    if not patients:
        return Finding("not applicable", "No arm has scores.")
    return _warning_of(few, "Test patients: ", f". With fewer than {FEWEST_TEST_PATIENTS}, the intervals are rough.")


def _loses_to_naive(summary: Summary, splits: Splits) -> Finding:
    compared = [arm for arm in summary["arms"] if arm["method"] != "baseline" and arm.get("vs_naive")]
    if not compared:
        return Finding("not applicable", "No arm was compared with a naive forecast on the same patients.")
    lost = [
        f"{arm['arm']} on {name} ({entry['verdict']}, {entry['reference']})"
        for arm in compared
        for name, entry in arm["vs_naive"].items()
        if entry["verdict"] != "better"
    ]
    return _warning_of(lost, "Not shown better in MAE than the best naive forecast: ", "")


def _never_improved(summary: Summary, splits: Splits) -> Finding:
    trained = _trained(summary)
    if not trained:
        return Finding("not applicable", "No arm was trained.")
    stuck = [
        f"{arm['arm']} ({sum(step == 0 for step in arm['best_step'])} of {len(arm['best_step'])} seeds)"
        for arm in trained
        if 0 in arm["best_step"]
    ]
    return _warning_of(stuck, "Validation chose step 0, so this is the zero-shot model: ", "")


def _miscovered(summary: Summary, splits: Splits) -> Finding:
    covered = [
        (arm["arm"], name, scores["coverage_80"])
        for arm, name, scores in _scored(summary["arms"])
        if arm["method"] != "baseline"
    ]
    known = [entry for entry in covered if entry[2] is not None]
    if not known:
        return Finding("not applicable", "No arm but the naive ones has scores.")
    low, high = COVERAGE
    off = [f"{arm} on {name} {share:.1%}" for arm, name, share in known if not low <= share <= high]
    return _warning_of(off, f"The 80 % interval holds less than {low:.0%} or more than {high:.0%} of the truth: ", "")


def _one_seed(summary: Summary, splits: Splits) -> Finding:
    trained = _trained(summary)
    if not trained:
        return Finding("not applicable", "No arm was trained.")
    single = [arm["arm"] for arm in trained if len(arm["seeds"]) < 2]
    return _warning_of(single, "Trained with one seed, so chance in training is not seen: ", "")


def _simulated(summary: Summary, splits: Splits) -> Finding:
    if summary["data"]["simulated"]:
        return Finding("warning", "No patient lived these data: the scores say that the path works, nothing clinical.")
    return PASSED


def _left_out(summary: Summary, splits: Splits) -> Finding:
    excluded = {name: (scores["excluded"], scores) for _, name, scores in _scored(summary["arms"])}
    if not excluded:
        return Finding("not applicable", "No arm has scores.")
    found = []
    for name, (left, scores) in excluded.items():
        if left["mase_windows"]:
            found.append(f"{left['mase_windows']} of {scores['n_windows']} windows of {name} from MASE")
        if left["mape_cells"]:
            found.append(f"{left['mape_cells']} of {scores['n_cells']} targets of {name} from MAPE")
    return _warning_of(found, "Left out: ", " (contexts that do not change have no scale; no percentage of 0).")


def _other_table(summary: Summary, splits: Splits) -> Finding:
    foreign = summary.get("adapters_of_other_tables")
    if foreign is None:
        return Finding("not applicable", "Every arm was trained on this table.")
    if not foreign:
        return PASSED
    return Finding(
        "warning",
        "An adapter was trained on another table. Nothing here tells whether patients of its training are among the "
        "test patients; whoever read the two tables must know.",
    )


CHECKS: tuple[Check, ...] = (
    Check("C01", "a patient on both sides of the split", _shared_patients),
    Check("C02", f"fewer than {FEWEST_TEST_PATIENTS} test patients", _few_patients),
    Check("C03", "no better than the best naive forecast", _loses_to_naive),
    Check("C04", "no trained step better than the pretrained weights", _never_improved),
    Check("C05", "intervals that are too narrow or too wide", _miscovered),
    Check("C06", "only one training seed", _one_seed),
    Check("C07", "simulated data", _simulated),
    Check("C08", "windows or targets that a score leaves out", _left_out),
    Check("C09", "an adapter scored on another table than its own", _other_table),
)


def _warning_of(found: Sequence[str], before: str, after: str) -> Finding:
    """A warning that lists what was found, or "passed" if nothing was."""
    return Finding("warning", f"{before}{'; '.join(found)}{after or '.'}") if found else PASSED


def _trained(summary: Summary) -> list[Arm]:
    return [arm for arm in summary["arms"] if arm["method"] not in ("baseline", "zero-shot")]


def _scored(arms: Sequence[Arm]) -> Iterator[tuple[Arm, str, Mapping[str, Any]]]:
    """Every arm with the name and the scores of each of its signals."""
    for arm in arms:
        for name, scores in arm["scores"].items():
            yield arm, name, scores
