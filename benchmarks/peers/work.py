"""One side of one case in a process of its own: prepares, then does the work once for each line on stdin.

    python benchmarks/peers/work.py SIDE CASE.json FOLDER CONTEXT.npy THREADS

Each answer is a line of JSON: wall and processor seconds of the work, the largest resident size so far, and that
before the work first began. A line `save FILE` also saves what came out, `samples N FILE` saves N sample paths.
"""

import importlib
import json
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch


def peak() -> int:
    """The largest resident size of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Answer until stdin ends."""
    side, case, folder, context, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(threads))
    given = np.load(context)
    work = importlib.import_module(f"sides.{side}").prepare(json.loads(Path(case).read_text()), folder)
    before = peak()
    for line in sys.stdin:
        order, *rest = line.split()
        if order == "samples":
            np.save(rest[1], work(given, int(rest[0])))
            told: dict[str, float] = {}
        else:
            wall, cpu = time.perf_counter(), time.process_time()
            found = work(given)
            told = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            if order == "save":
                np.save(rest[0], found)
        print(json.dumps({**told, "peak": peak(), "before": before}), file=answers, flush=True)


if __name__ == "__main__":
    main()
