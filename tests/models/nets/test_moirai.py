"""MOIRAI's network: published names, upstream's numbers, and configs that are refused."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from loracast.errors import BackboneError
from loracast.models.nets.mixture import FixedNormal, StudentT
from loracast.models.nets.moirai import MoiraiConfig, MoiraiNet
from loracast.models.nets.packing import Packed, arrange, pack

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "moirai"
OFFICIAL = json.loads((GOLDEN / "official_tensors.json").read_text())
PUBLISHED = json.loads((GOLDEN / "all-patches" / "config.json").read_text())
NAN = float("nan")


@pytest.fixture(scope="module")
def net() -> MoiraiNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MoiraiNet(MoiraiConfig(d_model=64, num_layers=2, patch_sizes=(8, 4, 16))).eval()


@pytest.fixture
def parity(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("parity")


def packed(variates: int = 1, patch: int = 8, steps: int = 40, samples: int = 2, seed: int = 0) -> Packed:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(samples * variates, steps + 12, generator=generator).cumsum(dim=1)
    group = torch.arange(samples).repeat_interleave(variates)
    series, _ = arrange(values[:, :steps], values[:, steps:], group)
    return pack(series, patch)


@pytest.mark.parametrize("size", OFFICIAL)
def test_names_and_shapes_are_those_of_the_published_weights(size):
    official = OFFICIAL[size]
    with torch.device("meta"):
        net = MoiraiNet(MoiraiConfig(official["d_model"], official["num_layers"]))
    assert {name: list(tensor.shape) for name, tensor in net.state_dict().items()} == official["tensors"]
    assert sum(p.numel() for p in net.parameters()) == official["parameters"]


def test_every_reference_tensor_of_upstream_is_met_to_a_hundred_thousandth(parity, capsys):
    parity.main(["moirai", str(GOLDEN)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["case"].split("/")[0] for line in lines} == {"all-patches", "two-heads"}
    assert len(lines) == 82
    # A density beside the spike of width 0.001 shows the last bit of every sum before it: on processors that sum in
    # another order than the reference's did (one maker's AVX-512 differs from another's), upstream's own would differ
    # by as much.
    assert all(line["max_rel_error"] <= (5e-4 if line["tensor"] == "log_prob" else 1e-5) for line in lines)


def test_parity_tells_a_difference_from_input_that_it_cannot_compare(parity, tmp_path, capsys):
    assert parity.main(["moirai", str(GOLDEN / "two-heads"), "--tolerance", "0"]) == 1
    assert parity.main(["moirai", str(tmp_path)]) == 2
    (tmp_path / "config.json").write_text(json.dumps({**PUBLISHED, "d_model": 65}))
    assert parity.main(["moirai", str(tmp_path)]) == 2
    assert "multiple of 64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ours", "reference", "found"),
    [
        ([1.0, -torch.inf], [1.0, -torch.inf], (0.0, 0.0)),
        ([1.0, 2.0], [1.0, 4.0], (2.0, 0.5)),
        ([1.0, NAN], [1.0, 4.0], (None, None)),
        ([1.0], [1.0, 4.0], (None, None)),
    ],
)
def test_an_error_is_relative_to_the_largest_magnitude(parity, ours, reference, found):
    assert parity.errors(torch.tensor(ours), torch.tensor(reference)) == found


@torch.no_grad()
def test_reading_only_the_horizon_is_reading_a_part_of_the_whole(net):
    batch = packed(variates=2)
    whole, part = net(batch, start=0, steps=16).raw, net(batch).raw
    torch.testing.assert_close(part, whole[:, batch.past :, : batch.patch], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_order_of_the_variates_changes_nothing_but_their_order(net):
    values = torch.randn(2, 52, generator=torch.Generator().manual_seed(1)).cumsum(dim=1)
    one, other = (
        net(pack(arrange(v[:, :40], v[:, 40:], torch.zeros(2, dtype=torch.long))[0], 8)).raw
        for v in (values, values.flip(0))
    )
    first, second = one.chunk(2, dim=1)
    torch.testing.assert_close(torch.cat([second, first], dim=1), other, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_second_variate_is_seen(net):
    values = torch.randn(2, 52, generator=torch.Generator().manual_seed(1)).cumsum(dim=1)
    joint = net(pack(arrange(values[:, :40], values[:, 40:], torch.zeros(2, dtype=torch.long))[0], 8)).raw
    alone = net(pack(arrange(values[:, :40], values[:, 40:], None)[0], 8)).raw
    assert not torch.allclose(joint[:, :2], alone[:1], atol=1e-3)


@torch.no_grad()
def test_the_future_never_reaches_the_network(net):
    batch = packed()
    spoiled = torch.where(batch.forecast[..., None], NAN, batch.values)
    assert torch.equal(net(batch).raw, net(Packed(**{**vars(batch), "values": spoiled})).raw)


def test_weights_that_a_patch_size_does_not_reach_start_at_zero_and_stay_there(net):
    net.zero_grad()
    net(packed(patch=4)).raw.sum().backward()
    logits = net.param_proj["proj"].weights_logits
    small = net.settings.patch_sizes.index(4)
    for tensor in (logits.weight.detach(), logits.weight.grad):
        assert tensor[small, : 4 * 4].any()
        assert not tensor[small, 4 * 4 :].any()
    assert logits.bias.grad[small, 16 : 16 + 4].any()  # the bias of a row without weights is used and trained
    assert not net.in_proj.weight.detach()[small, :, 4:].any()
    net.zero_grad()


def test_a_patch_size_without_weights_is_refused(net):
    with pytest.raises(BackboneError, match="No weights for patch size 5; this MOIRAI has 8, 4, 16"):
        net(packed(patch=5))


def test_a_config_is_written_as_it_was_read():
    config = MoiraiConfig.read(PUBLISHED)
    assert MoiraiConfig.read(json.loads(json.dumps(config.as_json()))) == config
    assert config == MoiraiConfig(d_model=64, num_layers=2)


def test_the_order_of_patch_sizes_and_the_width_of_the_spike_are_taken_from_the_config():
    output = {**PUBLISHED["distr_output"]}
    output["components"] = [{**output["components"][1], "scale": 0.01}, output["components"][0]]
    config = MoiraiConfig.read({**PUBLISHED, "patch_sizes": [16, 8], "distr_output": output})
    assert config.patch_sizes == (16, 8)
    assert config.families == (FixedNormal(0.01), StudentT())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"d_model": 100}, "multiple of 64"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"num_layers": "2"}, "num_layers is '2'"),
        ({"patch_sizes": [8, 8]}, "different sizes"),
        ({"patch_sizes": 8}, "list of sizes"),
        ({"dropout_p": None}, "dropout_p is None"),
        ({"distr_output": {"_target_": "os.system", "components": []}}, "'os.system'"),
        ({"distr_output": None}, "MixtureOutput only"),
        ({"distr_output": {**PUBLISHED["distr_output"], "components": []}}, "no components"),
        (
            {"distr_output": {**PUBLISHED["distr_output"], "components": [{"_target_": "a.B"}]}},
            "unknown distribution 'a.B'",
        ),
        (
            {
                "distr_output": {
                    **PUBLISHED["distr_output"],
                    "components": [{**PUBLISHED["distr_output"]["components"][1], "scale": -1}],
                }
            },
            "above 0",
        ),
    ],
)
def test_a_config_that_cannot_be_built_is_refused_with_the_reason(changed, said):
    with pytest.raises(BackboneError, match=said):
        MoiraiConfig.read({**PUBLISHED, **changed})


def test_a_config_of_another_generation_is_refused_with_what_it_lacks():
    with pytest.raises(BackboneError, match="lacks patch_sizes, distr_output"):
        MoiraiConfig.read({k: v for k, v in PUBLISHED.items() if k not in ("patch_sizes", "distr_output")})
