"""Time the samplers of MOIRAI and Lag-Llama at released shapes, with random weights: no download, the same arithmetic.

    python benchmarks/samplers.py [--threads 2] [--exact] [--json]

Lag-Llama draws 100 paths of 36 steps for one window after a full history (1,124 steps); with --exact also by upstream's
procedure, which computes everything anew at each step of each path. MOIRAI small draws 100 samples of 36 steps for 32
windows of 72, its patch size chosen by window. Medians over repeats.
"""

import argparse
import json

import torch
from timing import median_seconds

from loracast.models import lag_llama, moirai
from loracast.models.base import Backbone
from loracast.models.nets.lag_llama import LagLlama
from loracast.models.nets.moirai import MoiraiNet
from loracast.models.registry import skeleton
from loracast.training import cost as costs
from loracast.types import LEVELS, Rows


def seconds(backbone: Backbone, windows: int, context: int, repeats: int) -> float:
    """Median wall time of one forecast: 36 steps, 100 samples."""
    series = 80 + torch.randn(windows, context, generator=torch.Generator().manual_seed(0)).cumsum(dim=1)
    rows = Rows(torch.zeros(windows, dtype=torch.long), 300)
    return median_seconds(lambda: backbone.forecast(series, 36, levels=LEVELS, samples=100, seed=0, rows=rows), repeats)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    paths = skeleton("lag-llama")
    assert isinstance(paths, lag_llama.LagLlamaBackbone)
    paths.net = LagLlama(paths.net.config).eval()
    patches = skeleton("moirai-1.1-R-small")
    assert isinstance(patches, moirai.Moirai)
    patches.net = MoiraiNet(patches.net.settings).eval()
    found = {
        "lag_llama_frozen_seconds": seconds(paths, 1, paths.card.context, arguments.repeats),
        "moirai_small_auto_seconds": seconds(patches, 32, 72, arguments.repeats),
    }
    if arguments.exact:
        paths.procedure = "exact"
        found["lag_llama_exact_seconds"] = seconds(paths, 1, paths.card.context, 1)
    result = {"threads": arguments.threads, "hardware": costs.hardware(), **found}
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
