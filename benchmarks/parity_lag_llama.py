"""What parity.py compares for Lag-Llama: every reference tensor of a folder against the network and sampler here."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from loracast.errors import BackboneError
from loracast.models.hub import read_config, read_tensors, refuse_other_weights
from loracast.models.lag_llama import read_lag_llama
from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig
from loracast.models.nets.lag_llama_paths import mean_path
from loracast.models.nets.lag_llama_window import Window, teacher_forced

INPUTS = {"past_target", "past_observed_values", "past_time_feat", "future_time_feat", "future_target"}
INPUTS |= {"future_observed_values"}


def cases(folder: Path) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """(case, tensor, ours, reference) for every reference tensor of `folder`: config, io and weights.

    The weights are weights.safetensors, or those inside a Lightning checkpoint in the folder or beside it.
    """
    config = LagLlamaConfig.read(read_config(folder), str(folder))
    net = LagLlama(config)
    weights = read_weights(folder)
    refuse_other_weights(
        folder,
        {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()},
        {name: tuple(tensor.shape) for name, tensor in weights.items()},
    )
    net.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    reference = read_tensors(folder / "io.safetensors")
    ours = outputs(net.eval(), reference)
    for name in sorted(reference.keys() - INPUTS):
        if name not in ours:
            raise BackboneError(f"{folder}/io.safetensors has {name}; known are {', '.join(sorted(ours))}.")
        yield "io", name, ours[name], reference[name]


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors under their published names."""
    file = folder / "weights.safetensors"
    if file.is_file():
        return read_tensors(file)
    checkpoints = sorted(folder.glob("*.ckpt")) or sorted(folder.parent.glob("*.ckpt"))
    if len(checkpoints) != 1:
        raise BackboneError(f"{folder} has no weights.safetensors, nor is there one .ckpt in it or beside it.")
    return read_lag_llama(checkpoints[0])[1]


@torch.no_grad()
def outputs(net: LagLlama, case: dict[str, Tensor]) -> dict[str, Tensor]:
    """The teacher-forced pass and the path of means, everything recomputed at every step."""
    future = case["future_target"]
    seen = case.get("future_observed_values", torch.ones_like(future)) == 1
    window = window_of(net.config, case)
    predicted, surprise = teacher_forced(net, window, future)
    scored = torch.cat([window.observed[:, net.config.reach + 1 :], seen], dim=1)
    return {
        "df": predicted.df,
        "loc_param": predicted.loc,
        "scale_param": predicted.scale,
        "loc": window.loc,
        "scale": window.scale,
        "nll": surprise,
        "loss": (torch.where(scored, surprise, 0).sum() / scored.sum().clamp_min(1)).reshape(1),
        "greedy_mean_path": mean_path(net, window, future.shape[1], exact=True),
    }


def window_of(config: LagLlamaConfig, case: dict[str, Tensor]) -> Window:
    """The history of a case, with the time features of the steps that become tokens."""
    past = case["past_target"]
    time = None
    if config.time_feat:
        tokens = past.shape[1] - config.reach
        time = torch.cat([case["past_time_feat"][:, -tokens:], case["future_time_feat"]], dim=1)
    return Window.of(config, past, case["past_observed_values"] == 1, time)
