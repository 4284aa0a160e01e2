"""What a notebook shows: our own warnings and errors, no chatter of the libraries below, and figures."""

import contextlib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from loracast.errors import LoracastWarning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIBRARIES = ("transformers", "peft", "accelerate", "huggingface_hub", "pytorch_lightning", "lightning")
"""Whose loggers tell of their own affairs: where they write, what they will call otherwise one day."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what the libraries below log short of an error, their bars, and what they will change one day.

    Warnings of loracast, and those about the user's own data, pass.
    """
    from tqdm import TqdmWarning

    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning, TqdmWarning):
            warnings.simplefilter("ignore", category)
        from transformers.utils import logging as of_transformers  # its bar of loading weights stays where it ended

        hook = of_transformers.set_tqdm_hook(lambda factory, given, named: of_transformers.EmptyTqdm(*given, **named))
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            of_transformers.set_tqdm_hook(hook)
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def bars(asked: bool | None) -> bool:
    """Whether progress is shown: as asked for, else wherever a bar goes away once it has ended.

    It does in a terminal, and in a notebook that has ipywidgets; without them it would stay as lines of text.
    """
    if asked is not None:
        return asked
    return "ipykernel" not in sys.modules or importlib.util.find_spec("ipywidgets") is not None


def warn(text: str) -> None:
    """Tell the user a line, as a warning of their own call."""
    warnings.warn(text, LoracastWarning, stacklevel=3)


def shown(figure: "Figure") -> "Figure":
    """The figure, which a notebook shows though nobody has imported pyplot, which would teach it to."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return figure
    from IPython.core.pylabtools import print_figure

    formatter = shell.display_formatter.formatters["image/png"]
    try:
        formatter.lookup(figure)
    except KeyError:
        formatter.for_type(type(figure), print_figure)
    return figure
