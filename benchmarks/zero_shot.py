"""Measure a nano backbone zero-shot on real series, and write the numbers into its model card.

    python benchmarks/zero_shot.py FOLDER DATA [--beside chronos-t5-nano --beside theta] [--json FILE] [--keep-card]

FOLDER holds the weights and the card that `loracast pretrain` wrote; DATA holds what `shared/data` does. All windows
of all patients are scored, or a seeded choice of them: nothing was trained on these data, so no patient needs holding
out. Two kinds of numbers: MAE, MASE and CRPS on glucose and heart rate, and one score over many sets (`series`): the
MASE, with the one-step naive error of the context as its scale, over that of the seasonal naive, and of each group the
geometric mean over its sets; beside it the coverage of the 80 % interval. A Chronos-2 with a seasonal row is also
scored without it. The scores on held-out synthetic series are those that `loracast pretrain` measured.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from series import SeriesSet, all_windows, clinical_sets, glucose_reader, packaged_sets

from loracast.data.readers.cinc2019 import Cinc2019Reader
from loracast.models.base import Model
from loracast.models.forecast import predict
from loracast.models.registry import load_backbone, load_model
from loracast.scoring.metrics import mase
from loracast.spec import ForecastSpec, WindowSpec
from loracast.training.pretrain.card import read_measured, write_card
from loracast.training.pretrain.measure import window_scores
from loracast.training.pretrain.recipe import load_recipe
from loracast.types import LEVELS, Rows

NAIVE = "seasonal-naive"


def score(model: Model, one: SeriesSet, samples: int) -> dict[str, float]:
    """Mean MASE of the medians, coverage of the 80 % interval, and milliseconds of processor time a window.

    A model that takes fewer steps than the windows have sees the last ones; the scale of the error stays that of all.
    """
    count, horizon = one.future.shape
    seen_by_it = one.context[:, -(model.card.context or one.context.shape[1]) :]
    rows = Rows(torch.zeros(count, dtype=torch.long), one.step_seconds, season=one.season, series=torch.arange(count))
    begun = time.process_time()
    found = predict(model, seen_by_it, horizon, ForecastSpec(samples=samples), rows).quantiles
    spent = time.process_time() - begun
    errors = mase(one.future, found[:, :, LEVELS.index(0.5)], one.context)
    seen = np.isfinite(one.future)
    inside = (one.future >= found[:, :, LEVELS.index(0.1)]) & (one.future <= found[:, :, LEVELS.index(0.9)])
    return {
        "mase": float(np.nanmean(errors)),
        "coverage_80": float(inside[seen].mean()),
        "milliseconds": 1000 * spent / count,
    }


def many_sets(arms: dict[str, Model], sets: Iterable[SeriesSet | str], samples: int) -> dict[str, Any]:
    """Every set's scores by model, MASE as a share of the seasonal naive's."""
    found: dict[str, Any] = {}
    for one in sets:
        if isinstance(one, str):
            print(f"Left out, its package is not installed: {one}")
            continue
        scores = {name: score(model, one, samples) for name, model in arms.items()}
        floor = scores[NAIVE]["mase"]
        for told in scores.values():
            told["of_seasonal_naive"] = told.pop("mase") / floor
        found[one.name] = {
            "group": one.group,
            "looked_at": one.looked_at,
            "context": one.context.shape[1],
            "horizon": one.future.shape[1],
            "windows": len(one.future),
            "models": scores,
        }
        print(one.name, {name: round(told["of_seasonal_naive"], 3) for name, told in scores.items()}, flush=True)
    return found


def tables_of(backbone: Model, data: Path, windows: int, samples: int) -> dict[str, Any]:
    """MAE, MASE and CRPS of the backbone and of the naive forecasts, on glucose and heart rate."""
    with tempfile.TemporaryDirectory() as work:
        cgm, cinc = Path(work) / "cgm.parquet", Path(work) / "cinc.parquet"
        glucose_reader(data).read(cgm)
        Cinc2019Reader(path=next((data / "cinc2019").glob("*.tar.xz")), signals=("heart_rate",)).read(cinc)
        sources = {
            "shanghai-cgm": (cgm, WindowSpec(context=48, horizon=4)),
            "cinc2019": (cinc, WindowSpec(context=24, horizon=6)),
        }
        return {
            name: window_scores(
                backbone, all_windows(table, spec, Path(work) / name, windows), ForecastSpec(samples=samples)
            )
            for name, (table, spec) in sources.items()
        }


def main() -> None:
    """Measure and rewrite the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", help="the recipe that made the weights; the folder's name unless given")
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100, help="draws a window: few of them blur the median")
    parser.add_argument("--beside", action="append", default=[], help="another model to score on the many sets")
    parser.add_argument("--json", type=Path, help="write the scores of the many sets here too")
    parser.add_argument("--keep-card", action="store_true", help="score the many sets alone, and leave the card be")
    arguments = parser.parse_args()
    backbone = load_backbone(str(arguments.folder))
    arms: dict[str, Model] = {"zero-shot": backbone}
    if getattr(backbone, "seasonal_row", False):
        bare = load_backbone(str(arguments.folder))
        bare.seasonal_row = False  # type: ignore[attr-defined]
        arms["without seasonal row"] = bare
    arms |= {name: load_model(name) for name in ("last-value", NAIVE, *arguments.beside)}
    sets = [*packaged_sets(), *clinical_sets(arguments.data)]
    found = many_sets(arms, sets, arguments.samples)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if arguments.keep_card:
        return
    measured = read_measured(arguments.folder)
    measured["tables"] = tables_of(backbone, arguments.data, arguments.windows, arguments.samples)
    measured["sets"] = found
    recipe = load_recipe(arguments.recipe or arguments.folder.resolve().name)
    print(write_card(arguments.folder, recipe, measured).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
