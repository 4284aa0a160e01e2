"""How far did validation fall at each learning rate? From a results folder of ablations/learning-rate.

    python benchmarks/learning_rates.py FOLDER OUT.json

Writes, for every model and method, the rates with the fall of the validation loss from step 0 to the kept step.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from loracast.files import read_json, write_json


def falls(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Model, method and rate to the fall of the validation loss and the step that was kept."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    for file in sorted(folder.glob("runs/*/result.json")):
        result = read_json(file)
        rate = result["settings"].get("learning_rate")
        if rate is not None:
            losses = [entry["loss"] for entry in read_json(file.with_name("learning.json"))["validation"]]
            told = {"fall": losses[0] - min(losses), "best_step": result["best_step"], "seed": result["seed"]}
            found[result["model"]][result["method"]][f"{rate:g}"] = told
    return {model: dict(methods) for model, methods in found.items()}


if __name__ == "__main__":
    write_json(Path(sys.argv[2]), falls(Path(sys.argv[1])))
