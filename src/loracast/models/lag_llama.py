"""Lag-Llama as a backbone: what a window's steps are used for, its published checkpoint, its loss and its forecast.

The network reads `context_tokens` steps one by one and, through the lags, the steps up to `reach` (1,092) before each
of them. Of a window's context the last `context_tokens` steps become tokens; all earlier ones are history for lags,
level and spread. What the window does not hold of that history is padded on the left as upstream pads a young series:
not observed, so outside level, spread and loss, but read as the number 0 by the lags that reach it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loracast.errors import BackboneError
from loracast.files import file_digest, write_json, written
from loracast.models.base import ModelCard, Sites, check_window, count_parameters
from loracast.models.draws import Sampler, uniforms
from loracast.models.registry import PACKAGED, Family, Release, Wanted
from loracast.types import Rows

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from loracast.models.nets.lag_llama import LagLlama
    from loracast.models.nets.lag_llama_window import Window

CHECKPOINT = "lag-llama.ckpt"
_SAVED = ("config.json", "model.safetensors")
_STUDENT_T = "gluonts.torch.distributions.studentT.StudentTOutput"
_LIKELIHOOD = "gluonts.torch.modules.loss.NegativeLogLikelihood"
_PREFIX = "model."

logger = logging.getLogger(__name__)

SITES = Sites(
    attention=r".*\.attn\.(q_proj|kv_proj|c_proj)",  # the feed-forward has a c_proj too
    query_value=r".*\.attn\.(q_proj|kv_proj)",
    key_value=r".*\.attn\.kv_proj",
    feed_forward=r".*\.mlp\.(c_fc1|c_fc2|c_proj)",
    feed_forward_out=r".*\.mlp\.c_proj",
    embedding=r"transformer\.wte",
    norm=r".*\.(rms_1|rms_2|ln_f)",
    bias=r"(transformer\.wte|param_proj\.proj\.\d)\.bias",
    head=r"param_proj\.proj\.\d",
)


class LagLlamaBackbone(Sampler):
    """A loaded Lag-Llama.

    `context_tokens` is how many of a window's last steps become tokens, the number it was trained on unless set
    otherwise (a longer one may be used; attention grows with it). `procedure` is how paths are drawn: "frozen" keeps
    the context's level and spread over the horizon, "exact" takes them anew before each step as upstream's estimator
    does, at the cost of computing again what that changes (see `nets.lag_llama_paths`).

    A forecast scales with its series as far as the model does: it also reads ln(1+|level|) and ln(spread), so that a
    thousand times the series is not forecast as exactly a thousand times the forecast.
    """

    def __init__(self, card: ModelCard, net: LagLlama) -> None:
        self._card = card
        self.net = net
        self.sites = SITES
        self.context_tokens = net.config.context_length
        self.procedure: Literal["frozen", "exact"] = "frozen"
        self._told = False

    def windows_a_pass(self, samples: int) -> int:
        """One on a processor and in the exact procedure, more on a GPU.

        Every path is a column of one product of matrices, whose last bits depend on where in it a column stands: the
        paths of two windows side by side would be right, but not the same to the last bit in the other's place.
        """
        return 1 if self.procedure == "exact" or next(self.net.parameters()).device.type == "cpu" else 64

    @property
    def card(self) -> ModelCard:
        """The card; its context is the longest lag and the tokens."""
        return dataclasses.replace(self._card, context=self.net.config.reach + self.context_tokens)

    def save(self, folder: Path) -> None:
        """Write the network to a folder."""
        self.net.save_pretrained(folder)

    def loss(
        self,
        context: Float[Tensor, "batch context"],
        future: Float[Tensor, "batch horizon"],
        rows: Rows | None = None,
    ) -> Tensor:
        """Negative Student-t log-likelihood under teacher forcing, in the series' units.

        Scored are the context's tokens but the first, and the future; the mean is one over all observed steps of the
        batch. Raises BackboneError for a context that is too long, and without `rows` where the model reads the time.
        """
        import torch

        from loracast.models.nets.lag_llama_window import teacher_forced

        window = self._window(context, future.shape[1], rows)
        future = future.to(window.values)
        seen = ~future.isnan()
        _, surprise = teacher_forced(self.net, window, future.masked_fill(~seen, 0))
        scored = torch.cat([window.observed[:, self.net.config.reach + 1 :], seen], dim=1)
        return torch.where(scored, surprise, 0).sum() / scored.sum().clamp_min(1)

    def counted(self, context: Float[Tensor, "batch context"], future: Float[Tensor, "batch horizon"]) -> int:
        """How many steps the loss of such a batch is the mean over: observed ones that follow a token."""
        own = context[:, max(0, context.shape[1] - self.context_tokens) + 1 :]
        return int((~own.isnan()).sum() + (~future.isnan()).sum())

    def paths(
        self,
        context: Float[Tensor, "batch context"],
        horizon: int,
        *,
        samples: int,
        seed: int,
        rows: Rows | None = None,
    ) -> Float[Tensor, "batch sample horizon"]:
        """Sample paths, drawn step by step; any horizon. Raises as `loss`."""
        from loracast.models.nets.lag_llama_paths import sample_paths

        window = self._window(context, horizon, rows)
        numbers = uniforms(seed, len(context), context.shape[1], rows, (samples, horizon, 2)).to(window.values)
        return sample_paths(self.net, window, numbers, exact=self.procedure == "exact")

    def _window(self, context: Tensor, horizon: int, rows: Rows | None) -> Window:
        """The context with the history that the lags reach for, padded on the left."""
        import torch

        from loracast.models.nets.lag_llama_window import Window

        config, steps = self.net.config, context.shape[1]
        check_window(self.card, steps)
        tokens = min(self.context_tokens, steps)
        if steps < config.reach + tokens and not self._told:
            self._told = True
            logger.warning(
                "%s reads values up to %d steps back; a context of %d steps does not hold them all: what is missing is "
                "padded, as upstream pads a young series.",
                self.card.name,
                config.reach,
                steps,
            )
        device = next(self.net.parameters()).device
        values = context.to(device, torch.float32)
        values = torch.nn.functional.pad(values, (config.reach + tokens - steps, 0), value=torch.nan)
        seen = ~values.isnan()
        time = self._time(context, tokens, horizon, rows)
        return Window.of(config, values.masked_fill(~seen, 0), seen, time, guarded=True)

    def _time(self, context: Tensor, tokens: int, horizon: int, rows: Rows | None) -> Tensor | None:
        """Time features of the tokens and of the steps that are fed back."""
        from loracast.models.nets.lag_llama_window import time_features

        if not self.net.config.time_feat:
            return None
        if rows is None or len(rows.start) != len(context):
            given = "no times were given" if rows is None else f"times of {len(rows.start)} rows were given"
            raise BackboneError(
                f"{self.card.name} reads the time of each step, and {given} for {len(context)} rows. Pass `rows` with "
                "the start of every row and the step (Rows(start, step_seconds)); invented times would change every "
                "forecast."
            )
        start = rows.start + (context.shape[1] - tokens) * rows.step_seconds
        device = next(self.net.parameters()).device
        return time_features(start, rows.step_seconds, tokens + horizon - 1).to(device)


def load(wanted: Wanted) -> LagLlamaBackbone:
    """Load from the Hub or its cache, from a folder, or from a `.ckpt` file; raises BackboneError.

    A folder holds config.json and model.safetensors, as `save_pretrained` writes them, or the published
    lag-llama.ckpt, which is imported without executing anything in it.
    """
    from loracast.models.hub import fetch

    location, commit = wanted.weights, None
    if isinstance(location, Path) and location.is_file():
        content, tensors = _imported(location)
    elif isinstance(location, Path) and (location / _SAVED[0]).is_file():
        content, tensors = _saved(fetch(location, _SAVED, None).folder)
    else:
        fetched = fetch(location, [CHECKPOINT], wanted.revision)
        commit = fetched.commit
        content, tensors = _imported(fetched.folder / CHECKPOINT)
    net = _built(content, tensors, location)
    return LagLlamaBackbone(_card(wanted.name, net, wanted.licence, commit), net)


def skeleton(name: str, sizes: Mapping[str, Any], licence: str) -> LagLlamaBackbone:
    """The architecture without weights, on the meta device; `sizes` are keys of `LagLlamaConfig` that differ."""
    import torch

    from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig

    with torch.device("meta"):
        net = LagLlama(dataclasses.replace(LagLlamaConfig(), **sizes))
    return LagLlamaBackbone(_card(name, net, licence, None), net)


def _card(name: str, net: LagLlama, licence: str, revision: str | None) -> ModelCard:
    return ModelCard(
        name=name,
        family=FAMILY.name,
        kind="pretrained",
        parameters=count_parameters(net),
        context=net.config.reach + net.config.context_length,
        horizon=1,  # a pass forecasts one step
        licence=licence,
        revision=revision,
    )


def _saved(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from loracast.models.hub import read_config, read_tensors

    return read_config(folder), read_tensors(folder / _SAVED[1])


def _built(content: Mapping[str, Any], tensors: Mapping[str, Tensor], location: str | Path) -> LagLlama:
    """The network of a config with its weights; raises BackboneError where they do not belong together."""
    import torch

    from loracast.models.hub import fill
    from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig

    config = LagLlamaConfig.read(content, str(location))
    with torch.device("meta"):  # no random weights, so nothing is drawn from the caller's random state
        net = LagLlama(config)
    fill(net, tensors, location)
    return net.requires_grad_().eval()


def _imported(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a Lightning checkpoint: from the cache if this very file has been read before.

    The cache is a folder beside huggingface_hub's, named after the file's SHA-256. Where it is damaged the checkpoint
    is imported anew, where it cannot be written again the next time.
    """
    from huggingface_hub import constants
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = Path(constants.HF_HOME) / "loracast" / "lag-llama" / file_digest(file)
    if folder.is_dir():
        with contextlib.suppress(BackboneError):
            return _saved(folder)
    content, tensors = read_lag_llama(file)
    with contextlib.suppress(OSError, SafetensorError), written(folder, overwrite=True) as temporary:
        temporary.mkdir(parents=True)
        write_json(temporary / _SAVED[0], content)
        save_file(tensors, temporary / _SAVED[1], metadata={"format": "pt"})
    return content, tensors


def read_lag_llama(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config.json that a published checkpoint amounts to, and its tensors under their published names.

    Raises BackboneError for a file that `read_checkpoint` refuses, and for one that holds another model.
    """
    import torch

    from loracast.models.hub import refuse_other_weights, shapes_of
    from loracast.models.lightning import Inert, StoredTensor, read_checkpoint
    from loracast.models.nets.lag_llama import MODEL_TYPE, LagLlama, LagLlamaConfig

    checkpoint = read_checkpoint(file, [_STUDENT_T, _LIKELIHOOD])
    try:
        given = checkpoint["hyper_parameters"]["model_kwargs"]
        stored = dict(checkpoint["state_dict"])
        content = {name: given[name] for name in LagLlamaConfig.__dataclass_fields__ if name in given}
    except (KeyError, TypeError, ValueError) as error:
        raise BackboneError(
            f"{file} is a checkpoint of another model: it has no state_dict with hyper_parameters.model_kwargs. Give "
            f"the {CHECKPOINT} of time-series-foundation-models/Lag-Llama, or one trained from it."
        ) from error
    distribution = content.get("distr_output")
    if isinstance(distribution, Inert) and distribution.name == _STUDENT_T:
        content["distr_output"] = "studentT"
    config = LagLlamaConfig.read(content, str(file))
    odd = [name for name, tensor in stored.items() if not isinstance(tensor, StoredTensor)]
    if odd:
        raise BackboneError(f"{file} has {odd[0]!r} in its state_dict, which is no tensor. Download it again.")
    found = {
        name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else f"{name} (without {_PREFIX})": tensor
        for name, tensor in ((str(name), tensor) for name, tensor in stored.items())
    }
    with torch.device("meta"):
        net = LagLlama(config)
    refuse_other_weights(file, shapes_of(net.state_dict()), shapes_of(found))
    return {"model_type": MODEL_TYPE, **content}, {name: tensor.read().float() for name, tensor in found.items()}


NANO_LAGS = (*range(14), *range(15, 23, 2), 22, 23, 24)

FAMILY = Family(
    name="lag-llama",
    kind="pretrained",
    summary="a causal transformer over steps that carry lagged values and the clock",
    releases={
        "lag-llama-nano": Release(
            PACKAGED / "lag-llama-nano",
            "Apache-2.0",
            {"n_layer": 4, "n_head": 6, "n_embd_per_head": 16, "context_length": 96, "lags_seq": NANO_LAGS},
        ),
        # Its published shape is what `LagLlamaConfig` has as defaults.
        "lag-llama": Release("time-series-foundation-models/Lag-Llama", "Apache-2.0", {"n_layer": 8}),
    },
    load=load,
    skeleton=skeleton,
    sites=SITES,
    owns=lambda content: "lags_seq" in content,
    packages=("torch",),
    checkpoint=CHECKPOINT,
)
