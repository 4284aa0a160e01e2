"""The experiment of a rank sweep, and running it."""

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loracast.data.table import Table, patients_of, refuse_absent
from loracast.errors import ConfigError
from loracast.files import digest
from loracast.models.outline import outline
from loracast.models.registry import check_backbone, is_listed, kind_of, load_backbone, skeleton
from loracast.spec import parse
from loracast.study.engine import Plan
from loracast.study.experiment import MARGIN, ExperimentSpec
from loracast.study.ranks.result import ALL, RELATION, RankSweep, Relation
from loracast.study.summary import read_facts, write_facts
from loracast.tuning.arm import ArmSpec
from loracast.tuning.method import Method
from loracast.tuning.methods import method_named, methods
from loracast.types import Say

RANKS = (1, 2, 4, 8, 16, 32, 64)
ALPHA = 16.0
SHARES = (0.6, 0.2, 0.2)
"""More validation and test patients than usual: a threshold is decided on the ones and reported on the others."""
BESIDE = ("zero-shot", "full")
"""The methods that stand beside the ranks."""

Settings = Mapping[str, Any]


def rank_experiment(
    table: Path | str | Table,
    *,
    model: str,
    method: str = "lora",
    ranks: Sequence[int] | None = None,
    seeds: int = 5,
    sites: str | None = None,
    alpha: float | None = None,
    alpha_per_rank: float | None = None,
    full: bool = True,
    margin: float = MARGIN,
    window: Settings | None = None,
    split: Settings | None = None,
    training: Settings | None = None,
    forecasting: Settings | None = None,
    name: str | None = None,
    say: Say = print,
) -> ExperimentSpec:
    """Zero-shot, full fine-tuning (unless `full` is False) and one arm a rank, with validation scores.

    `ranks` left out are 1, 2, 4, … 64; those that the model's matrices cannot have are then dropped, which `say` is
    told. Ranks that are given are never dropped: the run refuses them. `window`, `split`, `training` and `forecasting`
    take the keys of `WindowSpec`, `SplitSpec`, `TrainSpec` and `ForecastSpec`. A rank suffices where it is shown to be
    worse than the best by less than `margin` times the best's error. Seeds count from 0; `name` is that of
    the table if not given.

    LoRA adds alpha / rank times its update. `alpha` (16 if not given, as in arXiv 2405.10216 at rank 2) is fixed over
    the ranks, as LoRA's authors advise (Hu et al. 2022, section 4.1), because one learning rate then suits all ranks.
    It also slows large ranks (Kalajdzievski 2023, arXiv 2312.03732), so that a threshold holds for this scaling alone:
    look again with `alpha_per_rank` (alpha = that times the rank, a constant scale) or with the method rslora.
    """
    path = table.path if isinstance(table, Table) else Path(table)
    if method not in methods() or method_named(method).size != "rank":
        known = ", ".join(name for name, one in methods().items() if one.size == "rank")
        raise ConfigError(f"{method!r} has no rank to sweep. Methods with a rank: {known}.")
    if seeds < 1:
        raise ConfigError(f"{seeds} seeds given; a sweep needs at least 1, and 5 show chance in training.")
    # A method that has no alpha is not given one, unless the caller does: then it refuses.
    fixed = ALPHA if alpha is None and "alpha" in method_named(method).model_fields else alpha

    def arm(rank: int) -> dict[str, Any]:
        scale = fixed if alpha_per_rank is None else alpha_per_rank * rank
        settings = {"sites": sites, "alpha": scale}
        given = {name: value for name, value in settings.items() if value is not None}
        return {"model": model, "method": method, "rank": rank, **given}

    chosen = _possible(arm, say) if ranks is None else _refuse_ranks(ranks)
    beside = [{"model": model, "method": other} for other in BESIDE if full or other != "full"]
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
        "margin": margin,
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
) -> RankSweep:
    """Run a rank sweep into the results folder `out`, write `OUT/sweep.json`, and return it.

    `settings` are those of `rank_experiment`. Raises ConfigError before anything is trained where fewer than six
    validation patients have a window. What is done is not done again.
    """
    refuse_absent(table)
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
) -> tuple[list[RankSweep], Relation]:
    """Run the same rank sweep on several tables, each into `OUT/<table name>`, and relate the thresholds.

    Writes `OUT/thresholds.json`, the thresholds beside what the series are like (`relate`), and returns what each
    sweep found, and that. All tables are checked before the first is trained on; the
    budget of `plan` is that of all of them together.
    """
    names = [_data_name(table) for table in tables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"Two tables are called {twice[0]}, and each has a folder of its name. Rename one.")
    for table in tables:
        refuse_absent(table)
    taken = Path(out) / RELATION
    if taken.exists() and not {row.data for row in read_facts(Relation, taken).rows} <= set(names):
        raise ConfigError(f"{taken} tells of other tables. Give another --out, or move it away.")
    specs = [rank_experiment(table, say=say, **settings) for table in tables]
    for spec, name in zip(specs, names, strict=True):
        _refuse_undecidable(spec, Path(out) / name)
    sweeps, start = [], time.monotonic()
    for spec, name in zip(specs, names, strict=True):
        say(f"{name}: {len(spec.arms)} arms")
        left = _left(plan or Plan(), time.monotonic() - start)
        how = {"resume": resume, "progress": progress, "say": say, "command": command}
        sweeps.append(_run(spec, Path(out) / name, name, plan=left, **how))
    from loracast.study.ranks.properties import relate

    relation = relate(sweeps)
    write_facts(relation, taken, overwrite=True)
    return sweeps, relation


def is_rank_sweep(spec: ExperimentSpec) -> bool:
    """Whether an experiment, however it came about, is what `analyse` reads: one model, the ranks of one method.

    Each rank once, and beside them zero-shot and full fine-tuning at most once. What is not pretrained does not matter.
    """
    arms = [arm for arm in spec.arms if kind_of(arm.model) == "pretrained"]
    ranked = [arm for arm in arms if arm.method.name not in BESIDE]
    beside = [arm.method.name for arm in arms if arm.method.name in BESIDE]
    if len(ranked) < 2 or any(arm.method.size != "rank" for arm in ranked):
        return False
    content = [arm.as_json() | {"model": arm.model} for arm in ranked]
    alike = {digest({key: one[key] for key in one if key not in ("rank", "alpha")}) for one in content}
    distinct = len({one["rank"] for one in content}) == len(ranked) and len(set(beside)) == len(beside)
    return spec.validation_scores and len(alike) == 1 and distinct


def _run(spec: ExperimentSpec, out: Path, data: str, *, plan: Plan | None, **how: Any) -> RankSweep:
    from loracast.study.ranks.analyse import write_sweep
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
    with tempfile.TemporaryDirectory(prefix="loracast-") as work:
        table = spec.data.open(Path(work))
        from loracast.data.split import split_patients  # NumPy and pandas: a table that is none has been refused
        from loracast.data.windows import split_and_cut
        from loracast.study.ranks.analyse import refuse_few_patients

        if ALL in table.signals:
            raise ConfigError(f"A signal is called {ALL!r}, which here stands for all of them. Rename it in the table.")
        sides = split_patients(patients_of(table), spec.split)
        # Before the windows are cut: a split that is too small stays so.
        refuse_few_patients(sum(side == "validation" for side in sides.values()))
        windows = split_and_cut(table, spec.split, spec.windows, Path(work) / "windows")
        refuse_few_patients(windows.count_patients()["validation"])


def _possible(arm: Callable[[int], dict[str, Any]], say: Say) -> tuple[int, ...]:
    """Those of `RANKS` that the model allows; the smallest is not spared, so that a mistake in the arm is told."""
    arms = [parse(ArmSpec, arm(rank), "The rank sweep") for rank in RANKS]
    name, check = _checked(arms[0].model)
    check(arms[0].method)
    possible = [RANKS[0]]
    for rank, one in zip(RANKS[1:], arms[1:], strict=True):
        try:
            check(one.method)
        except ConfigError:
            dropped = ", ".join(str(other) for other in RANKS if other >= rank)
            say(f"Ranks {dropped} are left out: the tuned matrices of {name} allow no more.")
            break
        possible.append(rank)
    return tuple(possible)


def _checked(name: str) -> tuple[str, Callable[[Method], Any]]:
    """A model's name, and what raises where a method does not fit it: by its outline, if that is known."""
    check_backbone(name)
    known = outline(name)
    if known is not None:
        return known.card.name, lambda method: method.counted(known)
    from loracast.tuning.attach import check_attached

    model = skeleton(name) if is_listed(name) else load_backbone(name)
    return model.card.name, lambda method: check_attached(model, method)


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
