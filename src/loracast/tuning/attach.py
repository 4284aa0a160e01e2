"""A method on a model: what is trained, and the proof that it is something."""

import copy
from typing import cast

from loracast.errors import ConfigError, LoracastError, TrainingError
from loracast.models.base import Backbone, Model
from loracast.tuning.gate import is_counted_only, prove
from loracast.tuning.method import Attached, Method, PeftMethod
from loracast.tuning.methods import methods
from loracast.tuning.sites import NAMED


def attach(model: Model, method: Method) -> Attached:
    """Put `method` on `model`, in place.

    A method that our tests do not know (`peft:NAME`) must first pass the gate on a copy of the model. Raises
    ConfigError for a method that is not for this kind of model, sites that are none, or a size that a matrix cannot
    have; TrainingError where the model has no such part, where the gate refuses, or where a method that trains would
    find nothing to train: it would be zero-shot by another name.
    """
    _refuse_other_kind(model, method)
    if not method.proven and not is_counted_only(model):
        prove(model, method)
    attached = _put_on(model, method)
    if method.trains and not attached.trainable:
        raise TrainingError(
            f"{method.name!r} matches no weight of {model.card.name}: it would silently be zero-shot. "
            f"Choose another method: {_fitting(model)}."
        )
    return attached


def check_attached(model: Model, method: Method) -> None:
    """Raise what `attach` would raise, without touching the model.

    Of a skeleton, an unproven method is only checked for its kind and sites: some need weights to be put on, and the
    gate tries them all once there are some.
    """
    if not method.proven and isinstance(method, PeftMethod) and is_counted_only(model):
        _refuse_other_kind(model, method)
        method.pattern(cast("Backbone", model))
    else:
        attach(copy.deepcopy(model), method)


def _put_on(model: Model, method: Method) -> Attached:
    """The model with the method, with PEFT's refusals as a TrainingError."""
    try:
        return method.put_on(model)
    except LoracastError:
        raise
    except Exception as error:
        if method.proven and not isinstance(error, TypeError | ValueError):
            raise  # PEFT refuses a kind of module by these two; a tuner that nobody has tried, by any
        what = f"{method.name!r} cannot tune"
        if not method.proven and isinstance(error, RuntimeError):  # torch's, which has no such operation on no data
            raise TrainingError(
                f"{what} a network without its weights, and so cannot be counted on {model.card.name} offline. Give a "
                "folder with weights, or chronos-t5-nano."
            ) from error
        sites = method.sites if isinstance(method, PeftMethod) else "the weights"
        why = " ".join(str(error).split()).rstrip(". ") or type(error).__name__
        raise TrainingError(
            f"{what} {sites} of {model.card.name}: {why}. Choose other sites ({', '.join(NAMED)}) or another method "
            f"({_fitting(model)})."
        ) from error


def _fitting(model: Model) -> str:
    return ", ".join(name for name, kind in methods().items() if model.card.kind in kind.kinds)


def _refuse_other_kind(model: Model, method: Method) -> None:
    kind = model.card.kind
    if kind not in method.kinds:
        raise ConfigError(
            f"The method {method.name!r} is for {' and '.join(sorted(method.kinds))} models; {model.card.name} is "
            f"{kind}. Choose: {_fitting(model)}."
        )
