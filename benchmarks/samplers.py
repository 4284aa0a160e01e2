"""Time the forecasts of MOIRAI and Lag-Llama at released shapes, with random weights: no download, the same arithmetic.

    python benchmarks/samplers.py [--threads 2] [--exact] [--processor-time] [--json]

Lag-Llama draws 100 paths of 36 steps after a full history (1,124 steps), for 1 window and for 32; with --exact for one
also by upstream's procedure, after a random walk and after one of whole numbers, as vital signs are. MOIRAI small
forecasts 36 steps of 32 windows of 72, with patches of 16, of 32 and of the size chosen by window. Medians over
repeats; with --processor-time, on a machine that others use too, of processor time.
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


def seconds(
    backbone: Backbone, windows: int, context: int, arguments: argparse.Namespace, *, whole: bool = False
) -> float:
    """Median time of a forecast: 36 steps, 100 samples, as many windows at a time as the backbone asks for."""
    series = 80 + torch.randn(windows, context, generator=torch.Generator().manual_seed(0)).cumsum(dim=1)
    series = series.round() if whole else series
    together = backbone.windows_a_pass(100) if hasattr(backbone, "windows_a_pass") else windows

    def forecast() -> None:
        for some in series.split(together):
            rows = Rows(torch.zeros(len(some), dtype=torch.long), 300)
            backbone.forecast(some, 36, levels=LEVELS, samples=100, seed=0, rows=rows)

    return median_seconds(forecast, arguments.repeats, processor=arguments.processor_time)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--processor-time", action="store_true")
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
    steps = paths.card.context
    assert steps is not None
    found = {
        "lag_llama_frozen_1_window": seconds(paths, 1, steps, arguments),
        "lag_llama_frozen_32_windows": seconds(paths, 32, steps, arguments),
    }
    for patch in (16, 32, None):
        patches.patch_size = patch
        found[f"moirai_small_patch_{patch or 'auto'}"] = seconds(patches, 32, 72, arguments)
    if arguments.exact:
        paths.procedure = "exact"
        found["lag_llama_exact"] = seconds(paths, 1, steps, arguments)
        found["lag_llama_exact_whole_numbers"] = seconds(paths, 1, steps, arguments, whole=True)
    result = {"threads": arguments.threads, "hardware": costs.hardware(), **found}
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
