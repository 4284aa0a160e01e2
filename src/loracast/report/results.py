"""A results folder, read: the summary, each run with its learning curve and example forecasts, the rank sweep.

Nothing else is read, so that no patient's row can reach a page. What tables, figures and words all ask of a summary
(its signals, their names and units, whether an arm was compared) stands here as well.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from loracast.errors import ConfigError
from loracast.files import read_json
from loracast.report.readable import plural
from loracast.scoring.facts import Bounds, Difference
from loracast.study.ranks.result import SWEEP, RankSweep
from loracast.study.summary import (
    EXAMPLES,
    EXPERIMENT,
    LEARNING,
    RESULT,
    SUMMARY,
    ArmSummary,
    Claim,
    Example,
    Learning,
    RunResult,
    Summary,
    read_facts,
)

_EXAMPLES = TypeAdapter(tuple[Example, ...])


@dataclass(frozen=True)
class Run:
    """One arm with one seed; what it did not record is None or empty."""

    result: RunResult
    learning: Learning | None = None
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Results:
    """Everything the report is made from."""

    summary: Summary
    experiment: Claim | None
    """None where the folder has none."""
    runs: tuple[Run, ...] = ()
    sweep: RankSweep | None = None

    def runs_of(self, arm: str) -> tuple[Run, ...]:
        """The runs of one arm, by seed."""
        return tuple(run for run in self.runs if run.result.arm == arm)


def read_results(folder: Path) -> Results:
    """Read a results folder.

    Raises ConfigError where the folder is missing, holds no `summary.json`, or a file in it is not what it should be.
    """
    folder = Path(folder)
    summary = summary_in(folder)
    places = {arm.arm: place for place, arm in enumerate(summary.arms)}
    runs = [_run(file.parent) for file in sorted(folder.glob(f"runs/*/{RESULT}"))]
    runs.sort(key=lambda run: (places.get(run.result.arm, len(places)), run.result.seed))
    experiment, sweep = folder / EXPERIMENT, folder / SWEEP
    return Results(
        summary=summary,
        experiment=read_facts(Claim, experiment) if experiment.is_file() else None,
        runs=tuple(runs),
        sweep=read_facts(RankSweep, sweep) if sweep.is_file() else None,
    )


def summary_in(folder: Path) -> Summary:
    """The summary of a results folder; raises ConfigError as `read_results` does."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(
            f"there is no folder {str(folder)!r}. Give the folder an experiment wrote, or make one: "
            "`loracast run EXPERIMENT.toml --out FOLDER`, or `loracast demo --out FOLDER`."
        )
    file = folder / SUMMARY
    if not file.is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))[:12])
        raise ConfigError(
            f"{str(folder)!r} holds no {SUMMARY}, so there is nothing to report; it holds: {found or 'nothing'}. "
            "An experiment writes it once its last run is done: finish it with "
            "`loracast run EXPERIMENT.toml --out FOLDER --resume`."
        )
    summary = read_facts(Summary, file)
    if not summary.arms:
        raise ConfigError(
            f"{str(file)!r} lists no arms, so there is nothing to report. "
            "Write it anew with `loracast run EXPERIMENT.toml --out FOLDER --resume`."
        )
    return summary


def _run(folder: Path) -> Run:
    learning, examples = folder / LEARNING, folder / EXAMPLES
    return Run(
        result=read_facts(RunResult, folder / RESULT),
        learning=read_facts(Learning, learning) if learning.is_file() else None,
        examples=_examples(examples) if examples.is_file() else (),
    )


def _examples(file: Path) -> tuple[Example, ...]:
    try:
        return _EXAMPLES.validate_python(read_json(file, ConfigError))
    except ValidationError as error:
        first = str(error).splitlines()[0]  # a count of mistakes; what follows quotes values of a patient
        raise ConfigError(f"{str(file)!r} holds no example forecasts ({first}). Run the experiment again.") from error


def scored_signals(summary: Summary) -> tuple[str, ...]:
    """The signals for which at least one arm has an error to show, in the order of the data."""
    return tuple(name for name in summary.data.signals if any(mae_of(arm, name) is not None for arm in summary.arms))


def label_of(summary: Summary, signal: str) -> str:
    """What people call a signal: `heart rate`."""
    known = summary.data.signals.get(signal)
    return known.label if known else signal.replace("_", " ")


def unit_of(summary: Summary, signal: str) -> str:
    """The unit as people write it behind a number: `mmHg`, `/min`."""
    known = summary.data.signals.get(signal)
    return shown_unit(known.unit) if known else ""


def shown_unit(unit: str) -> str:
    """`1/min` reads as `/min` behind a number."""
    return unit.removeprefix("1") if unit.startswith("1/") else unit


def heading_of(summary: Summary, signal: str) -> str:
    """A signal with its unit: `heart rate, /min`."""
    label, unit = label_of(summary, signal), unit_of(summary, signal)
    return f"{label}, {unit}" if unit else label


def behind(summary: Summary, signal: str) -> str:
    """A signal with its unit, and the patients and windows that its scores stand on."""
    scores = next((arm.scores[signal] for arm in summary.arms if signal in arm.scores), None)
    if scores is None:
        return heading_of(summary, signal)
    sizes = f"{plural(scores.n_patients, 'patient')}, {plural(scores.n_windows, 'window')}"
    return f"{heading_of(summary, signal)}: {sizes}"


def mae_of(arm: ArmSummary, signal: str) -> float | None:
    """The mean absolute error of an arm on a signal, None where it has none."""
    return arm.scores[signal].mae if signal in arm.scores else None


def mae_interval(arm: ArmSummary, signal: str) -> Bounds | None:
    """The 95 % interval of that error, None where there is none."""
    return arm.scores[signal].ci95.get("mae") if signal in arm.scores else None


def comparisons_of(arm: ArmSummary) -> dict[str, dict[str, Difference]]:
    """The four comparisons of an arm by name, each a difference a signal; none with the arm itself."""
    found = {
        "vs_zero_shot": arm.vs_zero_shot, "vs_naive": arm.vs_naive, "vs_full": arm.vs_full, "vs_best": arm.vs_best,
    }  # fmt: skip
    return {
        name: {signal: difference for signal, difference in entries.items() if difference.reference != arm.arm}
        for name, entries in found.items()
    }


def difference_of(arm: ArmSummary, signal: str, against: str = "vs_zero_shot") -> Difference | None:
    """The difference of an arm on a signal to what `against` names; None for an arm itself or where not compared."""
    return comparisons_of(arm)[against].get(signal)


class Percent(NamedTuple):
    """The paired difference of an arm to zero-shot, in percent of what zero-shot errs, with its interval."""

    value: float
    ci95: Bounds | None
    verdict: str


def in_percent(arm: ArmSummary, signal: str) -> Percent | None:
    """The difference of an arm to zero-shot in percent of zero-shot's MAE, its own less the difference; else None."""
    found, own = difference_of(arm, signal), mae_of(arm, signal)
    if found is None or found.mae_difference is None or own is None or own - found.mae_difference <= 0:
        return None
    scale = 100 / (own - found.mae_difference)
    bounds = found.ci95 and (scale * found.ci95[0], scale * found.ci95[1])
    return Percent(scale * found.mae_difference, bounds, found.verdict)


def source_of(summary: Summary) -> str:
    """The data in a few words, simulated data named as such."""
    return f"{summary.data.source} (SIMULATED DATA)" if summary.data.simulated else summary.data.source


MANY = 12
"""More arms than this are no longer told apart in one plot, nor read sentence by sentence."""


def is_baseline(arm: ArmSummary) -> bool:
    """Whether an arm is a forecast for which nothing is trained: naive, or a statistical model of each context."""
    return arm.kind in ("naive", "statistical")


def is_adapted(arm: ArmSummary) -> bool:
    """Whether an arm is a pretrained backbone that was trained on."""
    return arm.kind == "pretrained" and arm.trains


def backbone_of(arm: ArmSummary) -> str | None:
    """The pretrained model of an arm, None where it has none."""
    return arm.model if arm.kind == "pretrained" else None


def family_of(arm: ArmSummary) -> tuple[str, str | None]:
    """Method and backbone; arms of one family differ in rank, sites or share of patients."""
    return arm.method, backbone_of(arm)


def short_name(arm: ArmSummary) -> str:
    """The name without the model in front: `lora r=2`."""
    return arm.arm.removeprefix(f"{arm.model} ")


def only(summary: Summary, arms: Iterable[ArmSummary]) -> Summary:
    """The summary with these arms alone."""
    return summary.model_copy(update={"arms": list(arms)})


def slugs_of(summary: Summary) -> dict[str, str]:
    """The name of each arm's page without its ending: safe in every file system, and no two alike."""
    slugs: dict[str, str] = {}
    taken: set[str] = set()
    for arm in summary.arms:
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", arm.arm).strip(".-")[:100] or "arm"
        tries = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(summary.arms) + 1))
        slugs[arm.arm] = next(slug for slug in tries if slug.lower() not in taken)
        taken.add(slugs[arm.arm].lower())
    return slugs


class MissingArm(NamedTuple):
    """Runs of one arm that are not done for the same reason."""

    arm: str
    seeds: tuple[int, ...]
    reason: str


def missing_of(summary: Summary) -> list[MissingArm]:
    """The arms that are not, or not with all seeds, done, with the reason or else the state of their runs."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for run in summary.missing:
        seeds.setdefault((run.arm, run.reason or run.state), []).append(run.seed)
    return [MissingArm(arm, tuple(found), reason) for (arm, reason), found in seeds.items()]


def relative_error(summary: Summary, arm: ArmSummary) -> float | None:
    """The MAE of an arm over the lowest of each signal, averaged over its signals; None without a score."""
    parts = []
    for signal in scored_signals(summary):
        value = mae_of(arm, signal)
        lowest = min(v for other in summary.arms if (v := mae_of(other, signal)) is not None)
        if value is not None and lowest > 0:
            parts.append(value / lowest)
    return sum(parts) / len(parts) if parts else None


def by_error(summary: Summary, arms: Iterable[ArmSummary]) -> list[ArmSummary]:
    """Arms from the lowest relative error to the highest, those without a score last."""
    found = [(relative_error(summary, arm), arm) for arm in arms]
    return [arm for _, arm in sorted(found, key=lambda pair: float("inf") if pair[0] is None else pair[0])]


def chosen(summary: Summary, most: int = MANY) -> tuple[list[ArmSummary], str]:
    """At most `most` arms that stand for all, in the summary's order, and a sentence that says which; "" if all are.

    The best naive forecast and network from scratch; of each backbone the best adapted arm, zero-shot and full
    fine-tuning; the best statistical model; then the lowest errors.
    """
    if len(summary.arms) <= most:
        return list(summary.arms), ""
    ordered, wanted = by_error(summary, summary.arms), list[str]()
    for belongs in _tests(summary):
        first = next((arm for arm in ordered if belongs(arm) and arm.arm not in wanted), None)
        if first is not None and len(wanted) < most:
            wanted.append(first.arm)
    told = (
        f" Of {plural(len(summary.arms), 'arm')} {len(wanted)} are drawn, in this order as far as there is room: the "
        "best naive forecast and network from scratch; the best adapted arm of each backbone, zero-shot, full "
        "fine-tuning; then the lowest errors (relative to the lowest of each signal). The others are in the tables and "
        "on their pages."
    )
    return [arm for arm in summary.arms if arm.arm in wanted], told


def _tests(summary: Summary) -> list[Callable[[ArmSummary], bool]]:
    """What each place among the chosen asks of an arm, the most important first."""
    backbones = list(dict.fromkeys(backbone for arm in summary.arms if (backbone := backbone_of(arm))))

    def of(backbone: str, belongs: Callable[[ArmSummary], bool]) -> Callable[[ArmSummary], bool]:
        return lambda arm: backbone_of(arm) == backbone and belongs(arm)

    tests: list[Callable[[ArmSummary], bool]] = [lambda arm: arm.kind == "naive", lambda arm: arm.kind == "network"]
    tests += [of(backbone, lambda arm: is_adapted(arm) and arm.method != "full") for backbone in backbones]
    tests += [of(backbone, lambda arm: arm.method == "zero-shot") for backbone in backbones]
    tests += [of(backbone, lambda arm: arm.method == "full") for backbone in backbones]
    return [*tests, lambda arm: arm.kind == "statistical", *[lambda arm: True] * len(summary.arms)]
