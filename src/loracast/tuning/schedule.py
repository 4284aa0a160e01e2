"""What a method does besides following the gradient; and AdaLoRA, which does.

AdaLoRA (Zhang et al., ICLR 2023) takes ranks from matrices that gain little and leaves them to those that gain more.
The allocator is PEFT's; this is what a training loop owes it: the number of steps, a call after each of them, the
penalty that keeps the factors near orthogonal, and a state that a checkpoint can hold.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from peft import PeftModel
from torch import Tensor

from loracast.errors import TrainingError


class Schedule(Protocol):
    """What a method does besides following the gradient."""

    def begin(self, steps: int) -> None:
        """Called before training, with the number of optimizer steps."""

    def penalty(self) -> Tensor:
        """A scalar that is added to the training loss, and not to the validation loss."""
        ...

    def after_step(self, step: int) -> None:
        """Called after each optimizer step, before gradients are zeroed; `step` counts from 1."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides the trained numbers."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave."""


TABLES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""The allocator's importance of each number, its moving average, and that of its uncertainty."""
FEWEST_STEPS = 10
_WARMUP, _FINAL = 0.1, 0.4
"""Shares of the steps before the first rank is taken, and after the last."""


class AdaLoraSchedule:
    """The schedule of one AdaLoRA adapter."""

    def __init__(self, peft: PeftModel) -> None:
        self._model = peft.base_model
        self._config = peft.peft_config["default"]
        for name, parameter in self._model.named_parameters():
            if "ranknum" in name:  # the rank, a constant, which PEFT lets be trained on some devices
                parameter.requires_grad_(False)

    def begin(self, steps: int) -> None:
        """Spread the schedule over `steps` optimizer steps; raises TrainingError where they are too few."""
        if steps < FEWEST_STEPS:
            raise TrainingError(
                f"AdaLoRA weighs its ranks over {FEWEST_STEPS} steps or more; {steps} given. Raise steps, or use lora."
            )
        self._config.tinit, self._config.tfinal = round(_WARMUP * steps), round(_FINAL * steps)
        self._config.total_step, self._config.deltaT = steps, max(1, steps // 100)
        self._model.rankallocator.set_total_step(steps)

    def penalty(self) -> Tensor:
        """The mean distance of the factors from orthogonal ones, as AdaLoRA adds it to the loss (section 3.1)."""
        distances = []
        for name, factor in self._model.model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                gram = factor @ factor.T if "lora_A" in name else factor.T @ factor
                distances.append(torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device)))
        found: Tensor = self._config.orth_reg_weight * torch.stack(distances).mean()
        return found

    def after_step(self, step: int) -> None:
        """Weigh every rank by its gradient, and take the weakest away where the budget has fallen."""
        self._model.update_and_allocate(step)

    def state(self) -> dict[str, Tensor]:
        """The allocator's tables, and which ranks are kept once that is decided."""
        allocator = self._model.rankallocator
        tables = {f"{kind}/{name}": values for kind in TABLES for name, values in getattr(allocator, kind).items()}
        kept = {f"kept/{name}": torch.tensor(mask) for name, mask in (self._config.rank_pattern or {}).items()}
        return {name: values.detach().clone().contiguous().cpu() for name, values in {**tables, **kept}.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        device = next(self._model.parameters()).device
        for kind in TABLES:
            own = {name.split("/", 1)[1]: values.to(device) for name, values in state.items() if _kind(name) == kind}
            setattr(self._model.rankallocator, kind, own)
        kept = {name.split("/", 1)[1]: mask.tolist() for name, mask in state.items() if _kind(name) == "kept"}
        self._config.rank_pattern = kept or None


def _kind(name: str) -> str:
    return name.split("/", 1)[0]
