"""A seeded ICU cohort as MIMIC-III tables. No patient is real.

Charted every five minutes, with the quirks of the real thing: both item vocabularies, Fahrenheit and Celsius, error
flags, duplicates, impossible values, gaps, artefacts, stays too short, minors, hidden ages, several stays a patient,
a stay without OUTTIME. What a reader should return is written beside the tables, and why each other row is there.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from loracast.data.checked import LONG_SCHEMA
from loracast.data.schema import METADATA_KEY, SIGNALS, TableInfo
from loracast.data.signs import ALARM_ITEM, CAREVUE, METAVISION, TWINS, Truth, chart, vital_signs
from loracast.errors import ConfigError
from loracast.files import claimed, write_json, written

STATEMENT = "Simulated by loracast. No patient is real; nothing here may be read as evidence about patients."
LICENCE = "no restriction: simulated, no patient is real"
MARK = "SIMULATED.json"

SHARE_SEPTIC = 0.65
SHARE_MINOR = 0.03
SHARE_OVER_89 = 0.05
SHARE_SECOND_STAY = 0.12
SHARE_SHORT_STAY = 0.05
SHORT_HOURS = (3.0, 9.0)
MINOR_YEARS = (14.0, 17.8)
ADULT_YEARS = (19.0, 88.0)
HIDDEN_YEARS = 300

DAY = 86_400
YEAR = 365.25 * DAY
FIRST_DAY = int(np.datetime64("2101-01-01", "s").astype(np.int64))
SEPSIS_CODES = ("99592", "78552", "99591")
OTHER_CODES = ("41401", "4280", "486", "0389", "5849", "25000", "V4581")
UNITS = {"spo2": "%", "heart_rate": "bpm", "resp_rate": "insp/min"}


@dataclass(frozen=True)
class _Cohort:
    """Patients and their stays as parallel arrays; times in whole seconds from the epoch."""

    age: Float[np.ndarray, " patient"]
    patient: Int[np.ndarray, " stay"]
    start: Int[np.ndarray, " stay"]
    stop: Int[np.ndarray, " stay"]
    septic: Bool[np.ndarray, " stay"]
    metavision: Bool[np.ndarray, " stay"]


def simulate(
    out: Path | str,
    *,
    patients: int = 120,
    seed: int = 0,
    hours: tuple[float, float] = (14, 48),
    step_minutes: int = 5,
    overwrite: bool = False,
) -> Path:
    """Write the tables of a simulated cohort into the new folder `out`, and return it.

    `hours` bounds the length of an ordinary stay; a few are shorter than any window needs. Beside the tables stand
    `truth.parquet` (the long table a reader should produce from every stay, with a column `artefact`),
    `corrupted.parquet` (ROW_ID and reason of each row that is not clean) and `SIMULATED.json`. The same arguments
    give the same tables. Raises ConfigError for impossible numbers, and where `out` holds something and `overwrite` is
    not given.

    >>> tables = simulate(folder / "simulated", patients=10, hours=(14, 16))
    >>> (tables / "CHARTEVENTS.csv.gz").is_file()
    True
    """
    out = Path(out)
    if patients < 10 or seed < 0 or step_minutes < 1 or 60 % step_minutes or not 1 <= hours[0] <= hours[1]:
        raise ConfigError(
            f"patients={patients}, seed={seed}, hours={hours}, step_minutes={step_minutes} given. Ask for 10 "
            "patients or more, a seed of at least 0, a step that divides an hour, and ascending hours of at least 1."
        )
    rng = np.random.default_rng(seed)
    cohort = _admit(rng, patients, hours)
    seconds, inside = _steps(rng, cohort, step_minutes)
    signs = vital_signs(rng, (seconds % DAY) / 3600, cohort.septic, step_minutes)
    rows, truth = chart(rng, signs, seconds, inside, cohort.metavision, step_minutes)
    cells = seconds + (-seconds) % (60 * step_minutes)
    with claimed(out, overwrite=overwrite), written(out, overwrite=overwrite) as folder:
        folder.mkdir()
        for name, table in _tables(rng, cohort).items():
            _write_csv(table, folder / f"{name}.csv.gz")
        _write_csv(_chartevents(rows, cohort), folder / "CHARTEVENTS.csv.gz")
        _write_truth(folder / "truth.parquet", truth, cells, cohort, step_minutes)
        spoilt = _write_corrupted(folder / "corrupted.parquet", rows)
        counts = {
            "patients": patients,
            "stays": len(cohort.patient),
            "septic_stays": int(cohort.septic.sum()),
            "chartevents_rows": len(rows["stay"]),
            "corrupted_rows": spoilt,
        }
        write_json(
            folder / MARK,
            {"statement": STATEMENT, "seed": seed, "hours": list(hours), "step_minutes": step_minutes, **counts},
        )
    return out


def _admit(rng: np.random.Generator, patients: int, hours: tuple[float, float]) -> _Cohort:
    """Who comes, how old, when and for how long; at least one of each kind of exception."""
    order = rng.permutation(patients)
    minors, hidden = max(1, round(SHARE_MINOR * patients)), max(1, round(SHARE_OVER_89 * patients))
    age = rng.uniform(*ADULT_YEARS, patients)
    age[order[:minors]] = rng.uniform(*MINOR_YEARS, minors)
    age[order[minors : minors + hidden]] = HIDDEN_YEARS
    again = np.sort(rng.choice(patients, max(1, round(SHARE_SECOND_STAY * patients)), replace=False))
    patient = np.concatenate([np.arange(patients), again])
    stays = len(patient)
    long = rng.uniform(*hours, stays)
    short = rng.choice(patients, max(1, round(SHARE_SHORT_STAY * patients)), replace=False)
    long[short] = rng.uniform(*SHORT_HOURS, len(short))
    start = FIRST_DAY + rng.integers(0, 80 * 365 * DAY, stays)
    start[patients:] = start[again] + rng.integers(30 * DAY, 300 * DAY, len(again))
    septic = rng.random(patients) < SHARE_SEPTIC
    metavision = rng.random(patients) < 0.5
    return _Cohort(
        age=age,
        patient=patient,
        start=start,
        stop=start + (long * 3600).astype(np.int64),
        septic=septic[patient],
        metavision=metavision[patient],
    )


def _steps(
    rng: np.random.Generator, cohort: _Cohort, step_minutes: int
) -> tuple[Int[np.ndarray, "stay step"], Bool[np.ndarray, "stay step"]]:
    """When each stay is charted: every step, at the second of the step at which its monitor was switched on."""
    step = 60 * step_minutes
    longest = int((cohort.stop - cohort.start).max()) // step + 1
    first = cohort.start + rng.integers(0, step, len(cohort.start))
    seconds = first[:, None] + step * np.arange(longest)
    return seconds, seconds <= cohort.stop[:, None]


def _tables(rng: np.random.Generator, cohort: _Cohort) -> dict[str, pa.Table]:
    """All tables but CHARTEVENTS, with the columns of MIMIC-III v1.4."""
    subject, hadm, stay = _ids(cohort)
    people, stays = len(cohort.age), len(stay)
    first = np.full(people, np.iinfo(np.int64).max)
    np.minimum.at(first, cohort.patient, cohort.start)
    born = (first - cohort.age * YEAR).astype(np.int64) // DAY * DAY
    sources = np.where(cohort.metavision, "metavision", "carevue")
    discharged = cohort.stop + rng.integers(3600, 5 * DAY, stays)
    # One admission in MIMIC-III has no OUTTIME in ten thousand; here the first long one of the first patients has none.
    unknown = np.zeros(stays, dtype=bool)
    unknown[np.argmax(cohort.stop - cohort.start > 12 * 3600)] = True
    discharged[unknown] = cohort.stop[unknown]
    codes, of = _codes(rng, cohort.septic)
    nothing = pa.nulls(stays, pa.string())
    return {
        "PATIENTS": _numbered(
            SUBJECT_ID=np.arange(people) + subject[0],
            GENDER=np.where(rng.random(people) < 0.45, "F", "M"),
            DOB=_times(born),
            **dict.fromkeys(("DOD", "DOD_HOSP", "DOD_SSN"), pa.nulls(people, pa.string())),
            EXPIRE_FLAG=np.zeros(people, dtype=np.int64),
        ),
        "ADMISSIONS": _numbered(
            SUBJECT_ID=subject,
            HADM_ID=hadm,
            ADMITTIME=_times(cohort.start - rng.integers(0, 6 * 3600, stays)),
            DISCHTIME=_times(discharged),
            DEATHTIME=nothing,
            ADMISSION_TYPE=pa.array(["EMERGENCY"] * stays),
            **dict.fromkeys(("ADMISSION_LOCATION", "DISCHARGE_LOCATION", "INSURANCE", "LANGUAGE"), nothing),
            **dict.fromkeys(("RELIGION", "MARITAL_STATUS", "ETHNICITY", "EDREGTIME", "EDOUTTIME"), nothing),
            DIAGNOSIS=np.where(cohort.septic, "SEPSIS, SIMULATED", "SIMULATED"),
            HOSPITAL_EXPIRE_FLAG=np.zeros(stays, dtype=np.int64),
            HAS_CHARTEVENTS_DATA=np.ones(stays, dtype=np.int64),
        ),
        "ICUSTAYS": _numbered(
            SUBJECT_ID=subject,
            HADM_ID=hadm,
            ICUSTAY_ID=stay,
            DBSOURCE=sources,
            **dict.fromkeys(("FIRST_CAREUNIT", "LAST_CAREUNIT"), pa.array(["MICU"] * stays)),
            **dict.fromkeys(("FIRST_WARDID", "LAST_WARDID"), np.full(stays, 52)),
            INTIME=_times(cohort.start),
            OUTTIME=_times(cohort.stop, unknown),
            LOS=pa.array(np.round((cohort.stop - cohort.start) / DAY, 4), mask=unknown),
        ),
        "DIAGNOSES_ICD": _numbered(
            SUBJECT_ID=subject[of],
            HADM_ID=hadm[of],
            SEQ_NUM=np.concatenate([np.arange(n) + 1 for n in np.bincount(of, minlength=stays)]),
            ICD9_CODE=codes,
        ),
        "D_ITEMS": _items(),
    }


def _codes(rng: np.random.Generator, septic: Bool[np.ndarray, " stay"]) -> tuple[np.ndarray, Int[np.ndarray, " code"]]:
    """ICD-9 codes and the stay of each: three ordinary ones, then an explicit sepsis code where the stay is septic."""
    codes: list[str] = []
    of: list[int] = []
    for stay, is_septic in enumerate(septic):
        some = [str(code) for code in rng.choice(OTHER_CODES, 3, replace=False)]
        some += [str(rng.choice(SEPSIS_CODES))] if is_septic else []
        codes += some
        of += [stay] * len(some)
    return np.array(codes), np.array(of)


def _items() -> pa.Table:
    labels = {item: name for items in (CAREVUE, METAVISION) for name, pair in items.items() for item in pair}
    labels |= dict.fromkeys(TWINS.values(), "temperature (calc)") | {ALARM_ITEM: "heart rate alarm - high"}
    items = sorted(labels)
    nothing = pa.nulls(len(items), pa.string())
    return _numbered(
        ITEMID=np.array(items),
        LABEL=np.array([labels[item] for item in items]),
        ABBREVIATION=nothing,
        DBSOURCE=np.array(["carevue" if item < 20_000 else "metavision" for item in items]),
        LINKSTO=pa.array(["chartevents"] * len(items)),
        **dict.fromkeys(("CATEGORY", "UNITNAME", "PARAM_TYPE", "CONCEPTID"), nothing),
    )


def _chartevents(rows: dict[str, np.ndarray], cohort: _Cohort) -> pa.Table:
    subject, hadm, stay = _ids(cohort)
    at, item, seconds = rows["stay"], rows["item"], rows["seconds"]
    metavision = cohort.metavision[at]
    value = pa.array(np.round(rows["value"], 1), mask=np.isnan(rows["value"]))
    count = len(at)
    nothing = pa.nulls(count, pa.string())
    fahrenheit = np.isin(item, (678, 679, 223761))
    units = dict.fromkeys((676, 677, 223762), "?C")
    for items in (CAREVUE, METAVISION):
        units |= {i: UNITS.get(name, "mmHg") for name, pair in items.items() if name != "temperature" for i in pair}
    known, which = np.unique(item, return_inverse=True)
    unit = np.array([units.get(int(i), "bpm") for i in known])[which]
    return _numbered(
        SUBJECT_ID=subject[at],
        HADM_ID=hadm[at],
        ICUSTAY_ID=pa.array(stay[at], mask=rows["reason"] == "no stay"),
        ITEMID=item,
        CHARTTIME=_times(seconds),
        STORETIME=_times(seconds + 60),
        CGID=pa.array(np.full(count, 20_001)),
        VALUE=pc.fill_null(pc.cast(value, pa.string()), "see note"),
        VALUENUM=value,
        VALUEUOM=np.where(fahrenheit, "?F", unit),
        WARNING=pa.array(np.zeros(count, dtype=np.int64), mask=~metavision),
        ERROR=pa.array((rows["reason"] == "flagged as an error").astype(np.int64), mask=~metavision),
        RESULTSTATUS=nothing,
        STOPPED=pa.array(np.where(metavision, "", "NotStopd"), mask=metavision),
    )


def _write_truth(
    path: Path, truth: dict[str, Truth], cells: Int[np.ndarray, "stay step"], cohort: _Cohort, step_minutes: int
) -> None:
    """The long table of every stay on the grid it was charted on, with a column that marks artefacts."""
    subject, _, stay = _ids(cohort)
    pieces = []
    series = sorted((f"{stay[i]}/{name}", name, i) for name in truth for i in range(len(stay)))
    schema = LONG_SCHEMA.append(pa.field("artefact", pa.bool_()))
    for label, name, i in series:
        seen = np.flatnonzero(~np.isnan(truth[name].value[i]))
        if len(seen) == 0:
            continue
        span = slice(int(seen[0]), int(seen[-1]) + 1)
        values = truth[name].value[i, span]
        count = len(values)
        columns = [
            pa.array([str(subject[i])] * count),
            pa.array([str(stay[i])] * count),
            pa.array([label] * count),
            pa.array([name] * count),
            pa.array(cells[i, span] * 1_000_000).cast(pa.timestamp("us")),
            pa.array(values, mask=np.isnan(values)),
            pa.array(truth[name].artefact[i, span]),
        ]
        pieces.append(pa.Table.from_arrays(columns, schema=schema))
    info = TableInfo(
        "simulated truth", True, 60 * step_minutes, {name: SIGNALS[name].unit for name in truth}, LICENCE, "all"
    )
    table = pa.concat_tables(pieces).replace_schema_metadata({METADATA_KEY: info.as_json()})
    pq.write_table(table, path, compression="zstd")


def _write_corrupted(path: Path, rows: dict[str, np.ndarray]) -> dict[str, int]:
    """ROW_ID and reason of each row that is not clean; returns how many there are of each."""
    spoilt = np.flatnonzero(rows["reason"] != "")
    reasons = rows["reason"][spoilt].astype(str)
    pq.write_table(pa.table({"row_id": spoilt + 1, "reason": reasons}), path, compression="zstd")
    kinds, counts = np.unique(reasons, return_counts=True)
    return {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)}


def _ids(cohort: _Cohort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """SUBJECT_ID, HADM_ID and ICUSTAY_ID of each stay; beyond those of MIMIC-III, so that none is mistaken for one."""
    order = np.arange(len(cohort.patient))
    return 900_001 + cohort.patient, 9_100_001 + order, 9_200_001 + order


def _times(seconds: np.ndarray, unknown: np.ndarray | None = None) -> pa.Array:
    return pa.array(seconds, mask=unknown).cast(pa.timestamp("s"))


def _numbered(**columns: Any) -> pa.Table:
    """A table with ROW_ID, counted from 1, before the columns."""
    count = len(next(iter(columns.values())))
    return pa.table({"ROW_ID": np.arange(1, count + 1), **columns})


def _write_csv(table: pa.Table, path: Path) -> None:
    # Without name and time in the gzip header, the same table gives the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as stream:
        pa_csv.write_csv(table, stream)
