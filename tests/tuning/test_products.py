"""The merged products are those of PEFT: the same numbers, gradients, parameters and refusals."""

import copy

import pytest
import torch
from peft.tuners.fourierft.layer import FourierFTLayer, FourierFTLinear
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.vera.layer import Linear as VeraLinear
from torch import Tensor, nn

from loracast.models.registry import load_backbone
from loracast.tuning.attach import attach
from loracast.tuning.method import Attached
from loracast.tuning.methods import AdaLoRA, DoRA, FourierFT, LoRA, Method, PiSSA, RsLoRA, VeRA
from loracast.tuning.products import MERGED, merge_products

OWN = {merged: plain for plain, merged in MERGED.items()}


def attached(tiny, method: Method) -> Attached:
    """The method on the tiny backbone, moved away from the start, where most updates are zero."""
    torch.manual_seed(0)
    found = attach(load_backbone(str(tiny)), method)
    with torch.no_grad():
        for weight in found.trainable.values():
            weight.add_(0.05 * torch.randn(weight.shape))
    return found


def as_peft_has_it(net: nn.Module) -> nn.Module:
    """A copy of the network with PEFT's own passes."""
    net = copy.deepcopy(net)
    for layer in net.modules():
        layer.__class__ = OWN.get(type(layer), type(layer))
    return net


def layers(net: nn.Module) -> list[nn.Module]:
    return [layer for layer in net.modules() if hasattr(layer, "base_layer")]


def passed(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """What comes out, and the gradients of the input and of what is trained."""
    x = x.clone().requires_grad_()
    out = layer(x)
    trained = [weight for weight in layer.parameters() if weight.requires_grad]
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    return [out, *torch.autograd.grad((out * weights).sum(), [x, *trained])]


@pytest.mark.parametrize(
    "method",
    [LoRA(rank=2), RsLoRA(rank=4), PiSSA(rank=2), VeRA(rank=8), FourierFT(frequencies=30)],
    ids=lambda m: m.name,
)
def test_numbers_and_gradients_are_those_of_peft(tiny, method):
    net = attached(tiny, method).model.net
    ours, theirs = layers(net), layers(as_peft_has_it(net))
    assert {type(layer) for layer in ours} <= set(OWN)
    for one, other in zip(ours, theirs, strict=True):
        x = torch.randn(3, 5, one.in_features, generator=torch.Generator().manual_seed(1))
        for found, expected in zip(passed(one, x), passed(other, x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * float(expected.detach().abs().max()))


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (12, 7), (9, 20)])
def test_the_waves_of_fourierft_are_its_inverse_transform(rows, columns):
    from peft import FourierFTConfig, get_peft_model

    config = FourierFTConfig(n_frequency=11, random_loc_seed=5, scaling=3.0, target_modules=["0"])
    net = get_peft_model(nn.Sequential(nn.Linear(columns, rows)), config).model
    merge_products(net)
    found, expected = net[0].get_delta_weight("default"), FourierFTLayer.get_delta_weight(net[0], "default")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("method", [LoRA(), VeRA(rank=8), FourierFT(frequencies=30)], ids=lambda m: m.name)
def test_a_layer_that_is_off_or_in_bfloat16_passes_as_peft_has_it(tiny, method):
    """An update rounded together with its weight would be lost in bfloat16."""
    layer = layers(attached(tiny, method).model.net)[0]
    theirs = as_peft_has_it(layer)
    x = torch.randn(4, layer.in_features)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), theirs(x))
    for one in (layer, theirs):
        one.enable_adapters(False)
    assert torch.equal(layer(x), layer.base_layer(x))


@pytest.mark.parametrize("method", [DoRA(), AdaLoRA()], ids=lambda m: m.name)
def test_what_is_no_plain_update_keeps_the_layers_of_peft(tiny, method):
    assert not {type(layer) for layer in layers(attached(tiny, method).model.net)} & set(OWN)


def test_every_layer_of_the_three_is_merged_and_keeps_its_class(tiny):
    for method, plain in ((LoRA(), LoraLinear), (VeRA(), VeraLinear), (FourierFT(frequencies=30), FourierFTLinear)):
        found = layers(attached(tiny, method).model.net)
        assert found
        assert all(type(layer) in OWN and isinstance(layer, plain) for layer in found)
