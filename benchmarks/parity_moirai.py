"""What parity.py compares for MOIRAI: every tensor of a case's file against the network and the packing here."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from loracast.models.nets.mixture import Mixture, log_density, training_loss, variate_scores
from loracast.models.nets.moirai import MoiraiConfig, MoiraiNet
from loracast.models.nets.packing import Series, pack

INPUTS = {"past_target", "past_observed", "past_is_pad", "future_target", "future_observed", "future_is_pad"}


def cases(folder: Path) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """(case, tensor, ours, reference) for every reference tensor of `folder`: weights, a config and cases."""
    config = MoiraiConfig.read(json.loads((folder / "config.json").read_text()))
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    net = MoiraiNet(config)
    net.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    net.eval()
    for file in sorted(folder.glob("*.json")):
        tensors = file.with_suffix(".safetensors")
        if file.name == "config.json" or not tensors.is_file():
            continue
        patch = int(json.loads(file.read_text())["patch_size"])
        reference = safetensors.torch.load_file(tensors)
        with torch.no_grad():
            ours = outputs(net, series_of(reference), patch)
        for name in sorted(reference.keys() - INPUTS):
            yield file.stem, name, ours[_ours(name)], reference[name]


def series_of(case: dict[str, Tensor]) -> Series:
    """The inputs of a case; its axes are [sample, step, variate]."""
    past, future = (case[name].transpose(1, 2).contiguous() for name in ("past_target", "future_target"))
    return Series(
        past=past,
        past_observed=case["past_observed"].transpose(1, 2).bool(),
        padding=case["past_is_pad"].bool(),
        future=future,
        future_observed=case["future_observed"].transpose(1, 2).bool(),
        present=torch.ones(past.shape[:2], dtype=torch.bool),
    )


def outputs(net: MoiraiNet, series: Series, patch: int) -> dict[str, Tensor]:
    """Everything a case may hold, over all tokens and as many steps a token as the largest patch size has."""
    largest = max(net.settings.patch_sizes)
    packed = pack(series, patch, scaling=net.settings.scaling)
    mixture, forecast = net(packed, start=0, steps=largest), net(packed)
    values, observed = (functional.pad(x, (0, largest - patch)) for x in (packed.values, packed.observed))
    return {
        "packed_target": values,
        "packed_observed_mask": observed.float(),
        "sample_id": packed.sample_id,
        "time_id": packed.time_id,
        "variate_id": packed.variate_id,
        "prediction_mask": packed.forecast.float(),
        "patch_size": torch.full_like(packed.time_id, patch),
        "loc": packed.loc[..., None],
        "scale": packed.scale[..., None],
        "log_prob": log_density(mixture, values, packed.loc, packed.scale),
        "per_series_nll": variate_scores(forecast, packed).sum(dim=1),
        "training_nll": training_loss(forecast, packed)[None],
        "mixture_probs": mixture.log_weights.exp(),
        **parameters(mixture),
    }


def parameters(mixture: Mixture) -> dict[str, Tensor]:
    """Every parameter of every component, as `componentN_parameter`."""
    return {f"component{n}_{name}": p for n, part in enumerate(mixture.components()) for name, p in part.items()}


def _ours(name: str) -> str:
    """The reference also names the family of a component: component0_StudentT_df."""
    return re.sub(r"^(component\d+)_[A-Za-z]+_", r"\1_", name)
