import csv
import gzip
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from loracast.data.simulator import simulate

REAL = Path(__file__).parents[2] / ".." / "shared" / "data"

ADMITTED = datetime(2150, 3, 1, 10, 0)

HEADERS = {
    "PATIENTS": ("subject_id", "dob"),
    "ADMISSIONS": ("hadm_id", "dischtime"),
    "ICUSTAYS": ("subject_id", "hadm_id", "icustay_id", "intime", "outtime"),
    "DIAGNOSES_ICD": ("hadm_id", "icd9_code"),
    "CHARTEVENTS": ("icustay_id", "itemid", "charttime", "value", "valuenum", "error"),
}

# One adult with severe sepsis, a day in the ICU.
ONE_PATIENT: dict[str, list[tuple[Any, ...]]] = {
    "PATIENTS": [(1, "2100-01-01 00:00:00")],
    "ADMISSIONS": [(10, "2150-03-05 00:00:00")],
    "ICUSTAYS": [(1, 10, 100, ADMITTED, ADMITTED + timedelta(hours=24))],
    "DIAGNOSES_ICD": [(10, "0389"), (10, "99592")],
    "CHARTEVENTS": [(100, 211, ADMITTED + timedelta(hours=1), "80", 80, "")],
}


def minute(minutes: float) -> datetime:
    """Time so many minutes after the admission of ONE_PATIENT."""
    return ADMITTED + timedelta(minutes=minutes)


def write_tables(folder: Path, tables: dict[str, list[tuple[Any, ...]]], ending: str = ".csv.gz") -> Path:
    """Write tables by hand, in the columns of HEADERS."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        path = folder / f"{name}{ending}"
        opener = gzip.open if ending.endswith(".gz") else open
        with opener(path, "wt", newline="") as stream:
            csv.writer(stream).writerows([HEADERS[name], *rows])
    return folder


@pytest.fixture
def tables(tmp_path: Path) -> Callable[..., Path]:
    """Write ONE_PATIENT with some tables replaced, and return the folder."""

    def write(**replaced: list[tuple[Any, ...]]) -> Path:
        return write_tables(tmp_path / "tables", {**ONE_PATIENT, **replaced})

    return write


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated cohort."""
    return simulate(tmp_path_factory.mktemp("simulated") / "tables", patients=30, seed=3, hours=(14, 26))


@pytest.fixture
def mimic_demo() -> Path:
    folder = REAL / "mimic-iii-demo"
    if not folder.is_dir():
        pytest.skip("the MIMIC-III demo is not in ../shared/data")
    return folder


def cells(path: Path) -> dict[tuple[str, datetime], float | None]:
    """Value of each (series, time) of a long table."""
    table = pq.read_table(path).to_pydict()
    return dict(zip(zip(table["series"], table["time"], strict=True), table["value"], strict=True))


def sums_up(attrition: dict[str, Any]) -> bool:
    """Whether what each step dropped is what is missing after it, and the signals make up the rows."""
    for kind in ("patients", "stays", "rows"):
        steps = [step for step in attrition["steps"] if step[kind] is not None]
        for before, after in pairwise(steps):
            if before[kind] - after[f"dropped_{kind}"] != after[kind]:
                return False
    counted = [step for step in attrition["steps"] if step["signals"] is not None]
    table = attrition["table"]
    return (
        all(sum(step["signals"].values()) == step["rows"] for step in counted)
        and table["observed"] == attrition["steps"][-1]["rows"]
        and table["observed"] + table["missing"] == table["rows"]
    )
