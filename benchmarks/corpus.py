"""How many series of 576 steps a processor second makes of the two synthetic corpora, on one thread.

python benchmarks/corpus.py [--batch 96]
"""

import argparse

import torch
from timing import median_seconds

from loracast.training.pretrain import corpora, spectra

CONTEXT, HORIZON = 480, 96


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=96, help="series made at a time by the spectral corpus")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    batch = range(arguments.batch)
    whole = median_seconds(lambda: spectra.draw(0, batch, CONTEXT, HORIZON), arguments.repeats, processor=True)
    print(f"spectra: {arguments.batch / whole:,.0f} series a processor second, {arguments.batch} at a time")
    some = range(32)
    single = median_seconds(
        lambda: [corpora.draw(0, index, CONTEXT + HORIZON) for index in some], arguments.repeats, processor=True
    )
    print(f"corpora: {len(some) / single:,.0f} series a processor second, one at a time")


if __name__ == "__main__":
    main()
