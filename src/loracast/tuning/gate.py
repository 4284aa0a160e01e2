"""What every method must do on a model before it is trusted: proven for ours by the tests, for others by trying.

Four tests on copies of the model, with a few random windows: it starts as the identity; something is trained; the rest
is untouched by training; what is saved comes back the same.
"""

from __future__ import annotations

import copy
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from loracast.errors import LoracastError, TrainingError
from loracast.tuning.adapter import put_back, same, save_adapter, tensor_digest, window_losses
from loracast.tuning.arm import ArmSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loracast.models.base import Backbone, Model
    from loracast.tuning.method import Attached, Method

STEPS = 2
"""Steps of training: one of two factors that start at zero has a gradient only once the other has moved."""
SEED = 0
IDENTITY = "it starts as the identity"


def is_counted_only(model: Model) -> bool:
    """Whether the model is a skeleton, which can be counted and not run."""
    net = getattr(model, "net", None)
    return net is not None and next(net.parameters()).is_meta


def prove(model: Model, method: Method) -> None:
    """Raise TrainingError, with the test that it fails and why, where `method` does not do its duty on `model`.

    The model, which must be a pretrained network, and the caller's random numbers are left as they were.
    """
    base = cast("Backbone", model)
    device = next(base.net.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        before = window_losses(_copied(base))
        trial = _Trial(base, method)
        trial.start()
        trial.is_identity(before)
        if method.trains:
            trial.trains_that_alone()
            trial.comes_back()


def _copied(base: Backbone) -> Backbone:
    fresh = copy.deepcopy(base)
    fresh.net.eval()
    return fresh


@dataclass
class _Trial:
    """One method on a copy of one model."""

    base: Backbone
    method: Method
    attached: Attached = field(init=False)

    def start(self) -> None:
        """Attach it to the copy."""
        with self._test("it can be attached"):
            self.attached = self.method.put_on(_copied(self.base))
            self.net.eval()

    @property
    def net(self) -> torch.nn.Module:
        return self.attached.network.net

    @contextmanager
    def _test(self, name: str) -> Iterator[None]:
        """Whatever goes wrong inside, as a TrainingError that names the test."""
        try:
            yield
        except LoracastError:
            raise
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise self._refusal(name, f"{type(error).__name__}: {why}") from error

    def _refusal(self, test: str, why: str) -> TrainingError:
        advice = self.method.advice(start=test == IDENTITY)
        return TrainingError(
            f"{self.method.name!r} on {self.base.card.name} does not pass the test that {test}: {why.rstrip('.')}. "
            f"{advice}"
        )

    def is_identity(self, before: Tensor) -> None:
        """Attaching alone changes no forecast: training starts at zero-shot."""
        with self._test("it forecasts"):
            after = window_losses(self.attached.network)
        if not same(before, after):
            told = f"the loss is {after.mean():.6g} before the first step, and was {before.mean():.6g} without it"
            raise self._refusal(IDENTITY, told)

    def trains_that_alone(self) -> None:
        """A few steps change what is trained, and nothing else."""
        name = "something is trained"
        if not self.attached.trainable:
            raise self._refusal(name, "it leaves no number to be trained")
        frozen, trained = self._digests()
        with self._test(name):
            self._step()
        frozen_after, trained_after = self._digests()
        if trained == trained_after:
            raise self._refusal(name, f"after {STEPS} steps every number is what it was")
        if frozen != frozen_after:
            changed = [key for key, value in frozen.items() if frozen_after.get(key) != value]
            told = f"{len(changed)} tensors that are not trained have changed, {changed[0]} among them"
            raise self._refusal("the rest is untouched", told)

    def _digests(self) -> tuple[dict[str, str], dict[str, str]]:
        """What is not trained (weights and buffers), and what is."""
        tensors = dict(self.net.named_parameters()) | dict(self.net.named_buffers())
        found = {name: tensor_digest({name: values}) for name, values in tensors.items()}
        trainable = set(self.attached.trainable)
        return ({k: v for k, v in found.items() if k not in trainable}, {k: found[k] for k in trainable})

    def _step(self) -> None:
        optimizer = torch.optim.AdamW(self.attached.trainable.values(), self.method.learning_rate or 1e-3)
        for _ in range(STEPS):
            optimizer.zero_grad()
            window_losses(self.attached.network, grad=True).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    def comes_back(self) -> None:
        """The adapter from a folder, on a fresh copy, forecasts what it did."""
        name = "what is saved comes back the same"
        with self._test(name), tempfile.TemporaryDirectory() as place, torch.no_grad():
            for parameter in self.attached.trainable.values():  # else two small steps might be lost unseen
                parameter.add_(0.05 * torch.randn_like(parameter))
            self.net.eval()
            expected = window_losses(self.attached.network)
            folder = Path(place) / "adapter"
            arm = ArmSpec(model=self.base.card.name, method=self.method)
            save_adapter(self.attached, arm, folder, base="")
            fresh = _copied(self.base)
            torch.manual_seed(SEED + 1)  # what is drawn at the start must come from the folder, or from a fixed seed
            put_back(fresh, folder, self.method)
            found = window_losses(fresh)
        if not expected.isfinite().all():
            raise self._refusal(name, "its loss is not finite once its numbers have moved")
        if not same(expected, found):
            told = f"the loss is {found.mean():.6g} after loading, and was {expected.mean():.6g} before saving"
            raise self._refusal(name, told)
