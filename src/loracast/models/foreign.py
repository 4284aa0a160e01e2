"""What a config.json of anybody's may say: the keys that shape a network of `transformers`, typed and within bounds.

Nothing else reaches a loader: no code to be imported (`auto_map`), no other attention or quantization, no settings of a
text generation. A number that no weight of the file confirms is refused before anything is built by it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from loracast.errors import BackboneError
from loracast.spec import Frozen

MOST_CONFIG = 2**20
"""Bytes of a config.json; published ones have two thousand."""
Count = Annotated[int, Field(ge=1, le=2**31)]
Length = Annotated[int, Field(ge=1, le=2**20)]
Token = Annotated[int, Field(ge=0, le=2**31)]


class Foreign(Frozen):
    """Keys that are known; whatever else a config has is left where it is."""

    model_config = ConfigDict(extra="ignore", strict=True)


def _one_token(given: Any) -> Any:
    """A list of one token, as transformers also writes it, is that token."""
    return given[0] if isinstance(given, list) and len(given) == 1 else given


class Body(Foreign):
    """The shape of a T5, or of what is made like one; defaults are those of its configuration class."""

    d_model: Count = 512
    d_kv: Count = 64
    d_ff: Count = 2048
    num_layers: Count = 6
    num_decoder_layers: Count | None = None
    num_heads: Count = 8
    vocab_size: Count = 32128
    relative_attention_num_buckets: Count = 32
    relative_attention_max_distance: Count = 128
    dropout_rate: float = Field(default=0.1, ge=0, lt=1)
    layer_norm_epsilon: float = Field(default=1e-6, gt=0, lt=1)
    initializer_factor: float = Field(default=1.0, gt=0)
    feed_forward_proj: str = Field(default="relu", pattern=r"^(gated-)?[a-z0-9_]+$")
    dense_act_fn: str = Field(default="relu", pattern=r"^[a-z0-9_]+$")
    is_gated_act: bool = False
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool = True
    rope_theta: float = Field(default=10_000.0, gt=0)
    pad_token_id: Token | None = 0
    eos_token_id: Annotated[Token | None, BeforeValidator(_one_token)] = 1
    decoder_start_token_id: Token | None = None
    reg_token_id: Token | None = None
    seasonal_row: bool = False
    """Of a Chronos-2 of loracast's: whether it is given the season of a window beside it."""

    @property
    def layers(self) -> int:
        """How many layers are built, of encoder and decoder together."""
        return self.num_layers + (self.num_decoder_layers or 0)


class TokenLimits(Foreign):
    """Between which multiples of the scale tokens lie."""

    low_limit: float
    high_limit: float

    @model_validator(mode="after")
    def _in_order(self) -> "TokenLimits":
        if not self.low_limit < self.high_limit:
            raise ValueError("low_limit must lie below high_limit")
        return self


class Tokens(Foreign):
    """The `chronos_config` of a Chronos-T5."""

    tokenizer_class: Literal["MeanScaleUniformBins"]  # the library calls whatever of its own is named here
    tokenizer_kwargs: TokenLimits
    context_length: Length
    prediction_length: Length
    n_tokens: Count
    n_special_tokens: Length
    pad_token_id: Token
    eos_token_id: Token
    use_eos_token: bool
    model_type: Literal["causal", "seq2seq"]
    num_samples: Length
    temperature: float = Field(gt=0)
    top_k: int = Field(ge=0, le=2**31)
    top_p: float = Field(gt=0, le=1)


class Patches(Foreign):
    """The `chronos_config` of a Chronos-Bolt or a Chronos-2."""

    context_length: Length
    prediction_length: Length | None = None
    input_patch_size: Length
    input_patch_stride: Length
    output_patch_size: Length | None = None
    max_output_patches: Length | None = None
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = Field(min_length=1, max_length=999)
    use_reg_token: bool = False
    use_arcsinh: bool = False
    time_encoding_scale: Length | None = None

    @model_validator(mode="after")
    def _ascends(self) -> "Patches":
        if sorted(set(self.quantiles)) != self.quantiles:
            raise ValueError("quantiles must ascend")
        return self


def architectures_of(content: Mapping[str, Any]) -> list[str]:
    """The classes of network that a config names."""
    named = content.get("architectures")
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def typed(kind: type[Foreign], content: Any, location: str | Path, family: str, place: str = "") -> dict[str, Any]:
    """The keys of `kind` that `content` has; raises BackboneError, with its place, for one of another type or bound."""
    try:
        return kind.model_validate(content).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join([*([place] if place else []), *(str(part) for part in first["loc"])])
        raise BackboneError(
            f"{location} cannot be loaded as a {family}: {where or 'config.json'}: {first['msg']}. Its config.json was "
            "changed or damaged; save or download the model again."
        ) from error


def body_of(content: Mapping[str, Any], location: str | Path, family: str, tensors: int) -> dict[str, Any]:
    """The keys that shape a network, of a config whose weight file has so many tensors.

    Raises BackboneError as `typed` and `refuse_layers` do, and for weights that are quantized.
    """
    if content.get("quantization_config"):
        raise BackboneError(
            f"{location} holds quantized weights, which loracast does not read. Give the model as float32 or bfloat16."
        )
    found = typed(Body, content, location, family)
    refuse_layers(location, Body.model_validate(found).layers, tensors)
    return found


def refuse_layers(location: str | Path, layers: int, tensors: int) -> None:
    """Raise BackboneError for more layers than the weight file can have: each is built before names are compared."""
    if layers > tensors:
        raise BackboneError(
            f"{location} has {layers:,} layers by its config.json, but {tensors:,} tensors in all. The two do not "
            "belong together; save or download the model again."
        )
