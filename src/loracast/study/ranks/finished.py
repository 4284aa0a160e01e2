"""The finished runs of a rank sweep, read from its results folder."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loracast.errors import ConfigError
from loracast.files import read_json
from loracast.study.ranks.sums import Errors, errors_of

SIDES = {"validation": "validation.parquet", "test": "cells.parquet"}


@dataclass(frozen=True)
class Done:
    """One finished run: its folder and its `result.json`."""

    folder: Path
    result: dict[str, Any]

    @property
    def seed(self) -> int:
        """The training seed."""
        return int(self.result["seed"])


@dataclass(frozen=True)
class Finished:
    """The runs by rank, ranks ascending and the same seeds for each; `notes` says what was left out, in words.

    `zero_shot` and `full` are the arms beside which the ranks are shown, empty where they have no finished run.
    """

    backbone: str
    method: str
    ranks: dict[int, list[Done]]
    zero_shot: list[Done]
    full: list[Done]
    notes: list[str] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """The seeds that every rank has."""
        return [run.seed for run in next(iter(self.ranks.values()))]


@dataclass(frozen=True)
class Side:
    """The errors of one side of the split, per signal: of the ranks, and of the arms beside them."""

    ranks: dict[str, Errors]
    zero_shot: dict[str, Errors]
    full: dict[str, Errors]


def read_finished(out: Path) -> Finished:
    """Find the runs of the one swept method under `out`.

    A seed that is not finished for every rank counts for none, a rank without a finished run is left out; both are
    noted. Raises ConfigError where there is no sweep, or more than one.
    """
    done = [Done(path.parent, read_json(path)) for path in sorted(out.glob("runs/*/result.json"))]
    swept = [run for run in done if (run.result.get("settings") or {}).get("rank") is not None]
    kinds = {(str(run.result["backbone"]), str(run.result["method"])) for run in swept}
    if len(kinds) != 1:
        told = ", ".join(f"{backbone} {method}" for backbone, method in sorted(kinds)) or "no finished arm with a rank"
        raise ConfigError(
            f"{out} holds {told}; a rank sweep is one backbone with one method. Run `loracast sweep ranks`, and with "
            "--resume where it was interrupted."
        )
    ((backbone, method),) = kinds
    ranks: dict[int, list[Done]] = defaultdict(list)
    for run in swept:
        ranks[int(run.result["settings"]["rank"])].append(run)
    twice = [rank for rank, runs in ranks.items() if len({run.result["arm"] for run in runs}) > 1]
    if twice:
        raise ConfigError(
            f"{out} has several arms of rank {min(twice)}, which differ in more than the rank. Run ranks alone, with "
            "`loracast sweep ranks`."
        )
    common, notes = _common_seeds(ranks, out)
    beside = [run for run in done if run.result["backbone"] == backbone]
    return Finished(
        backbone,
        method,
        {rank: _ordered(runs, common) for rank, runs in sorted(ranks.items())},
        [run for run in beside if run.result["method"] == "zero-shot"],
        _ordered([run for run in beside if run.result["method"] == "full"]),
        notes,
    )


def _common_seeds(ranks: dict[int, list[Done]], out: Path) -> tuple[set[int], list[str]]:
    """The seeds that every rank has, and notes on what is missing; raises ConfigError where there is none."""
    seeds = {rank: {run.seed for run in runs} for rank, runs in ranks.items()}
    every, common = set().union(*seeds.values()), set.intersection(*seeds.values())
    if not common:
        raise ConfigError(f"No seed under {out} is finished for every rank. Run the sweep again with --resume.")
    notes = []
    if len(common) < len(every):
        missing = ", ".join(str(seed) for seed in sorted(every - common))
        notes.append(f"Seed {missing} is not finished for every rank and counts for none.")
    planned = read_json(out / "experiment.json").get("runs", [])
    undone = [run for run in planned if not (out / "runs" / run["folder"] / "result.json").is_file()]
    if undone:
        told = ", ".join(f"{run['arm']} (seed {run['seed']})" for run in undone)
        notes.append(f"These runs are not done, and not in this: {told}.")
    return common, notes


def _ordered(runs: Sequence[Done], seeds: set[int] | None = None) -> list[Done]:
    return sorted((run for run in runs if seeds is None or run.seed in seeds), key=lambda run: run.seed)


def read_side(finished: Finished, side: str) -> Side:
    """The errors of `validation` or `test`; raises DataError where a run has none, or other windows."""
    file = SIDES[side]

    def errors(arms: Sequence[Sequence[Done]]) -> dict[str, Errors]:
        return errors_of([[run.folder / file for run in arm] for arm in arms])

    return Side(
        errors(list(finished.ranks.values())),
        errors([finished.zero_shot]) if finished.zero_shot else {},
        errors([finished.full]) if finished.full else {},
    )
