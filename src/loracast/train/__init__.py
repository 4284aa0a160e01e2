"""The one training loop: transformers' Trainer on windows, with step 0 in the running and an exact resume."""

from loracast.train.callbacks import MarkWhole, Progress, silence
from loracast.train.checkpoint import MARKER, last_checkpoint, step_of
from loracast.train.curve import Curve, is_over, training_curve, validation_curve
from loracast.train.loop import Say, fit

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
