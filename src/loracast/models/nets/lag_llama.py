"""Lag-Llama: a causal transformer over time steps whose inputs are lagged values (Rasul et al., arXiv 2310.08278).

One token is one time step of one series. It carries the step's own value and older ones (the lags), the series' level
and spread, and the step's time; from it the network predicts a Student-t distribution of the next step. Module names
are those of the published weights, so that they load strictly.
"""

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from loracast.errors import BackboneError
from loracast.models.store import save_network

MODEL_TYPE = "lag-llama"
SCALINGS = ("robust", "std", "mean", None)
ROTARIES = ("linear", "dynamic", "nope")
TIME_FEATURES = 6
_NO_SCALING = ("none", "nop")
_MOST_OF = {"n_layer": 512, "n_head": 1024, "n_embd_per_head": 4096}
_ROTARY_BASE = 10_000.0
NORM_FLOOR = 1e-5

# Steps back, 0 is the current one. The released list: lag 1 and the lags 8 to 1200 around the seasons of quarterly to
# secondly data, each minus one. Written out, because the frequency names it was derived from have changed since.
_RUNS = (
    *((0, 0), (7, 8), (10, 14), (19, 24), (26, 30), (34, 36), (46, 48), (50, 52), (55, 55), (57, 61), (70, 72)),
    *((83, 83), (94, 96), (102, 104), (117, 121), (142, 144), (154, 156), (166, 168), (177, 181), (334, 336)),
    *((362, 364), (502, 504), (670, 672), (718, 720), (726, 728), (1090, 1092)),
)
RELEASED_LAGS = tuple(lag for first, last in _RUNS for lag in range(first, last + 1))


@dataclass(frozen=True)
class LagLlamaConfig:
    """Shape of a Lag-Llama, under the names of its published checkpoint; the defaults are the released model's.

    `context_length` is the number of tokens it was trained on, `max_context_length` the length from which dynamic
    rotary scaling acts, `scaling` one of SCALINGS, `rope_scaling` None or a mapping of `type` (ROTARIES) and `factor`.
    """

    lags_seq: tuple[int, ...] = RELEASED_LAGS
    n_layer: int = 8
    n_head: int = 9
    n_embd_per_head: int = 16
    context_length: int = 32
    max_context_length: int = 2048
    input_size: int = 1
    scaling: str | None = "robust"
    rope_scaling: Mapping[str, Any] | None = None
    time_feat: bool = True
    dropout: float = 0.0
    num_parallel_samples: int = 100
    distr_output: str = "studentT"

    @classmethod
    def read(cls, content: Mapping[str, Any], where: str) -> "LagLlamaConfig":
        """From the mapping of a config.json; raises BackboneError, naming `where`, for what Lag-Llama has not."""
        known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        lags = known.get("lags_seq")
        if not isinstance(lags, list | tuple) or not lags or not all(_is_count(lag, 0) for lag in lags):
            raise BackboneError(
                f"lags_seq of {where} is {reprlib.repr(lags)}; a list of whole numbers, 0 for the current step, is "
                "needed."
            )
        known["lags_seq"] = tuple(lags)
        if known.get("scaling") in _NO_SCALING:
            known["scaling"] = None
        config = cls(**known)
        faults = config._faults()
        if faults:
            name, needed = faults[0]
            given = reprlib.repr(getattr(config, name))
            raise BackboneError(
                f"{name} of {where} is {given}; {needed} is needed. It is no Lag-Llama that loracast knows: save or "
                "download the model again."
            )
        return config

    def _faults(self) -> list[tuple[str, str]]:
        counts = ("n_layer", "n_head", "context_length", "max_context_length", "num_parallel_samples")
        rope = self.rope_scaling
        rope_fits = rope is None or (
            isinstance(rope, Mapping)
            and set(rope) <= {"type", "factor"}
            and rope.get("type") in ROTARIES
            and (rope["type"] == "nope" or (_is_number(rope.get("factor")) and 1 <= rope["factor"] < math.inf))
        )
        least = 4 if rope_fits and rope and rope["type"] == "dynamic" else 2
        checks = {
            **{
                name: (_is_count(getattr(self, name), 1, _MOST_OF.get(name, 2**20)), "a whole number of at least 1")
                for name in counts
            },
            "n_embd_per_head": (self._turns(least), f"an even number of at least {least}"),
            "lags_seq": (max(self.lags_seq) < 2**20, "a list of lags below a million steps"),
            "input_size": (self.input_size == 1, "1 (one series a row)"),
            "scaling": (self.scaling in SCALINGS, "robust, std, mean or null"),
            "rope_scaling": (rope_fits, f"null, or a type ({', '.join(ROTARIES)}) with a factor of at least 1"),
            "time_feat": (isinstance(self.time_feat, bool), "true or false"),
            "dropout": (_is_number(self.dropout) and 0 <= self.dropout < 1, "a share from 0 to 1"),
            "distr_output": (self.distr_output == "studentT", "the distribution studentT"),
        }
        return [(name, fault) for name, (fits, fault) in checks.items() if not fits]

    def _turns(self, least: int) -> bool:
        """Whether the features of a head pair up for the rotation."""
        return _is_count(self.n_embd_per_head, least, _MOST_OF["n_embd_per_head"]) and self.n_embd_per_head % 2 == 0

    @property
    def width(self) -> int:
        """Features of a token inside the network."""
        return self.n_head * self.n_embd_per_head

    @property
    def features(self) -> int:
        """Features of a token at the network's entrance: lags, level and spread, time."""
        return len(self.lags_seq) + 2 + (TIME_FEATURES if self.time_feat else 0)

    @property
    def reach(self) -> int:
        """Steps of history before the first token: the longest lag."""
        return max(self.lags_seq)


def _is_count(value: object, least: int, most: int = 2**31) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class StudentT(NamedTuple):
    """Degrees of freedom, location and scale of a Student-t, in standardised units, float32, all of one shape."""

    df: Tensor
    loc: Tensor
    scale: Tensor

    @classmethod
    def of(cls, df: Tensor, loc: Tensor, scale: Tensor) -> "StudentT":
        """From the raw numbers that the network gives."""
        df, loc, scale = df.float(), loc.float(), scale.float()
        return cls(
            2 + functional.softplus(df), loc, functional.softplus(scale).clamp_min(torch.finfo(torch.float32).eps)
        )

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density at `z`, natural logarithm."""
        half = self.df / 2
        body = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * torch.log(torch.pi * self.df)
        return body - self.scale.log() - (half + 0.5) * torch.log1p(((z - self.loc) / self.scale) ** 2 / self.df)


Rotation = tuple[Float[Tensor, "#token half"], Float[Tensor, "#token half"]] | None
"""Cosines and sines of each token's position, None where nothing rotates."""
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Layer number, queries, keys, values [batch, head, token, feature] to what the queries' tokens take in."""


def rotation(config: LagLlamaConfig, first: int, last: int, *, longest: int, device: torch.device) -> Rotation:
    """Rotary position table of the tokens `first` to `last` (exclusive) of a call of `longest` tokens in all.

    Dynamic scaling stretches the base once a call is longer than `max_context_length`. Upstream keeps the longest call
    in its state, so that an earlier call changes a later one; here `longest` says it, and nothing is remembered.
    """
    scaling = config.rope_scaling or {"type": None, "factor": 1.0}
    width = config.n_embd_per_head
    if scaling["type"] == "nope":
        return None
    base = _ROTARY_BASE
    if scaling["type"] == "dynamic" and longest > config.max_context_length:
        factor = scaling["factor"]
        base *= (factor * longest / config.max_context_length - (factor - 1)) ** (width / (width - 2))
    speeds = 1.0 / (base ** (torch.arange(0, width, 2, device=device).float() / width))
    positions = torch.arange(first, last, device=device).float()
    if scaling["type"] == "linear":
        positions = positions / scaling["factor"]
    angles = torch.outer(positions, speeds)
    return angles.cos(), angles.sin()


def _rotated(heads: Float[Tensor, "batch head token feature"], by: Rotation) -> Tensor:
    """Turn feature i together with feature i + width/2, as in Llama (not adjacent pairs)."""
    if by is None:
        return heads
    cos, sin = by[0].to(heads.dtype), by[1].to(heads.dtype)
    low, high = heads.chunk(2, dim=-1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)


class RMSNorm(nn.Module):
    """Division by the root mean square over the features, in float32; no mean is taken off."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_FLOOR)
        return normed.to(x.dtype) * self.scale


class Attention(nn.Module):
    """Attention with one fused projection for keys (first half of its rows) and values, no biases."""

    def __init__(self, config: LagLlamaConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.q_proj = nn.Linear(config.width, config.width, bias=False)
        self.kv_proj = nn.Linear(config.width, 2 * config.width, bias=False)
        self.c_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, layer: int, turn: Rotation, attend: Attend, only_last: bool) -> Tensor:
        asking = x[:, -1:] if only_last else x
        query = self._heads(self.q_proj(asking))
        key, value = (self._heads(half) for half in self.kv_proj(x).chunk(2, dim=-1))
        turn_of_query = (turn[0][-1:], turn[1][-1:]) if only_last and turn is not None else turn
        taken = attend(layer, _rotated(query, turn_of_query), _rotated(key, turn), value)
        return self.c_proj(taken.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_head, -1).transpose(1, 2)


class MLP(nn.Module):
    """Gated feed-forward; the hidden width is 8/3 of the token's, rounded up to a multiple of 256."""

    def __init__(self, config: LagLlamaConfig) -> None:
        super().__init__()
        self.hidden = -(-(8 * config.width // 3) // 256) * 256
        self.c_fc1 = nn.Linear(config.width, self.hidden, bias=False)
        self.c_fc2 = nn.Linear(config.width, self.hidden, bias=False)
        self.c_proj = nn.Linear(self.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(functional.silu(self.c_fc1(x)) * self.c_fc2(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and added to what came in."""

    def __init__(self, config: LagLlamaConfig) -> None:
        super().__init__()
        self.rms_1 = RMSNorm(config.width)
        self.attn = Attention(config)
        self.rms_2 = RMSNorm(config.width)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, layer: int, turn: Rotation, attend: Attend, only_last: bool) -> Tensor:
        taken = self.attn(self.rms_1(x), layer, turn, attend, only_last)
        x = (x[:, -1:] if only_last else x) + taken
        return x + self.mlp(self.rms_2(x))  # type: ignore[no-any-return]


class Heads(nn.Module):
    """Three linear maps to the raw degrees of freedom, location and scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.ModuleList(nn.Linear(width, 1) for _ in range(3))

    @property
    def dtype(self) -> torch.dtype:
        """Precision that the network computes in; distributions are float32 whatever it is."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.parameters()).device

    def forward(self, x: Tensor) -> StudentT:
        return StudentT.of(*(head(x).squeeze(-1) for head in self.proj))


class LagLlama(nn.Module):
    """The network. `save_pretrained` writes what `loracast.models.lag_llama.load` reads."""

    def __init__(self, config: LagLlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Linear(config.features, config.width),
                "h": nn.ModuleList(Block(config) for _ in range(config.n_layer)),
                "ln_f": RMSNorm(config.width),
            }
        )
        self.param_proj = Heads(config.width)

    def forward(
        self,
        tokens: Float[Tensor, "batch token feature"],
        turn: Rotation,
        *,
        attend: Attend | None = None,
        only_last: bool = False,
    ) -> StudentT:
        """The predicted distribution of the step after each token, [batch, token], in standardised units.

        `turn` is the rotary table of the tokens' positions. `attend` replaces plain causal attention (a sampler with a
        cache). With `only_last` the last token alone is carried through the last layer.
        """
        # What is added up over the layers stays in the weights' precision, also where autocast lowers that of products.
        x = self.transformer["wte"](tokens.to(self.param_proj.dtype)).to(self.param_proj.dtype)
        last = self.config.n_layer - 1
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, turn, attend or self.causal, only_last and layer == last)
        params: StudentT = self.param_proj(self.transformer["ln_f"](x))
        return params

    @property
    def blocks(self) -> list[Block]:
        """The layers between entrance and heads."""
        return list(self.transformer["h"])  # type: ignore[call-overload, no-any-return]

    def causal(self, _: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Every token sees itself and the tokens before it; a single query is that of the last token."""
        share = self.config.dropout if self.training else 0.0
        return functional.scaled_dot_product_attention(query, key, value, dropout_p=share, is_causal=query.shape[2] > 1)

    def save_pretrained(self, folder: Path | str, **_: Any) -> None:
        """Write config.json and model.safetensors with the published tensor names, each whole or not at all."""
        save_network(self, {"model_type": MODEL_TYPE, **asdict(self.config)}, folder)
