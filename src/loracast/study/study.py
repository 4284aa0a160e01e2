"""An experiment, run by run: the same data, windows, scores and seeds for every arm; what is done is not done again."""

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from loracast.data.attrition import attrition_path
from loracast.data.readers import TABLE
from loracast.data.table import Table
from loracast.data.windows import Windows, open_windows, split_and_cut
from loracast.errors import BudgetError, ConfigError, LoracastError, TrainingError
from loracast.files import alone, sweep
from loracast.models.base import Model, ModelCard, check_window, within
from loracast.models.registry import backbones, kind_of, load_model, models, skeleton
from loracast.study.engine import Outcome, Plan, Task, carry_out
from loracast.study.experiment import ExperimentSpec
from loracast.study.runs import Run, claim_of, facts_of_runs, read_claim, runs_of
from loracast.study.summarise import summarise_experiment
from loracast.study.summary import EXPERIMENT, FAILED, SUMMARY, Failure, Missing, Summary, write_facts
from loracast.study.tracked import begin_tracking
from loracast.training import distributed
from loracast.training.trackers import check_trackers
from loracast.tuning.attach import check_attached
from loracast.types import FLOOR, Say


def run_experiment(
    spec: ExperimentSpec,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    say: Say = print,
    command: str | None = None,
    plan: Plan | None = None,
) -> Summary:
    """Run what is not done yet under `out`, write `summary.json`, and return it.

    `command` is what the report tells a reader to run for the same results, `plan` where and for how long runs are
    carried out.

    A finished run is never repeated. With `resume` a run that was interrupted continues from its last checkpoint;
    without, it starts again. A run that fails leaves the others alone: once all have been tried, TrainingError tells
    which failed and why, and calling again tries those again. Where the budget of the plan is spent, the summary
    holds the arms that are done and lists the others as `missing`; BudgetError is raised if none is. Raises
    ConfigError where `out` holds another experiment, or another process is at it.
    """
    plan = plan or Plan()
    distributed.refuse_grid()
    check_trackers(plan.track)
    deadline = None if plan.max_hours is None else time.time() + 3600 * plan.max_hours
    fresh = not (out / EXPERIMENT).is_file()
    if fresh:
        _check_arms(spec)
    with alone(out):
        _claim(spec, out)
        sweep(out, deep=True)
        try:
            _forget_half_a_reading(out / "data")
            table = spec.data.open(out / "data", say)
            windows = _windows(spec, table, out / "data" / "windows")
        except LoracastError:
            if fresh:
                _unclaim(out)
            raise
        runs = runs_of(spec, out)
        done = {number for number, run in enumerate(runs) if run.is_done(run.run_id(spec, windows))}
        begin_tracking(plan.track, out, spec.name)
        text = _anywhere(spec).model_dump_json()
        tasks = [
            Task(text, out.absolute(), number, resume, deadline, plan.track)
            for number in range(len(runs))
            if number not in done
        ]
        ended = _carried_out(plan, tasks, runs, say=say, progress=progress)
        done |= {outcome.number for outcome in ended if outcome.state == "done"}
        summary = _summary(spec, table, windows, runs, done, out=out, command=command)
    failed = [outcome for outcome in ended if outcome.state == "failed"]
    if failed:
        raise TrainingError(_told(failed, runs, done, out))
    if len(done) < len(runs):
        say(f"The budget of {plan.max_hours:g} h is spent: {len(done)} of {len(runs)} runs are done. --resume goes on.")
    if summary is None:
        raise BudgetError(
            f"The budget of {plan.max_hours:g} h was spent before any arm was done. Continue with --resume."
        )
    return summary


def _anywhere(spec: ExperimentSpec) -> ExperimentSpec:
    """The spec as a process in another working directory must read it: folders of models by their whole path."""
    arms = [
        arm.model_copy(update={"model": str(Path(arm.model).absolute())})
        if arm.model not in models() and Path(arm.model).exists()
        else arm
        for arm in spec.arms
    ]
    return spec.model_copy(update={"arms": tuple(arms)})


def _carried_out(plan: Plan, tasks: Sequence[Task], runs: Sequence[Run], *, say: Say, progress: bool) -> list[Outcome]:
    """Carry out the tasks, and say what begins and how it ends, with the time left."""
    before, start = len(runs) - len(tasks), time.monotonic()
    if before:
        say(f"{before} of {len(runs)} runs were done before")

    def begin(task: Task) -> None:
        run = runs[task.number]
        say(f"[{task.number + 1}/{len(runs)}] {run.name}, seed {run.seed}")

    ended: list[Outcome] = []
    for outcome in carry_out(plan, tasks, begin=begin, progress=progress, say=say):
        ended.append(outcome)
        run = runs[outcome.number]
        if outcome.state == "failed":
            say(f"[{outcome.number + 1}/{len(runs)}] {run.name}, seed {run.seed}, FAILED: {outcome.error}")
            if not run.reason():  # its process died before it could write why
                write_facts(Failure(error=outcome.error or "no reason was given"), run.folder / FAILED, overwrite=True)
        elif outcome.state == "done" and len(ended) % 5 == 0 and len(ended) < len(tasks):
            left = (time.monotonic() - start) / len(ended) * (len(tasks) - len(ended))
            say(f"{before + len(ended)} of {len(runs)} runs behind us, about {max(1, round(left / 60))} min to go")
    return ended


def _told(failed: Sequence[Outcome], runs: Sequence[Run], done: set[int], out: Path) -> str:
    lines = [f"  {runs[one.number].name}, seed {runs[one.number].seed}: {one.error}" for one in failed[:10]]
    more = f"\n  … and {len(failed) - 10} more" if len(failed) > 10 else ""
    return (
        f"{len(failed)} of {len(runs)} runs failed; the {len(done)} that are done are kept and in the summary:\n"
        + "\n".join(lines)
        + f"{more}\nThe same command tries them again; `loracast status {out}` lists all."
    )


def _summary(
    spec: ExperimentSpec,
    table: Table,
    windows: Windows,
    runs: Sequence[Run],
    done: set[int],
    *,
    out: Path,
    command: str | None,
) -> Summary | None:
    """The summary of the arms that are done with all their seeds; None where there is none to speak of."""
    open_arms = {run.name for number, run in enumerate(runs) if number not in done}
    whole = [run for run in runs if run.name not in open_arms]
    if open_arms and (all(run.name in FLOOR for run in whole) or any(name in open_arms for name in FLOOR)):
        return None
    missing = [
        Missing(arm=fact["arm"], seed=fact["seed"], state=fact["state"], reason=fact["reason"])
        for fact in facts_of_runs(list(runs))
        if fact["arm"] in open_arms and fact["state"] != "done"
    ]
    summary = summarise_experiment(spec, table, windows, whole, command=command, missing=missing)
    write_facts(summary, out / SUMMARY, overwrite=True)
    return summary


def _check_arms(spec: ExperimentSpec) -> None:
    """Refuse what an arm asks for in vain before data are read: a mistake in the last must not cost those before."""
    loaded: dict[tuple[str, str | None], Model] = {}
    for arm in spec.competitors:
        key = arm.model, arm.revision
        if key not in loaded:
            # One at a time in memory. A network is built at lengths that stand for those of the windows.
            lengths = {"context": spec.windows.context or 24, "horizon": spec.windows.horizon or 6}
            loaded = {key: load_model(arm.model, revision=arm.revision, **lengths)}
        model = loaded[key]
        if model.card.kind == "pretrained":
            check_window(model.card, arm.context or spec.windows.context or 0)
        # A released size is checked without its weights, which a copy would hold twice.
        check_attached(skeleton(model.card.name) if model.card.name in backbones() else model, arm.method)


def _claim(spec: ExperimentSpec, out: Path) -> None:
    """Write the experiment's spec into `out`, or make sure that it is the one that stands there."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file. Give a folder with --out.")
    if (out / EXPERIMENT).is_file():
        found = read_claim(out)
        if found.digest == spec.digest:
            return
        if any((out / "data").glob("*")):
            raise ConfigError(
                f"{out} holds results of another spec ({found.name}, {found.digest}; this one is {spec.name}, "
                f"{spec.digest}). Nothing was changed. Give another --out, or remove that folder."
            )
    elif out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise ConfigError(f"{out} is not empty and holds no experiment. Give an empty or a new folder with --out.")
    write_facts(claim_of(spec, out), out / EXPERIMENT, overwrite=True)


def _forget_half_a_reading(data: Path) -> None:
    """Remove the attrition that a reading left which was killed before its table had a name."""
    if not (data / TABLE).is_file():
        attrition_path(data / TABLE).unlink(missing_ok=True)


def _unclaim(out: Path) -> None:
    """Take back a claim on which nothing has run: it would only keep the corrected experiment out."""
    shutil.rmtree(out / "data", ignore_errors=True)
    (out / EXPERIMENT).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        out.rmdir()


def _cards(spec: ExperimentSpec) -> list[ModelCard]:
    """The cards of the pretrained models that see the whole context of the windows."""
    names = {(arm.model, arm.revision) for arm in spec.arms if arm.context is None}
    return [
        load_model(name, revision=revision).card
        for name, revision in sorted(names, key=str)
        if kind_of(name) == "pretrained" and spec.windows.context is None
    ]


def _windows(spec: ExperimentSpec, table: Table, folder: Path) -> Windows:
    if (folder / "windows.json").is_file():
        windows = open_windows(folder)
        if windows.meta["table_fingerprint"] == table.fingerprint:
            return windows
        raise ConfigError(
            f"The data under {folder.parent} have changed since the windows were cut, so runs would not be comparable. "
            "Give another --out."
        )
    wanted = within(spec.windows, table.step_seconds, _cards(spec))
    cut = wanted.resolved(table.step_seconds)
    contexts = [arm.context for arm in spec.arms if arm.context is not None]
    if contexts and max(contexts) > (cut.context or 0):
        raise ConfigError(
            f"An arm sees {max(contexts)} steps of context; the windows have {cut.context}. Lower the arm's context, "
            "or cut the windows longer ([windows] context)."
        )
    return split_and_cut(table, spec.split, wanted, folder, shortest=min(contexts, default=None))
