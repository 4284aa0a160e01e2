"""MOIRAI 1.0 and 1.1: a masked encoder over patches of any number of variates (Woo et al., ICML 2024).

The network alone, with the tensor names of the published weights: from packed tokens to the raw numbers of a
predictive mixture. `packing` makes the tokens, `mixture` reads the numbers.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from loracast.errors import BackboneError
from loracast.models.nets.mixture import PUBLISHED, Family, Mixture, read_families, write_families
from loracast.models.nets.packing import Packed
from loracast.models.store import save_network

HEAD_WIDTH = 64
_ROTATED = HEAD_WIDTH // 2
_EPS = 1e-5


@dataclass(frozen=True)
class MoiraiConfig:
    """What a published config.json says; the defaults are those that all released sizes share.

    The order of `patch_sizes` is the order of the patch-specific weights. Raises BackboneError for sizes that cannot
    be built.
    """

    d_model: int
    num_layers: int
    patch_sizes: tuple[int, ...] = (8, 16, 32, 64, 128)
    max_seq_len: int = 512
    attn_dropout_p: float = 0.0
    dropout_p: float = 0.0
    scaling: bool = True
    families: tuple[Family, ...] = PUBLISHED

    def __post_init__(self) -> None:
        for name in ("d_model", "num_layers", "max_seq_len"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise BackboneError(f"{name} is {value!r} in a MOIRAI config; it must be a whole number from 1.")
        if self.d_model % HEAD_WIDTH:
            raise BackboneError(
                f"d_model is {self.d_model} in a MOIRAI config; it must be a multiple of {HEAD_WIDTH}, the width of a "
                "head (released: 384, 768, 1024)."
            )
        sizes = self.patch_sizes
        if not sizes or len(set(sizes)) < len(sizes) or any(type(p) is not int or p < 1 for p in sizes):
            raise BackboneError(
                f"patch_sizes is {list(sizes)} in a MOIRAI config; it must list different sizes from 1."
            )
        for name in ("attn_dropout_p", "dropout_p"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise BackboneError(f"{name} is {getattr(self, name)} in a MOIRAI config; it must be in [0, 1).")

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        return self.d_model // HEAD_WIDTH

    @property
    def hidden(self) -> int:
        """Width of a feed-forward layer: two thirds of four times `d_model`, up to a multiple of 8."""
        return 8 * ((self.d_model * 8 // 3 + 7) // 8)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "MoiraiConfig":
        """A published config; raises BackboneError where a key is missing or names an unknown distribution."""
        keys = [field.name for field in dataclasses.fields(cls) if field.name != "families"]
        lacks = [key for key in (*keys, "distr_output") if key not in content]
        if lacks:
            raise BackboneError(
                f"The config of a MOIRAI 1.x lacks {', '.join(lacks)}. Save or download the model again; other MOIRAI "
                "generations have other keys and are not read."
            )
        sizes = content["patch_sizes"]
        if not isinstance(sizes, list):
            raise BackboneError(f"patch_sizes is {sizes!r} in a MOIRAI config; it must be a list of sizes.")
        settings = {key: content[key] for key in keys} | {"patch_sizes": tuple(sizes)}
        return cls(**settings, families=read_families(content["distr_output"]))

    def as_json(self) -> dict[str, Any]:
        """The config as published ones are written."""
        content = {key: value for key, value in vars(self).items() if key != "families"}
        return {**content, "patch_sizes": list(self.patch_sizes), "distr_output": write_families(self.families)}


@dataclass(frozen=True)
class _Sight:
    """What the attention of every layer needs to know of the tokens; computed once a pass."""

    cos: Float[Tensor, "sample 1 token pair"]
    sin: Float[Tensor, "sample 1 token pair"]
    same_variate: Int[Tensor, "#token #token"]
    """1 where two tokens are of one variate, else 0; [1, 1] where all are."""
    hidden: Bool[Tensor, "sample 1 token token"] | None
    """Pairs of different samples, or of a sample and padding; None where there are none."""

    @classmethod
    def of(cls, packed: Packed, dtype: torch.dtype) -> "_Sight":
        # Su et al., 2021: adjacent pairs turn by position / 10000^(2i/n); here only half of a head turns.
        rate = 1.0 / torch.pow(10000.0, torch.arange(0, _ROTATED, 2, device=packed.time_id.device) / _ROTATED)
        angle = packed.time_id[:, None, :, None] * rate
        variate = packed.variate_id[0] if packed.variates > 1 else packed.variate_id[0, :1]
        same = (variate[:, None] == variate).long()
        hidden = packed.sample_id[:, None, :, None] != packed.sample_id[:, None, None, :]
        return cls(angle.cos().to(dtype), angle.sin().to(dtype), same, hidden if bool(hidden.any()) else None)

    def turn(self, x: Float[Tensor, "sample head token width"], start: int) -> Float[Tensor, "sample head token width"]:
        """Rotate queries or keys by the time of their tokens, of which the first is number `start`."""
        cos, sin = self.cos[:, :, start:], self.sin[:, :, start:]
        even, odd = x[..., 0:_ROTATED:2], x[..., 1:_ROTATED:2]
        turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)
        return torch.cat([turned, x[..., _ROTATED:]], dim=-1)


class _PatchIn(nn.Module):
    """A patch of standardised values to a token, with weights of their own for each patch size."""

    def __init__(self, config: MoiraiConfig) -> None:
        super().__init__()
        sizes, largest = len(config.patch_sizes), max(config.patch_sizes)
        self.weight = nn.Parameter(torch.zeros(sizes, config.d_model, largest))
        self.bias = nn.Parameter(torch.zeros(sizes, config.d_model))
        for weight, patch in zip(self.weight.detach(), config.patch_sizes, strict=True):
            nn.init.uniform_(weight[:, :patch], -1 / math.sqrt(patch), 1 / math.sqrt(patch))

    def forward(self, x: Float[Tensor, "sample token step"], size: int) -> Float[Tensor, "sample token model"]:
        """`size` is the place of the patch size in the config."""
        return functional.linear(x.to(self.weight.dtype), self.weight[size, :, : x.shape[-1]], self.bias[size])


class _PatchOut(nn.Module):
    """A token to `width` raw numbers a step, with weights of their own for each patch size.

    Rows are ordered by number, then by step. Of a patch size p the first `width * p` rows have weights, whatever
    number they belong to, and all have biases: with p below the largest size, the later numbers of a step hang on
    their bias alone. So were the published weights trained.
    """

    def __init__(self, config: MoiraiConfig, width: int) -> None:
        super().__init__()
        sizes, self.width, self.largest = config.patch_sizes, width, max(config.patch_sizes)
        self.weight = nn.Parameter(torch.zeros(len(sizes), width * self.largest, config.d_model))
        self.bias = nn.Parameter(torch.zeros(len(sizes), width * self.largest))
        bound = 1 / math.sqrt(config.d_model)
        for weight, patch in zip(self.weight.detach(), sizes, strict=True):
            nn.init.uniform_(weight[: width * patch], -bound, bound)

    def forward(
        self, x: Float[Tensor, "sample token model"], size: int, patch: int, steps: int
    ) -> Float[Tensor, "sample token step number"]:
        """Raw numbers of the first `steps` steps, in float32 whatever the precision of the network."""
        weight = self.weight[size].reshape(self.width, self.largest, -1)[:, :steps]
        bias = self.bias[size].reshape(self.width, self.largest)[:, :steps]
        row = torch.arange(self.width * self.largest, device=x.device).reshape(self.width, self.largest)
        weight = torch.where((row[:, :steps] < self.width * patch)[..., None], weight, 0.0)
        with torch.autocast(x.device.type, enabled=False):
            out = functional.linear(x.float(), weight.flatten(0, 1).float(), bias.flatten().float())
        return out.reshape(*out.shape[:-1], self.width, steps).transpose(-1, -2)


class _Heads(nn.Module):
    """A token to the raw numbers of a mixture for each of its steps."""

    def __init__(self, config: MoiraiConfig) -> None:
        super().__init__()
        self.weights_logits = _PatchOut(config, len(config.families))
        self.components = nn.ModuleList(
            nn.ModuleDict({head: _PatchOut(config, 1) for head in family.heads}) for family in config.families
        )

    def forward(
        self, x: Float[Tensor, "sample token model"], size: int, patch: int, steps: int
    ) -> Float[Tensor, "sample token step number"]:
        parts = [self.weights_logits, *(head for component in self.components for head in component.values())]  # type: ignore[operator]
        return torch.cat([part(x, size, patch, steps) for part in parts], dim=-1)


class _VariateBias(nn.Module):
    """What a head adds to the attention between tokens of different variates (row 0) and of one (row 1)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(2, heads)

    def forward(self, same: Int[Tensor, "query key"]) -> Float[Tensor, "head query key"]:
        bias: Tensor = self.emb(same)
        return bias.permute(2, 0, 1)


class _Attention(nn.Module):
    """Attention of all tokens of a sample to each other, in both directions of time and across variates."""

    def __init__(self, config: MoiraiConfig) -> None:
        super().__init__()
        self.dropout = config.attn_dropout_p
        self.var_attn_bias = _VariateBias(config.heads)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(config.d_model, config.d_model, bias=False) for _ in range(4)
        )
        self.q_norm, self.k_norm = nn.RMSNorm(HEAD_WIDTH, eps=_EPS), nn.RMSNorm(HEAD_WIDTH, eps=_EPS)

    def forward(
        self, x: Float[Tensor, "sample token model"], sight: _Sight, start: int
    ) -> Float[Tensor, "sample read model"]:
        """The tokens from number `start` on look at all tokens."""
        # In float32 also under autocast: a norm in bfloat16 loses what the rotation is about to mix.
        q = self.q_norm(_by_head(self.q_proj(x[:, start:])).to(self.q_norm.weight.dtype))
        k = self.k_norm(_by_head(self.k_proj(x)).to(self.k_norm.weight.dtype))
        v = _by_head(self.v_proj(x))
        # Written out, each side scaled by the root of 1/8 and the bias always added, because that is how upstream
        # rounds: a spike of width 0.001 in the mixture turns the last bit of a fused kernel into 1e-3 of log-density.
        root = HEAD_WIDTH**-0.25
        logits = (sight.turn(q, start) * root) @ (sight.turn(k, 0) * root).transpose(-1, -2)
        logits = logits + self.var_attn_bias(sight.same_variate[start if len(sight.same_variate) > 1 else 0 :])
        if sight.hidden is not None:
            logits = logits.masked_fill(sight.hidden[:, :, start:], -torch.inf)
        seen = functional.dropout(logits.softmax(dim=-1), self.dropout, self.training) @ v
        out: Tensor = self.out_proj(seen.transpose(1, 2).flatten(-2))
        return out


def _by_head(x: Float[Tensor, "sample token model"]) -> Float[Tensor, "sample head token width"]:
    """Features as heads: contiguous blocks of 64."""
    return x.reshape(*x.shape[:2], -1, HEAD_WIDTH).transpose(1, 2)


class _FeedForward(nn.Module):
    """A gated feed-forward layer (Shazeer, 2020: SwiGLU)."""

    def __init__(self, config: MoiraiConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.hidden, bias=False)
        self.fc_gate = nn.Linear(config.d_model, config.hidden, bias=False)
        self.fc2 = nn.Linear(config.hidden, config.d_model, bias=False)

    def forward(self, x: Float[Tensor, "sample token model"]) -> Float[Tensor, "sample token model"]:
        out: Tensor = self.fc2(functional.silu(self.fc_gate(x)) * self.fc1(x))
        return out


class _Layer(nn.Module):
    def __init__(self, config: MoiraiConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.ffn = _FeedForward(config)
        self.norm1, self.norm2 = nn.RMSNorm(config.d_model, eps=_EPS), nn.RMSNorm(config.d_model, eps=_EPS)
        self.dropout = nn.Dropout(config.dropout_p)

    def forward(
        self, x: Float[Tensor, "sample token model"], sight: _Sight, start: int
    ) -> Float[Tensor, "sample read model"]:
        x = x[:, start:] + self.dropout(self.self_attn(self.norm1(x), sight, start))
        out: Tensor = x + self.dropout(self.ffn(self.norm2(x)))
        return out


class _Encoder(nn.Module):
    def __init__(self, config: MoiraiConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.d_model, eps=_EPS)

    def forward(
        self, x: Float[Tensor, "sample token model"], sight: _Sight, start: int
    ) -> Float[Tensor, "sample read model"]:
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            # Nobody reads what the last layer makes of the tokens before `start`.
            x = layer(x, sight, start if number == last else 0)
        out: Tensor = self.norm(x)
        return out


class MoiraiNet(nn.Module):
    """The network of MOIRAI 1.x. Dropout, 0 in all released models, acts in training only."""

    def __init__(self, config: MoiraiConfig) -> None:
        super().__init__()
        self.settings = config
        self.mask_encoding = nn.Embedding(1, config.d_model)
        self.in_proj = _PatchIn(config)
        self.encoder = _Encoder(config)
        self.param_proj = nn.ModuleDict({"proj": _Heads(config)})

    def forward(self, packed: Packed, *, start: int | None = None, steps: int | None = None) -> Mixture:
        """The predictive mixture of standardised values: entries are [sample, token, step].

        Tokens count from `start` (default: the first of the horizon), steps up to `steps` (default: the patch size;
        those beyond it are never used, but the published form has them). Raises BackboneError for a patch size that
        the network has no weights for.
        """
        config = self.settings
        if packed.patch not in config.patch_sizes:
            raise BackboneError(
                f"No weights for patch size {packed.patch}; this MOIRAI has {', '.join(map(str, config.patch_sizes))}."
            )
        size, past = config.patch_sizes.index(packed.patch), packed.past
        seen = (packed.values[:, :past] - packed.loc[:, :past, None]) / packed.scale[:, :past, None]
        tokens = self.in_proj(seen, size)
        asked = self.mask_encoding.weight.expand(len(tokens), packed.values.shape[1] - past, -1)
        tokens = torch.cat([tokens, asked], dim=1)
        read = self.encoder(tokens, _Sight.of(packed, tokens.dtype), past if start is None else start)
        raw = self.param_proj["proj"](read, size, packed.patch, packed.patch if steps is None else steps)
        return Mixture(config.families, raw)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors as published, each whole or not at all."""
        save_network(self, self.settings.as_json(), folder)
