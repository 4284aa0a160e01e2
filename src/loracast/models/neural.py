"""N-BEATS, N-HiTS and TFT, built by neuralforecast to be trained from scratch on the windows of every other arm.

The three have about the same number of trained numbers, that of the N-HiTS which arXiv 2409.11302 compares with (some
700,000). They read one signal of one window, and give the same nine quantiles as everyone.

neuralforecast's own `fit` takes its validation from the end of each series, which here would be the future of the
training patients. So nothing of it is used but the networks and their loss.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loracast.errors import BackboneError, ConfigError
from loracast.files import write_json, written
from loracast.models.base import ModelCard, needed
from loracast.models.levels import between
from loracast.models.naive import Levels, checked
from loracast.models.registry import Family, Release, Wanted
from loracast.types import LEVELS, Rows

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor, nn

    from loracast.models.naive import Context

DROPOUT = 0.1
"""Of N-HiTS and TFT, as in the N-HiTS of arXiv 2311.04770; neuralforecast's N-BEATS has none."""

FLAT = 1e-6
"""A context whose deviation is below this share of its mean is constant up to rounding."""


@dataclass(frozen=True)
class Scaled:
    """Contexts as a network reads them: gaps filled, centred and scaled, with what undoes that.

    `values` and `mask` have shape (window, context, 1), the mask is 0 where nothing was observed; `location` and
    `scale` have shape (window, 1, 1).
    """

    values: Float[Tensor, "window context 1"]
    mask: Float[Tensor, "window context 1"]
    location: Float[Tensor, "window 1 1"]
    scale: Float[Tensor, "window 1 1"]

    def network_input(self) -> dict[str, Tensor | None]:
        """The batch that a network of neuralforecast expects."""
        covariates = dict.fromkeys(("futr_exog", "hist_exog", "stat_exog"))
        return {"insample_y": self.values, "insample_mask": self.mask, **covariates}


def scaled(context: Context, device: torch.device) -> Scaled:
    """Fill gaps with the last observed value, the first one before it, and standardize each window.

    Mean and deviation are those of the observed values, as in neuralforecast's "standard" scaler. That one divides a
    constant context by its rounding error, which makes the targets of the window millions; here it is centred only. A
    context without an observed value is all zeros.
    """
    import numpy as np
    import torch

    observed = ~np.isnan(context)
    values = np.where(observed.any(axis=1, keepdims=True), context.astype(np.float64), 0.0)
    at = np.maximum.accumulate(np.where(observed, np.arange(values.shape[1]), -1), axis=1)
    at = np.maximum(at, observed.argmax(axis=1, keepdims=True))
    mean = np.nanmean(values, axis=1, keepdims=True)
    deviation = np.nanstd(values, axis=1, keepdims=True)
    scale = np.where(deviation > FLAT * np.abs(mean), deviation, 1.0)
    filled = (np.take_along_axis(values, at, axis=1) - mean) / scale
    parts = (filled, observed, mean, scale)
    return Scaled(*(torch.tensor(part[..., None], dtype=torch.float32, device=device) for part in parts))


class NeuralNetwork:
    """A network of neuralforecast for windows of one context and one horizon."""

    def __init__(self, card: ModelCard, net: nn.Module, context: int, horizon: int, model: str) -> None:
        self.card = card
        self.net = net
        self._context = context
        self._horizon = horizon
        self._model = model

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors, each whole or not at all."""
        from safetensors.torch import save_file

        content = {
            "network": self._model,
            "context": self._context,
            "horizon": self._horizon,
            "levels": list(LEVELS),
            "sizes": _SIZES[self._model](self._context, self._horizon),
        }
        tensors = {name: p.detach().to("cpu", copy=True).contiguous() for name, p in trained_numbers(self.net).items()}
        with written(folder / "model.safetensors", overwrite=True) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
        write_json(folder / "config.json", content, overwrite=True)

    def loss(
        self,
        context: Float[Tensor, "batch context"],
        future: Float[Tensor, "batch horizon"],
        rows: Rows | None = None,
    ) -> Tensor:
        """Sum of the pinball losses at the nine levels, in units of each window's scale, mean over the observed steps.

        A target after a context that nobody observed has no scale, and is not scored. Raises ConfigError for windows
        of other lengths.
        """
        import torch

        self._check_lengths(context.shape[1], future.shape[1])
        quantile_loss: Any = self.net.loss
        device = next(self.net.parameters()).device
        inputs = scaled(context.detach().cpu().numpy(), device)
        scored = self._scored(context, future).to(device)[..., None]
        target = future.to(device, torch.float32)[..., None].nan_to_num(nan=0.0)
        forecast = quantile_loss.domain_map(self.net(inputs.network_input()))
        loss: Tensor = quantile_loss(
            y=(target - inputs.location) / inputs.scale, y_hat=forecast, mask=scored.to(torch.float32)
        )
        return loss

    def counted(self, context: Float[Tensor, "batch context"], future: Float[Tensor, "batch horizon"]) -> int:
        """How many steps the loss of such a batch is the mean over."""
        return int(self._scored(context, future).sum())

    def _scored(self, context: Tensor, future: Tensor) -> Tensor:
        return ~future.isnan() & ~context.isnan().all(dim=1, keepdim=True).to(future.device)

    def forecast(
        self,
        context: Float[Tensor, "batch context"],
        horizon: int,
        *,
        levels: Levels,
        samples: int,
        seed: int,
        rows: Rows | None = None,
    ) -> Float[Tensor, "batch horizon level"]:
        """The network's nine quantiles, put in order, without chance: `samples`, `seed` and `rows` are not used.

        Levels between the nine are interpolated linearly. Raises ConfigError for levels beyond the outermost, 0.1 and
        0.9, and for windows of other lengths than the network has; DataError for a context without an observed value.
        """
        import torch

        self._check_lengths(context.shape[1], horizon)
        with torch.no_grad():
            inputs = scaled(checked(context.detach().cpu().numpy(), horizon), next(self.net.parameters()).device)
            quantiles = self.net(inputs.network_input()) * inputs.scale + inputs.location
            quantiles = quantiles.sort(dim=-1).values.float().cpu()
        return between(quantiles, LEVELS, levels, self.card.name)

    def _check_lengths(self, context: int, horizon: int) -> None:
        if (context, horizon) != (self._context, self._horizon):
            raise ConfigError(
                f"{self.card.name} is a network for windows of {self._context} + {self._horizon} steps and is given "
                f"{context} + {horizon}. Cut windows of its lengths, or train one on these."
            )


def trained_numbers(net: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training moves, by name; the levels that a loss carries are not among them."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def _nbeats(context: int, horizon: int) -> dict[str, Any]:
    """Six generic blocks of four layers, 128 wide: 659,784 trained numbers at 72 + 36 steps.

    The interpretable stacks of neuralforecast cannot forecast a single step; the generic one can.
    """
    del context, horizon
    return {"stack_types": 3 * ["identity"], "n_blocks": 3 * [2], "mlp_units": 3 * [[128, 128]]}


def _nhits(context: int, horizon: int) -> dict[str, Any]:
    """Four stacks of four blocks of three layers, 96 wide: 668,472 trained numbers at 72 + 36 steps.

    The published net (arXiv 2311.04770) has these stacks, blocks and layers, 128 wide, and 680,680 numbers in darts,
    whose rule for pooling and interpolation this follows. It gives one number a step; nine quantiles a step take a
    larger last layer (1,021,240 numbers at that width), hence the narrower one.
    """
    return {
        "stack_types": 4 * ["identity"],
        "n_blocks": 4 * [4],
        "mlp_units": 2 * [[96, 96]],
        "n_pool_kernel_size": _halves_to_one(context),
        "n_freq_downsample": _halves_to_one(horizon),
        "dropout_prob_theta": DROPOUT,
    }


def _tft(context: int, horizon: int) -> dict[str, Any]:
    """The defaults of neuralforecast (four heads, one LSTM layer), 112 wide: 668,214 trained numbers."""
    del context, horizon
    return {"hidden_size": 112, "n_head": 4, "dropout": DROPOUT}


def _halves_to_one(steps: int, stacks: int = 4) -> list[int]:
    """From half of `steps` down to 1, evenly on a logarithmic scale: coarse stacks first, as darts has it."""
    most = max(steps // 2, 1)
    # A cube root that is whole may come out a rounding error short of it.
    return [int(most ** (1 - stack / (stacks - 1)) + 1e-9) for stack in range(stacks)]


_SIZES: dict[str, Callable[[int, int], dict[str, Any]]] = {"nbeats": _nbeats, "nhits": _nhits, "tft": _tft}
"""A context and a horizon to the sizes of each network."""

MOST_STEPS = 2**16
"""Steps of the longest context or horizon that a saved network may have."""

_CLASSES = {"nbeats": "NBEATS", "nhits": "NHITS", "tft": "TFT"}
"""Their names in `neuralforecast.models`."""


def build(model: str, context: int, horizon: int, *, seed: int, sizes: Mapping[str, Any] | None = None) -> nn.Module:
    """The untrained network, on the CPU and ready to forecast; `sizes` replaces those of the table.

    Its input is scaled by us (see `scaled`), so it gets no scaler.
    """
    chosen = _SIZES[model](context, horizon) if sizes is None else sizes
    with _unseeded():
        kind = getattr(needed("neuralforecast.models"), _CLASSES[model])
        loss = needed("neuralforecast.losses.pytorch").MQLoss(quantiles=list(LEVELS))
        net: nn.Module = kind(
            h=horizon, input_size=context, loss=loss, scaler_type="identity", random_seed=seed, **chosen
        )
    return net.eval()


def load(wanted: Wanted) -> NeuralNetwork:
    """An untrained network, or the trained one of a folder that `save` wrote.

    Raises ConfigError without lengths to build it for and without `loracast[baselines]`, BackboneError for a folder
    that holds no such network, whole.
    """
    if isinstance(wanted.location, Path):
        return _loaded(wanted, wanted.location)
    if wanted.context is None or wanted.horizon is None:
        raise ConfigError(
            f"{wanted.name} is built for windows of one length. Give context and horizon, in steps, or the folder of a "
            "trained one."
        )
    net = build(wanted.name, wanted.context, wanted.horizon, seed=wanted.seed)
    return _with_card(wanted, net, wanted.context, wanted.horizon, wanted.name)


def _loaded(wanted: Wanted, folder: Path) -> NeuralNetwork:
    import torch

    from loracast.models.hub import fetch, read_config, read_tensors, refuse_broken, refuse_other_weights, shapes_of
    from loracast.models.store import BAD_CONFIG, bad_config

    fetch(folder, ("config.json", "model.safetensors"), None)
    content = read_config(folder)
    try:
        model, context, horizon = str(content["network"]), int(content["context"]), int(content["horizon"])
        if content["levels"] != list(LEVELS):
            raise ValueError(f"its levels are {content['levels']}, not {list(LEVELS)}")
        if set(content["sizes"]) != set(_SIZES[model](context, horizon)):  # neuralforecast takes any other for its own
            raise ValueError(f"its sizes are {', '.join(content['sizes'])}, not those of {model}")
        if max(context, horizon) > MOST_STEPS or min(context, horizon) < 1:
            raise ValueError(f"its context and horizon are no lengths from 1 to {MOST_STEPS:,}")
        tensors = read_tensors(folder / "model.safetensors")
        with torch.device("meta"):  # the network that the config asks for may not fit into any memory
            wanted_shapes = shapes_of(trained_numbers(build(model, context, horizon, seed=0, sizes=content["sizes"])))
        refuse_other_weights(folder, wanted_shapes, shapes_of(tensors))
        net = build(model, context, horizon, seed=0, sizes=content["sizes"])
    except BAD_CONFIG as error:
        raise BackboneError(bad_config(folder, FAMILY.name, error)) from error
    trained = trained_numbers(net)
    refuse_broken(folder, tensors)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(tensors[name])
    return _with_card(wanted, net, context, horizon, model)


def _with_card(wanted: Wanted, net: nn.Module, context: int, horizon: int, model: str) -> NeuralNetwork:
    count = sum(parameter.numel() for parameter in trained_numbers(net).values())
    card = ModelCard(wanted.name, FAMILY.name, FAMILY.kind, count, context, horizon, wanted.licence)
    return NeuralNetwork(card, net, context, horizon, model)


@contextmanager
def _unseeded() -> Iterator[None]:
    """Undo what neuralforecast does to the process: its import draws, and a network seeds everything and logs that."""
    import numpy as np
    import torch

    numpy_state, python_state, environment = np.random.get_state(), random.getstate(), dict(os.environ)
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        logging.disable(level)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
            os.environ.pop(name, None)
            if name in environment:
                os.environ[name] = environment[name]


FAMILY = Family(
    name="neural",
    kind="network",
    summary="N-BEATS (generic), N-HiTS and the Temporal Fusion Transformer of neuralforecast, trained from scratch",
    releases={name: Release(None, "Apache-2.0", {}) for name in _CLASSES},
    load=load,
    owns=lambda content: isinstance(content.get("network"), str) and content["network"] in _CLASSES,
    packages=("neuralforecast", "torch"),
)
