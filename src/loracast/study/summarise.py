"""All runs of an experiment, laid side by side: the summary, and the example windows that the report draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loracast.data.attrition import attrition_path, read_attrition
from loracast.data.schema import signal_named
from loracast.data.table import Table
from loracast.data.twins import count_twins
from loracast.data.windows import Windows, WindowSet
from loracast.errors import ConfigError
from loracast.files import regular, write_json
from loracast.scoring.checks import run_checks
from loracast.scoring.compare import compare, compare_to_best, summarise
from loracast.scoring.facts import Forecasts
from loracast.scoring.sums import Sums
from loracast.study.choices import choices_of
from loracast.study.experiment import ExperimentSpec
from loracast.study.runs import Run
from loracast.study.summary import (
    CELLS,
    EXAMPLES,
    QUANTILES,
    RESULT,
    ArmFacts,
    ArmSummary,
    Costs,
    DataFacts,
    Example,
    RunResult,
    SignalFacts,
    Summary,
    WindowFacts,
    read_facts,
)
from loracast.types import FLOOR, LEVELS

KINDS = {"best": 0.05, "typical": 0.5, "worst": 1.0}
"""The quantile of the windows' errors that stands for each: the worst is the worst, and not one that is bad."""

Scored = Mapping[str, Sequence[Sums]]
"""The sums of each arm's runs, by the arm's name."""


def summarise_experiment(
    spec: ExperimentSpec, table: Table, windows: Windows, runs: Sequence[Run], **more: Any
) -> Summary:
    """The summary of an experiment whose `runs` are all done, with intervals and verdicts; `more` goes into it as is.

    Also writes each run's `examples.json`: the same windows for every arm.
    """
    results = _results(runs)
    arms = _arms(runs, results)
    write_examples(windows.test, runs)
    choices = choices_of(
        arms,
        {name: [one.validated for one in found if one.validated] for name, found in results.items()},
        patients=windows.count_patients(),
        windows=windows.meta["counts"],
        ranks_on_validation=spec.validation_scores,
    )
    more |= {"training": spec.training.model_dump(mode="json"), "choices": choices}
    return whole(spec.name, windows, table.path, arms, seeds=list(spec.seeds), **more)


def whole(name: str, windows: Windows, table: Path, arms: Sequence[ArmSummary], **more: Any) -> Summary:
    """A summary of these arms, with what is known of data and windows, and the checks."""
    data, cut = _data_facts(windows, table), _window_facts(windows)
    twins = count_twins(windows)
    summary = Summary(name=name, data=data, windows=cut, arms=list(arms), checks=[], twins=twins, **more)
    return summary.model_copy(update={"checks": run_checks(summary, splits=windows.patients())})


def _data_facts(windows: Windows, table: Path) -> DataFacts:
    """What the window store knows of the data; attrition is read from beside the table, if there."""
    meta, attrition = windows.meta, attrition_path(table)
    known = {name: signal_named(name, meta["units"]) for name in meta["signals"]}
    read = read_attrition(attrition) if attrition.is_file() else {}
    return DataFacts(
        source=meta["source"],
        simulated=meta["simulated"],
        licence=meta["licence"],
        fingerprint=meta["table_fingerprint"],
        grid_seconds=meta["step_seconds"],
        signals={name: SignalFacts(label=signal.label, unit=signal.unit) for name, signal in known.items()},
        patients=windows.count_patients(),
        attrition=read.get("steps", []),
        notes=read.get("notes"),
    )


def _window_facts(windows: Windows) -> WindowFacts:
    # Windows that were cut before 0.4 know nothing of how their patients were shared out.
    return WindowFacts(**{key: windows.meta[key] for key in WindowFacts.model_fields if key in windows.meta})


def _results(runs: Sequence[Run]) -> dict[str, list[RunResult]]:
    """The results of each arm's runs, by the arm's name; refused where they cannot be compared."""
    results: dict[str, list[RunResult]] = {}
    for run in runs:
        results.setdefault(run.name, []).append(read_facts(RunResult, run.folder / RESULT))
    _refuse_changed_weights([result for found in results.values() for result in found])
    return results


def _arms(runs: Sequence[Run], results: Mapping[str, Sequence[RunResult]]) -> list[ArmSummary]:
    """One entry an arm: its seeds together, its scores, and its differences to others."""
    sums: dict[str, list[Sums]] = {}
    for run in runs:
        sums.setdefault(run.name, []).append(Sums.from_parquet(run.folder / CELLS))
    entries = [
        arm_summary(
            found[0],
            sums,
            references_of(found[0], [others[0] for others in results.values()]),
            seeds=[result.seed for result in found],
            best_step=[result.best_step for result in found],
            accumulation=found[0].accumulation,
            hardware=_once([result.hardware for result in found]),
            costs=_mean_costs([result.costs for result in found]),
            samples=found[0].samples,
            precision=found[0].precision,
            forecasts=_together([result.forecasts for result in found]),
        )
        for name, found in results.items()
    ]
    return with_best(entries, sums)


def references_of(arm: ArmFacts, others: Sequence[ArmFacts]) -> dict[str, str]:
    """The arms that an arm is held against: zero-shot and full fine-tuning of the same backbone on the same terms.

    Full fine-tuning at its usual settings: of several others none is more the reference than another.
    """
    found: dict[str, str] = {}
    if arm.kind != "pretrained":
        return found
    for other in others:
        usual = not other.settings.get("learning_rate") and not other.settings.get("training")
        for method, terms in (("zero-shot", ("revision", "context")), ("full", ("revision", "context", "patients"))):
            alike = all(arm.settings.get(term) == other.settings.get(term) for term in terms)
            if other.method == method and other.model == arm.model and alike and usual:
                found.setdefault(method, other.arm)
    return {method: name for method, name in found.items() if name != arm.arm}


def arm_summary(facts: ArmFacts, sums: Scored, references: Mapping[str, str], **known: Any) -> ArmSummary:
    """An arm's place in the summary: `references` names its zero-shot and its full fine-tuning, where there are any."""
    own = sums[facts.arm]

    def against(method: str) -> Any:
        name = references.get(method)
        return {} if name is None else compare(own, sums[name], reference_name=name)

    floor = {name: sums[name] for name in FLOOR if name in sums and facts.kind != "naive"}
    return ArmSummary(
        **{key: getattr(facts, key) for key in ArmFacts.model_fields},
        **known,
        scores=summarise(own),
        vs_zero_shot=against("zero-shot"),
        vs_full=against("full"),
        vs_naive=compare_to_best(own, floor) if floor else {},
    )


def with_best(entries: Sequence[ArmSummary], sums: Scored) -> list[ArmSummary]:
    """The entries, each with its paired difference to the arm that errs least on a signal.

    The best is chosen on the same windows, which favours it: an arm that is not shown worse is so by right.
    """
    best: dict[str, str] = {}
    for signal in dict.fromkeys(signal for entry in entries for signal in entry.scores):
        scored = {e.arm: mae for e in entries if signal in e.scores and (mae := e.scores[signal].mae) is not None}
        if scored:
            best[signal] = min(scored, key=lambda name: scored[name])
    compared = []
    for entry in entries:
        against = {
            name: compare(sums[entry.arm], sums[name], reference_name=name) for name in set(best.values()) - {entry.arm}
        }
        found = {signal: against[name][signal] for signal, name in best.items() if name in against}
        compared.append(entry.model_copy(update={"vs_best": found}))
    return compared


def _refuse_changed_weights(results: Sequence[RunResult]) -> None:
    """Raise ConfigError where runs started from other weights of the same backbone: they cannot be compared."""
    bases = {(result.model, result.base_sha256) for result in results if result.base_sha256 is not None}
    names = [name for name, _ in bases]
    changed = sorted({name for name in names if names.count(name) > 1})
    if changed:
        raise ConfigError(
            f"The weights of {', '.join(changed)} have changed between the runs of this folder, so its arms cannot be "
            "compared. Run the experiment again with another --out."
        )


def _once(found: Sequence[Any]) -> list[Any]:
    """Each of them once, in order."""
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _together(runs: Sequence[Mapping[str, Forecasts]]) -> dict[str, Forecasts]:
    """What was noticed in all runs: counts added, what drawing costs averaged; equal windows have equal tokens.

    Empty if a run knows nothing.
    """
    if not all(runs):
        return {}
    together = {}
    for name, first in runs[0].items():
        told = [run[name] for run in runs]
        counts = {key: sum(getattr(one, key) for one in told) for key in ("steps", "beyond_range")}
        means = {
            key: float(np.mean([getattr(one, key) for one in told]))
            for key in ("drawing_mae", "drawing_crps")
            if all(getattr(one, key) is not None for one in told)
        }
        together[name] = first.model_copy(update=counts | means)
    return together


def _mean_costs(costs: Sequence[Costs]) -> Costs:
    """Means over the runs that know a cost, and the most memory."""
    merged: dict[str, Any] = {}
    for name in Costs.model_fields:
        known = [value for cost in costs if (value := getattr(cost, name)) is not None]
        if known:
            merged[name] = max(known) if name.startswith("peak") else float(np.mean(known))
    return Costs(**merged)


def _reference(runs: Sequence[Run]) -> Path:
    """The run whose errors choose the examples: the first arm that is trained, else the first with a backbone."""

    def rank(run: Run) -> int:
        pretrained = "pretrained" in run.arm.method.kinds
        return 0 if pretrained and run.arm.method.trains else 1 if pretrained else 2

    return min(runs, key=rank).folder


def write_examples(windows: WindowSet, runs: Sequence[Run]) -> None:
    """Choose a best, a typical and a worst window of each signal by the reference run, and write them for every run."""
    chosen = choose_examples(windows, quantiles_of(_reference(runs), windows))
    floor = next(run.folder for run in runs if run.name == FLOOR[0])
    last_value = quantiles_of(floor, windows)
    for run in runs:
        quantiles = quantiles_of(run.folder, windows)
        examples = [_example(windows, kind, row, quantiles[row], last_value[row]) for kind, row in chosen]
        write_json(run.folder / EXAMPLES, [example.model_dump(mode="json") for example in examples], overwrite=True)


def quantiles_of(run: Path, windows: WindowSet) -> np.ndarray:
    """The forecasts of a run, memory-mapped, of shape (window, horizon, level); raises ConfigError for any other."""
    file = regular(run / QUANTILES, ConfigError)
    wanted = (len(windows), windows.horizon, len(LEVELS))
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses the head as Python text, and passes on what its tokenizer raises
        raise ConfigError(f"{file} is no array of forecasts ({type(error).__name__}). {_ANEW}") from error
    if not isinstance(found, np.ndarray) or found.dtype != np.float32 or found.shape != wanted:
        raise ConfigError(f"{file} holds no forecasts of these {len(windows):,} windows. {_ANEW}")
    return found


_ANEW = "It was damaged, or is of other windows; remove the folder of the run and repeat it with --resume."


def choose_examples(windows: WindowSet, quantiles: np.ndarray) -> list[tuple[str, int]]:
    """Kind and position of the example windows: per signal, a low, the middle and the highest mean absolute error."""
    errors = np.empty(len(windows))
    for rows in windows.batches(1024):
        future = windows.batch(rows)[1]
        errors[rows] = np.nanmean(np.abs(quantiles[rows, :, LEVELS.index(0.5)] - future), axis=1)
    chosen = []
    for code in range(len(windows.signals)):
        own = np.flatnonzero(windows.signal == code)
        ordered = own[np.argsort(errors[own], kind="stable")]
        for kind, quantile in KINDS.items():
            if len(ordered):
                chosen.append((kind, int(ordered[round(quantile * (len(ordered) - 1))])))
    return chosen


def _example(windows: WindowSet, kind: str, row: int, quantiles: np.ndarray, last_value: np.ndarray) -> Example:
    window, signal = windows[row], windows.signals[int(windows.signal[row])]
    return Example(
        kind=kind,
        signal=signal,
        unit=signal_named(signal, windows.units).unit,
        step_seconds=windows.step_seconds,
        context=_numbers(window["context"]),
        future=_numbers(window["future"]),
        levels=list(LEVELS),
        quantiles=np.asarray(quantiles, dtype=float).tolist(),
        last_value=[float(value) for value in last_value[:, LEVELS.index(0.5)]],
    )


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]
