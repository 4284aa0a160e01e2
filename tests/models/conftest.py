"""A small random model of every pretrained family, saved as a folder."""

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import safetensors.torch
import torch

from loracast.models.base import Model
from loracast.models.registry import families, listed, load_model, models
from tests.conftest import save_backbone
from tests.models.tiny_chronos import save_bolt, save_chronos2, save_seasonal
from tests.models.tiny_ports import save_lag_llama, save_moirai

SAVED: dict[str, Callable[[Path], Path]] = {
    "chronos-t5": save_backbone,
    "chronos-bolt": save_bolt,
    "chronos2": save_chronos2,
    "moirai": save_moirai,
    "lag-llama": save_lag_llama,
}
VARIANTS: dict[str, Callable[[Path], Path]] = {"chronos2-seasonal": save_seasonal}
"""Families once more, with an option of their config that changes how they forecast and are trained."""
DRAWS = {"chronos-t5", "lag-llama"}
"""Families that forecast by drawing samples; the others have quantiles as their output."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each."""
    root = tmp_path_factory.mktemp("families")
    return {family: save(root / f"tiny-{family}") for family, save in (SAVED | VARIANTS).items()}


CONTEXT, HORIZON = 24, 6
OWN = [name for name, (family, _) in models().items() if family.kind != "pretrained"]


@pytest.fixture(params=[*OWN, *SAVED, *VARIANTS])
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Model:
    """Every model that needs no weights, and a small random one of every pretrained family."""
    name = request.param
    for package in families()[listed(name).family.name].packages if name in OWN else ():
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    return load_model(str(folders.get(name, name)), context=CONTEXT, horizon=HORIZON)


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny backbone, to be spoiled."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")
