"""Training changes what it may and nothing else, keeps the best step, and resumes to the same numbers."""

import json
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import set_seed

from loracast.data.split import split_patients
from loracast.data.table import Table, patients_of
from loracast.data.windows import Windows, cut_windows
from loracast.errors import ConfigError, TrainingError
from loracast.models.registry import load_backbone
from loracast.spec import SplitSpec, TrainSpec, WindowSpec
from loracast.training.checkpoint import Curve, is_over, last_checkpoint
from loracast.training.fit import fit
from loracast.training.task import window_task
from loracast.tuning.attach import attach
from loracast.tuning.method import Attached
from loracast.tuning.methods import method_named
from loracast.types import Rows
from tests.processes import child

# One and a half epochs of eight batches, so that neither a checkpoint nor the end falls on the end of an epoch; with
# dropout, so that a resume has a random state to put back.
LOOP = TrainSpec(steps=12, batch_size=40, evaluate_every=3, patience=10, learning_rate=3e-3, base_dropout=True)


@pytest.fixture(scope="module")
def windows(vitals: Table, tmp_path_factory: pytest.TempPathFactory) -> Windows:
    sides = split_patients(patients_of(vitals), SplitSpec())
    spec = WindowSpec(context=24, horizon=6, stride=6)
    return cut_windows(vitals, sides, spec, tmp_path_factory.mktemp("windows") / "w")


def attached(tiny: Path, method: str, seed: int = 0) -> Attached:
    backbone = load_backbone(str(tiny))
    set_seed(seed)
    return attach(backbone, method_named(method)())


def train(
    arm: Attached, windows: Windows, folder: Path, loop: TrainSpec = LOOP, *, rate: float | None = None, **more: Any
) -> Curve:
    loop = loop if rate is None else loop.model_copy(update={"learning_rate": rate})
    name = f"{arm.model.card.name} {arm.method.short}"
    return fit(window_task(arm, windows.train, windows.validation, name=name), loop, folder, progress=False, **more)


def weights(arm: Attached) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in arm.model.net.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def uninterrupted(tiny, windows, tmp_path_factory) -> dict[str, tuple[Curve, dict[str, torch.Tensor], Path]]:
    """A whole run of each method: its curve, its weights and its checkpoints."""
    found = {}
    for method in ("lora", "full"):
        folder = tmp_path_factory.mktemp(method) / "checkpoints"
        arm = attached(tiny, method)
        found[method] = train(arm, windows, folder), weights(arm), folder
    return found


def test_lora_leaves_every_pretrained_weight_untouched_and_moves_its_own(tiny, windows, tmp_path):
    arm = attached(tiny, "lora")
    before = weights(arm)
    train(arm, windows, tmp_path)
    after = weights(arm)
    for name in before:
        assert torch.equal(before[name], after[name]) == ("lora_" not in name), name


def test_the_loop_ends_in_the_middle_of_an_epoch(windows):
    assert LOOP.steps % -(-len(windows.train) // LOOP.batch_size) != 0


def test_validation_is_scored_before_the_first_step_and_at_the_last(uninterrupted):
    for curve, _, _ in uninterrupted.values():
        assert [score["step"] for score in curve.validation] == [0, 3, 6, 9, 12]
        assert [entry["step"] for entry in curve.train] == [3, 6, 9, 12]
        assert curve.seconds > 0


def test_the_score_of_step_0_is_that_of_the_pretrained_weights(tiny, windows, uninterrupted):
    backbone = load_backbone(str(tiny))
    context, future = (torch.from_numpy(part) for part in windows.validation.batch(slice(0, len(windows.validation))))
    with torch.no_grad():
        expected = backbone.loss(context, future).item()
    for curve, _, _ in uninterrupted.values():
        assert curve.validation[0]["loss"] == pytest.approx(expected, rel=0.02)


def test_training_that_is_shorter_than_its_first_score_is_scored_at_its_end(tiny, windows, tmp_path):
    curve = train(attached(tiny, "full"), windows, tmp_path, LOOP.model_copy(update={"steps": 2}))
    assert [score["step"] for score in curve.validation] == [0, 2]


def test_the_best_step_is_kept_and_the_network_is_left_ready_to_forecast(tiny, windows, tmp_path):
    arm = attached(tiny, "full")
    curve = train(arm, windows, tmp_path)
    best = min(curve.validation, key=lambda score: score["loss"])
    assert curve.best_step == best["step"] > 0
    assert not arm.model.net.training


@pytest.mark.parametrize("method", ["lora", "full"])
def test_step_0_wins_where_training_only_does_harm(tiny, windows, tmp_path, method):
    arm = attached(tiny, method)
    before, whole = weights(arm), arm.model.loss
    arm.model.loss = lambda *batch: whole(*batch) * (-1 if torch.is_grad_enabled() else 1)
    curve = train(arm, windows, tmp_path, rate=0.1)
    assert curve.best_step == 0
    assert same(weights(arm), before)


def test_training_stops_after_so_many_scores_without_a_new_best(tiny, windows, tmp_path):
    loop = LOOP.model_copy(update={"steps": 60, "patience": 2})
    curve = train(attached(tiny, "full"), windows, tmp_path, loop, rate=50.0)
    assert [score["step"] for score in curve.validation] == [0, 3, 6]


@pytest.mark.parametrize(
    ("losses", "patience", "over"),
    [([3, 2, 1], 1, False), ([1, 2], 1, True), ([1, 2], 2, False), ([2, 1, 1, 1], 2, True), ([1], 1, False)],
)
def test_patience_counts_scores_since_the_best(losses, patience, over):
    assert is_over([{"step": i, "loss": loss} for i, loss in enumerate(losses)], patience) == over


def test_a_loss_that_is_no_number_is_refused(tiny, windows, tmp_path):
    with pytest.raises(TrainingError, match=r"diverged.*Lower learning_rate"):
        train(attached(tiny, "full"), windows, tmp_path, rate=1e30)


def test_a_training_without_a_learning_rate_is_refused(tiny, windows, tmp_path):
    with pytest.raises(ConfigError, match=r"no learning rate.*ArmSpec\.training_of"):
        train(attached(tiny, "full"), windows, tmp_path, LOOP.model_copy(update={"learning_rate": None}))


def test_the_seed_decides_the_order_of_windows(tiny, windows, tmp_path, uninterrupted):
    other = train(attached(tiny, "full"), windows, tmp_path, seed=1)
    assert other.train != uninterrupted["full"][0].train
    assert other.validation[0] == uninterrupted["full"][0].validation[0]


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from loracast.spec import TrainSpec
from loracast.data.windows import open_windows
from tests.training.test_fit import LOOP, attached, train

tiny, windows, folder, method = sys.argv[1:]
arm = attached(Path(tiny), method)
whole, calls = arm.model.loss, 0

def loss(context, future, rows):
    global calls
    calls += arm.model.net.training
    if calls == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(context, future, rows)

arm.model.loss = loss
train(arm, open_windows(Path(windows)), Path(folder))
"""


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_killed_in_the_middle_resumes_to_exactly_the_same_numbers(tiny, windows, tmp_path, uninterrupted, method):
    root, said = Path(__file__).parents[2], tmp_path.with_name(f"{tmp_path.name}-said")
    with child(KILLED, tiny, windows.folder, tmp_path, method, cwd=root, said=said) as killed:
        assert killed.ended() == -signal.SIGKILL, killed.said()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-6"
    arm = attached(tiny, method)
    curve = train(arm, windows, tmp_path, resume=True)
    expected, final, _ = uninterrupted[method]
    assert curve.as_json() == expected.as_json()
    assert same(weights(arm), final)
    assert curve.seconds > 0


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("last", [3, 9, 12])
def test_a_resume_from_any_checkpoint_gives_the_same_numbers(tiny, windows, tmp_path, uninterrupted, method, last):
    expected, final, folder = uninterrupted[method]
    if last < LOOP.steps:
        with pytest.raises(KeyboardInterrupt):
            train(_stopped_after(attached(tiny, method), last), windows, tmp_path)
    else:
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    assert last_checkpoint(tmp_path) == tmp_path / f"checkpoint-{last}"
    arm = attached(tiny, method)
    assert train(arm, windows, tmp_path, resume=True).as_json() == expected.as_json()
    assert same(weights(arm), final)


def test_logged_losses_are_the_same_where_checkpoints_are_far_apart(tiny, windows, tmp_path):
    loop = LOOP.model_copy(update={"steps": 20, "evaluate_every": 12})
    expected = train(attached(tiny, "lora"), windows, tmp_path / "whole", loop)
    with pytest.raises(KeyboardInterrupt):
        train(_stopped_after(attached(tiny, "lora"), 14), windows, tmp_path / "cut", loop)
    found = train(attached(tiny, "lora"), windows, tmp_path / "cut", loop, resume=True)
    assert found.as_json() == expected.as_json()


def _stopped_after(arm: Attached, step: int) -> Attached:
    """The arm, interrupted in the step after `step`."""
    whole = arm.model.loss
    calls = 0

    def loss(context: torch.Tensor, future: torch.Tensor, rows: Rows) -> torch.Tensor:
        nonlocal calls
        calls += arm.model.net.training
        if calls > step:
            raise KeyboardInterrupt
        return whole(context, future, rows)

    arm.model.loss = loss
    return arm


def test_a_checkpoint_without_its_marker_is_passed_over(tiny, windows, tmp_path, uninterrupted):
    expected, final, folder = uninterrupted["lora"]
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoint-12" / "complete.json").unlink()
    (tmp_path / "checkpoint-12" / "trained.safetensors").write_bytes(b"half")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    arm = attached(tiny, "lora")
    assert train(arm, windows, tmp_path, resume=True).as_json() == expected.as_json()
    assert same(weights(arm), final)


@pytest.mark.parametrize("name", ["trained.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_checkpoint_that_was_changed_since_is_refused_before_it_is_loaded(
    tiny, windows, tmp_path, uninterrupted, name
):
    shutil.copytree(uninterrupted["lora"][2], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "checkpoint-12" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(TrainingError, match=f"{name} was changed or damaged"):
        train(attached(tiny, "lora"), windows, tmp_path, resume=True)


def test_a_run_that_had_stopped_early_trains_no_more_when_resumed(tiny, windows, tmp_path):
    loop = LOOP.model_copy(update={"steps": 60, "patience": 2})
    expected = train(attached(tiny, "full"), windows, tmp_path, loop, rate=50.0)
    arm = attached(tiny, "full")
    arm.model.loss = lambda *_: pytest.fail("trained again")
    found = train(arm, windows, tmp_path, loop, rate=50.0, resume=True)
    assert found.as_json() == expected.as_json()


def test_without_a_checkpoint_a_resume_starts_at_the_beginning(tiny, windows, tmp_path, uninterrupted):
    assert train(attached(tiny, "lora"), windows, tmp_path, resume=True).as_json() == (
        uninterrupted["lora"][0].as_json()
    )


def test_a_checkpoint_of_another_method_is_refused(tiny, windows, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted["full"][2], tmp_path, dirs_exist_ok=True)
    with pytest.raises(TrainingError, match="other weights than this method trains"):
        train(attached(tiny, "lora"), windows, tmp_path, resume=True)


def test_a_checkpoint_holds_the_trained_numbers_not_the_base(uninterrupted):
    checkpoint = last_checkpoint(uninterrupted["lora"][2])
    names = {file.name for file in checkpoint.iterdir()}
    assert "trained.safetensors" in names
    assert not {"model.safetensors", "pytorch_model.bin"} & names
    assert json.loads((checkpoint / "complete.json").read_text())["seconds"] > 0


def test_what_was_spent_is_counted_in_steps_and_in_seconds_a_step(tiny, windows, tmp_path, monkeypatch):
    arm, now = attached(tiny, "lora"), [0.0]
    whole = arm.model.loss

    def loss(*batch: Any) -> torch.Tensor:
        now[0] += 2.0 if arm.model.net.training else 50.0
        return whole(*batch)

    arm.model.loss = loss
    clock = SimpleNamespace(perf_counter=lambda: now[0], monotonic=time.monotonic)
    monkeypatch.setattr("loracast.training.callbacks.time", clock)
    curve = train(arm, windows, tmp_path, LOOP.model_copy(update={"evaluate_every": 1, "steps": 4}))
    assert (curve.steps, curve.seconds_per_step) == (4, 2.0), "validation is not counted"
    again = train(attached(tiny, "lora"), windows, tmp_path, LOOP.model_copy(update={"steps": 4}), resume=True)
    assert (again.steps, again.seconds_per_step) == (4, 2.0)


def test_steps_are_those_that_were_made_where_training_stops_early(tiny, windows, tmp_path):
    loop = LOOP.model_copy(update={"steps": 60, "patience": 2})
    assert train(attached(tiny, "full"), windows, tmp_path, loop, rate=50.0).steps == 6


def test_a_stop_after_a_checkpoint_leaves_it_whole_and_a_resume_goes_on_to_the_same_numbers(
    tiny, windows, tmp_path, uninterrupted
):
    calls = []

    def stop() -> None:
        calls.append(last_checkpoint(tmp_path).name)
        if len(calls) == 2:
            raise TrainingError("the budget is spent")

    with pytest.raises(TrainingError, match="the budget is spent"):
        train(attached(tiny, "lora"), windows, tmp_path, after_checkpoint=stop)
    assert calls == ["checkpoint-3", "checkpoint-6"]
    expected, final, _ = uninterrupted["lora"]
    arm = attached(tiny, "lora")
    assert train(arm, windows, tmp_path, resume=True).as_json() == expected.as_json()
    assert same(weights(arm), final)


def test_a_run_is_not_continued_by_another_number_of_processes(tiny, windows, tmp_path, uninterrupted):
    shutil.copytree(uninterrupted["lora"][2], tmp_path, dirs_exist_ok=True)
    marker = last_checkpoint(tmp_path) / "complete.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "processes": 2}))
    with pytest.raises(TrainingError, match=r"begun with 2 process\(es\) and would go on with 1"):
        train(attached(tiny, "lora"), windows, tmp_path, resume=True)


def dropping(arm: Attached, windows: Windows, folder: Path, *, base_dropout: bool) -> list[bool]:
    """Whether each training pass of the network drew of chance: none does once its dropout is off."""
    whole, found = arm.model.loss, []

    def loss(*batch: Any) -> torch.Tensor:
        before = torch.get_rng_state()
        value = whole(*batch)
        if torch.is_grad_enabled():
            found.append(not torch.equal(before, torch.get_rng_state()))
        return value

    arm.model.loss = loss
    train(arm, windows, folder, LOOP.model_copy(update={"steps": 3, "base_dropout": base_dropout}))
    return found


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_dropout_of_the_base_acts_only_where_it_is_asked_for(tiny, windows, tmp_path, method):
    assert TrainSpec().base_dropout is False
    assert dropping(attached(tiny, method), windows, tmp_path / "off", base_dropout=False) == [False] * 3
    assert dropping(attached(tiny, method), windows, tmp_path / "on", base_dropout=True) == [True] * 3


def test_the_dropout_of_an_adapter_acts_without_that_of_the_base(tiny, windows, tmp_path):
    arm = attach(load_backbone(str(tiny)), method_named("peft:loha")(r=2, alpha=2, module_dropout=0.5))
    assert dropping(arm, windows, tmp_path, base_dropout=False) == [True] * 3
