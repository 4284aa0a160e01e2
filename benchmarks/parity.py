"""Compare our networks with reference tensors of the upstream implementations, tensor by tensor.

    python benchmarks/parity.py {moirai|lag-llama} FOLDER [--tolerance 1e-5]

FOLDER holds a config.json, weights and reference cases, or folders that do, at any depth. Prints one JSON line for
each reference tensor: its largest absolute error, and that error relative to the largest magnitude in the reference
(null where a shape or a NaN differs). Exits with 1 where a relative error is above the tolerance, with 2 for input
that cannot be compared.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from loracast.errors import LoracastError

FAMILIES = {"moirai": "parity_moirai", "lag-llama": "parity_lag_llama"}
UNREADABLE = (LoracastError, OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError)


def errors(ours: Tensor, reference: Tensor) -> tuple[float | None, float | None]:
    """Largest absolute error, and the same relative to the largest finite magnitude of the reference.

    Equal infinities are no error; None where shapes differ, or one side is NaN or infinite and the other is not.
    """
    if ours.shape != reference.shape:
        return None, None
    ours, reference = ours.double(), reference.double()
    unlike = (ours != reference) & ~(ours.isnan() & reference.isnan())
    if not unlike.any():
        return 0.0, 0.0
    largest = float((ours - reference)[unlike].abs().max())
    if not largest < torch.inf:
        return None, None
    magnitude = float(reference[reference.isfinite()].abs().max())
    return largest, largest / magnitude if magnitude else None


def compare(family: str, folder: Path, tolerance: float) -> bool:
    """Print the errors of every case below `folder`; whether all are within `tolerance`."""
    folders = sorted(config.parent for config in folder.rglob("config.json"))
    if not folders:
        raise ValueError(f"{folder} holds no config.json, nor does any folder in it")
    cases = importlib.import_module(FAMILIES[family]).cases
    within = True
    compared = 0
    for place in folders:
        for case, tensor, ours, reference in cases(place):
            absolute, relative = errors(ours, reference)
            name = case if place == folder else f"{place.relative_to(folder).as_posix()}/{case}"
            line: dict[str, Any] = {"case": name, "tensor": tensor}
            print(json.dumps(line | {"max_abs_error": absolute, "max_rel_error": relative}), flush=True)
            within = within and relative is not None and relative <= tolerance
            compared += 1
    if not compared:
        raise ValueError(f"{folder} holds no reference cases of {family}")
    return within


def main(given: list[str] | None = None) -> int:
    """Parse, compare, and say by the exit status how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    arguments = parser.parse_args(given)
    try:
        return 0 if compare(arguments.family, arguments.folder, arguments.tolerance) else 1
    except UNREADABLE as error:
        print(f"{arguments.folder} cannot be compared: {type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
