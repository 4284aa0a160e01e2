"""Reasons not to believe, in words: what each check looks for and found, and what a rank sweep may not be taken for."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

from loracast.report.readable import plural
from loracast.report.results import label_of
from loracast.report.words import capital
from loracast.scoring.checks import (
    COARSE,
    COVERAGE,
    FEWEST_PATHS,
    FEWEST_TEST_PATIENTS,
    MOST_BY_DRAWING,
    MOST_OF_ONE_WINDOW,
)
from loracast.scoring.facts import Checked, Finding, Outcome
from loracast.study.ranks.properties import PROPERTIES
from loracast.study.ranks.result import ALL, Note, RankSweep, Relation
from loracast.study.summary import Summary

Label = Callable[[str | None], str]
"""A signal's key to what people call it."""


LONG = 420
"""Characters of a reason beyond which the rest is folded away."""


@dataclass(frozen=True)
class Reason:
    """What a check says: `head`, then each finding, then `tail`."""

    head: str = ""
    parts: tuple[str, ...] = ()
    tail: str = ""

    def __bool__(self) -> bool:
        return bool(self.head or self.parts)

    @property
    def open(self) -> int:
        """How many findings a page shows at once: as many as fit in `LONG` characters, one at least."""
        ends = accumulate((len(part) + 2 for part in self.parts), initial=len(self.head))
        return max(1, sum(end <= LONG for end in ends) - 1)


@dataclass(frozen=True)
class Told:
    """A check for people."""

    code: str
    title: str
    outcome: Outcome
    reason: Reason


@dataclass(frozen=True)
class Words:
    """How one check speaks: its title, each finding, what stands around them, and why it may not apply."""

    title: str
    before: str
    finding: Callable[[Finding, Label], str] | None = None
    after: str = "."
    not_applicable: str = ""


def _left_out(found: Finding, label: Label) -> str:
    score = str(found.reference).upper()
    noun = "targets" if score == "MAPE" else "windows"
    return f"{found.value:.0f} of {found.of:.0f} {noun} of {label(found.signal)} from {score}"


WORDS = {
    "C01": Words(
        "a patient on both sides of the split",
        "The same patients were trained or chosen on and tested: ",
        lambda found, label: f"{found.value:.0f} in both {found.reference}",
        not_applicable="The sides of the split were not given.",
    ),
    "C02": Words(
        f"fewer than {FEWEST_TEST_PATIENTS} test patients",
        "Test patients: ",
        lambda found, label: f"{found.value:.0f} for {label(found.signal)}",
        f". With fewer than {FEWEST_TEST_PATIENTS}, the intervals are rough.",
        "No arm has scores.",
    ),
    "C03": Words(
        "no better than the best naive forecast",
        "Not shown better in MAE than the best naive forecast: ",
        lambda found, label: f"{found.arm} on {label(found.signal)} ({found.verdict}, {found.reference})",
        not_applicable="No arm was compared with a naive forecast on the same patients.",
    ),
    "C04": Words(
        "no trained step better than the pretrained weights",
        "Validation chose step 0, so this is the model as it was before training: ",
        lambda found, label: f"{found.arm} ({found.value:.0f} of {plural(int(found.of or 0), 'seed')})",
        not_applicable="No arm was trained.",
    ),
    "C05": Words(
        "intervals that are too narrow or too wide",
        f"The 80 % interval holds less than {COVERAGE[0]:.0%} or more than {COVERAGE[1]:.0%} of the truth: ",
        lambda found, label: f"{found.arm} on {label(found.signal)} {found.value:.1%}",
        not_applicable="No arm but the naive ones has scores.",
    ),
    "C06": Words(
        "only one training seed",
        "Trained with one seed, so chance in training is not seen: ",
        lambda found, label: str(found.arm),
        not_applicable="No arm was trained.",
    ),
    "C07": Words(
        "simulated data",
        "No patient lived these data: the scores say that the path works, nothing clinical.",
    ),
    "C08": Words(
        "windows or targets that a score leaves out",
        "Left out: ",
        _left_out,
        " (contexts that do not change have no scale; no percentage of 0).",
        "No arm has scores.",
    ),
    "C09": Words(
        "an adapter scored on another table than its own",
        "An adapter was trained on another table. Nothing here tells whether patients of its training are among the "
        "test patients; whoever read the two tables must know.",
        not_applicable="Every arm was trained on this table.",
    ),
    "C10": Words(
        "a verdict that one patient decides",
        "The verdict would be another if one patient were left out: ",
        lambda found, label: (
            f"{found.arm} on {label(found.signal)} against {found.reference} ({found.verdict}; {found.value:.0f} of "
            f"{plural(int(found.of or 0), 'patient')} would each change it)"
        ),
        not_applicable="No verdict was made, or it is not known what it is without a patient.",
    ),
    "C11": Words(
        f"one window with more than {MOST_OF_ONE_WINDOW:.0%} of the error",
        "One window carries this share of an arm's whole error: ",
        lambda found, label: f"{found.arm} on {label(found.signal)} {found.value:.0%}",
        ". An artefact in one window can decide the result: look at the worst window in the figure.",
        "It is not known how the error is spread over the windows.",
    ),
    "C12": Words(
        "the same series on two sides of the split",
        "Patients whose series also stand under another id on the other side: ",
        lambda found, label: f"{found.value:.0f} ({found.reference})",
        ". The same person may have two ids in the source, and was then trained on and tested.",
        "The series of the sides were not compared.",
    ),
    "C13": Words(
        f"fewer than {FEWEST_PATHS} sample paths",
        "Sample paths a window: ",
        lambda found, label: f"{found.arm} {found.value:.0f}",
        f". Of fewer than {FEWEST_PATHS}, medians and intervals are rough, and errors come out higher than they need.",
        "No arm draws sample paths, or it was not noted.",
    ),
    "C14": Words(
        "tokens that are coarse against a signal's spread",
        f"A token is wider than {COARSE:.0%} of a context's standard deviation, so that small changes are not seen: ",
        lambda found, label: (
            f"{found.arm} on {label(found.signal)} (width {found.value:.2g}, standard deviation {found.of:.2g})"
        ),
        not_applicable="No arm forecasts tokens, or it was not noted.",
    ),
    "C15": Words(
        "forecasts of what a signal cannot be",
        "Steps with a quantile outside the plausible range: ",
        lambda found, label: f"{found.arm} on {label(found.signal)} {found.value:,.0f} of {found.of:,.0f}",
        ". They are scored as they are.",
        "No arm but the naive and statistical ones has forecasts, or it was not noted.",
    ),
    "C16": Words(
        f"more than {MOST_BY_DRAWING:.0%} of an error from drawing few sample paths",
        "Drawing no more paths adds about this to an arm's MAE: ",
        lambda found, label: f"{found.arm} on {label(found.signal)} {found.value:.2g} of {found.of:.3g}",
        ". An arm that draws none bears no such part, so that a comparison with it is unfair by as much. More paths "
        "(--samples, or samples under [forecast]) make it smaller: twice as many, half as much.",
        "No arm draws sample paths, or what that adds was not noted.",
    ),
}
"""Each check by its code."""


def told_of(summary: Summary, arm: str | None = None) -> list[Told]:
    """Every check in words, or of those that warn of `arm` what speaks of it."""
    found = summary.checks
    if arm is not None:
        found = [c for c in found if c.outcome == "warning" and any(one.arm == arm for one in c.findings)]
    return [Told(c.code, capital(_title(c.code)), c.outcome, reason_of(summary, c, arm)) for c in found]


def _title(code: str) -> str:
    """What a check looks for; its code where it is none of ours."""
    return WORDS[code].title if code in WORDS else code


def reason_of(summary: Summary, check: Checked, arm: str | None = None) -> Reason:
    """Why a check warns or does not apply, or what of it speaks of `arm` alone; empty where it passed."""
    words = WORDS.get(check.code)
    if words is None or check.outcome == "passed":
        return Reason()
    if check.outcome == "not applicable":
        return Reason(words.not_applicable)

    def label(signal: str | None) -> str:
        return label_of(summary, signal or "")

    speak = words.finding
    if speak is None:
        return Reason(words.before)
    parts = tuple(speak(found, label) for found in check.findings if arm is None or found.arm == arm)
    return Reason("" if arm else words.before, parts, "" if arm else words.after)


def rule_of(sweep: RankSweep) -> str:
    """The rule that gave the thresholds of a sweep."""
    paired = "of their paired difference, from a bootstrap that draws patients and training seeds,"
    if sweep.margin is None:
        return (
            "The threshold is the smallest rank whose validation error is not shown worse than that of the rank with "
            f"the lowest validation error: the 95 % interval {paired} does not lie above 0. (Sweeps of 0.2 had no "
            "margin: with few patients nothing is shown worse.)"
        )
    return (
        f"The threshold is the smallest rank that is shown to be less than {100 * sweep.margin:g} % worse in "
        "validation error than the rank with the lowest validation error: the upper end of the 95 % interval "
        f"{paired} lies below {100 * sweep.margin:g} % of the lowest error."
    )


def note_of(note: Note, label: Label | None = None) -> str:
    """A note of a rank sweep as a sentence; `label` names its signal."""
    where = ""
    if note.signal is not None:
        where = "All signals" if note.signal == ALL else capital(label(note.signal) if label else note.signal)
    names = ", ".join(note.names)
    told = {
        "one-seed": "There is one training seed, so that chance in training is not in the intervals.",
        "too-few-patients": f"{where}: {note.count} validation patients are too few to decide a threshold.",
        "largest-rank": f"{where}: the threshold is the largest rank that was tried; a larger one may be needed.",
        "not-better-than-zero-shot": f"{where}: rank {note.rank} is not shown better than zero-shot on the test "
        "patients, so that its threshold says little about ranks.",
        "best-rank": f"{where}: no smaller rank is shown to be within the margin of the best one ({note.rank}), which "
        "is therefore the threshold. A smaller one may do; these patients cannot tell.",
        "seeds-left-out": f"Seed {names} is not finished for every rank and counts for none.",
        "runs-not-done": f"These runs are not done, and not in this: {names}.",
    }
    return told[note.code]


def properties_told(names: Iterable[str]) -> list[str]:
    """What each property of a series is: `noise: half the mean squared …`."""
    return [f"{name.replace('_', ' ')}: {PROPERTIES[name]}" for name in names]


def who_swept(sweep: RankSweep) -> str:
    """What a sweep is of: `chronos-t5-nano with lora on cinc2019, 5 seeds a rank`."""
    return f"{sweep.model} with {sweep.method} on {sweep.data}, {plural(len(sweep.seeds), 'seed')} a rank"


def sizes_of(sweep: RankSweep) -> str:
    """How many stand behind a sweep: `validation: 75 patients, 902 windows; test: …; 5 seeds a rank`."""
    parts = [
        f"{side}: {plural(sweep.patients[side], 'patient')}, {plural(sweep.windows[side], 'window')}"
        for side in ("validation", "test")
    ]
    return "; ".join([*parts, f"{plural(len(sweep.seeds), 'seed')} a rank"])


def warning_of(relation: Relation) -> str:
    """What may not be concluded from thresholds beside the properties of series."""
    told = (
        f"{len(relation.rows)} rows (a signal of a data set each) describe these data and do not prove a relation: "
        "with so few, large rank correlations arise by chance, signals of the same patients are not independent, and "
        "several properties are looked at."
    )
    if relation.flat:
        told += (
            f" In {relation.flat} of them the threshold is not shown better than zero-shot on the test patients: there "
            "a small threshold says that tuning gained little, not that a small rank suffices."
        )
    kinds = sorted({f"{row.model} {row.method}" for row in relation.rows})
    if len(kinds) > 1:
        told += (
            f" The sweeps are of different models or methods ({', '.join(kinds)}), which have thresholds of their own."
        )
    return told
