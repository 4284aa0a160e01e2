"""Networks from scratch: built from a seed, a loss worked by hand, nine quantiles in order, saved and read again."""

import json
import logging
import os
import random
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from loracast.errors import BackboneError, ConfigError, DataError
from loracast.models.neural import NeuralNetwork, scaled, trained_numbers
from loracast.models.registry import load_model
from loracast.types import LEVELS

pytestmark = pytest.mark.skipif(find_spec("neuralforecast") is None, reason='needs pip install "loracast[baselines]"')

NAN = np.nan
NAMES = ("nbeats", "nhits", "tft")
CPU = torch.device("cpu")


def network(name: str = "nhits", context: int = 24, horizon: int = 6, *, seed: int = 0) -> NeuralNetwork:
    model = load_model(name, context=context, horizon=horizon, seed=seed)
    assert isinstance(model, NeuralNetwork)
    return model


def waves(windows: int, steps: int, *, first: int = 0) -> torch.Tensor:
    phase, step = first + np.arange(windows)[:, None], np.arange(steps)
    return torch.tensor(70 + phase % 7 + 10 * np.sin(step * 2 * np.pi / 12 + phase), dtype=torch.float32)


def forecast(model: NeuralNetwork, context: torch.Tensor, horizon: int = 6, levels=LEVELS) -> torch.Tensor:
    return model.forecast(context, horizon, levels=levels, samples=1, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_some_steps_of_adam_on_the_loss_lower_it_and_beat_the_last_value(name):
    model = network(name)
    windows = waves(32, 30)
    optimizer = torch.optim.Adam(trained_numbers(model.net).values(), 3e-3)
    losses = []
    model.net.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(40):
            optimizer.zero_grad()
            loss = model.loss(windows[:, :24], windows[:, 24:])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    model.net.eval()
    assert np.mean(losses[-5:]) < losses[0] / 2
    other = waves(20, 30, first=1000)
    error = (forecast(model, other[:, :24])[..., 4] - other[:, 24:]).abs().mean()
    assert error < (other[:, 23:24] - other[:, 24:]).abs().mean() / 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("context", "horizon"), [(4, 1), (24, 6)])
def test_nine_ascending_finite_quantiles_come_out_whatever_is_missing(name, context, horizon):
    given = torch.full((3, context), NAN)
    given[0, 1], given[1], given[2] = 7, 70.1, torch.arange(context)
    quantiles = forecast(network(name, context, horizon), given, horizon)
    assert quantiles.shape == (3, horizon, len(LEVELS))
    assert quantiles.isfinite().all()
    assert (quantiles.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize(("name", "count"), [("nbeats", 659_784), ("nhits", 668_472), ("tft", 668_214)])
def test_each_network_has_about_the_seven_hundred_thousand_numbers_of_the_paper(name, count):
    card = network(name, 72, 36).card
    assert card.parameters == count == pytest.approx(680_680, rel=0.05)
    assert (card.name, card.kind, card.context, card.horizon, card.revision) == (name, "network", 72, 36, None)


def test_the_seed_decides_the_numbers_that_a_network_begins_with():
    first, again, other = (trained_numbers(network(seed=seed).net) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_gap_takes_the_last_value_before_it_or_the_first_after_and_stays_out_of_the_scale():
    inputs = scaled(np.array([[NAN, 10, NAN, 14, NAN]], dtype=np.float32), CPU)
    assert inputs.location.item() == 12
    assert inputs.scale.item() == 2
    assert inputs.values[0, :, 0].tolist() == [-1, -1, -1, 1, 1]
    assert inputs.mask[0, :, 0].tolist() == [0, 1, 0, 1, 0]


def test_a_constant_context_is_not_divided_by_its_rounding_error():
    inputs = scaled(np.full((1, 72), 70.1, dtype=np.float32), CPU)
    assert inputs.scale.item() == 1
    assert inputs.values.abs().max() < 1e-5


def test_a_missing_target_is_not_in_the_loss():
    model, context = network("nbeats", 8, 3), torch.arange(8.0)[None]
    only = torch.where(torch.eye(3) == 1, 9.0, NAN)
    each = [model.loss(context, future[None]).item() for future in only]
    future = torch.tensor([[9, NAN, 9]])
    some = model.loss(context, future)
    assert model.counted(context, future) == 2
    assert some.item() == pytest.approx((each[0] + each[2]) / 2)
    some.backward()
    assert all(p.grad.isfinite().all() for p in trained_numbers(model.net).values())


def test_a_window_whose_context_nobody_observed_is_not_scored():
    model, context, future = network("nbeats", 8, 3), torch.arange(16.0).reshape(2, 8), torch.full((2, 3), 9.0)
    alone = model.loss(context[:1], future[:1])
    context[1] = NAN
    torch.testing.assert_close(model.loss(context, future), alone)
    assert model.counted(context, future) == 3
    assert model.loss(context[1:], future[1:]).item() == 0


def test_the_loss_is_the_sum_of_the_pinball_losses_in_units_of_the_scale():
    model = network("nbeats", 8, 2)
    context, future = np.arange(8, dtype=np.float32)[None] * 10, np.array([[50, -20]], dtype=np.float32)
    with torch.no_grad():
        quantiles = model.net(scaled(context, CPU).network_input()).numpy()[0]
    error = ((future - context.mean()) / context.std())[0, :, None] - quantiles
    pinball = np.maximum(np.array(LEVELS) * error, (np.array(LEVELS) - 1) * error)
    found = model.loss(torch.from_numpy(context), torch.from_numpy(future))
    assert found.item() == pytest.approx(pinball.sum(axis=-1).mean(), rel=1e-5)


def test_levels_between_the_nine_are_interpolated_and_those_beyond_are_refused():
    model, context = network(), waves(3, 24)
    nine, found = forecast(model, context), forecast(model, context, levels=(0.9, 0.45, 0.125, 0.1))
    torch.testing.assert_close(found[..., 0], nine[..., 8], rtol=0, atol=0)
    torch.testing.assert_close(found[..., 1], (nine[..., 3] + nine[..., 4]) / 2)
    torch.testing.assert_close(found[..., 2], 0.75 * nine[..., 0] + 0.25 * nine[..., 1])
    torch.testing.assert_close(found[..., 3], nine[..., 0], rtol=0, atol=0)
    with pytest.raises(ConfigError, match=r"levels from 0\.1 to 0\.9 and forecasts none of 0\.05"):
        forecast(model, context, levels=(0.05, 0.5))


def test_the_random_state_of_the_caller_is_left_alone(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    logger = logging.getLogger("lightning_fabric.utilities.seed")
    monkeypatch.setattr(logger, "handle", lambda record: pytest.fail(f"logged {record.getMessage()}"))
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    model = network("tft", seed=5)
    forecast(model, waves(2, 24))
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert os.environ["PL_GLOBAL_SEED"] == "3"
    assert "PL_SEED_WORKERS" not in os.environ
    assert logger.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_network_forecasts_the_same(name, tmp_path):
    model, context = network(name, seed=4), waves(5, 24)
    (tmp_path / "net").mkdir()
    model.save(tmp_path / "net")
    again = load_model(str(tmp_path / "net"))
    assert torch.equal(forecast(again, context), forecast(model, context))
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["config.json", "model.safetensors"]
    known = again.card
    assert (known.name, known.kind, known.parameters) == ("net", "network", model.card.parameters)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"horizon": 5}, r"weights of .* do not belong to its config\.json"),
        ({"levels": [0.5]}, r"cannot be loaded as a neural: its levels are \[0\.5\]"),
        ({"sizes": {"hidden": 3}}, r"cannot be loaded as a neural: its sizes are hidden, not those of nbeats"),
        ({"context": "long"}, r"cannot be loaded as a neural: .*long"),
    ],
)
def test_a_folder_whose_files_do_not_belong_together_is_refused(tmp_path, changed, said):
    network("nbeats").save(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | changed))
    with pytest.raises(BackboneError, match=said):
        load_model(str(tmp_path))


def test_what_cannot_be_done_is_refused(tmp_path):
    model = network()
    with pytest.raises(ConfigError, match=r"nhits is built for windows of one length\. Give context and horizon"):
        load_model("nhits", context=24)
    for context, horizon in ((12, 6), (24, 7)):
        with pytest.raises(ConfigError, match=rf"windows of 24 \+ 6 steps and is given {context} \+ {horizon}"):
            forecast(model, torch.ones(1, context), horizon)
    with pytest.raises(DataError, match="no observed value"):
        forecast(model, torch.full((1, 24), NAN))
    model.save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"holds no model\.safetensors"):
        load_model(str(tmp_path))


def test_without_the_extra_the_way_to_install_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "neuralforecast.models", None)
    with pytest.raises(ConfigError, match=r'pip install "loracast\[baselines\]"'):
        network()
