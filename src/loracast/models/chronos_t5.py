"""Chronos-T5: a T5 that reads and writes mean-scaled values as tokens (Ansari et al., TMLR 2024).

Tokens and network are those of `chronos-forecasting` and `transformers`. This file adds what they leave out: a training
loss on windows with gaps, forecasts that depend on their own window and seed alone (`nets/token_paths.py`), and
refusals where the library would cut a context short.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.errors import BackboneError
from loracast.models.base import ModelCard, Sites, check_window, count_parameters
from loracast.models.draws import PATHS_AT_LEAST, Sampler, uniforms, windows_of_paths
from loracast.models.foreign import architectures_of
from loracast.models.registry import PACKAGED, Family, Release, Wanted
from loracast.types import Rows

if TYPE_CHECKING:
    from chronos import ChronosPipeline
    from jaxtyping import Float
    from torch import Tensor
    from transformers import T5ForConditionalGeneration

    from loracast.models.nets.token_paths import Drawing

SITES = Sites(
    attention=r".*\.(SelfAttention|EncDecAttention)\.[qkvo]",
    query_value=r".*\.(SelfAttention|EncDecAttention)\.[qv]",
    key_value=r".*\.(SelfAttention|EncDecAttention)\.[kv]",
    feed_forward=r".*\.DenseReluDense\.w[io]",
    feed_forward_out=r".*\.DenseReluDense\.wo",
    norm=r".*layer_norm",
    head=r"lm_head",
)
_MOST_KEPT_ON_GPU = 2**30  # numbers: 4 GB of keys and values
IGNORED = -100  # the label that torch's cross-entropy skips


class ChronosT5(Sampler):
    """A loaded Chronos-T5."""

    def __init__(self, card: ModelCard, pipeline: ChronosPipeline) -> None:
        self.card = card
        self.sites = SITES
        self._pipeline = pipeline

    @property
    def net(self) -> T5ForConditionalGeneration:
        """The T5 network."""
        return self._pipeline.model.model

    def windows_a_pass(self, samples: int) -> int:
        """As many as make up the paths that fill a processor; on a GPU as many as their keys and values allow."""
        from loracast.models.nets.token_paths import numbers_of_path

        if self.net.device.type == "cpu":
            return windows_of_paths(samples)
        config = self._pipeline.model.config
        kept = numbers_of_path(self.net, config.prediction_length)
        return int(min(64, max(1, _MOST_KEPT_ON_GPU // (PATHS_AT_LEAST * kept))))

    def save(self, folder: Path) -> None:
        """Write the network to a folder.

        A head that has been given weights of its own takes the scale of the decoder's output into them: transformers
        scales only where head and embedding are one, and says so by one entry of the config.
        """
        import torch

        net = self.net
        if net.lm_head.weight is not net.shared.weight and net.config.scale_decoder_outputs:
            with torch.no_grad():
                net.lm_head.weight.mul_(net.model_dim**-0.5)
            net.config.scale_decoder_outputs = net.config.tie_word_embeddings = False
        net.save_pretrained(folder)

    def loss(
        self,
        context: Float[Tensor, "batch context"],
        future: Float[Tensor, "batch horizon"],
        rows: Rows | None = None,
    ) -> Tensor:
        """Token cross-entropy of the future under teacher forcing, mean over the observed steps of the batch.

        A missing context value becomes a pad token that attention does not see; a missing target is not scored. The
        closing EOS label is scored only at the model's native horizon, where pretraining has put it: sampling never
        emits it, and at another horizon it would be the first thing that an adapter learns. Of a longer horizon the
        native one is scored, because that is what one pass of the forecast draws.
        """
        import torch

        check_window(self.card, context.shape[1])
        config = self._pipeline.model.config
        future = future[:, : config.prediction_length]
        # The tokenizer's tables live on the CPU.
        ids, mask, scale = self._pipeline.tokenizer.context_input_transform(context.cpu())
        labels, observed, _ = self._pipeline.tokenizer._input_transform(future.cpu(), scale)
        labels[~observed] = IGNORED
        if config.use_eos_token and future.shape[1] == config.prediction_length:
            labels = torch.cat([labels, torch.full((len(labels), 1), config.eos_token_id)], dim=1)
        device = self.net.device
        sent = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        # Nothing is decoded step by step here, so that keys and values need not be kept.
        out = self.net(**{name: values.to(device) for name, values in sent.items()}, use_cache=False)
        loss: Tensor = out.loss
        return loss

    def counted(self, context: Float[Tensor, "batch context"], future: Float[Tensor, "batch horizon"]) -> int:
        """How many labels the loss of such a batch is the mean over."""
        config = self._pipeline.model.config
        future = future[:, : config.prediction_length]
        closed = config.use_eos_token and future.shape[1] == config.prediction_length
        return int((~future.isnan()).sum()) + (len(future) if closed else 0)

    def paths(
        self,
        context: Float[Tensor, "batch context"],
        horizon: int,
        *,
        samples: int,
        seed: int,
        rows: Rows | None = None,
    ) -> Float[Tensor, "batch sample horizon"]:
        """Sample paths, a number from [0, 1) a step; beyond the native horizon they go on from the median path."""
        import torch

        from loracast.models.nets.token_paths import sample_tokens

        check_window(self.card, context.shape[1])
        numbers = uniforms(seed, len(context), context.shape[1], rows, (samples, horizon))
        context = context.cpu()
        tokenizer, drawing, blocks = self._pipeline.tokenizer, self._drawing(), []
        for some in numbers.split(self._pipeline.model.config.prediction_length, dim=2):  # type: ignore[no-untyped-call]
            ids, mask, scale = tokenizer.context_input_transform(context)
            device = self.net.device
            tokens = sample_tokens(self.net, ids.to(device), mask.to(device), some, drawing)
            blocks.append(tokenizer.output_transform(tokens.cpu(), scale))
            context = torch.cat([context, blocks[-1].median(dim=1).values], dim=1)
        return torch.cat(blocks, dim=2)

    def _drawing(self) -> Drawing:
        """Which tokens the library lets `transformers` draw: no EOS, then what the config leaves of the others."""
        import torch
        from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        from loracast.models.nets.token_paths import Drawing

        config = self._pipeline.model.config
        none = torch.empty(0)
        warpers = [
            *([TemperatureLogitsWarper(config.temperature)] if config.temperature != 1 else []),
            *([TopKLogitsWarper(config.top_k)] if config.top_k else []),
            *([TopPLogitsWarper(config.top_p)] if config.top_p < 1 else []),
        ]

        def warp(scores: Tensor) -> Tensor:
            for one in warpers:
                scores = one(none, scores)
            return scores

        return Drawing(config.eos_token_id, warp, config.top_k or 0)

    def token_width(self, context: Float[Tensor, "batch context"]) -> Float[Tensor, " batch"]:
        """The width of a token in the units of each window: nothing finer is told apart, nor forecast."""
        centers = self._pipeline.tokenizer.centers
        _, _, scale = self._pipeline.tokenizer.context_input_transform(context.cpu())
        width: Tensor = scale * (centers[1] - centers[0])
        return width


def load(wanted: Wanted) -> ChronosT5:
    """Load weights from a folder, the Hub or its cache; raises BackboneError with what to do next."""
    from transformers import T5Config, T5ForConditionalGeneration

    from loracast.models.store import BAD_CONFIG, bad_config, open_network

    location = wanted.weights
    # Not ChronosPipeline.from_pretrained: it keeps to itself which weights a file lacks, and those would be random.
    opened = open_network(T5ForConditionalGeneration, T5Config, location, wanted.revision, FAMILY.name)
    from chronos import ChronosConfig, ChronosPipeline  # seconds: weights that are not there have been told by now
    from chronos.chronos import ChronosModel

    try:
        config = ChronosConfig(**opened.net.config.chronos_config)
    except BAD_CONFIG as error:
        raise BackboneError(bad_config(location, FAMILY.name, error)) from error
    if config.n_tokens != opened.net.config.vocab_size:
        raise BackboneError(
            f"{location} has {config.n_tokens:,} tokens by its config.json, but a network of "
            f"{opened.net.config.vocab_size:,}. The two do not belong together; save or download the model again."
        )
    if config.model_type != "seq2seq":
        raise BackboneError(f"{location} is a causal Chronos; the family {FAMILY.name} is encoder-decoder only.")
    # After the tokens are known to be those of the weights: a tokenizer holds a table of them.
    pipeline = ChronosPipeline(tokenizer=config.create_tokenizer(), model=ChronosModel(config, opened.net))
    return ChronosT5(_card(wanted.name, pipeline, wanted.licence, opened.commit), pipeline)


def skeleton(name: str, sizes: Mapping[str, Any], licence: str) -> ChronosT5:
    """The architecture without weights, on the meta device."""
    import torch
    from chronos import ChronosConfig, ChronosPipeline
    from chronos.chronos import ChronosModel
    from transformers import T5Config, T5ForConditionalGeneration

    chronos_config = ChronosConfig(
        tokenizer_class="MeanScaleUniformBins",
        tokenizer_kwargs={"low_limit": -15.0, "high_limit": 15.0},
        context_length=512,
        prediction_length=64,
        n_tokens=sizes["vocab_size"],
        n_special_tokens=2,
        pad_token_id=0,
        eos_token_id=1,
        use_eos_token=True,
        model_type="seq2seq",
        num_samples=20,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
    )
    with torch.device("meta"):
        net = T5ForConditionalGeneration(T5Config(**sizes, chronos_config=dataclasses.asdict(chronos_config)))
    model = ChronosModel(chronos_config, net)
    pipeline = ChronosPipeline(tokenizer=chronos_config.create_tokenizer(), model=model)
    return ChronosT5(_card(name, pipeline, licence, None), pipeline)


def _card(name: str, pipeline: ChronosPipeline, licence: str, revision: str | None) -> ModelCard:
    net, config = pipeline.model.model, pipeline.model.config
    return ModelCard(
        name=name,
        family=FAMILY.name,
        kind="pretrained",
        parameters=count_parameters(net),
        context=config.context_length,
        horizon=config.prediction_length,
        licence=licence,
        revision=revision,
    )


def is_chronos(content: Mapping[str, Any], network: str) -> bool:
    """Whether a config.json is that of a Chronos whose network is of the class `network`."""
    return "chronos_config" in content and network in architectures_of(content)


def _release(size: str, d_model: int, d_ff: int, layers: int, heads: int) -> Release:
    # Ansari et al. (TMLR 2024), section 5.2: T5-efficient bodies with a vocabulary of 4096; heads are 64 wide.
    sizes = {"d_model": d_model, "d_kv": 64, "d_ff": d_ff, "num_layers": layers, "num_heads": heads, "vocab_size": 4096}
    return Release(f"amazon/chronos-t5-{size}", "Apache-2.0", sizes)


FAMILY = Family(
    name="chronos-t5",
    kind="pretrained",
    summary="a T5 that reads and writes mean-scaled values as tokens",
    releases={
        "chronos-t5-nano": Release(
            PACKAGED / "chronos-t5-nano",
            "Apache-2.0",
            {
                "d_model": 128,
                "d_kv": 16,
                "d_ff": 256,
                "num_layers": 2,
                "num_heads": 8,
                "vocab_size": 2048,
                "relative_attention_num_buckets": 128,
            },
        ),
        "chronos-t5-tiny": _release("tiny", 256, 1024, 4, 4),
        "chronos-t5-mini": _release("mini", 384, 1536, 4, 8),
        "chronos-t5-small": _release("small", 512, 2048, 6, 8),
        "chronos-t5-base": _release("base", 768, 3072, 12, 12),
        "chronos-t5-large": _release("large", 1024, 4096, 24, 16),
    },
    load=load,
    skeleton=skeleton,
    sites=SITES,
    owns=lambda content: is_chronos(content, "T5ForConditionalGeneration"),
    packages=("chronos-forecasting", "torch", "transformers"),
)
