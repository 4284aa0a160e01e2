"""Random Chronos-Bolt and Chronos-2 of some ten thousand numbers, as folders that their library reads."""

from pathlib import Path
from typing import Any

import torch
from chronos.chronos2 import Chronos2Model
from chronos.chronos2.config import Chronos2CoreConfig
from chronos.chronos_bolt import ChronosBoltModelForForecasting
from transformers import T5Config

BOLT = {
    "context_length": 48,
    "prediction_length": 16,
    "input_patch_size": 8,
    "input_patch_stride": 8,
    "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
    "use_reg_token": True,
}
CHRONOS2 = {
    "context_length": 48,
    "output_patch_size": 8,
    "input_patch_size": 8,
    "input_patch_stride": 8,
    "max_output_patches": 2,
    "quantiles": [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99],
    "use_reg_token": True,
    "use_arcsinh": True,
}
BODY = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 2, "pad_token_id": 0}


def save_bolt(folder: Path, *, seed: int = 0, **changed: Any) -> Path:
    """Save a random Chronos-Bolt: 48 steps of context, 16 native steps of forecast."""
    config = T5Config(**BODY, eos_token_id=1, decoder_start_token_id=0, chronos_config={**BOLT, **changed})
    return _save(ChronosBoltModelForForecasting, config, folder, seed)


def save_chronos2(folder: Path, *, seed: int = 0, **changed: Any) -> Path:
    """Save a random Chronos-2: 48 steps of context, 16 native steps of forecast."""
    # Smaller, and so small a network would not look at its input; larger, and the sinh of its output is infinite.
    config = Chronos2CoreConfig(**BODY, initializer_factor=0.4, chronos_config={**CHRONOS2, **changed})
    return _save(Chronos2Model, config, folder, seed)


def save_seasonal(folder: Path, *, seed: int = 0) -> Path:
    """Save a random Chronos-2 that is given the season of each window beside it."""
    config = Chronos2CoreConfig(**BODY, initializer_factor=0.4, seasonal_row=True, chronos_config=dict(CHRONOS2))
    return _save(Chronos2Model, config, folder, seed)


def _save(kind: Any, config: Any, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind(config).save_pretrained(folder)
    return folder
