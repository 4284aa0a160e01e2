"""The finished runs of a rank sweep, read from its results folder: what they are, and the sums that they have kept."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from loracast.errors import ConfigError
from loracast.scoring.sums import PatientSums, Sums, by_signal, check_same, over_signals
from loracast.study.ranks.result import ALL, Note
from loracast.study.runs import read_claim
from loracast.study.summary import CELLS, RESULT, VALIDATION, RunResult, read_facts

SIDES = {"validation": VALIDATION, "test": CELLS}


class Run(NamedTuple):
    """One finished run: its folder and its result."""

    folder: Path
    result: RunResult


@dataclass(frozen=True)
class Finished:
    """The runs by rank, ranks ascending and the same seeds for each; `notes` says what was left out.

    `zero_shot` and `full` are the arms beside which the ranks are shown, empty where they have no finished run.
    """

    model: str
    method: str
    ranks: dict[int, list[Run]]
    zero_shot: list[Run]
    full: list[Run]
    notes: list[Note]

    @property
    def seeds(self) -> list[int]:
        """The seeds that every rank has."""
        return [run.result.seed for run in next(iter(self.ranks.values()))]


@dataclass(frozen=True)
class Side:
    """The errors of one side of the split, per signal and of all together: of each rank, and of the arms beside."""

    ranks: dict[str, list[PatientSums]]
    zero_shot: dict[str, PatientSums]
    full: dict[str, PatientSums]


def read_finished(out: Path) -> Finished:
    """Find the runs of the one swept method under `out`.

    A seed that is not finished for every rank counts for none, a rank without a finished run is left out; both are
    noted. Raises ConfigError where there is no sweep, or more than one.
    """
    done = [Run(path.parent, read_facts(RunResult, path)) for path in sorted(out.glob(f"runs/*/{RESULT}"))]
    swept = [run for run in done if run.result.settings.get("rank") is not None]
    kinds = {(run.result.model, run.result.method) for run in swept}
    if len(kinds) != 1:
        told = ", ".join(f"{model} {method}" for model, method in sorted(kinds)) or "no finished arm with a rank"
        raise ConfigError(
            f"{out} holds {told}; a rank sweep is one model with one method. Run `loracast sweep ranks`, and with "
            "--resume where it was interrupted."
        )
    ((model, method),) = kinds
    ranks: dict[int, list[Run]] = defaultdict(list)
    for run in swept:
        ranks[int(run.result.settings["rank"])].append(run)
    twice = [rank for rank, runs in ranks.items() if len({run.result.arm for run in runs}) > 1]
    if twice:
        raise ConfigError(
            f"{out} has several arms of rank {min(twice)}, which differ in more than the rank. Run ranks alone, with "
            "`loracast sweep ranks`."
        )
    common, notes = _common_seeds(ranks, out)
    beside = [run for run in done if run.result.model == model]
    return Finished(
        model,
        method,
        {rank: _ordered(runs, common) for rank, runs in sorted(ranks.items())},
        [run for run in beside if run.result.method == "zero-shot"],
        _ordered([run for run in beside if run.result.method == "full"]),
        notes,
    )


def _common_seeds(ranks: dict[int, list[Run]], out: Path) -> tuple[set[int], list[Note]]:
    """The seeds that every rank has, and notes on what is missing; raises ConfigError where there is none."""
    seeds = {rank: {run.result.seed for run in runs} for rank, runs in ranks.items()}
    every, common = set().union(*seeds.values()), set.intersection(*seeds.values())
    if not common:
        raise ConfigError(f"No seed under {out} is finished for every rank. Run the sweep again with --resume.")
    missing = [str(seed) for seed in sorted(every - common)]
    undone = [run for run in read_claim(out).runs if not (out / "runs" / run.folder / RESULT).is_file()]
    told = [f"{run.arm} (seed {run.seed})" for run in undone]
    return common, [
        *([Note(code="seeds-left-out", count=len(missing), names=missing)] if missing else []),
        *([Note(code="runs-not-done", count=len(told), names=told)] if told else []),
    ]


def _ordered(runs: Sequence[Run], seeds: set[int] | None = None) -> list[Run]:
    return sorted((run for run in runs if seeds is None or run.result.seed in seeds), key=lambda run: run.result.seed)


def read_side(finished: Finished, side: str) -> Side:
    """The errors of `validation` or `test`; raises DataError where a run has none, or other windows."""
    arms = [_errors(runs, SIDES[side]) for runs in finished.ranks.values()]
    beside = [_errors(runs, SIDES[side]) for runs in (finished.zero_shot, finished.full)]
    for arm in (*arms[1:], *filter(None, beside)):
        check_same(arms[0], arm, "Two arms of the sweep")
    return Side({signal: [arm[signal] for arm in arms] for signal in arms[0]}, *beside)


def _errors(runs: Sequence[Run], file: str) -> dict[str, PatientSums]:
    """MASE over the windows of all signals, and MAE over the targets of each that has any; empty without a run."""
    if not runs:
        return {}
    sums = [Sums.from_parquet(run.folder / file) for run in runs]
    found = {ALL: over_signals(sums, ["mase"])} | by_signal(sums, ["mae"])
    return {name: one for name, one in found.items() if len(one.patients)}
