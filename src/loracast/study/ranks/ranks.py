"""The experiment of a rank sweep, and running it."""

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loracast.data.readers.prepare import prepare
from loracast.data.split import split_patients
from loracast.data.table import patients_of
from loracast.data.windows import cut_windows
from loracast.errors import ConfigError
from loracast.files import write_json
from loracast.spec import SIZES, ArmSpec, ExperimentSpec, TableData, parse
from loracast.study.engine import Plan
from loracast.study.ranks.analyse import SWEEP, analyse, refuse_few_patients
from loracast.study.ranks.relation import relate
from loracast.study.ranks.sums import ALL
from loracast.types import Table

RANKS = (1, 2, 4, 8, 16, 32, 64)
SHARES = (0.6, 0.2, 0.2)
"""More validation and test patients than usual: a threshold is decided on the ones and reported on the others."""
RELATION = "thresholds.json"

Say = Callable[[str], None]
Settings = Mapping[str, Any]


def rank_experiment(
    table: Path | str | Table,
    *,
    backbone: str,
    method: str = "lora",
    ranks: Sequence[int] | None = None,
    seeds: int = 5,
    sites: str | None = None,
    alpha: float = 16,
    alpha_per_rank: float | None = None,
    full: bool = True,
    window: Settings | None = None,
    split: Settings | None = None,
    training: Settings | None = None,
    forecasting: Settings | None = None,
    name: str | None = None,
    say: Say = print,
) -> ExperimentSpec:
    """Zero-shot, full fine-tuning (unless `full` is False) and one arm a rank, with validation scores.

    `ranks` left out are 1, 2, 4, … 64; those that the backbone's matrices cannot have are then dropped, which `say` is
    told. Ranks that are given are never dropped: the run refuses them. `window`, `split`, `training` and `forecasting`
    take the keys of `WindowSpec`, `SplitSpec`, `TrainSpec` and `ForecastSpec`. Seeds count from 0; `name` is that of
    the table if not given.

    LoRA adds alpha / rank times its update. `alpha` is fixed over the ranks, as in arXiv 2405.10216 (16 at rank 2) and
    as LoRA's authors advise (Hu et al. 2022, section 4.1), because one learning rate then suits all ranks. It also
    slows large ranks (Kalajdzievski 2023, arXiv 2312.03732), so that a threshold holds for this scaling alone: look
    again with `alpha_per_rank` (alpha = that times the rank, a constant scale) or with the method rslora.
    """
    path = table.path if isinstance(table, Table) else Path(table)
    if SIZES.get(method, ("", 0))[0] != "rank":
        known = ", ".join(name for name, (size, _) in SIZES.items() if size == "rank")
        raise ConfigError(f"{method!r} has no rank to sweep. Methods with a rank: {known}.")
    if seeds < 1:
        raise ConfigError(f"{seeds} seeds given; a sweep needs at least 1, and 5 show chance in training.")
    tuned = {"backbone": backbone, "method": method, "sites": sites}

    def arm(rank: int) -> dict[str, Any]:
        return {**tuned, "rank": rank, "alpha": alpha if alpha_per_rank is None else alpha_per_rank * rank}

    chosen = _possible(arm, say) if ranks is None else _refuse_ranks(ranks)
    beside = [{"backbone": backbone, "method": other} for other in ("zero-shot", *(["full"] if full else []))]
    content = {
        "name": name or _name_of(path),
        "data": {"source": "table", "path": str(path)},
        "windows": dict(window or {}),
        "split": {"shares": SHARES, **(split or {})},
        "training": dict(training or {}),
        "forecast": dict(forecasting or {}),
        "arms": [*beside, *(arm(rank) for rank in chosen)],
        "seeds": tuple(range(seeds)),
        "validation_scores": True,
    }
    return parse(ExperimentSpec, content, "The rank sweep")


def sweep_ranks(
    table: Path | str | Table,
    out: Path | str,
    *,
    plan: Plan | None = None,
    resume: bool = False,
    progress: bool = True,
    say: Say = print,
    command: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Run a rank sweep into the results folder `out`, write `OUT/sweep.json`, and return it.

    `settings` are those of `rank_experiment`. Raises ConfigError before anything is trained where fewer than six
    validation patients have a window. What is done is not done again.
    """
    spec = rank_experiment(table, say=say, **settings)
    _refuse_undecidable(spec, Path(out))
    return _run(
        spec, Path(out), _data_name(table), plan=plan, resume=resume, progress=progress, say=say, command=command
    )


def sweep_tables(
    tables: Sequence[Path | str],
    out: Path | str,
    *,
    plan: Plan | None = None,
    resume: bool = False,
    progress: bool = True,
    say: Say = print,
    command: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Run the same rank sweep on several tables, each into `OUT/<table name>`, and relate the thresholds.

    Writes `OUT/thresholds.json`, the thresholds beside what the series are like (`relate`), and returns
    `{"sweeps": [the sweep.json of each], "relation": that}`. All tables are checked before the first is trained on; the
    budget of `plan` is that of all of them together.
    """
    names = [_data_name(table) for table in tables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"Two tables are called {twice[0]}, and each has a folder of its name. Rename one.")
    specs = [rank_experiment(table, say=say, **settings) for table in tables]
    for spec, name in zip(specs, names, strict=True):
        _refuse_undecidable(spec, Path(out) / name)
    sweeps, start = [], time.monotonic()
    for spec, name in zip(specs, names, strict=True):
        say(f"{name}: {len(spec.arms)} arms")
        left = _left(plan or Plan(), time.monotonic() - start)
        how = {"resume": resume, "progress": progress, "say": say, "command": command}
        sweeps.append(_run(spec, Path(out) / name, name, plan=left, **how))
    relation = relate(sweeps)
    write_json(Path(out) / RELATION, relation)
    return {"sweeps": sweeps, "relation": relation}


def is_rank_sweep(spec: ExperimentSpec) -> bool:
    """Whether an experiment, however it came about, is what `analyse` reads: one backbone, the ranks of one method.

    Each rank once, and beside them zero-shot and full fine-tuning at most once.
    """
    ranked = [arm for arm in spec.arms if arm.method not in ("zero-shot", "full")]
    beside = [arm.method for arm in spec.arms if arm.method in ("zero-shot", "full")]
    alike = {arm.model_copy(update={"rank": None, "alpha": 0}) for arm in ranked}
    distinct = len({arm.rank for arm in ranked}) == len(ranked) and len(set(beside)) == len(beside)
    sized = len(ranked) > 1 and all(arm.rank for arm in ranked)
    return spec.validation_scores and sized and len(alike) == 1 and distinct


def write_sweep(out: Path, data: str | None = None) -> dict[str, Any]:
    """Analyse a finished sweep, write `OUT/sweep.json`, and return it."""
    sweep = analyse(out, data=data)
    write_json(out / SWEEP, sweep)
    return sweep


def _run(spec: ExperimentSpec, out: Path, data: str, *, plan: Plan | None, **how: Any) -> dict[str, Any]:
    from loracast.study.study import run_experiment

    run_experiment(spec, out, plan=plan, **how)
    return write_sweep(out, data)


def _left(plan: Plan, seconds: float) -> Plan:
    """The plan with what is left of its budget; a spent one begins nothing, but still sums up what is done."""
    if plan.max_hours is None:
        return plan
    return replace(plan, max_hours=max(1e-9, plan.max_hours - seconds / 3600))


def _refuse_undecidable(spec: ExperimentSpec, out: Path) -> None:
    """Count who validates, on windows that are cut for it: that is cheap beside training."""
    if (out / "data" / "windows" / "windows.json").is_file():
        return
    assert isinstance(spec.data, TableData)
    with tempfile.TemporaryDirectory(prefix="loracast-") as work:
        table = prepare(spec.data, Path(work), lambda _: None)
        if ALL in table.signals:
            raise ConfigError(f"A signal is called {ALL!r}, which here stands for all of them. Rename it in the table.")
        sides = split_patients(patients_of(table), spec.split)
        # Before the windows are cut: a split that is too small stays so.
        refuse_few_patients(sum(side == "validation" for side in sides.values()))
        windows = cut_windows(table, sides, spec.windows, Path(work) / "windows")
        refuse_few_patients(windows.count_patients()["validation"])


def _possible(arm: Callable[[int], dict[str, Any]], say: Say) -> tuple[int, ...]:
    """Those of `RANKS` that the backbone allows; the smallest is not spared, so that a mistake in the arm is told."""
    from loracast.models.registry import BACKBONES, load_backbone, skeleton
    from loracast.tuning.methods import check_arm

    specs = [parse(ArmSpec, arm(rank), "The rank sweep") for rank in RANKS]
    name = specs[0].backbone
    backbone = skeleton(name) if name in BACKBONES else load_backbone(name)
    check_arm(backbone, specs[0])
    possible = [RANKS[0]]
    for rank, spec in zip(RANKS[1:], specs[1:], strict=True):
        try:
            check_arm(backbone, spec)
        except ConfigError:
            dropped = ", ".join(str(one) for one in RANKS if one >= rank)
            say(f"Ranks {dropped} are left out: the tuned matrices of {backbone.card.name} allow no more.")
            break
        possible.append(rank)
    return tuple(possible)


def _refuse_ranks(ranks: Sequence[int]) -> tuple[int, ...]:
    ordered = tuple(sorted(set(ranks)))
    if len(ordered) < 2 or len(ordered) < len(ranks) or ordered[0] < 1:
        raise ConfigError(f"Ranks {list(ranks)} given; a sweep compares at least two different ones, e.g. 1,2,4,8.")
    return ordered


def _data_name(table: Path | str | Table) -> str:
    return table.path.stem if isinstance(table, Table) else Path(table).stem


def _name_of(path: Path) -> str:
    """The table's name as an experiment may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-") or "ranks"
