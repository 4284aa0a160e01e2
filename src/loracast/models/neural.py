"""N-BEATS, N-HiTS and TFT, built by neuralforecast and trained from scratch on the windows of every other arm.

The three have about the same number of trained numbers, that of the N-HiTS which arXiv 2409.11302 compares with (some
700,000). They read one signal of one window, and give the same nine quantiles as everyone.
"""

import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from torch import nn

from loracast.data.windows import Windows, WindowSet
from loracast.errors import ConfigError
from loracast.files import read_json, write_json, written
from loracast.models.extra import needed
from loracast.models.naive import checked
from loracast.models.scratch import (
    copied,
    put_back,
    scaled,
    train_from_scratch,
    trained_numbers,
    untouched_randomness,
)
from loracast.spec import ScratchSpec
from loracast.training import Curve
from loracast.types import LEVELS, Forecast

DROPOUT = 0.1
"""Of N-HiTS and TFT, as in the N-HiTS of arXiv 2311.04770; neuralforecast's N-BEATS has none."""


@dataclass(frozen=True)
class Network:
    """A network: what it is in one line, its class in `neuralforecast.models`, and (context, horizon) to its sizes."""

    summary: str
    model: str
    sizes: Callable[[int, int], dict[str, Any]]


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


NETWORKS: dict[str, Network] = {
    "nbeats": Network("N-BEATS (generic), trained from scratch", "NBEATS", _nbeats),
    "nhits": Network("N-HiTS, trained from scratch", "NHITS", _nhits),
    "tft": Network("Temporal Fusion Transformer, trained from scratch", "TFT", _tft),
}


@dataclass(frozen=True)
class Trained:
    """A trained network as a forecaster of windows with its context and horizon."""

    name: str
    context: int
    horizon: int
    net: nn.Module

    @torch.no_grad()
    def __call__(self, context: Float[np.ndarray, "window context"], windows: WindowSet, rows: slice) -> Forecast:
        """Nine ascending quantiles; raises ConfigError for windows of other lengths, DataError for empty contexts."""
        del rows
        asked = (context.shape[1], windows.horizon)
        if asked != (self.context, self.horizon):
            raise ConfigError(
                f"{self.name} was trained on windows of {self.context} + {self.horizon} steps and is given "
                f"{asked[0]} + {asked[1]}. Cut windows of its lengths, or train it on these."
            )
        inputs = scaled(checked(context, self.horizon), next(self.net.parameters()).device)
        quantiles = self.net(inputs.network_input()) * inputs.scale + inputs.location
        return Forecast(quantiles.sort(dim=-1).values.float().cpu().numpy())

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors, each whole or not at all."""
        sizes = NETWORKS[self.name].sizes(self.context, self.horizon)
        known = {"network": self.name, "context": self.context, "horizon": self.horizon}
        with written(folder / "model.safetensors") as temporary:
            safetensors.torch.save_file(copied(trained_numbers(self.net)), temporary, metadata={"format": "pt"})
        write_json(folder / "config.json", {**known, "levels": list(LEVELS), "sizes": sizes})


@dataclass(frozen=True)
class Fitted:
    """A network after training: its curve, how many numbers were trained, and its forecasts."""

    curve: Curve
    parameters: int
    forecaster: Trained

    def save(self, folder: Path) -> None:
        """Save what `load_network` rebuilds the forecaster from."""
        self.forecaster.save(folder)


def fit_network(
    name: str,
    windows: Windows,
    spec: ScratchSpec,
    folder: Path,
    *,
    seed: int,
    resume: bool = False,
    progress: bool = True,
    after_checkpoint: Callable[[], None] | None = None,
) -> Fitted:
    """Train the network `name` on the training windows, early-stopped on the validation windows.

    Same seed, same numbers (on a CPU to the bit). `folder` takes checkpoints, of which `resume` continues the last and
    whose removal is the caller's; `after_checkpoint` is called after each and may raise to stop. Raises ConfigError
    for an unknown name or without `loracast[baselines]`, TrainingError for a loss that is not finite.
    """
    if not resume:
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    context, horizon = windows.meta["context"], windows.meta["horizon"]
    net = build(name, context, horizon, seed=seed)
    curve = train_from_scratch(
        net,
        windows,
        spec,
        folder,
        seed=seed,
        label=f"{name} s{seed}",
        resume=resume,
        progress=progress,
        after_checkpoint=after_checkpoint,
    )
    count = sum(parameter.numel() for parameter in trained_numbers(net).values())
    return Fitted(curve, count, Trained(name, context, horizon, net))


def load_network(folder: Path) -> Trained:
    """The forecaster that `Fitted.save` wrote; raises ConfigError where there is none."""
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise ConfigError(f"No network in {folder}: give a folder with config.json and model.safetensors.")
    known = read_json(folder / "config.json")
    net = build(known["network"], known["context"], known["horizon"], seed=0, sizes=known["sizes"])
    put_back(net, safetensors.torch.load_file(folder / "model.safetensors"))
    return Trained(known["network"], known["context"], known["horizon"], net.eval())


def build(name: str, context: int, horizon: int, *, seed: int, sizes: dict[str, Any] | None = None) -> nn.Module:
    """The untrained network, on the GPU if there is one; `sizes` replaces those of the table.

    Its input is scaled by us (see `scaled`), so it gets no scaler.
    """
    if name not in NETWORKS:
        raise ConfigError(f"There is no network {name!r}. Networks: {', '.join(NETWORKS)}.")
    chosen = NETWORKS[name].sizes(context, horizon) if sizes is None else sizes
    with _unseeded():
        model = getattr(needed("neuralforecast.models"), NETWORKS[name].model)
        loss = needed("neuralforecast.losses.pytorch").MQLoss(quantiles=list(LEVELS))
        net: nn.Module = model(
            h=horizon, input_size=context, loss=loss, scaler_type="identity", random_seed=seed, **chosen
        )
    return net.to("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _unseeded() -> Iterator[None]:
    """Undo what neuralforecast does to the process: its import draws, and a network seeds everything and logs that."""
    numpy_state, python_state, environment = np.random.get_state(), random.getstate(), dict(os.environ)
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with untouched_randomness():
            yield
    finally:
        logging.disable(level)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
            os.environ.pop(name, None)
            if name in environment:
                os.environ[name] = environment[name]
