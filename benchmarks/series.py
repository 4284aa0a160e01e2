"""Series to measure a zero-shot model on: vitals and glucose of `shared/data`, and what installed packages ship.

Each set says whether it was looked at while a recipe or a corpus was chosen; the others were held back from choices.
General series come from files inside `statsmodels`, and of `vega_datasets`, `river` and `pmdarima` where they are
installed (pip install vega_datasets river pmdarima); a set whose package is absent is left out, and the caller says so.
"""

import ast
import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from loracast.data.readers.cinc2019 import Cinc2019Reader
from loracast.data.readers.mimic3 import Mimic3Reader
from loracast.data.readers.table import TableReader
from loracast.data.split import SIDES, split_patients
from loracast.data.table import Table, patients_of
from loracast.data.windows import WindowSet, cut_windows
from loracast.spec import SplitSpec, WindowSpec

MOST_WINDOWS = 300


@dataclass(frozen=True)
class SeriesSet:
    """Windows of one kind: `context` of shape (window, context), `future` of shape (window, horizon), NaN for gaps."""

    name: str
    group: str
    looked_at: bool
    step_seconds: int
    season: int
    context: np.ndarray
    future: np.ndarray


@dataclass(frozen=True)
class Packaged:
    """Series that a package ships: `read` gives them one by one."""

    name: str
    package: str
    looked_at: bool
    step_seconds: int
    shape: tuple[int, int, int]
    """Context, horizon and season, in steps."""
    read: Callable[[Path], Iterator[np.ndarray]]


def _columns(file: str, *names: str) -> Callable[[Path], Iterator[np.ndarray]]:
    def read(root: Path) -> Iterator[np.ndarray]:
        frame = pd.read_csv(root / file)
        for name in names or [str(column) for column in frame.columns[1:]]:
            yield pd.to_numeric(frame[name], errors="coerce").to_numpy(float)

    return read


def _by_month(root: Path) -> Iterator[np.ndarray]:
    yield pd.read_csv(root / "datasets/elnino/elnino.csv").iloc[:, 1:].to_numpy(float).ravel()


def _prices(root: Path) -> Iterator[np.ndarray]:
    returns = pd.read_csv(root / "datasets/sp500.csv.gz")
    for name in ("AAPL", "IBM", "KO", "XOM"):
        yield 100 * np.cumprod(1 + returns[name].to_numpy(float) / 100)


def _listed(file: str) -> Callable[[Path], Iterator[np.ndarray]]:
    """The longest list of numbers in a source file: pmdarima keeps its series so, and need not be imported for them."""

    def read(root: Path) -> Iterator[np.ndarray]:
        lists = [node for node in ast.walk(ast.parse((root / file).read_text("utf-8"))) if isinstance(node, ast.List)]
        longest = max(lists, key=lambda node: len(node.elts))
        yield np.array([np.nan if not isinstance(one, ast.Constant) else one.value for one in longest.elts], float)

    return read


HOUR, DAY, WEEK, MONTH, QUARTER, YEAR = 3600, 86_400, 604_800, 2_629_800, 7_889_400, 31_557_600
STATS, WEATHER, MACRO = "datasets/elec_equip", "_data/seattle-weather.csv", "datasets/macrodata/macrodata.csv"
MACRO_COLUMNS = ("realgdp", "realinv", "cpi", "m1", "tbilrate", "unemp")
PACKAGED = (
    Packaged("water-flow", "river", True, HOUR, (168, 24, 24), _columns("datasets/water-flow.csv")),
    Packaged("co2", "statsmodels", True, WEEK, (156, 12, 52), _columns("datasets/co2/co2.csv")),
    Packaged("electrical-equipment", "statsmodels", True, MONTH, (60, 12, 12), _columns(f"{STATS}/elec_equip.csv")),
    Packaged("sunspots", "statsmodels", True, YEAR, (88, 11, 11), _columns("datasets/sunspots/sunspots.csv")),
    Packaged("approval", "river", True, DAY, (60, 14, 7), _columns("datasets/trump_approval.csv.gz")),
    Packaged("wool", "pmdarima", True, QUARTER, (32, 8, 4), _listed("datasets/woolyrnq.py")),
    Packaged("passengers", "pmdarima", True, MONTH, (48, 12, 12), _listed("datasets/airpassengers.py")),
    Packaged("electricity", "pmdarima", False, HOUR // 2, (336, 48, 48), _listed("datasets/taylor.py")),
    Packaged("beer", "pmdarima", False, QUARTER, (40, 8, 4), _listed("datasets/ausbeer.py")),
    Packaged("wine", "pmdarima", False, MONTH, (60, 12, 12), _listed("datasets/wineind.py")),
    Packaged("employment", "vega_datasets", False, MONTH, (60, 12, 12), _columns("_data/us-employment.csv")),
    Packaged("el-nino", "statsmodels", False, MONTH, (72, 12, 12), _by_month),
    Packaged("weather", "vega_datasets", False, DAY, (180, 14, 7), _columns(WEATHER, "temp_max", "wind")),
    Packaged("macroeconomics", "statsmodels", False, QUARTER, (40, 8, 4), _columns(MACRO, *MACRO_COLUMNS)),
    Packaged("share-prices", "river", False, DAY, (120, 10, 5), _prices),
)
LOOKED_AT = {"cinc2019 heart_rate", "cinc2019 map", "mimic-iii-demo heart_rate", "shanghai-cgm glucose"}


def packaged_sets() -> Iterator[SeriesSet | str]:
    """The general sets, or the name of one whose package is not installed."""
    for one in PACKAGED:
        found = importlib.util.find_spec(one.package)
        if found is None or found.origin is None:
            yield f"{one.name} ({one.package})"
            continue
        context, horizon, season = one.shape
        windows = [_cut(values, context, horizon) for values in one.read(Path(found.origin).parent)]
        yield _set(one.name, "general", one.looked_at, one.step_seconds, season, np.concatenate(windows), context)


def clinical_sets(data: Path) -> Iterator[SeriesSet]:
    """Vital signs of three sources, hourly, 24 hours to 6; glucose every 15 minutes, 12 hours to 1."""
    with tempfile.TemporaryDirectory() as work:
        cinc, mimic, cgm = (Path(work) / f"{name}.parquet" for name in ("cinc", "mimic", "cgm"))
        vitals = ("heart_rate", "map", "sbp", "resp_rate", "spo2", "temperature")
        Cinc2019Reader(path=next((data / "cinc2019").glob("*.tar.xz")), signals=vitals).read(cinc)
        Mimic3Reader(path=data / "mimic-iii-demo", signals=("heart_rate", "map", "resp_rate")).read(mimic)
        glucose_reader(data).read(cgm)
        for name, table, spec in (
            ("cinc2019", cinc, WindowSpec(context=24, horizon=6)),
            ("mimic-iii-demo", mimic, WindowSpec(context=24, horizon=6)),
            ("shanghai-cgm", cgm, WindowSpec(context=48, horizon=4)),
        ):
            windows = all_windows(table, spec, Path(work) / name, 10**9)
            for code, signal in enumerate(windows.signals):
                of_signal = windows.rows(np.flatnonzero(windows.signal == code))
                yield _of_windows(f"{name} {signal}", of_signal.some(MOST_WINDOWS, seed=0))
    yield from _eicu(data / "eicu-demo" / "vitalaperiodic.csv.gz")


def all_windows(table: Path, spec: WindowSpec, folder: Path, most: int) -> WindowSet:
    """The windows of all patients (the split that the store needs is undone), at most `most` of them."""
    opened = Table.open(table)
    store = cut_windows(opened, split_patients(patients_of(opened), SplitSpec(shares=(0.4, 0.3, 0.3))), spec, folder)
    sides = [store.side(side) for side in SIDES]
    index = np.concatenate([np.asarray(side.index) for side in sides])
    whole = dataclasses.replace(sides[0], index=index[np.argsort(index[:, 0], kind="stable")])
    return whole.some(most, seed=0)


def glucose_reader(data: Path) -> TableReader:
    """The reader of `shanghai-cgm`."""
    file = data / "shanghai-cgm" / "cgm_long.csv.gz"
    return TableReader(path=file, grid="15min", stay="record", value="cgm_mgdl", signal="glucose")


def _of_windows(name: str, windows: WindowSet) -> SeriesSet:
    context, future = windows.batch(slice(0, len(windows)))
    group = "glucose" if "glucose" in name else "vitals"
    return SeriesSet(name, group, name in LOOKED_AT, windows.step_seconds, windows.season, context, future)


def _eicu(file: Path) -> Iterator[SeriesSet]:
    """Non-invasive blood pressures, the mean of each hour."""
    frame = pd.read_csv(file)
    frame["hour"] = frame["observationoffset"] // 60
    frame = frame[frame["hour"].between(0, 24 * 30)]
    for column in ("noninvasivesystolic", "noninvasivediastolic", "noninvasivemean"):
        hourly = frame.groupby(["patientunitstayid", "hour"])[column].mean()
        grids = [
            part.droplevel(0).reindex(range(int(part.index.get_level_values(1).max()) + 1)).to_numpy()
            for _, part in hourly.groupby(level=0)
        ]
        windows = np.concatenate([_cut(values, 24, 6) for values in grids])
        yield _set(f"eicu-demo {column}", "vitals", False, HOUR, 24, windows, 24)


def _cut(values: np.ndarray, context: int, horizon: int) -> np.ndarray:
    """Windows of shape (window, context + horizon) a horizon apart, half of context and horizon observed at least."""
    length = context + horizon
    if len(values) < length:
        return np.empty((0, length))
    windows = np.lib.stride_tricks.sliding_window_view(values, length)[::horizon]
    seen = np.isfinite(windows)
    return windows[(seen[:, :context].mean(1) >= 0.5) & (seen[:, context:].mean(1) >= 0.5)]


def _set(
    name: str, group: str, looked_at: bool, step_seconds: int, season: int, windows: np.ndarray, context: int
) -> SeriesSet:
    chosen = np.sort(np.random.default_rng(0).permutation(len(windows))[:MOST_WINDOWS])
    some = windows[chosen].astype(np.float32)
    return SeriesSet(name, group, looked_at, step_seconds, season, some[:, :context], some[:, context:])
