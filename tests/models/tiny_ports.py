"""Random MOIRAI and Lag-Llama of some ten thousand numbers, as folders that loracast reads."""

from pathlib import Path

import torch

from loracast.models.nets.lag_llama import LagLlama, LagLlamaConfig
from loracast.models.nets.moirai import MoiraiConfig, MoiraiNet


def save_moirai(folder: Path) -> Path:
    """Save a random MOIRAI of two patch sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MoiraiNet(MoiraiConfig(d_model=64, num_layers=2, patch_sizes=(4, 8), max_seq_len=64))
    net.save_pretrained(folder)
    return folder


def save_lag_llama(folder: Path) -> Path:
    """Save a random Lag-Llama: lags of up to 24 steps, 24 tokens."""
    config = LagLlamaConfig(lags_seq=(0, 1, 2, 6, 11, 23), n_layer=2, n_head=2, n_embd_per_head=8, context_length=24)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = LagLlama(config)
    net.save_pretrained(folder)
    return folder
