"""How low does validation fall when a network is trained from scratch? The best loss of each seed.

    python benchmarks/one_loop.py [--networks nhits,nbeats] [--steps 300] [--seeds 0,1,2] [--json]

On the bench's synthetic windows of 24 → 6 steps, by the settings of the method `scratch`. What changes the loop must
leave these numbers where they are, but for what a seed decides.
"""

import argparse
import json
import tempfile
from pathlib import Path

from loracast.models.registry import load_model
from loracast.spec import TrainSpec
from loracast.study.bench.windows import synthetic_windows
from loracast.training.fit import fit
from loracast.training.task import window_task
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach

CONTEXT, HORIZON = 24, 6
TRAINED, VALIDATED = 2000, 500
"""Windows."""


def best_losses(network: str, steps: int, seeds: list[int]) -> list[float]:
    """The lowest validation loss of each seed: pinball losses at nine levels, in units of a window's scale."""
    train = synthetic_windows(TRAINED, CONTEXT, HORIZON, seed=10)
    validation = synthetic_windows(VALIDATED, CONTEXT, HORIZON, seed=11)
    found = []
    for seed in seeds:
        model = load_model(network, context=CONTEXT, horizon=HORIZON, seed=seed)
        arm = ArmSpec(model=network, method="scratch")
        spec = arm.training_of(TrainSpec(), model.card.parameters).model_copy(update={"steps": steps})
        task = window_task(attach(model, arm.method), train, validation, name=f"{network} s{seed}")
        with tempfile.TemporaryDirectory() as folder:
            curve = fit(task, spec, Path(folder), seed=seed)
        found.append(min(score["loss"] for score in curve.validation))
    return found


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="nhits,nbeats")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    found = {name: best_losses(name, arguments.steps, seeds) for name in arguments.networks.split(",")}
    if arguments.json:
        print(json.dumps(found))
        return
    for name, losses in found.items():
        print(f"{name}: " + ", ".join(f"{loss:.4f}" for loss in losses))


if __name__ == "__main__":
    main()
