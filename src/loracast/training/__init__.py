"""The one training loop: transformers' Trainer on windows, with step 0 in the running and an exact resume."""

from loracast.training.callbacks import MarkWhole, Progress, silence
from loracast.training.checkpoint import MARKER, last_checkpoint, step_of
from loracast.training.curve import Curve, is_over, training_curve, validation_curve
from loracast.training.fit import Say, fit

__all__ = [
    "MARKER",
    "Curve",
    "MarkWhole",
    "Progress",
    "Say",
    "fit",
    "is_over",
    "last_checkpoint",
    "silence",
    "step_of",
    "training_curve",
    "validation_curve",
]
