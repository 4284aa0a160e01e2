"""Checkpoints as Lightning writes them, with the classes of the published one, without Lightning or gluonts."""

import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

DISTRIBUTION, LIKELIHOOD = "gluonts.torch.distributions.studentT", "gluonts.torch.modules.loss"


def write_checkpoint(
    file: Path, tensors: dict[str, Tensor], model_kwargs: dict[str, Any], *, prefix: str = "model.", **extra: Any
) -> Path:
    """Save `tensors` and hyper-parameters in the layout of lag-llama.ckpt; `extra` joins the hyper-parameters."""
    student, likelihood = _class(DISTRIBUTION, "StudentTOutput"), _class(LIKELIHOOD, "NegativeLogLikelihood")
    loss = likelihood()
    loss.__dict__.update(beta=0.0, fields_set=set())
    distribution = student()
    distribution.__dict__["__init_args__"] = OrderedDict()
    state = OrderedDict((prefix + name, tensor) for name, tensor in tensors.items())
    state._metadata = OrderedDict(version=1)
    content = {
        "epoch": 3,
        "global_step": 2**40,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"EarlyStopping{'monitor': 'val_loss'}": {"best_score": torch.tensor(1.5), "patience": 50}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"betas": (0.9, 0.999)}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "model_kwargs": {**model_kwargs, "distr_output": model_kwargs.get("distr_output", distribution)},
            "loss": loss,
            "lr": 1e-4,
            **extra,
        },
    }
    modules = {DISTRIBUTION: student, LIKELIHOOD: likelihood}
    kept = {name: sys.modules.get(name) for name in _packages(modules)}
    try:
        for name in kept:
            sys.modules[name] = ModuleType(name)
        for name, cls in modules.items():
            setattr(sys.modules[name], cls.__name__, cls)
        torch.save(content, file)
    finally:
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return file


def _class(module: str, name: str) -> type:
    return type(name, (), {"__module__": module})


def _packages(modules: dict[str, type]) -> list[str]:
    parts = [name.split(".") for name in modules]
    return sorted({".".join(part[:length]) for part in parts for length in range(1, len(part) + 1)})
