"""The files of a saved model: whatever is missing, damaged or of another network is named, and nothing is made up."""

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from loracast.errors import BackboneError
from loracast.models.registry import load_backbone
from tests.models.conftest import weights_of


def config_of(folder: Path, **changed: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **changed}))


def save_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_config_that_is_not_json_is_refused(copied):
    (copied / "config.json").write_text("{")
    with pytest.raises(BackboneError, match=r"config\.json .*is not JSON"):
        load_backbone(str(copied))


def test_a_causal_chronos_is_refused(copied):
    chronos = json.loads((copied / "config.json").read_text())["chronos_config"]
    config_of(copied, chronos_config={**chronos, "model_type": "causal"})
    with pytest.raises(BackboneError, match="encoder-decoder only"):
        load_backbone(str(copied))


def test_a_chronos_block_that_lacks_a_key_is_refused(copied):
    config_of(copied, chronos_config={"context_length": 48})
    with pytest.raises(BackboneError, match=r"cannot be loaded as a chronos-t5: .*tokenizer_class: Field required"):
        load_backbone(str(copied))


def test_a_truncated_weight_file_is_refused(copied):
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BackboneError, match=r"cannot be read as safetensors.*cut short"):
        load_backbone(str(copied))


def test_a_missing_weight_file_is_refused(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"holds no model\.safetensors"):
        load_backbone(str(copied))


def test_a_missing_weight_is_named_and_never_made_up(copied):
    weights = weights_of(copied)
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    del weights[name]
    save_weights(copied, weights)
    with pytest.raises(BackboneError, match=rf"lacks {re.escape(name)} \(1 in all\)"):
        load_backbone(str(copied))


def test_weights_of_a_deeper_network_are_not_dropped(copied):
    config_of(copied, num_layers=1)
    with pytest.raises(BackboneError, match=r"beyond its config, .*encoder\.block\.1"):
        load_backbone(str(copied))


def test_weights_of_another_width_are_refused(copied):
    config_of(copied, d_ff=48)
    with pytest.raises(BackboneError, match=r"DenseReluDense\.wi"):
        load_backbone(str(copied))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"d_model": "16"}, "d_model: Input should be a valid integer"),
        ({"d_model": -16}, "d_model: Input should be greater than or equal to 1"),
        ({"num_layers": 10**9}, "1,000,000,002 layers by its config.json, but .* tensors"),
        ({"vocab_size": 10**9}, "the file .*has in another shape shared.weight"),
        ({"dropout_rate": None}, "dropout_rate: Input should be a valid number"),
        ({"architectures": 5}, "holds a model of unknown architecture"),
        ({"chronos_config": 5}, "chronos_config: Input should be a valid dictionary"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "holds quantized weights"),
    ],
)
def test_sizes_of_another_type_or_beyond_the_weights_are_refused_before_anything_is_built(copied, changed, told):
    config_of(copied, **changed)
    with pytest.raises(BackboneError, match=told):
        load_backbone(str(copied))


def test_tokens_that_the_weights_do_not_have_are_refused_before_a_table_of_them_is_made(copied):
    chronos = json.loads((copied / "config.json").read_text())["chronos_config"]
    config_of(copied, chronos_config={**chronos, "n_tokens": 10**9})
    with pytest.raises(BackboneError, match=r"1,000,000,000 tokens by its config\.json, but a network of 64"):
        load_backbone(str(copied))


def test_only_what_shapes_the_network_reaches_a_loader(copied, tiny):
    (copied / "generation_config.json").write_text('{"repetition_penalty": 7.0}')
    strange = {"_attn_implementation": "flash_attention_3", "auto_map": {"AutoModel": "evil.Model"}, "num_beams": 9}
    config_of(copied, torch_dtype="float8", use_cache=False, attn_implementation="nowhere", **strange)
    given, plain = load_backbone(str(copied)).net, load_backbone(str(tiny)).net
    assert given.config.to_dict() == plain.config.to_dict()
    assert given.generation_config.to_dict() == plain.generation_config.to_dict()
    assert given.config._attn_implementation == plain.config._attn_implementation


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite_is_named(copied, broken):
    weights = weights_of(copied)
    weights["shared.weight"][0, 0] = broken
    save_weights(copied, weights)
    with pytest.raises(BackboneError, match=r"1 of 1,024 numbers of shared\.weight that are not finite"):
        load_backbone(str(copied))


def test_a_tokenizer_of_another_name_is_never_looked_up(copied):
    chronos = json.loads((copied / "config.json").read_text())["chronos_config"]
    config_of(copied, chronos_config={**chronos, "tokenizer_class": "BaseChronosPipeline"})
    with pytest.raises(BackboneError, match="tokenizer_class: Input should be 'MeanScaleUniformBins'"):
        load_backbone(str(copied))
