"""A backbone and a long table that are small enough for every test."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings

from loracast.data.checked import LONG_SCHEMA
from loracast.data.schema import METADATA_KEY, SIGNALS, TableInfo
from loracast.data.table import Table
from loracast.spec import parse
from loracast.study.experiment import ExperimentSpec

# No test may depend on how busy the machine is: neither on the time of an example, nor on that of making one up.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

START = datetime(2150, 3, 1)
PATIENT, STAY = "pat-Zq7x", "stay-Kw9v"
"""How the identifiers in the tables begin: nothing else does, so that a leak shows."""

CHRONOS = {
    "tokenizer_class": "MeanScaleUniformBins",
    "tokenizer_kwargs": {"low_limit": -5.0, "high_limit": 5.0},
    "context_length": 48,
    "prediction_length": 16,
    "n_tokens": 64,
    "n_special_tokens": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "use_eos_token": True,
    "model_type": "seq2seq",
    "num_samples": 20,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
}

Rows = dict[tuple[str, str, str], list[float | None]]
"""(patient, stay, signal) to the values of its series, hour by hour."""


def write_long(
    path: Path, rows: Rows, *, step: int = 3600, simulated: bool = False, info: TableInfo | None = None
) -> Table:
    """Write series as a long table and open it; `info` is what it says of itself."""
    columns: dict[str, list[object]] = {name: [] for name in LONG_SCHEMA.names}
    for (patient, stay, signal), values in sorted(rows.items(), key=lambda item: f"{item[0][1]}/{item[0][2]}"):
        columns["patient"] += [patient] * len(values)
        columns["stay"] += [stay] * len(values)
        columns["series"] += [f"{stay}/{signal}"] * len(values)
        columns["signal"] += [signal] * len(values)
        columns["time"] += [START + timedelta(seconds=step * i) for i in range(len(values))]
        columns["value"] += values
    units = {signal: SIGNALS[signal].unit if signal in SIGNALS else "mmol/L" for _, _, signal in rows}
    info = info or TableInfo("test", simulated, step, units, "CC0-1.0")
    schema = LONG_SCHEMA.with_metadata({METADATA_KEY: info.as_json()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), path)
    return Table.open(path)


def cohort(patients: int, *, hours: int = 90, gaps: float = 0.15, seed: int = 0) -> Rows:
    """Patients with heart rate and mean arterial pressure, some with two stays, with gaps but not at the ends."""
    rng = np.random.default_rng(seed)
    rows: Rows = {}
    for number in range(patients):
        for stay in range(1 + number % 2):
            length = int(rng.integers(hours * 2 // 3, hours))
            for signal, level in (("heart_rate", 80.0), ("map", 70.0)):
                wave = 8 * np.sin(np.arange(length) * 2 * np.pi / 24 + rng.uniform(0, 6))
                values = (level + 5 * rng.normal() + wave + rng.normal(0, 2, length)).tolist()
                holes = set(np.flatnonzero(rng.random(length) < gaps).tolist()) - {0, length - 1}
                named = (f"{PATIENT}{number:02d}", f"{STAY}{number:02d}{stay}", signal)
                rows[named] = [None if i in holes else v for i, v in enumerate(values)]
    return rows


@pytest.fixture
def long_table(tmp_path: Path) -> Callable[..., Table]:
    """Write series as a long table under the test's folder and open it."""

    def write(rows: Rows, *, step: int = 3600, name: str = "vitals.parquet") -> Table:
        return write_long(tmp_path / name, rows, step=step)

    return write


@pytest.fixture(scope="session")
def vitals(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Fourteen patients, two signals, hourly, with gaps."""
    return write_long(tmp_path_factory.mktemp("vitals") / "vitals.parquet", cohort(14))


def save_backbone(folder: Path, *, seed: int = 0) -> Path:
    """Save a random Chronos-T5 of some ten thousand numbers, with dropout, as a folder that Chronos reads."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=CHRONOS["n_tokens"],
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.1,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        chronos_config=CHRONOS,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Chronos-T5: 48 steps of context, 16 native steps of forecast."""
    return save_backbone(tmp_path_factory.mktemp("backbones") / "tiny-t5")


def spec_of(table: Path, tiny: Path, **changed: Any) -> ExperimentSpec:
    content = {
        "name": "small",
        "seeds": [0, 1],
        "data": {"source": "table", "path": str(table)},
        "windows": {"context": 24, "horizon": 6, "stride": 6},
        "split": {"shares": [0.5, 0.2, 0.3]},
        "training": {"steps": 4, "batch_size": 32, "evaluate_every": 2, "learning_rate": 0.003},
        "forecast": {"samples": 4},
        "arms": [{"model": str(tiny), "method": method} for method in ("zero-shot", "lora", "full")],
    }
    return parse(ExperimentSpec, {**content, **changed}, "The experiment")


@pytest.fixture(scope="session")
def spec(vitals: Table, tiny: Path) -> ExperimentSpec:
    """Zero-shot, LoRA and full fine-tuning of the tiny backbone, two seeds, four steps."""
    return spec_of(vitals.path, tiny)


@pytest.fixture(scope="session")
def done(spec: ExperimentSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of that experiment."""
    from loracast.study.study import run_experiment

    out = tmp_path_factory.mktemp("results") / "small"
    run_experiment(spec, out, progress=False, say=lambda _: None)
    return out


@contextmanager
def vectors_alone() -> Iterator[None]:
    """Figures are saved as SVG and as nothing else, for tests of what a report says: it is drawn much faster.

    `tests/report/test_figures.py` proves all three forms.
    """
    from loracast.report import figures

    with pytest.MonkeyPatch.context() as patched:
        for form in ("pdf", "png"):
            patched.delitem(figures.FORMS, form)
        yield


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A report with one figure, as SVG, and none on the pages of arms, for tests of where a report comes from."""
    from loracast.report import arm_page, figures

    monkeypatch.setattr(figures, "FIGURES", (figures.differences.draw_to_zero_shot,))
    monkeypatch.setattr(arm_page, "draw_arm_figures", lambda results, arm: [])
    with vectors_alone():
        yield


def bring(monkeypatch: pytest.MonkeyPatch, group: str, *found: object) -> None:
    """Have a package that is not there bring what is given, by entry points; an exception is raised in its place."""

    def entry(one: object) -> SimpleNamespace:
        def load() -> object:
            if isinstance(one, Exception):
                raise one
            return one

        return SimpleNamespace(value="ward:Brought", dist=SimpleNamespace(name="loracast-ward"), load=load)

    entries = [entry(one) for one in found]
    theirs = SimpleNamespace(select=lambda group, asked=group: entries if group == asked else [])
    monkeypatch.setattr("loracast.spec._installed", lambda places: theirs)
