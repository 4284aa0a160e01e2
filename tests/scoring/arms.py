"""Made-up arms: forecasts whose errors are known, and sums that never were forecasts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from loracast.scoring.cell_tables import table_of
from loracast.scoring.cells import score_cells
from loracast.scoring.sums import PatientSums, Sums
from loracast.types import LEVELS, Forecast

NAN = np.nan
C, H = 8, 4


@dataclass(frozen=True)
class Known:
    label: str
    unit: str
    scaled: tuple[float, float] | None = None


SIGNALS = {"heart_rate": Known("heart rate", "1/min", (0, 300)), "spo2": Known("oxygen saturation", "%")}


def forecast_of(point, width=0.0):
    """Quantiles at equal distances around `point`, the outermost ones `width` away."""
    return Forecast(np.asarray(point)[..., None] + width * (np.array(LEVELS) - 0.5) / 0.4)


def sums_of(truth, forecast, context, patient, signal, batch=1000) -> Sums:
    sums = Sums()
    for start in range(0, len(truth), batch):
        rows = slice(start, start + batch)
        part = Forecast(forecast.quantiles[rows])
        cells = score_cells(
            truth[rows], part, context[rows], patient=patient[rows], signal=signal[rows], signals=SIGNALS
        )
        sums.add(cells)
    return sums


def frame_of(sums: Sums) -> pd.DataFrame:
    """One row a patient code, signal and step, as they are written."""
    return pa.concat_tables([table_of(part) for part in sums.parts()]).to_pandas()


def cohort(windows=120, patients=15, seed=0):
    """Truth with gaps, context, patient and signal codes."""
    rng = np.random.default_rng(seed)
    series = 80 + rng.normal(size=(windows, C + H)).cumsum(axis=1)
    series[rng.random(series.shape) < 0.15] = NAN
    series[:, -1] = 80
    patient, signal = np.arange(windows) % patients, rng.integers(0, 2, windows)
    return series[:, C:], series[:, :C], patient, signal


def arm(shift=0.0, seed=0, noise=2.0, noise_seed=1, **sizes) -> Sums:
    """A run whose absolute error is that of noise, plus `shift`."""
    truth, context, patient, signal = cohort(seed=seed, **sizes)
    noises = np.random.default_rng(noise_seed).normal(size=truth.shape) * noise
    point = np.nan_to_num(truth, nan=80) + noises + shift * np.sign(noises)
    return sums_of(truth, forecast_of(point, 3.0), context, patient, signal)


def patient_sums(
    sums: np.ndarray | Sequence[Sequence[float]], counts: np.ndarray | Sequence[int], score: str = "mae"
) -> PatientSums:
    """Sums of one score, shape (seed, patient), with their counts."""
    numbers, counted = np.array(sums, dtype=float)[None], np.array(counts, dtype=float)[None]
    return PatientSums(
        scores=(score,),
        patients=np.arange(counted.shape[1]),
        sums=numbers,
        counts=counted,
        step_sums=numbers.sum(axis=2, keepdims=True),
        step_counts=counted.sum(axis=1, keepdims=True),
        targets=np.zeros(counted.shape[1]),
        windows=int(counted.sum()),
        worst=np.full((2, *numbers.shape[1:]), NAN),
    )
