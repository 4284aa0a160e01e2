"""From runs to arrays: the error sums of every arm, seed and patient, on one side of the split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from loracast.errors import DataError

ALL = "all"
"""What stands for all signals together, where an error must be free of units: MASE. A signal has its MAE."""
_COLUMNS = ["patient", "signal", "step", "targets", "sum_mae", "n_mae", "sum_mase", "n_mase"]


def metric_of(signal: str) -> str:
    """By which score ranks are compared on a signal, or on all of them."""
    return "mase" if signal == ALL else "mae"


@dataclass(frozen=True)
class Errors:
    """Sums of one score of several arms on the same windows; `counts` is how many numbers are in each sum.

    Patients without a number are not in it, so that every count is positive.
    """

    sums: Float[np.ndarray, "arm seed patient"]
    counts: Int[np.ndarray, " patient"]

    @property
    def values(self) -> Float[np.ndarray, " arm"]:
        """The score of each arm, its seeds averaged."""
        # Arm by arm, so that equal sums give equal scores to the last bit.
        seeds = self.sums.shape[1]
        means: np.ndarray = np.array([arm.sum() for arm in self.sums]) / (seeds * self.counts.sum())
        return means

    def arms(self, chosen: Sequence[int]) -> "Errors":
        """These arms only."""
        return Errors(self.sums[list(chosen)], self.counts)

    def seed(self, number: int) -> "Errors":
        """One seed only."""
        return Errors(self.sums[:, [number]], self.counts)


def errors_of(runs: Sequence[Sequence[Path]]) -> dict[str, Errors]:
    """The errors per signal, and of `ALL`, from the sums that runs have kept: `runs` holds a file an arm and seed.

    Every arm has the same seeds. Raises DataError where a file cannot be read, or two have not scored the same windows.
    """
    first: pd.DataFrame | None = None
    found: list[list[dict[str, np.ndarray]]] = []
    for arm in runs:
        found.append([])
        for file in arm:
            cells = _read(file)
            first = cells if first is None else first
            _check_same(first, cells, file)
            found[-1].append({name: part.to_numpy() for name, part in _per_patient(cells, "sum").items()})
    if first is None:
        raise DataError("No run to compare: the sweep has no finished run. Run it again.")
    counts = {name: part.to_numpy(dtype=np.int64) for name, part in _per_patient(first, "n").items()}
    return {
        name: Errors(np.array([[run[name] for run in arm] for arm in found])[..., n > 0], n[n > 0])
        for name, n in counts.items()
        if n.any()
    }


def _read(file: Path) -> pd.DataFrame:
    """One run's sums, those columns only that decide here: a large cohort has many patients and steps."""
    try:
        cells: pd.DataFrame = pq.read_table(file, columns=_COLUMNS).to_pandas()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{file.parent.name}/{file.name} cannot be read ({error}). A rank sweep needs the sums of every run on "
            "validation and test windows: run the sweep again with --resume."
        ) from error
    return cells.sort_values(["patient", "signal", "step"], ignore_index=True)


def _check_same(one: pd.DataFrame, other: pd.DataFrame, file: Path) -> None:
    exact = ["patient", "signal", "step", "n_mae", "n_mase"]
    same = len(one) == len(other) and bool((one[exact].to_numpy() == other[exact].to_numpy()).all())
    if not same or not np.allclose(one["targets"], other["targets"], rtol=1e-6):
        raise DataError(
            f"{file.parent.name} did not score the same windows as the other runs, so that ranks cannot be compared. "
            "Run the sweep again with another --out."
        )


def _per_patient(cells: pd.DataFrame, kind: str) -> Mapping[str, pd.Series]:
    """Sums (or counts) a patient: MASE over the windows of all signals, and MAE over the targets of each."""
    patients = pd.Index(sorted(cells["patient"].unique()))
    signals = {str(name): part for name, part in cells.groupby("signal")}
    found = {ALL: cells.groupby("patient")[f"{kind}_mase"].sum()}
    found |= {name: part.groupby("patient")[f"{kind}_mae"].sum() for name, part in signals.items()}
    return {name: part.reindex(patients, fill_value=0) for name, part in found.items()}
