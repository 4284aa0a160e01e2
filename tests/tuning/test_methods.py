"""Each method trains what its name says, and is told from its nearest relative."""

import re
import runpy
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from loracast.errors import ConfigError, TrainingError
from loracast.models.base import Sites
from loracast.models.registry import load_backbone
from loracast.spec import TrainSpec, parse
from loracast.tuning.adapter import base_digest, load_adapter, save_adapter, window_losses
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach, check_attached
from loracast.tuning.catalogue import methods_of
from loracast.tuning.gate import prove
from loracast.tuning.method import Attached, Method, PeftMethod
from loracast.tuning.methods import (
    IA3,
    OFT,
    AdaLoRA,
    BitFit,
    DoRA,
    FourierFT,
    Full,
    Head,
    LayerNorm,
    LoRA,
    PiSSA,
    RsLoRA,
    Scratch,
    VeRA,
    ZeroShot,
    method_named,
    methods,
)
from tests.conftest import bring
from tests.models.tiny_chronos import save_bolt

ATTENTION = re.compile(r"(encoder|decoder)\.block\.\d\.layer\.\d\.(SelfAttention|EncDecAttention)\.[qkvo]\.lora_[AB]\.")
QUERY = "encoder.block.0.layer.0.SelfAttention.q"


@pytest.fixture(scope="module")
def bolt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bolt(tmp_path_factory.mktemp("methods") / "tiny-bolt")


def attached(tiny: Path, method: Method) -> Attached:
    torch.manual_seed(0)
    return attach(load_backbone(str(tiny)), method)


def query(found: Attached) -> Any:
    """The first query matrix, as PEFT has wrapped it."""
    return found.network.net.get_submodule(QUERY)


def moved(found: Attached, by: float = 0.1) -> Attached:
    """The same with every trained number changed, as after training."""
    with torch.no_grad():
        for parameter in found.trainable.values():
            parameter.add_(by * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return found


def update(found: Attached) -> Tensor:
    """What the method adds to the first query matrix."""
    change: Tensor = query(found).get_delta_weight("default").detach()
    return change


def weight(tiny: Path) -> Tensor:
    matrix = load_backbone(str(tiny)).net.get_submodule(QUERY)
    assert isinstance(matrix, nn.Linear)
    return matrix.weight.detach()


def test_lora_trains_two_factors_at_every_query_key_value_and_output_and_nothing_else(tiny):
    names = attached(tiny, LoRA()).trainable
    assert all(ATTENTION.search(name) for name in names)
    # Two layers of encoder self-, decoder self- and cross-attention, four matrices each, two factors.
    assert len(names) == 2 * 3 * 4 * 2


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_lora_counts_rank_times_the_sides_of_each_matrix_and_its_update_has_that_rank(tiny, rank):
    found = moved(attached(tiny, LoRA(rank=rank)))
    assert found.trainable_parameters == 24 * rank * (16 + 16)
    assert torch.linalg.matrix_rank(update(found)) == rank


def test_alpha_and_rank_reach_peft(tiny):
    config = attached(tiny, LoRA(rank=4, alpha=8)).peft.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 8, 0.0)


def test_rslora_is_lora_scaled_by_the_root_of_the_rank(tiny):
    lora, rslora = (update(moved(attached(tiny, kind(rank=4)))) for kind in (LoRA, RsLoRA))
    torch.testing.assert_close(rslora, lora * 4**0.5)


def test_dora_trains_the_lengths_of_the_rows_beside_what_lora_does(tiny):
    lora, dora = attached(tiny, LoRA()).trainable, attached(tiny, DoRA()).trainable
    lengths = {name: p for name, p in dora.items() if "magnitude" in name}
    assert len(lengths) == 24
    assert set(dora) - set(lengths) == set(lora)
    first = next(p for name, p in lengths.items() if name.startswith(QUERY))
    torch.testing.assert_close(first.detach(), weight(tiny).norm(dim=1))


def test_dora_turns_the_rows_as_lora_does_and_sets_their_lengths_apart(tiny):
    lora, dora = (moved(attached(tiny, kind())) for kind in (LoRA, DoRA))
    turned = weight(tiny) + update(lora)
    lengths = query(dora).lora_magnitude_vector["default"].weight.detach()
    assert not torch.allclose(lengths, turned.norm(dim=1)), "they are trained by themselves"
    plain = torch.randn(3, 16)
    expected = plain @ (lengths[:, None] * turned / turned.norm(dim=1, keepdim=True)).T
    dora.network.net.eval()
    torch.testing.assert_close(query(dora)(plain), expected, rtol=1e-4, atol=1e-5)


def test_pissa_starts_from_the_largest_singular_vectors_and_freezes_the_rest(tiny):
    u, s, v = torch.linalg.svd(weight(tiny))
    largest = u[:, :2] @ torch.diag(s[:2]) @ v[:2]
    found = attached(tiny, PiSSA(rank=2))
    torch.testing.assert_close(update(found), largest, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(query(found).base_layer.weight.detach(), weight(tiny) - largest, rtol=1e-3, atol=1e-5)
    lora = attached(tiny, LoRA(rank=2))
    assert not update(lora).any()
    assert torch.equal(query(lora).base_layer.weight.detach(), weight(tiny))


def test_adalora_starts_with_more_ranks_than_it_keeps_and_is_checked_by_those(tiny):
    found = attached(tiny, AdaLoRA(rank=10))
    assert len(next(p for name, p in found.trainable.items() if "lora_E" in name)) == 15
    assert found.schedule is not None
    assert attached(tiny, LoRA()).schedule is None
    config = found.peft.peft_config["default"]
    assert (config.init_r, config.target_r, config.lora_alpha) == (15, 10, 16)
    with pytest.raises(ConfigError, match="Rank 18 given; the tuned matrices of tiny-t5 have rank 16 at most"):
        attached(tiny, AdaLoRA(rank=12))


def test_vera_trains_two_vectors_a_matrix_between_factors_that_all_share(tiny):
    found = attached(tiny, VeRA(rank=8))
    assert {name.split("vera_")[1].split(".")[0] for name in found.trainable} == {"lambda_b", "lambda_d"}
    assert found.trainable_parameters == 24 * (8 + 16)
    factors = {id(m.vera_A["default"]) for m in found.network.net.modules() if hasattr(m, "vera_A")}
    assert len(factors) == 1
    again = query(attached(tiny, VeRA(rank=8))).vera_A["default"]
    assert torch.equal(query(found).vera_A["default"], again), "drawn alike each time: they are not saved"


def test_fourierft_trains_that_many_frequencies_of_the_update(tiny):
    found = moved(attached(tiny, FourierFT(frequencies=5)))
    assert found.trainable_parameters == 24 * 5
    spectrum = torch.fft.fft2(update(found)).abs()
    # Of the transform the real part is taken, which mirrors every frequency.
    assert 5 <= int((spectrum > 1e-3 * spectrum.max()).sum()) <= 10
    assert torch.linalg.matrix_rank(update(found)) > 2


def test_ia3_layernorm_and_bitfit_train_vectors_in_three_places(bolt):
    ia3, norms, biases = (attached(bolt, kind()) for kind in (IA3, LayerNorm, BitFit))
    assert all(".ia3_l." in name for name in ia3.trainable)
    assert all("layer_norm" in name for name in norms.trainable)
    assert all(name.endswith(".bias") for name in biases.trainable)
    key, plain = ("encoder.block.0.layer.0.SelfAttention.k", torch.randn(3, 16))
    before = ia3.network.net.get_submodule(key)(plain)
    with torch.no_grad():
        ia3.trainable[f"{key}.ia3_l.default"].fill_(2)
    torch.testing.assert_close(ia3.network.net.get_submodule(key)(plain), 2 * before)


def test_oft_rotates_so_that_lengths_are_kept(tiny):
    found = moved(attached(tiny, OFT(block_size=4)), by=0.02)
    rotation = update(found)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(16), rtol=0, atol=1e-3)
    assert (rotation - torch.eye(16)).abs().max() > 0.01
    blocks = torch.block_diag(*[torch.ones(4, 4)] * 4)
    assert not (rotation * (1 - blocks)).any()


def test_no_method_is_another_under_a_new_name(bolt):
    """The same noise on what each trains leads each elsewhere: a relative that became plain LoRA would be caught."""
    kinds = [kind for kind in methods().values() if "pretrained" in kind.kinds and kind.trains]
    losses = {}
    for kind in kinds:
        found = moved(attached(bolt, kind()), by=0.05)
        found.network.net.eval()
        losses[kind.name] = window_losses(found.network)
    for one, other in combinations(losses, 2):
        assert not torch.allclose(losses[one], losses[other], rtol=1e-4), (one, other)


def test_full_trains_every_number(tiny):
    found = attached(tiny, Full())
    assert found.peft is None
    assert found.is_whole
    assert found.trainable_parameters == found.model.card.parameters


def test_zero_shot_trains_nothing(tiny):
    assert attached(tiny, ZeroShot()).trainable_parameters == 0
    assert not ZeroShot.trains


def test_a_tied_head_is_tuned_without_its_embedding(tiny):
    found = attached(tiny, Head())
    net = found.network.net
    assert net.lm_head.weight is not net.shared.weight
    assert [name for name, _ in net.named_parameters() if name in found.trainable] == ["lm_head.weight"]


def test_a_network_from_scratch_has_a_training_of_its_own():
    found = ArmSpec(model="nhits", method="scratch", training={"steps": 7}).training_of(TrainSpec(steps=3), 1000)
    assert (found.steps, found.batch_size, found.decay, found.learning_rate) == (7, 128, "halving", 1e-3)
    assert Scratch().training(TrainSpec(steps=3, learning_rate=0.5)).learning_rate is None


def test_an_unknown_method_is_refused_with_the_list():
    with pytest.raises(ConfigError, match=r"'lorra'. Methods: as-is, scratch, zero-shot, full, head, lora.*peft:NAME"):
        method_named("lorra")


def test_a_method_of_another_kind_of_model_is_refused(tiny):
    with pytest.raises(ConfigError, match=r"'scratch' is for network models; tiny-t5 is pretrained. Choose: zero-shot"):
        attached(tiny, Scratch())


def test_a_method_that_finds_nothing_to_train_is_refused_and_a_check_leaves_the_model_alone(tiny):
    backbone = load_backbone(str(tiny))
    check_attached(backbone, LoRA())
    assert not [name for name, _ in backbone.net.named_parameters() if "lora" in name]
    backbone.sites = replace(backbone.sites, attention="nowhere")
    assert isinstance(backbone.sites, Sites)
    with pytest.raises(TrainingError, match=r"'lora' cannot tune attention of tiny-t5"):
        attach(backbone, LoRA())


class Idle(Method):
    """A method that leaves nothing to train."""

    name = "idle"
    summary = "nothing"

    def prepare(self, model: Any) -> None:
        """Freeze every number."""
        model.net.requires_grad_(False)


def test_a_method_that_leaves_nothing_to_train_is_refused(tiny):
    refused = r"'idle' matches no weight of tiny-t5: it would silently be zero-shot. Choose another method: zero-shot,"
    with pytest.raises(TrainingError, match=refused):
        attached(tiny, Idle())
    with pytest.raises(TrainingError, match=refused):
        check_attached(load_backbone(str(tiny)), Idle())


@pytest.mark.parametrize(("kind", "largest"), [(LoRA, {"rank": 16}), (OFT, {"block_size": 16})])
def test_the_largest_size_that_fits_a_matrix_is_taken(tiny, kind, largest):
    assert attached(tiny, kind(**largest)).trainable
    with pytest.raises(ConfigError, match="given; the tuned matrices of tiny-t5"):
        attached(tiny, kind(**{name: size + 1 for name, size in largest.items()}))


def test_as_many_frequencies_as_a_matrix_has_numbers_are_taken(tiny):
    assert attached(tiny, FourierFT(frequencies=16 * 16)).trainable
    with pytest.raises(ConfigError, match="257 frequencies given; the tuned matrices of tiny-t5 have 256 at most"):
        attached(tiny, FourierFT(frequencies=16 * 16 + 1))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "full", "alpha": 4}, "'full' takes no alpha. It has no settings; an arm's: revision"),
        ({"method": "vera", "alpha": 4}, "'vera' takes no alpha. Its settings: sites, rank"),
        ({"method": "zero-shot", "learning_rate": 0.1}, "'zero-shot' has no use for learning_rate"),
        ({"method": "zero-shot", "patients": 0.5}, "'zero-shot' has no use for patients"),
        ({"method": "lora", "rank": 0}, r"rank: Input should be greater than or equal to 1 \(0 given\)"),
        ({}, "method is missing"),
    ],
)
def test_a_setting_without_effect_or_sense_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        parse(ArmSpec, {"model": "tiny", **settings}, "The arm")


class Scale(PeftMethod):
    """A method of another package: scales keys and values alone."""

    name = "scale"
    summary = "a scale of keys and values"
    learning_rate = 1e-2

    def config(self, model: Any, pattern: str) -> Any:
        """IA³ without its feed-forward."""
        import peft

        return peft.IA3Config(target_modules=pattern, feedforward_modules="$")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Install packages that bring the given objects as methods."""

    def install(*brought: Any) -> None:
        bring(monkeypatch, "loracast.methods", *brought)
        methods.cache_clear()

    yield install
    methods.cache_clear()


def test_a_method_of_another_package_is_listed_attached_trained_saved_and_loaded(installed, tiny, tmp_path):
    installed(Scale)
    assert "scale" in {row["method"] for row in methods_of(str(tiny))}
    arm = ArmSpec(model=str(tiny), method="scale", sites="qv")
    assert arm.name == "tiny-t5 scale sites=qv"
    assert ArmSpec.model_validate(arm.as_json()).method == Scale(sites="qv")
    prove(load_backbone(str(tiny)), arm.method)
    found = moved(attached(tiny, arm.method))
    found.network.net.eval()
    save_adapter(found, arm, tmp_path / "adapter", base=base_digest(load_backbone(str(tiny))))
    loaded = load_adapter(tmp_path / "adapter", backbone=str(tiny))
    assert torch.equal(window_losses(loaded), window_losses(found.network))


@pytest.mark.parametrize(("sites", "kept"), [("attention", True), (r"decoder\..*SelfAttention\.[qv]", False)])
def test_nothing_is_differentiated_below_the_first_trained_weight(tiny, sites, kept):
    """Where the decoder alone is tuned, the encoder leaves no graph, and so none of its passes stays in memory."""
    found, seen = attach(load_backbone(str(tiny)), LoRA(sites=sites)), []
    net = found.network.net
    net.encoder.register_forward_hook(lambda _, __, out: seen.append(out[0].requires_grad))
    net.encoder.block[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].requires_grad))
    window_losses(found.network, grad=True)
    assert seen == [False, kept] * 3


@pytest.mark.parametrize(
    ("brought", "says"),
    [
        (ImportError("no torchscale"), r"cannot be loaded \(ImportError: no torchscale\)\. Mend the package"),
        (nn.Linear, "is no subclass of loracast.tuning.method.Method"),
        (type("Mine", (LoRA,), {"name": "lora"}), "is called 'lora', a name that is taken"),
    ],
)
def test_a_broken_method_of_another_package_is_refused_with_the_reason(installed, brought, says):
    installed(brought)
    with pytest.raises(ConfigError, match=f"The method ward:Brought of the package loracast-ward {says}"):
        methods()


def test_the_table_of_methods_in_the_documentation_is_not_stale():
    docs = Path(__file__).parents[2] / "docs"
    text = (docs / "methods.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(docs / "make_methods.py"))["filled"](text) == text, "run python docs/make_methods.py"
