"""Pretrain a Chronos-T5 from nothing, on synthetic series alone.

The corpus is `corpora`; the network, its tokens and its loss are those of Chronos-T5 (Ansari et
al., TMLR 2024) as `chronos-forecasting` and `transformers` build them. What is ours is where a short run starts:
the untrained network already forecasts the last value, roughly (see `build`). Without that, a run of
an hour stays on the plateau of the marginal distribution.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chronos import ChronosConfig
from chronos.chronos import ChronosTokenizer
from transformers import T5Config, T5ForConditionalGeneration, set_seed
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseActDense

from loracast.training.pretrain.recipe import ChronosT5Shape, Recipe
from loracast.training.pretrain.windows import CorpusWindows, train_by
from loracast.training.task import Batch


def chronos_config(shape: ChronosT5Shape) -> dict[str, Any]:
    """The `chronos_config` block that a saved model carries and `ChronosPipeline.from_pretrained` reads."""
    return {
        "tokenizer_class": "MeanScaleUniformBins",
        "tokenizer_kwargs": {"low_limit": shape.low_limit, "high_limit": shape.high_limit},
        "context_length": shape.context_length,
        "prediction_length": shape.prediction_length,
        "n_tokens": shape.n_tokens,
        "n_special_tokens": 2,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "use_eos_token": True,
        "model_type": "seq2seq",
        "num_samples": 20,
        "temperature": 1.0,
        # 0 is no truncation: fifty of these fine bins would cut the tails off every wide predictive distribution.
        "top_k": 0,
        "top_p": 1.0,
    }


def build(shape: ChronosT5Shape) -> T5ForConditionalGeneration:
    """A fresh network with random weights (torch's global generator) and an ordered token embedding."""
    config = T5Config(
        vocab_size=shape.n_tokens,
        d_model=shape.d_model,
        d_kv=shape.d_kv,
        d_ff=shape.d_ff,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        relative_attention_num_buckets=shape.distances,
        relative_attention_max_distance=shape.context_length,
        feed_forward_proj="relu",
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        chronos_config=chronos_config(shape),
    )
    net = T5ForConditionalGeneration(config)
    for module in net.modules():
        if isinstance(module, T5Attention):
            _pass_on(module)
            if module.has_relative_attention_bias:
                _look_nearby(module)
        elif isinstance(module, T5DenseActDense):
            torch.nn.init.zeros_(module.wo.weight)
    _order_embedding(net, shape)
    _start_as_persistence(net)
    return net


SHARPNESS = 2.0  # length of the first embeddings: how peaked the untrained network's forecast is
EOS_MARK, START_MARK = -1, -2  # embedding dimensions that tell EOS, and the decoder's start, from every value


@torch.no_grad()
def _order_embedding(net: T5ForConditionalGeneration, shape: ChronosT5Shape) -> None:
    """Start the tokens of values as Fourier features of their bins, and mark EOS and the decoder's start (pad)."""
    tokens = net.get_input_embeddings().weight
    frequencies = shape.d_model // 2 - 1
    centres = torch.linspace(shape.low_limit, shape.high_limit, len(tokens) - 2)
    periods = torch.logspace(math.log10(0.1), math.log10(4 * shape.high_limit), frequencies)
    angle = 2 * math.pi * centres[:, None] / periods[None, :]
    tokens.zero_()
    tokens[2:, : 2 * frequencies] = SHARPNESS * torch.cat([angle.sin(), angle.cos()], dim=1)
    tokens[net.config.eos_token_id, EOS_MARK] = frequencies**0.5
    tokens[net.config.pad_token_id, START_MARK] = frequencies**0.5


@torch.no_grad()
def _pass_on(attention: T5Attention) -> None:
    """Start an attention so that each half of its heads could hand on all it attends to; its output starts at 0."""
    half = attention.inner_dim // 2
    for rows in (slice(0, half), slice(half, None)):
        torch.nn.init.orthogonal_(attention.v.weight[rows])
    attention.o.weight.zero_()


@torch.no_grad()
def _look_nearby(attention: T5Attention) -> None:
    """Start T5's bias by distance as a penalty that differs by head, as in ALiBi (Press et al., ICLR 2022).

    The first half of the heads sees little beyond the previous step, the others look further back, the last one
    everywhere.
    """
    farthest = attention.relative_attention_max_distance
    reach = torch.arange(-farthest, farthest + 1)
    buckets = attention._relative_position_bucket(
        reach,
        bidirectional=not attention.is_decoder,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    near = attention.n_heads // 2
    slopes = torch.tensor([4.0] * near + [0.5**i for i in range(1, attention.n_heads - near)] + [0.0])
    for bucket in buckets.unique():
        distance = reach[buckets == bucket]
        beyond = (distance.abs().min() - 1).clamp(min=0)
        attention.relative_attention_bias.weight[bucket] = -slopes * beyond
        if (distance >= 0).any():  # the step itself, which the residual carries anyhow, and what comes after it
            attention.relative_attention_bias.weight[bucket, :near] -= 4.0


@torch.no_grad()
def _start_as_persistence(net: T5ForConditionalGeneration) -> None:
    """Open one path: last value → EOS (first encoder layer) → start of the decoder (first cross-attention).

    The rest of the network starts at 0, so that training begins at the last value and can only improve on it.
    """
    first, cross = net.encoder.block[0].layer[0].SelfAttention, net.decoder.block[0].layer[1].EncDecAttention
    half, width = first.inner_dim // 2, first.key_value_proj_dim
    for attention in (first, cross):
        attention.o.weight[:, :half] = attention.v.weight[:half].T
    for head in range(attention.n_heads // 2):
        cross.q.weight[head * width].zero_()
        cross.k.weight[head * width].zero_()
        cross.q.weight[head * width, [START_MARK, EOS_MARK]] = 0.3  # EOS stands for a hidden input, see `_teacher`
        cross.k.weight[head * width, EOS_MARK] = 0.3


class SyntheticWindows(CorpusWindows):
    """Windows of the corpus, as tokens."""

    def __init__(self, recipe: Recipe, tokenizer: ChronosTokenizer) -> None:
        super().__init__(recipe)
        self.tokenizer = tokenizer

    def __getitem__(self, index: int) -> Batch:
        drawn = self.drawn(index)
        values = torch.from_numpy(drawn.values)[None]
        ids, mask, scale = self.tokenizer.context_input_transform(values[:, : drawn.context])
        labels, observed, _ = self.tokenizer._input_transform(values[:, drawn.context :], scale)
        labels[~observed] = -100
        if labels.shape[1] == shape_of(self.recipe).prediction_length:
            labels = torch.cat([labels, torch.full((1, 1), self.tokenizer.config.eos_token_id)], dim=1)
        return {
            "input_ids": ids[0],
            "attention_mask": mask[0],
            "labels": labels[0],
            "decoder_input_ids": self._teacher(labels, drawn.of_item)[0],
        }

    def _teacher(self, labels: torch.Tensor, of_item: np.random.Generator) -> torch.Tensor:
        """What the decoder sees: the labels one step late, a random share of them (none to all) hidden behind EOS.

        Where the step before is hidden, the forecast must read the context; otherwise copying it is nearly enough,
        and only the first step of a horizon would teach the rest of the network anything.
        """
        eos, pad = self.tokenizer.config.eos_token_id, self.tokenizer.config.pad_token_id
        late = torch.cat([torch.full((1, 1), pad), labels[:, :-1].masked_fill(labels[:, :-1] < 0, eos)], dim=1)
        share = np.clip(of_item.uniform(-0.3, 1.3), 0, 1)
        hidden = torch.from_numpy(of_item.random(late.shape) < share)
        hidden[:, 0] = False
        return late.masked_fill(hidden, eos)


class SoftLabels:
    """Cross-entropy against labels that are spread over their neighbouring bins (a Gaussian of `width` bins).

    Bins are ordered, which plain cross-entropy does not know: with 2048 of them a run this short sees most bins of
    most contexts never. Padding, missing targets and EOS are not spread. `width` 0 is plain cross-entropy.
    """

    def __init__(self, width: float, special: int) -> None:
        self.special = special
        reach = math.ceil(3 * width)
        self.offsets = torch.arange(-reach, reach + 1)
        weights = torch.exp(-0.5 * (self.offsets / max(width, 1e-3)) ** 2)
        self.weights = weights / weights.sum()

    def __call__(self, output: Any, labels: torch.Tensor) -> torch.Tensor:
        observed = labels >= 0
        if not observed.any():
            nothing: torch.Tensor = output.logits.sum() * 0.0
            return nothing
        chances, targets = output.logits[observed].log_softmax(-1), labels[observed][:, None]
        around = (targets + self.offsets.to(targets.device)).clamp(self.special, chances.shape[-1] - 1)
        around = torch.where(targets < self.special, targets, around)
        loss: torch.Tensor = -(chances.gather(-1, around) * self.weights.to(chances.device)).sum(-1).mean()
        return loss


def pretrain(recipe: Recipe, out: Path, *, resume: bool = False) -> Path:
    """Train by `recipe` and save the weights as `out/model.safetensors`, with the config that Chronos reads."""
    set_seed(recipe.seed)
    shape = shape_of(recipe)
    net = build(shape)
    tokenizer = ChronosConfig(**chronos_config(shape)).create_tokenizer()
    labels = SoftLabels(recipe.training.label_width, special=2)

    def loss(batch: Batch) -> torch.Tensor:
        seen = {name: values for name, values in batch.items() if name != "labels"}
        return labels(net(**seen), batch["labels"])

    def observed(batch: Batch) -> int:
        return int((batch["labels"] >= 0).sum())

    windows = SyntheticWindows(recipe, tokenizer)
    train_by(recipe, net, loss, windows, out, weight=observed, bfloat16=True, resume=resume)
    net.to(torch.float32).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)  # Chronos keeps what it needs in its own block
    return out


def shape_of(recipe: Recipe) -> ChronosT5Shape:
    """The shape of a recipe of this family."""
    if not isinstance(recipe.model, ChronosT5Shape):
        raise TypeError(f"{recipe.name} is a recipe of {recipe.model.family}")
    return recipe.model
