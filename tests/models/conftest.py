"""A small random model of every pretrained family, saved as a folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.conftest import save_backbone
from tests.models.tiny_chronos import save_bolt, save_chronos2
from tests.models.tiny_ports import save_lag_llama, save_moirai

SAVED: dict[str, Callable[[Path], Path]] = {
    "chronos-t5": save_backbone,
    "chronos-bolt": save_bolt,
    "chronos2": save_chronos2,
    "moirai": save_moirai,
    "lag-llama": save_lag_llama,
}
DRAWS = {"chronos-t5", "moirai", "lag-llama"}
"""Families that forecast by drawing samples; the others have quantiles as their output."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each."""
    root = tmp_path_factory.mktemp("families")
    return {family: save(root / f"tiny-{family}") for family, save in SAVED.items()}


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny backbone, to be spoiled."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")
