"""Measure a nano backbone zero-shot on real data, and write the numbers into its model card.

    python benchmarks/zero_shot.py FOLDER DATA

FOLDER holds the weights and the card that `loracast pretrain` wrote; DATA holds `shanghai-cgm/cgm_long.csv.gz`
(1 h ahead from 12 h) and `cinc2019/*.tar.xz` (heart rate, 6 h ahead from 24 h). All windows of all patients are
scored, or a seeded choice of --windows of them: nothing was trained on these data, so no patient needs holding out.
The scores on held-out synthetic series are those that `loracast pretrain` measured.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from loracast.data.readers.cinc2019 import Cinc2019Reader
from loracast.data.readers.table import TableReader
from loracast.data.split import SIDES, split_patients
from loracast.data.table import Table, patients_of
from loracast.data.windows import WindowSet, cut_windows
from loracast.models.registry import load_backbone
from loracast.spec import ForecastSpec, SplitSpec, WindowSpec
from loracast.training.pretrain.card import read_measured, write_card
from loracast.training.pretrain.measure import window_scores
from loracast.training.pretrain.recipe import load_recipe


def all_windows(table: Path, spec: WindowSpec, folder: Path, most: int) -> WindowSet:
    """The windows of all patients (the split that the store needs is undone), at most `most` of them."""
    opened = Table.open(table)
    store = cut_windows(opened, split_patients(patients_of(opened), SplitSpec()), spec, folder)
    sides = [store.side(side) for side in SIDES]
    index = np.concatenate([np.asarray(side.index) for side in sides])
    whole = dataclasses.replace(sides[0], index=index[np.argsort(index[:, 0], kind="stable")])
    return whole.some(most, seed=0)


def main() -> None:
    """Measure and rewrite the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", help="the recipe that made the weights; the folder's name unless given")
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100, help="draws a window: few of them blur the median")
    arguments = parser.parse_args()
    backbone, recipe = (
        load_backbone(str(arguments.folder)),
        load_recipe(arguments.recipe or arguments.folder.resolve().name),
    )
    measured = read_measured(arguments.folder)
    with tempfile.TemporaryDirectory() as work:
        cgm, cinc = Path(work) / "cgm.parquet", Path(work) / "cinc.parquet"
        TableReader(
            path=arguments.data / "shanghai-cgm" / "cgm_long.csv.gz",
            grid="15min",
            stay="record",
            value="cgm_mgdl",
            signal="glucose",
        ).read(cgm)
        archive = next((arguments.data / "cinc2019").glob("*.tar.xz"))
        Cinc2019Reader(path=archive, signals=("heart_rate",)).read(cinc)
        sources = {
            "shanghai-cgm": (cgm, WindowSpec(context=48, horizon=4)),
            "cinc2019": (cinc, WindowSpec(context=24, horizon=6)),
        }
        measured["tables"] = {
            name: window_scores(
                backbone,
                all_windows(table, spec, Path(work) / name, arguments.windows),
                ForecastSpec(samples=arguments.samples),
            )
            for name, (table, spec) in sources.items()
        }
    print(write_card(arguments.folder, recipe, measured).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
