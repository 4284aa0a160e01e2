"""Training a network from scratch on exactly the windows of every other arm: a small loop with an exact resume.

neuralforecast's own `fit` takes its validation from the end of each series, which here would be the future of the
training patients. This loop trains on the windows of the training patients, scores the validation patients every
`evaluate_every` steps and keeps the weights with the lowest validation loss, those of step 0 included.

What is drawn at a step (the batch, dropout) follows from the seed and the number of the step alone, so that a run
needs no random state to go on where it was killed.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm.auto import tqdm

from loracast.data.windows import Windows, WindowSet
from loracast.errors import TrainingError
from loracast.files import read_json, write_json, written
from loracast.spec import ScratchSpec
from loracast.training import MARKER, Curve, is_over, last_checkpoint, step_of

GRADIENT_CLIP = 1.0
HALVINGS = 3
"""How often the learning rate is halved in the course of all steps: neuralforecast's own schedule."""

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


def scaled(context: Float[np.ndarray, "window context"], device: torch.device) -> Scaled:
    """Fill gaps with the last observed value, the first one before it, and standardize each window.

    Mean and deviation are those of the observed values, as in neuralforecast's "standard" scaler. That one divides a
    constant context by its rounding error, which makes the targets of the window millions; here it is centred only.
    """
    values = context.astype(np.float64)
    observed = ~np.isnan(values)
    at = np.maximum.accumulate(np.where(observed, np.arange(values.shape[1]), -1), axis=1)
    at = np.maximum(at, observed.argmax(axis=1, keepdims=True))
    mean = np.nanmean(values, axis=1, keepdims=True)
    deviation = np.nanstd(values, axis=1, keepdims=True)
    scale = np.where(deviation > FLAT * np.abs(mean), deviation, 1.0)
    filled = (np.take_along_axis(values, at, axis=1) - mean) / scale
    parts = (filled, observed, mean, scale)
    return Scaled(*(torch.tensor(part[..., None], dtype=torch.float32, device=device) for part in parts))


def trained_numbers(net: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training moves, by name; the levels that a loss carries are not among them."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy in the CPU's memory."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def put_back(net: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Load saved trained numbers into `net`; raises TrainingError where they are those of another network."""
    trained = trained_numbers(net)
    if {name: p.shape for name, p in trained.items()} != {name: tensor.shape for name, tensor in saved.items()}:
        raise TrainingError("The saved weights are those of another network. Remove them and start again.")
    for name, parameter in trained.items():
        parameter.copy_(saved[name])


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Leave torch's random state, on every device, as the block found it."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


class _Run:
    """A training run between two steps, and how it is written down."""

    def __init__(self, net: nn.Module, learning_rate: float) -> None:
        self.net = net
        self.trained = trained_numbers(net)
        self.optimizer = torch.optim.Adam(self.trained.values(), lr=learning_rate)
        self.step = 0
        self.train: list[dict[str, float]] = []
        self.validation: list[dict[str, float]] = []
        self.best = copied(self.trained)
        self.seconds = 0.0
        self.in_steps = 0.0
        """Of the seconds, those of optimizer steps."""

    @property
    def best_step(self) -> int:
        return int(min(self.validation, key=lambda score: score["loss"])["step"])

    def note(self, loss: float) -> None:
        """Take a validation score; the first of the lowest ones keeps its weights."""
        if not math.isfinite(loss):
            raise _diverged("validation", self.step, loss)
        self.validation.append({"step": self.step, "loss": loss})
        if self.best_step == self.step:
            self.best = copied(self.trained)

    def save(self, folder: Path) -> None:
        """Write a checkpoint, whole or not at all, and remove those before it."""
        moments = {
            f"{number}.{key}": tensor
            for number, state in self.optimizer.state_dict()["state"].items()
            for key, tensor in state.items()
        }
        history: dict[str, Any] = {"train": self.train, "validation": self.validation}
        history |= {"seconds": self.seconds, "in_steps": self.in_steps}
        checkpoint = folder / f"checkpoint-{self.step}"
        with written(checkpoint) as temporary:
            temporary.mkdir()
            safetensors.torch.save_file(copied(self.trained), temporary / "trained.safetensors")
            safetensors.torch.save_file(self.best, temporary / "best.safetensors")
            safetensors.torch.save_file(copied(moments), temporary / "adam.safetensors")
            write_json(temporary / MARKER, history)
        for older in folder.glob("checkpoint-*"):
            if older != checkpoint:
                shutil.rmtree(older)

    def load(self, checkpoint: Path) -> None:
        """Go on from a checkpoint."""
        put_back(self.net, safetensors.torch.load_file(checkpoint / "trained.safetensors"))
        self.best = safetensors.torch.load_file(checkpoint / "best.safetensors")
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in safetensors.torch.load_file(checkpoint / "adam.safetensors").items():
            number, key = name.split(".")
            state.setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        history = read_json(checkpoint / MARKER)
        self.step = step_of(checkpoint)
        self.train, self.validation, self.seconds = history["train"], history["validation"], history["seconds"]
        self.in_steps = history["in_steps"]


def train_from_scratch(
    net: nn.Module,
    windows: Windows,
    spec: ScratchSpec,
    folder: Path,
    *,
    seed: int,
    label: str,
    resume: bool = False,
    progress: bool = True,
    after_checkpoint: Callable[[], None] | None = None,
) -> Curve:
    """Train `net` and leave the weights with the lowest validation loss in it, ready to forecast.

    A loss is the sum of the pinball losses at the nine levels, in units of each window's scale, averaged over the
    observed steps of the horizon. `folder` takes checkpoints, one with every score; with `resume` the last of them is
    continued, to the same numbers as a run that was never interrupted. `after_checkpoint` may raise to stop there.
    Raises TrainingError for a loss that is not finite.
    """
    run = _Run(net, spec.learning_rate)
    checkpoint = last_checkpoint(folder) if resume else None
    if checkpoint is not None:
        run.load(checkpoint)
    validation = windows.validation.some(spec.validation_windows, seed=0)
    bar = tqdm(total=spec.steps, initial=run.step, desc=label, unit="step", leave=False, disable=not progress)
    with untouched_randomness(), bar:
        while not run.validation or (run.step < spec.steps and not is_over(run.validation, spec.patience)):
            if run.validation:
                _steps(run, windows.train, spec, seed, bar)
            _score(run, validation, spec, bar)
            run.save(folder)
            if after_checkpoint is not None:
                after_checkpoint()
    put_back(net, run.best)
    net.eval()
    each = run.in_steps / run.step if run.step else None
    return Curve(run.train, run.validation, run.best_step, run.seconds, run.step, each, spec.batch_size)


def _steps(run: _Run, train: WindowSet, spec: ScratchSpec, seed: int, bar: Any) -> None:
    """Train up to the next score; notes the mean loss of these steps."""
    start, losses = time.monotonic(), []
    run.net.train()
    stop = min(run.step + spec.evaluate_every, spec.steps)
    while run.step < stop:
        run.step += 1
        torch.manual_seed(_drawn(seed, run.step))
        for group in run.optimizer.param_groups:
            group["lr"] = spec.learning_rate * 0.5 ** ((run.step - 1) // max(spec.steps // HALVINGS, 1))
        chosen = train.rows(_batch(len(train), spec.batch_size, seed, run.step))
        loss, _ = _loss(run.net, *chosen.batch(slice(None)))
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise _diverged("training", run.step, losses[-1])
        run.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(run.trained.values(), GRADIENT_CLIP)
        run.optimizer.step()
        bar.update()
    run.train.append({"step": run.step, "loss": float(np.mean(losses))})
    took = time.monotonic() - start
    run.seconds, run.in_steps = run.seconds + took, run.in_steps + took


@torch.no_grad()
def _score(run: _Run, validation: WindowSet, spec: ScratchSpec, bar: Any) -> None:
    """Score the validation windows, and keep the weights if they are the best so far."""
    start, total, count = time.monotonic(), 0.0, 0
    run.net.eval()
    for rows in validation.batches(2 * spec.batch_size):
        loss, observed = _loss(run.net, *validation.batch(rows))
        total, count = total + loss.item() * observed, count + observed
    run.note(total / count)
    run.seconds += time.monotonic() - start
    shown = {"loss": run.train[-1]["loss"]} if run.train else {}
    bar.set_postfix({name: f"{loss:.3f}" for name, loss in (shown | {"validation": total / count}).items()})


def _loss(
    net: nn.Module, context: Float[np.ndarray, "window context"], future: Float[np.ndarray, "window horizon"]
) -> tuple[Tensor, int]:
    """Mean loss over the observed targets, and how many those are."""
    quantile_loss: Any = net.loss
    device = next(net.parameters()).device
    inputs = scaled(context, device)
    observed = ~np.isnan(future)
    target = torch.tensor(np.where(observed, future, 0.0)[..., None], dtype=torch.float32, device=device)
    mask = torch.tensor(observed[..., None], dtype=torch.float32, device=device)
    forecast = quantile_loss.domain_map(net(inputs.network_input()))
    loss: Tensor = quantile_loss(y=(target - inputs.location) / inputs.scale, y_hat=forecast, mask=mask)
    return loss, int(observed.sum())


def _batch(count: int, size: int, seed: int, step: int) -> Int[np.ndarray, " chosen"]:
    """Positions of the windows of a step: every epoch passes over all of them once, in a seeded order."""
    epoch, number = divmod(step - 1, -(-count // size))
    return _order(count, seed, epoch)[number * size : (number + 1) * size]


@lru_cache(maxsize=1)
def _order(count: int, seed: int, epoch: int) -> Int[np.ndarray, " window"]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _drawn(seed: int, step: int) -> int:
    """A seed for what is drawn within a step, unrelated to that of the next step."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _diverged(which: str, step: int, loss: float) -> TrainingError:
    return TrainingError(f"The {which} loss at step {step} is {loss}: training has diverged. Lower learning_rate.")
