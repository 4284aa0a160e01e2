"""MOIRAI as a backbone: upstream's losses from windows with gaps, patch sizes, groups, forecasts, files."""

import json
import logging
import shutil
from pathlib import Path

import peft
import pytest
import safetensors.torch
import torch
from torch import Tensor

from loracast.errors import BackboneError
from loracast.models import moirai
from loracast.models.moirai import Moirai
from loracast.models.nets.mixture import Mixture
from loracast.models.nets.mixture_quantiles import quantiles
from loracast.models.nets.moirai import MoiraiConfig, MoiraiNet
from loracast.models.registry import Wanted, load_backbone, skeleton
from loracast.tuning.adapter import base_digest, load_adapter, save_adapter
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach
from loracast.types import LEVELS, Rows

GOLDEN = Path(__file__).parents[1] / "golden" / "moirai"
NAN = float("nan")
SIZES = {
    "moirai-1.0-R-small": (36_864, 13_827_528),
    "moirai-1.0-R-base": (147_456, 91_357_728),
    "moirai-1.0-R-large": (393_216, 310_970_624),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random MOIRAI of three patch sizes."""
    path = tmp_path_factory.mktemp("backbones") / "tiny-moirai"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MoiraiNet(MoiraiConfig(d_model=64, num_layers=2, patch_sizes=(4, 8, 16), max_seq_len=64))
    net.save_pretrained(path)
    return path


@pytest.fixture
def backbone(folder: Path) -> Moirai:
    return load_backbone(str(folder))


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be spoiled."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def walk(windows: int, steps: int, seed: int = 0) -> Tensor:
    return 80 + torch.randn(windows, steps, generator=torch.Generator().manual_seed(seed)).cumsum(dim=1)


def grouped(*group: int) -> Rows:
    return Rows(torch.zeros(len(group), dtype=torch.long), 300, torch.tensor(group))


def forecast(backbone: Moirai, context: Tensor, horizon: int = 12, seed: int = 0, rows: Rows | None = None) -> Tensor:
    return backbone.forecast(context, horizon, levels=LEVELS, samples=50, seed=seed, rows=rows)


@torch.no_grad()
def numbers(backbone: Moirai, context: Tensor, horizon: int = 12, rows: Rows | None = None) -> Tensor:
    """What the network says of every row, before it becomes quantiles."""
    series, index = backbone._arranged(context, context.new_zeros(len(context), horizon), rows)
    raw = backbone._raw(series, backbone._chosen(series))[series.present]
    return raw[index[series.present].argsort()]


def weights_of(path: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(path / "model.safetensors")


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    safetensors.torch.save_file(weights, path / "model.safetensors")


def golden_backbone(name: str, path: Path) -> Moirai:
    """A golden model as a published folder, its weights in float16."""
    path.mkdir()
    shutil.copy(GOLDEN / name / "config.json", path / "config.json")
    shutil.copy(GOLDEN / name / "weights.safetensors", path / "model.safetensors")
    return load_backbone(str(path))


@pytest.mark.parametrize("name", SIZES)
def test_lora_of_rank_two_and_the_whole_have_the_published_sizes(name):
    arm = ArmSpec(model=name, method="lora", rank=2)
    attached = attach(skeleton(name), arm.method)
    assert (attached.trainable_parameters, attached.network.card.parameters) == SIZES[name]
    assert skeleton(name.replace("1.0", "1.1")).card.parameters == SIZES[name][1]
    assert skeleton(f"Salesforce/{name}").card.licence == "CC-BY-NC-4.0"


@pytest.mark.parametrize(
    ("model", "case"),
    [
        ("two-heads", "p8-72-36"),
        ("two-heads", "p8-missing"),
        ("two-heads", "p16-pad-multi"),
        ("all-patches", "p32-200-48"),
        ("all-patches", "p128-640-130"),
    ],
)
def test_the_loss_of_windows_with_gaps_is_upstreams(model, case, tmp_path):
    backbone = golden_backbone(model, tmp_path / model)
    backbone.patch_size = json.loads((GOLDEN / model / f"{case}.json").read_text())["patch_size"]
    tensors = safetensors.torch.load_file(GOLDEN / model / f"{case}.safetensors")
    samples, _, variates = tensors["past_target"].shape
    context, future = (
        torch.where(tensors[f"{part}_observed"].bool(), tensors[f"{part}_target"], NAN).transpose(1, 2).flatten(0, 1)
        for part in ("past", "future")
    )
    rows = grouped(*torch.arange(samples).repeat_interleave(variates).tolist())
    loss = backbone.loss(context, future, rows)
    assert loss.requires_grad
    assert loss.item() == pytest.approx(tensors["training_nll"].item(), rel=1e-5)


@pytest.mark.parametrize("horizon", [1, 12, 70])
def test_a_forecast_has_a_row_a_window_a_column_a_step_and_sorted_levels(backbone, horizon):
    quantiles = forecast(backbone, walk(3, 40), horizon)
    assert quantiles.shape == (3, horizon, 9)
    assert quantiles.dtype == torch.float32
    assert quantiles.isfinite().all()
    assert (quantiles.diff(dim=-1) >= 0).all()


def test_neither_a_seed_nor_the_number_of_samples_changes_a_forecast(backbone):
    one = forecast(backbone, walk(3, 40))
    assert torch.equal(forecast(backbone, walk(3, 40), seed=1), one)
    assert torch.equal(backbone.forecast(walk(3, 40), 12, levels=LEVELS, samples=3, seed=0), one)


def test_a_forecast_leaves_the_callers_random_state_alone(backbone):
    before = torch.get_rng_state()
    forecast(backbone, walk(2, 40))
    assert torch.equal(torch.get_rng_state(), before)


def test_quantiles_are_those_of_the_mixture_of_each_step(backbone):
    context, levels = walk(2, 40), (0.25, 0.5)
    found = backbone.forecast(context, 3, levels=levels, samples=50, seed=3)
    mixture = Mixture(backbone.net.settings.families, numbers(backbone, context, 3).flatten(0, 1))
    expected = quantiles(mixture, levels).reshape(2, 3, 2)
    scale = (context.double().var(dim=1) + 1e-5).sqrt().float()[:, None, None]
    torch.testing.assert_close(found, context.mean(dim=1)[:, None, None] + scale * expected, rtol=1e-6, atol=1e-4)


def test_a_window_alone_is_forecast_as_among_others(backbone):
    context = walk(6, 40)
    context[2, :9] = context[4, 20:30] = NAN
    alone = torch.cat([numbers(backbone, context[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(numbers(backbone, context), alone, rtol=1e-4, atol=1e-5)


def test_a_thousand_times_the_series_is_a_thousand_times_the_forecast(backbone):
    # The smallest variance, 1e-5, does not grow with the series: of a standard deviation of 3 it is a millionth.
    context = walk(4, 40)
    torch.testing.assert_close(numbers(backbone, 1000 * context), numbers(backbone, context), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 36.6, -5e6, NAN])
def test_a_constant_context_has_a_finite_loss_and_forecast(backbone, value):
    context = torch.full((2, 40), value)
    assert forecast(backbone, context).isfinite().all()
    assert backbone.loss(context, torch.full((2, 12), value)).isfinite()
    assert backbone.loss(context, walk(2, 12)).isfinite()


def test_padding_on_the_left_changes_nothing(backbone):
    backbone.patch_size = 8
    context, future = walk(3, 30), walk(3, 12, seed=1)
    padded = torch.cat([torch.full((3, 23), NAN), context], dim=1)
    torch.testing.assert_close(backbone.loss(padded, future), backbone.loss(context, future), rtol=1e-5, atol=0)
    torch.testing.assert_close(numbers(backbone, padded), numbers(backbone, context), rtol=1e-4, atol=1e-5)


def test_a_row_without_a_target_is_counted_as_upstream_counts_it(backbone):
    context, future = walk(4, 40), walk(4, 12, seed=1)
    future[1, 5:] = NAN
    three = backbone.loss(context[:3], future[:3])
    future[3] = NAN
    torch.testing.assert_close(backbone.loss(context, future), 0.75 * three, rtol=1e-5, atol=0)


def test_loss_and_forecast_leave_their_input_as_it_was(backbone):
    context, future = walk(4, 40), walk(4, 12, seed=1)
    context[0, 4] = future[:, 5:] = NAN
    kept = context.clone(), future.clone()
    backbone.loss(context, future)
    forecast(backbone, context)
    torch.testing.assert_close(context, kept[0], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(future, kept[1], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("call", ["loss", "forecast"])
def test_a_context_beyond_the_cards_is_refused(backbone, call):
    assert (backbone.card.context, backbone.card.horizon) == (48 * 8, 16 * 8)
    with pytest.raises(BackboneError, match="drop the oldest 16"):
        backbone.loss(walk(1, 400), walk(1, 16)) if call == "loss" else forecast(backbone, walk(1, 400))


@torch.no_grad()
def test_each_window_takes_the_patch_size_that_best_forecasts_the_end_of_its_context(backbone):
    context = walk(8, 44)
    scores = []
    for patch in (4, 8, 16):
        backbone.patch_size = patch
        scores.append([backbone.loss(c[None, :-12], c[None, -12:]).item() for c in context])
    backbone.patch_size = None
    series, _ = backbone._arranged(context, context.new_zeros(8, 12), None)
    best = torch.tensor(scores).argmin(dim=0)
    assert torch.equal(backbone._chosen(series), torch.tensor([4, 8, 16])[best])
    assert len(best.unique()) > 1
    fixed = []
    for row, patch in zip(context, backbone._chosen(series).tolist(), strict=True):
        backbone.patch_size = patch
        fixed.append(numbers(backbone, row[None]))
    backbone.patch_size = None
    torch.testing.assert_close(numbers(backbone, context), torch.cat(fixed), rtol=1e-4, atol=1e-5)


def test_a_patch_size_of_which_less_than_two_would_be_scored_on_is_left_out(backbone):
    def sizes(context: int) -> list[int]:
        return backbone._fitting(backbone._arranged(walk(1, context), walk(1, 12), None)[0])

    assert sizes(44) == [4, 8, 16]
    assert sizes(43) == [4, 8]
    assert sizes(27) == [4]


def test_the_loss_is_the_mean_over_the_sizes_that_a_forecast_chooses_among(backbone):
    context, future = walk(4, 40), walk(4, 12)
    mean = backbone.loss(context, future)
    alone = []
    for backbone.patch_size in (4, 8):
        alone.append(backbone.loss(context, future))
    torch.testing.assert_close(mean, torch.stack(alone).mean())


@pytest.mark.parametrize(("context", "horizon"), [(1, 3), (2, 30), (12, 100), (380, 130)])
def test_windows_of_every_shape_find_a_patch_size(backbone, context, horizon):
    assert forecast(backbone, walk(2, context), horizon).isfinite().all()
    assert backbone.loss(walk(2, context), walk(2, horizon)).isfinite()


def test_a_patch_size_can_be_fixed_and_must_be_one_of_the_networks(backbone):
    one = forecast(backbone, walk(2, 40))
    backbone.patch_size = 16
    assert not torch.equal(forecast(backbone, walk(2, 40)), one)
    backbone.patch_size = 32
    with pytest.raises(BackboneError, match="No weights for patch size 32; this MOIRAI has 4, 8, 16"):
        forecast(backbone, walk(2, 40))


def test_signals_of_one_patient_are_forecast_from_each_other_and_not_from_another_patients(backbone):
    context = walk(3, 40)
    joint = numbers(backbone, context, rows=grouped(5, 5, 2))
    torch.testing.assert_close(joint[2:], numbers(backbone, context[2:]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(joint[:2], numbers(backbone, context[:2]), atol=1e-3)
    changed = context.clone()
    changed[1] = walk(1, 40, seed=8)
    assert not torch.allclose(numbers(backbone, changed, rows=grouped(5, 5, 2))[0], joint[0], atol=1e-3)
    changed[2] = 0
    with_other = numbers(backbone, torch.cat([context[:2], changed[2:]]), rows=grouped(5, 5, 2))
    torch.testing.assert_close(with_other[:2], joint[:2], rtol=1e-4, atol=1e-5)


def test_the_rows_of_a_forecast_stand_where_those_of_the_context_stood(backbone):
    context = walk(3, 40) * torch.tensor([[1.0], [100.0], [10_000.0]])
    quantiles = forecast(backbone, context, rows=grouped(9, 4, 9))
    assert ((quantiles[:, 0, 4] / context.mean(dim=1)).log10().abs() < 0.5).all()


def test_patients_with_unequal_numbers_of_signals_share_a_batch(backbone):
    backbone.patch_size = 8
    context, future = walk(4, 40), walk(4, 12, seed=1)
    together = backbone.loss(context, future, grouped(0, 1, 1, 1))
    apart = backbone.loss(context[:1], future[:1]), backbone.loss(context[1:], future[1:], grouped(1, 1, 1))
    torch.testing.assert_close(together, (apart[0] + 3 * apart[1]) / 4, rtol=1e-5, atol=0)


def test_bfloat16_forecasts_much_the_same(folder, backbone):
    backbone.patch_size = 8
    expected = numbers(backbone, walk(3, 40))
    backbone.net.to(torch.bfloat16)
    found = numbers(backbone, walk(3, 40))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)
    assert forecast(backbone, walk(3, 40)).dtype == torch.float32


def test_fresh_lora_changes_nothing_and_what_it_learns_comes_back_through_peft(folder, backbone, tmp_path):
    context, future = walk(4, 40), walk(4, 12, seed=1)
    before, base = numbers(backbone, context), base_digest(backbone)
    torch.manual_seed(0)
    arm = ArmSpec(model=str(folder), method="lora", rank=2)
    attached = attach(backbone, arm.method)
    torch.testing.assert_close(numbers(backbone, context), before, rtol=1e-5, atol=1e-6)
    step = torch.optim.Adam(attached.trainable.values(), lr=0.01)
    losses = []
    for _ in range(8):
        step.zero_grad()
        loss = backbone.loss(context, future)
        loss.backward()
        step.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    save_adapter(attached, arm, tmp_path / "adapter", base=base)
    learnt = numbers(backbone, context)
    again = load_adapter(tmp_path / "adapter", backbone=str(folder))
    torch.testing.assert_close(numbers(again, context), learnt, rtol=1e-5, atol=1e-5)
    plain = load_backbone(str(folder))
    peft.PeftModel.from_pretrained(plain.net, str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(numbers(plain, context), learnt, rtol=1e-5, atol=1e-5)


def test_a_network_that_was_tuned_whole_is_saved_as_published_and_loads_again(folder, backbone, tmp_path):
    base = base_digest(backbone)
    arm = ArmSpec(model=str(folder), method="full")
    attached = attach(backbone, arm.method)
    with torch.no_grad():
        for parameter in attached.trainable.values():
            parameter.add_(0.01)
    save_adapter(attached, arm, tmp_path / "tuned", base=base)
    assert set(weights_of(tmp_path / "tuned")) == set(weights_of(folder))
    again = load_adapter(tmp_path / "tuned", backbone=str(folder))
    torch.testing.assert_close(numbers(again, walk(2, 40)), numbers(backbone, walk(2, 40)), rtol=1e-5, atol=1e-5)


def test_a_folder_is_a_backbone_called_after_itself(backbone, folder):
    card = backbone.card
    assert (card.name, card.family, card.revision) == ("tiny-moirai", "moirai", None)
    assert card.parameters == sum(tensor.numel() for tensor in weights_of(folder).values())


def test_weights_that_may_not_be_sold_say_so_when_they_are_loaded(folder, caplog):
    with caplog.at_level(logging.WARNING):
        moirai.load(Wanted("moirai-1.1-R-small", folder, "CC-BY-NC-4.0"))
        assert "moirai-1.1-R-small are under CC-BY-NC-4.0: not for commercial use" in caplog.text
        caplog.clear()
        moirai.load(Wanted("moirai-nano", folder, "Apache-2.0"))
        assert not caplog.records


def test_missing_extra_and_misshapen_tensors_are_named(copied):
    weights = weights_of(copied)
    del weights["encoder.layers.1.ffn.fc2.weight"]
    weights["encoder.layers.7.ffn.fc2.weight"] = torch.zeros(2)
    weights["mask_encoding.weight"] = torch.zeros(2, 64)
    save_weights(copied, weights)
    with pytest.raises(BackboneError) as error:
        load_backbone(str(copied))
    for name in ("layers.1.ffn.fc2", "layers.7.ffn.fc2", "mask_encoding.weight"):
        assert name in str(error.value)


def test_a_config_that_cannot_be_built_is_refused_with_its_folder(copied):
    content = json.loads((copied / "config.json").read_text())
    content["distr_output"]["components"][2]["_target_"] = "gluonts.Poisson"
    (copied / "config.json").write_text(json.dumps(content))
    with pytest.raises(
        BackboneError, match=r"copy cannot be loaded as a MOIRAI.*unknown distribution 'gluonts.Poisson'"
    ):
        load_backbone(str(copied))


def test_a_file_that_was_cut_short_is_refused(copied):
    content = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(BackboneError, match=r"model\.safetensors"):
        load_backbone(str(copied))
