"""What a training looked like, and what its validation scores say."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Curve:
    """Losses by step, the step whose weights were kept, and what training took.

    `seconds` counts training, validation and saving; `seconds_per_step` is the median over the optimizer steps (of
    networks from scratch the mean), without validation and saving. `steps` were made, `best_step` is the one that was
    kept. `micro_batch` examples went through the network at once in each process, `accumulation` times a step.
    """

    train: list[dict[str, float]]
    validation: list[dict[str, float]]
    best_step: int
    seconds: float
    steps: int = 0
    seconds_per_step: float | None = None
    micro_batch: int | None = None
    accumulation: int = 1

    def as_json(self) -> dict[str, Any]:
        """For `learning.json`: what a run that was interrupted and resumed has in common with one that was not."""
        return {
            "train": self.train,
            "validation": self.validation,
            "best_step": self.best_step,
            "steps": self.steps,
            "micro_batch": self.micro_batch,
            "accumulation": self.accumulation,
        }


def training_curve(history: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Training losses by step, from the Trainer's log."""
    return [{"step": int(e["step"]), "loss": e["loss"]} for e in history if "loss" in e]


def validation_curve(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Validation losses by step, from the Trainer's log."""
    return [{"step": int(e["step"]), "loss": e["eval_loss"]} for e in history if "eval_loss" in e]


def is_over(scores: list[dict[str, float]], patience: int) -> bool:
    """Whether the last `patience` validation scores brought no new best."""
    losses = [score["loss"] for score in scores]
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])
