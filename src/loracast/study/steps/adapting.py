"""Adapting: a backbone learns from a caller's own long table, and becomes an adapter."""

import logging
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.data.table import Table, refuse_absent
from loracast.errors import ConfigError
from loracast.files import claimed, refuse_taken
from loracast.models.base import check_window, within
from loracast.models.registry import load_backbone
from loracast.spec import SplitSpec, TrainSpec, WindowSpec
from loracast.study.steps.asked import Settings, asked
from loracast.training import distributed
from loracast.training.trackers import check_trackers
from loracast.training.work import ASKED, CHECKPOINTS, begin_work, work_of
from loracast.tuning.arm import ArmSpec
from loracast.tuning.card import CARD, TrainedCard, Training, read_card
from loracast.tuning.catalogue import refuse_unfit
from loracast.tuning.methods import methods
from loracast.types import Say

if TYPE_CHECKING:
    from loracast.data.windows import Windows
    from loracast.tuning.method import Attached

logger = logging.getLogger(__name__)


def adapt_table(
    table: Path | str | Table,
    out: Path | str,
    *,
    arm: ArmSpec | Settings,
    window: WindowSpec | Settings | None = None,
    split: SplitSpec | Settings | None = None,
    training: TrainSpec | Settings | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    track: Sequence[str] = (),
    say: Say = logger.warning,
) -> TrainedCard:
    """Adapt a backbone to a long table and save the adapter to `out`; returns its card.

    `arm`, `window`, `split` and `training` are `ArmSpec`, `WindowSpec`, `SplitSpec` and `TrainSpec`, or their keys. A
    split that is not given is by `seed`. Training sees the training patients, early stopping the validation
    patients, nobody the test patients.
    Windows and checkpoints lie under `OUT.work` until the adapter is saved, so that `resume` can continue. What stands
    at `out`, and checkpoints that are not resumed, are replaced only with `overwrite`, `out` once the new adapter is
    whole. `track` names trackers; their local files lie in the folder of `out`. `say` is told where memory runs out.
    Raises ConfigError where another process is at `out`, or `out` is or holds what is read.

    Under torchrun every process calls this: the main one cuts the windows and writes, `batch_size` is the total.
    """
    out = Path(out)
    spec = asked(ArmSpec, arm, "The arm")
    if not spec.method.trains or "pretrained" not in spec.method.kinds:
        trained = ", ".join(name for name, one in methods().items() if one.trains and "pretrained" in one.kinds)
        raise ConfigError(f"{spec.method.name!r} adapts nothing. To adapt, choose one of: {trained}.")
    loop, cut = asked(TrainSpec, training, "The training"), asked(WindowSpec, window, "The window")
    sides = asked(SplitSpec, {"seed": seed} if split is None else split, "The split")
    distributed.share_of(loop.batch_size)
    check_trackers(track)
    refuse_absent(table)
    refuse_unfit(spec)
    table = table if isinstance(table, Table) else Table.open(table)
    ours = resume and _is_saved(out, spec, seed, table)
    if distributed.is_main():
        refuse_taken(out, overwrite=overwrite or ours)
    from transformers import set_seed  # torch from here on: what can be refused without it has been

    from loracast.tuning.adapter import base_digest, save_adapter
    from loracast.tuning.attach import attach

    backbone = load_backbone(spec.model, revision=spec.revision)
    cut = within(cut, table.step_seconds, [backbone.card])
    check_window(backbone.card, spec.context or cut.resolved(table.step_seconds).context or 0)
    base = base_digest(backbone)
    set_seed(seed)
    attached = attach(backbone, spec.method)
    job = _Job(out, attached, spec, loop, cut, sides, seed)
    with claimed(out, table.path, spec.model, overwrite=overwrite or ours) if distributed.is_main() else nullcontext():
        with distributed.main_first():
            windows = _prepared(job, table, resume=resume, overwrite=overwrite)
            if distributed.is_main():
                _tell_split(windows, say)
                _tell_twins(windows, say)
        facts = _train(job, windows, resume=resume, progress=progress, say=say, track=track)
        facts = facts.model_copy(update={"reading": getattr(table, "reading", None) or None})
        with distributed.main_first():
            if distributed.is_main():
                save_adapter(attached, spec, out, base=base, training=facts, overwrite=overwrite or ours)
                shutil.rmtree(work_of(out))
    return read_card(out, TrainedCard)


@dataclass(frozen=True)
class _Job:
    """What is adapted, and as what was asked for."""

    out: Path
    attached: "Attached"
    arm: ArmSpec
    training: TrainSpec
    window: WindowSpec
    split: SplitSpec
    seed: int

    def as_json(self, table: Table) -> dict[str, Any]:
        """What tells this work from another at the same place."""
        parts = {"arm": self.arm, "training": self.training, "window": self.window, "split": self.split}
        asked = {name: part.model_dump(mode="json") for name, part in parts.items()}
        return {**asked, "seed": self.seed, "table": table.fingerprint}


def _train(job: _Job, windows: "Windows", *, resume: bool, progress: bool, say: Say, track: Sequence[str]) -> Training:
    """Train what is attached on these windows; what the adapter's card says of it."""
    from loracast.study.run import training_facts, validated_on
    from loracast.training.fit import fit
    from loracast.training.task import window_task

    spec, seed = job.arm, job.seed
    train = windows.train.of_patients(spec.patients, seed).seeing(spec.context)
    seen = windows.validation.seeing(spec.context)
    plan = spec.training_of(job.training, job.attached.model.card.parameters)
    curve = fit(
        window_task(job.attached, train, seen, name=spec.name, validation_windows=plan.validation_windows),
        plan,
        work_of(job.out) / CHECKPOINTS,
        seed=seed,
        resume=resume,
        progress=progress,
        say=say,
        track=track,
        run_name=f"{job.out.name}: {spec.name}, seed {seed}",
        results=job.out.absolute().parent,
    )
    on = validated_on(seen, plan, curve)
    return training_facts(windows, train, curve, seed, job.split, on, base_dropout=plan.base_dropout)


def _is_saved(out: Path, spec: ArmSpec, seed: int, table: Table) -> bool:
    """Whether `out` is what an adaptation left that was killed between saving it and clearing its work away."""
    if not (out / CARD).is_file() or not (work_of(out) / ASKED).is_file():
        return False
    card = read_card(out, TrainedCard)
    arm = card.arm.model_copy(update={"model": spec.model})
    return (arm, card.seed, card.data.table_fingerprint) == (spec, seed, table.fingerprint)


def _prepared(job: _Job, table: Table, *, resume: bool, overwrite: bool) -> "Windows":
    """The windows under `OUT.work`, cut by the main process."""
    from loracast.data.windows import open_windows, split_and_cut

    folder = work_of(job.out) / "windows"
    if not distributed.is_main():
        return open_windows(folder)
    work = begin_work(job.out, job.as_json(table), resume=resume, overwrite=overwrite)
    if (folder / "windows.json").is_file():
        return open_windows(folder)
    try:
        return split_and_cut(table, job.split, job.window, folder)
    except BaseException:
        shutil.rmtree(work)
        raise


def _tell_split(windows: "Windows", say: Say) -> None:
    """Say that the patients with windows were shared out by themselves, and how many each side got."""
    if windows.meta.get("split_by_windows"):
        got = ", ".join(f"{side} {number}" for side, number in windows.count_patients().items())
        say(
            "The split by all patients would have left a side without a window, so those with windows were shared out "
            f"by themselves: {got}."
        )


def _tell_twins(windows: "Windows", say: Say) -> None:
    """Say where the same series stands on two sides of the split (check C12 of an evaluation)."""
    from loracast.data.twins import count_twins

    for pair, number in count_twins(windows).items():
        if number:
            say(
                f"Check C12: {number} patients have a series that also stands under another id ({pair}). The same "
                "person may have two ids in the source: what is chosen or tested on them is then too good."
            )
