"""Networks from scratch learn from the training windows, are chosen by the validation windows and resume exactly."""

import logging
import os
import random
import signal
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from loracast.data.split import split_patients
from loracast.data.table import patients_of
from loracast.data.windows import Windows, cut_windows, open_windows
from loracast.errors import ConfigError, DataError, TrainingError
from loracast.models.naive import last_value
from loracast.models.neural import NETWORKS, build, fit_network, load_network
from loracast.models.scratch import _batch, _loss, scaled, trained_numbers
from loracast.spec import ScratchSpec, SplitSpec, WindowSpec
from loracast.types import LEVELS

pytestmark = pytest.mark.skipif(find_spec("neuralforecast") is None, reason='needs pip install "loracast[baselines]"')

NAN = np.nan
LOOP = ScratchSpec(steps=7, batch_size=40, evaluate_every=2, patience=10, validation_windows=20)
"""Neither the last score nor a checkpoint falls on the end of an epoch of eight batches."""


def cut(table, folder, **lengths) -> Windows:
    sides = split_patients(patients_of(table), SplitSpec(shares=(0.6, 0.2, 0.2)))
    return cut_windows(table, sides, WindowSpec(**({"context": 24, "horizon": 6, "stride": 6} | lengths)), folder)


@pytest.fixture(scope="module")
def windows(vitals, tmp_path_factory) -> Windows:
    return cut(vitals, tmp_path_factory.mktemp("windows") / "w")


@pytest.fixture(scope="module")
def whole(windows, tmp_path_factory):
    """An uninterrupted run of N-HiTS (which has dropout), with the folder of its checkpoints."""
    folder = tmp_path_factory.mktemp("whole")
    return fit(windows, folder), folder


def fit(windows, folder, name="nhits", spec=LOOP, *, seed=0, **options):
    return fit_network(name, windows, spec, folder, seed=seed, progress=False, **options)


def forecast(fitted, side):
    return fitted.forecaster(side.batch(slice(0, len(side)))[0], side, slice(0, len(side)))


def weights(fitted) -> dict[str, torch.Tensor]:
    return trained_numbers(fitted.forecaster.net)


def same(one, other) -> bool:
    ours, theirs = weights(one), weights(other)
    equal = all(torch.equal(ours[name], theirs[name]) for name in ours)
    curves = [(fitted.curve.train, fitted.curve.validation, fitted.curve.best_step) for fitted in (one, other)]
    return equal and ours.keys() == theirs.keys() and curves[0] == curves[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_a_wave_better_than_the_last_value(long_table, tmp_path, name):
    step = np.arange(72)
    table = long_table(
        {(f"p{i}", f"s{i}", "map"): (70 + i + 10 * np.sin(step * 2 * np.pi / 12 + i)).tolist() for i in range(15)}
    )
    waves = cut(table, tmp_path / "w", stride=2)
    fitted = fit(waves, tmp_path / "c", name, ScratchSpec(steps=60, batch_size=32, evaluate_every=20))
    context, future = waves.test.batch(slice(0, len(waves.test)))
    error = np.abs(forecast(fitted, waves.test).median - future).mean()
    floor = np.abs(last_value(context, 6).median - future).mean()
    assert error < floor / 2
    assert fitted.curve.best_step > 0


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("context", "horizon"), [(4, 1), (24, 6)])
def test_nine_ascending_finite_quantiles_come_out_whatever_is_missing(windows, tmp_path, name, context, horizon):
    side = cut_short(windows, context, horizon)
    fitted = fit(side, tmp_path, name, ScratchSpec(steps=1, batch_size=4, evaluate_every=1, validation_windows=4))
    given = np.full((3, context), NAN, dtype=np.float32)
    given[0, 1], given[1], given[2] = 7, 70.1, np.arange(context)
    quantiles = fitted.forecaster(given, side.test, slice(0, 3)).quantiles
    assert quantiles.shape == (3, horizon, len(LEVELS))
    assert quantiles.dtype == np.float32
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()


def cut_short(windows: Windows, context: int, horizon: int) -> Windows:
    """The same windows, read as shorter ones."""
    return Windows(windows.folder, windows.meta | {"context": context, "horizon": horizon})


@pytest.mark.parametrize(("name", "count"), [("nbeats", 659_784), ("nhits", 668_472), ("tft", 668_214)])
def test_each_network_has_about_the_seven_hundred_thousand_numbers_of_the_paper(name, count):
    found = sum(p.numel() for p in trained_numbers(build(name, 72, 36, seed=0)).values())
    assert found == count
    assert found == pytest.approx(680_680, rel=0.05)


def test_a_gap_takes_the_last_value_before_it_or_the_first_after_and_stays_out_of_the_scale():
    context = np.array([[NAN, 10, NAN, 14, NAN]], dtype=np.float32)
    inputs = scaled(context, torch.device("cpu"))
    assert inputs.location.item() == 12
    assert inputs.scale.item() == 2
    assert inputs.values[0, :, 0].tolist() == [-1, -1, -1, 1, 1]
    assert inputs.mask[0, :, 0].tolist() == [0, 1, 0, 1, 0]


def test_a_constant_context_is_not_divided_by_its_rounding_error():
    inputs = scaled(np.full((1, 72), 70.1, dtype=np.float32), torch.device("cpu"))
    assert inputs.scale.item() == 1
    assert inputs.values.abs().max() < 1e-5


def test_a_missing_target_is_not_in_the_loss():
    net = build("nbeats", 8, 3, seed=0)
    context = np.arange(8, dtype=np.float32)[None]
    each = [_loss(net, context, np.array([[9, 9, 9]], dtype=np.float32) * mask)[0].item() for mask in masks(3)]
    some, count = _loss(net, context, np.array([[9, NAN, 9]], dtype=np.float32))
    assert count == 2
    assert some.item() == pytest.approx((each[0] + each[2]) / 2)
    some.backward()
    assert all(torch.isfinite(p.grad).all() for p in trained_numbers(net).values())


def masks(steps: int):
    return np.where(np.eye(steps) == 1, 1.0, NAN).astype(np.float32)


def test_the_loss_is_the_sum_of_the_pinball_losses_in_units_of_the_scale():
    net = build("nbeats", 8, 2, seed=0)
    context, future = np.arange(8, dtype=np.float32)[None] * 10, np.array([[50, -20]], dtype=np.float32)
    with torch.no_grad():
        quantiles = net(scaled(context, torch.device("cpu")).network_input()).numpy()[0]
    error = ((future - context.mean()) / context.std())[0, :, None] - quantiles
    pinball = np.maximum(np.array(LEVELS) * error, (np.array(LEVELS) - 1) * error)
    assert _loss(net, context, future)[0].item() == pytest.approx(pinball.sum(axis=-1).mean(), rel=1e-5)


def test_every_epoch_sees_every_window_once_in_another_order():
    epochs = [np.concatenate([_batch(10, 4, 0, step) for step in steps]) for steps in ((1, 2, 3), (4, 5, 6))]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert epochs[0].tolist() != epochs[1].tolist()


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(windows, whole, tmp_path):
    assert same(whole[0], fit(windows, tmp_path / "again"))
    assert not same(whole[0], fit(windows, tmp_path / "other", seed=1))


def test_scores_are_taken_before_the_first_step_and_after_the_last(whole):
    curve = whole[0].curve
    assert [score["step"] for score in curve.validation] == [0, 2, 4, 6, 7]
    assert [loss["step"] for loss in curve.train] == [2, 4, 6, 7]
    assert curve.seconds > 0


def test_the_weights_with_the_lowest_validation_loss_are_kept(windows, tmp_path):
    # So high a rate overshoots: the first score is the best, and patience ends the run.
    spec = LOOP.model_copy(update={"learning_rate": 0.1, "patience": 2, "steps": 100})
    fitted = fit(windows, tmp_path, "nbeats", spec)
    losses = [score["loss"] for score in fitted.curve.validation]
    assert fitted.curve.validation[losses.index(min(losses))]["step"] == fitted.curve.best_step
    assert fitted.curve.validation[-1]["step"] < 100
    validation = windows.validation.some(20, seed=0)
    found, _ = _loss(fitted.forecaster.net, *validation.batch(slice(0, len(validation))))
    assert found.item() == pytest.approx(min(losses), rel=1e-5)


def test_the_test_patients_choose_nothing(windows, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(Windows, "test", property(lambda self: pytest.fail("the test windows were read")))
    assert same(whole[0], fit(windows, tmp_path))


def test_a_run_that_was_stopped_anywhere_resumes_to_the_same_numbers(windows, whole, tmp_path):
    class StopError(Exception):
        pass

    def stop():
        raise StopError

    with pytest.raises(StopError):
        fit(windows, tmp_path, after_checkpoint=stop)
    for _ in range(2):
        with pytest.raises(StopError):
            fit(windows, tmp_path, resume=True, after_checkpoint=stop)
    # What a kill in the middle of a checkpoint leaves: a partial one, not under its name.
    (tmp_path / ".checkpoint-6.1.partial").mkdir()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]
    assert same(whole[0], fit(windows, tmp_path, resume=True))


def test_resuming_a_finished_run_trains_no_further(windows, whole):
    fitted, folder = whole
    again = fit(windows, folder, resume=True, after_checkpoint=lambda: pytest.fail("trained on"))
    assert same(fitted, again)
    assert again.curve.seconds == fitted.curve.seconds


def test_without_resume_old_checkpoints_are_removed(windows, whole, tmp_path):
    (tmp_path / "checkpoint-99").mkdir()
    assert same(whole[0], fit(windows, tmp_path))
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-7"]


KILLED = """
import os, signal, sys
from pathlib import Path
from loracast.models import scratch
from loracast.models.neural import fit_network
from loracast.spec import ScratchSpec
from loracast.data.windows import open_windows

written = scratch.write_json
def half(path, content):
    if content["train"] and content["train"][-1]["step"] == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    written(path, content)
scratch.write_json = half
spec = ScratchSpec.model_validate_json(sys.argv[3])
fit_network("nhits", open_windows(Path(sys.argv[1])), spec, Path(sys.argv[2]), seed=0, progress=False)
"""


def test_a_run_that_was_killed_while_writing_a_checkpoint_resumes_from_the_one_before(windows, whole, tmp_path):
    arguments = [str(windows.folder), str(tmp_path), LOOP.model_dump_json()]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, timeout=240)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    assert same(whole[0], fit(open_windows(windows.folder), tmp_path, resume=True))


def test_the_random_state_of_the_caller_is_left_alone(windows, tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    logger = logging.getLogger("lightning_fabric.utilities.seed")
    monkeypatch.setattr(logger, "handle", lambda record: pytest.fail(f"logged {record.getMessage()}"))
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    fit(windows, tmp_path, "nbeats", ScratchSpec(steps=1, evaluate_every=1, validation_windows=4))
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert os.environ["PL_GLOBAL_SEED"] == "3"
    assert "PL_SEED_WORKERS" not in os.environ
    assert logger.isEnabledFor(logging.WARNING)


def test_a_saved_network_forecasts_the_same(windows, whole, tmp_path):
    fitted, _ = whole
    fitted.save(tmp_path / "net")
    again = load_network(tmp_path / "net")
    context, _ = windows.test.batch(slice(0, 5))
    expected = fitted.forecaster(context, windows.test, slice(0, 5)).quantiles
    np.testing.assert_array_equal(again(context, windows.test, slice(0, 5)).quantiles, expected)
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["config.json", "model.safetensors"]


def test_a_window_is_forecast_the_same_alone_and_among_others(windows, whole):
    context, _ = windows.test.batch(slice(0, 5))
    together = whole[0].forecaster(context, windows.test, slice(0, 5)).quantiles
    alone = whole[0].forecaster(context[3:4], windows.test, slice(3, 4)).quantiles
    np.testing.assert_allclose(alone[0], together[3], rtol=1e-5)


def test_what_cannot_be_done_is_refused(windows, whole, tmp_path):
    forecaster = whole[0].forecaster
    with pytest.raises(ConfigError, match=r"no network 'arima'. Networks: nbeats, nhits, tft"):
        fit(windows, tmp_path, "arima")
    with pytest.raises(ConfigError, match=r"trained on windows of 24 \+ 6 steps and is given 12 \+ 6"):
        forecaster(np.ones((1, 12), np.float32), windows.test, slice(0, 1))
    with pytest.raises(DataError, match="no observed value"):
        forecaster(np.full((1, 24), NAN, np.float32), windows.test, slice(0, 1))
    with pytest.raises(ConfigError, match="No network in"):
        load_network(tmp_path / "nowhere")


def test_divergence_and_foreign_checkpoints_are_refused(windows, whole, tmp_path):
    with pytest.raises(TrainingError, match=r"loss at step . is .*diverged. Lower learning_rate"):
        fit(windows, tmp_path / "d", "nbeats", LOOP.model_copy(update={"learning_rate": 1e30}))
    with pytest.raises(TrainingError, match="another network"):
        fit(windows, whole[1], "nbeats", resume=True)


def test_without_the_extra_the_way_to_install_it_is_told(windows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "neuralforecast.models", None)
    with pytest.raises(ConfigError, match=r'pip install "loracast\[baselines\]"'):
        fit(windows, tmp_path)
