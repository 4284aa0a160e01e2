"""MIMIC-III v1.4: from the original tables to the long table.

Events are placed by CHARTTIME, when the observation was made; STORETIME, when it was entered, is not used. DuckDB
reads each table once with declared types (ICD9_CODE as text, identifiers nullable), so that memory stays flat over
the 330 million rows of CHARTEVENTS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from loracast.data.attrition import Attrition
from loracast.data.cohort import Cohort, cohort_named
from loracast.data.gridding import Reason, fate, grid_and_write, grid_seconds, nothing_left, out_of_range
from loracast.data.readers import Reader, quiet
from loracast.data.schema import SIGNALS, TableInfo, signals_named
from loracast.data.times import Clock, zone_refused
from loracast.data.workspace import columns_of, one, source_of, told_names, workspace
from loracast.errors import DataError
from loracast.files.texts import identifier, quoted
from loracast.spec import AtLeastZero
from loracast.types import Say

if TYPE_CHECKING:
    import duckdb

# Item ids of mimic-code (concepts/pivot/pivoted_vital.sql), CareVue below 20,000 and MetaVision above 220,000, and
# 225309 and 225310, the systolic and diastolic pressure of the line whose mean, 225312, mimic-code has.
ITEMS: dict[str, tuple[int, ...]] = {
    "heart_rate": (211, 220045),
    "map": (52, 456, 443, 6702, 220052, 220181, 225312),
    "sbp": (51, 442, 455, 6701, 220179, 220050, 225309),
    "dbp": (8368, 8440, 8441, 8555, 220180, 220051, 225310),
    "resp_rate": (618, 615, 220210, 224690),
    "spo2": (646, 220277),
    "temperature": (678, 223761, 676, 223762),
    "glucose": (807, 811, 1529, 3745, 3744, 225664, 220621, 226537),
}

FAHRENHEIT = frozenset({678, 223761})

# Settings, alarm limits, texts and calculated twins that look like vital signs. Never read; a test holds them apart.
NEVER: dict[int, str] = {
    219: "high respiratory rate alarm",
    619: "set respiratory rate of the ventilator",
    224688: "set respiratory rate of the ventilator",
    226253: "SpO2 desaturation alarm",
    6072: "vision fields (6702 with its digits swapped)",
    224027: "skin temperature as text",
    677: "temperature in °C, calculated from 678",
    679: "temperature in °F, calculated from 676",
    **dict.fromkeys((220046, 220047), "heart rate alarm"),
    **dict.fromkeys((220056, 220058, 223751, 223752, 227537, 227538), "blood pressure alarm"),
    **dict.fromkeys((5813, 5814, 3345, 8511, 8548), "alarm limit"),
}

TABLES: dict[str, dict[str, str]] = {
    "PATIENTS": {"subject_id": "BIGINT", "dob": "TIMESTAMP"},
    "ADMISSIONS": {"hadm_id": "BIGINT", "dischtime": "TIMESTAMP"},
    "ICUSTAYS": {
        "subject_id": "BIGINT",
        "hadm_id": "BIGINT",
        "icustay_id": "BIGINT",
        "intime": "TIMESTAMP",
        "outtime": "TIMESTAMP",
    },
    "DIAGNOSES_ICD": {"hadm_id": "BIGINT", "icd9_code": "VARCHAR"},
    "CHARTEVENTS": {
        "icustay_id": "BIGINT",
        "itemid": "BIGINT",
        "charttime": "TIMESTAMP",
        "valuenum": "DOUBLE",
        "error": "INTEGER",
    },
}

# Read where it is there.
BESIDE: dict[str, dict[str, str]] = {"CHARTEVENTS": {"subject_id": "BIGINT"}}
KEYS = {"PATIENTS": "subject_id", "ADMISSIONS": "hadm_id", "ICUSTAYS": "icustay_id"}
ENDINGS = (".csv", ".csv.gz", ".parquet")

# MIMIC sets the birth of patients over 89 to 300 years before their admission; the median age of that group is 91.4.
HIDDEN_AGE_YEARS = 200
HIDDEN_AGE_MEANS_YEARS = 91.4

# Nurses chart by the hour block, which may open before the transfer is booked; anything further off is misfiled.
MARGIN = "INTERVAL 1 HOUR"

SIMULATED_MARK = "simulated.json"
LICENCE = (
    "PhysioNet Credentialed Health Data License (the open demo: ODbL 1.0); "
    "whatever is derived from it is to be shared under the same terms only"
)
SIMULATED_LICENCE = "no restriction: simulated, no patient is real"


class IcuStays(Reader):
    """Which stays of MIMIC-III's tables are wanted, and what of them."""

    signals: tuple[str, ...] = ("heart_rate", "map", "resp_rate")
    """heart_rate, map, sbp, dbp, resp_rate, spo2, temperature, glucose."""
    cohort: str = "explicit"
    """explicit (sepsis by ICD-9 code 995.91, 995.92 or 785.52; mimic-code's explicit has the last two) or all."""
    grid: str = "60min"
    """Step of the regular grid."""
    min_age: AtLeastZero = 18
    """Least age at ICU admission, years."""
    min_hours: AtLeastZero = 12
    """Least length of stay, hours."""


class Mimic3Reader(IcuStays):
    """The original MIMIC-III tables in a folder, names and headers in any case.

    `min_age` is in years at INTIME, `min_hours` counts from INTIME to OUTTIME.
    """

    summary: ClassVar[str] = "Read vital signs from MIMIC-III."
    example: ClassVar[str] = "loracast data mimic3 mimic-iii-demo --cohort all --out vitals.parquet"

    source: Literal["mimic3"] = "mimic3"
    path: Path
    """Folder of the tables (.csv, .csv.gz, .parquet)."""
    zone: str | None = None
    """Whose clock it is where times bear a zone or an offset, as no original table has: an IANA name."""

    def read(
        self, out: Path | str, say: Say = quiet, *, overwrite: bool = False, temp: Path | None = None
    ) -> Attrition:
        """Write the chosen signals of the chosen stays as a long table at `out`, and what was dropped beside it.

        Raises DataError for a missing folder, table or column, a damaged file, an unknown signal, cohort or grid, and
        for an empty cohort (with the attrition table that shows why). `overwrite` and `temp`: see `Reader.read`.
        """
        names = signals_named(self.signals)
        cohort = cohort_named(self.cohort)
        seconds = grid_seconds(self.grid)
        files = find_tables(self.path, TABLES)
        simulated = any(entry.name.lower() == SIMULATED_MARK for entry in self.path.iterdir())
        attrition = Attrition()
        info = TableInfo(
            source="mimic3",
            simulated=simulated,
            grid_seconds=seconds,
            units={name: SIGNALS[name].unit for name in names},
            licence=SIMULATED_LICENCE if simulated else LICENCE,
            cohort=self.cohort,
            zone=self.zone,
        )
        clock = Clock(self.zone)
        with workspace(Path(out), self.path, overwrite=overwrite, temp=temp) as con:
            clock.check(con)
            for table, path in files.items():
                _declare(con, table, path, clock)
            say("Selecting stays")
            _select_stays(con, self, cohort, attrition)
            say(f"Reading {files['CHARTEVENTS'].name}")
            reasons = _load_events(con, names, files["CHARTEVENTS"], clock, attrition)
            grid_and_write(con, Path(out), info, attrition, reasons, say, overwrite=overwrite)
        return attrition


def find_tables(source: Path, tables: Iterable[str]) -> dict[str, Path]:
    """The file of each table, names in any case; raises DataError where there is none, or more than one."""
    if not source.is_dir():
        raise DataError(f"No folder {source}. Give the folder that holds the tables of MIMIC-III.")
    found: dict[str, list[Path]] = {table: [] for table in tables}
    for entry in sorted(source.iterdir()):
        for ending in ENDINGS:
            table = entry.name.upper().removesuffix(ending.upper())
            if entry.name.lower().endswith(ending) and table in found:
                found[table].append(entry)
    missing = [table for table, paths in found.items() if not paths]
    if missing:
        raise DataError(
            f"Missing table: {', '.join(missing)}. Looked in {source} for {missing[0]} + {', '.join(ENDINGS)}, in any "
            f"case. All of {', '.join(found)} are needed."
        )
    for table, paths in found.items():
        if len(paths) > 1:
            raise DataError(
                f"{source} holds {table} more than once: {', '.join(path.name for path in paths)}. Keep one of them."
            )
    return {table: paths[0] for table, paths in found.items()}


def _declare(con: duckdb.DuckDBPyConnection, table: str, path: Path, clock: Clock) -> None:
    """Make a view of the needed columns, with their declared types; what does not parse is null.

    `zoned` in it are the rows with a time that bears a zone, `unsure` those with one that the clock did not show once.
    """
    wanted = TABLES[table]
    source = source_of(path)
    columns = {name.strip().lower(): (name, kind) for name, kind in columns_of(con, source).items()}
    missing = [name.upper() for name in wanted if name not in columns]
    if missing:
        raise DataError(
            f"{path.name} has no column {', '.join(missing)}. It has: {told_names(columns)}. "
            f"Give the original table {table} of MIMIC-III v1.4."
        )
    if "icd9_code" in wanted and columns["icd9_code"][1] != "VARCHAR":
        raise DataError(
            f"ICD9_CODE in {path.name} is {columns['icd9_code'][1]}, so that leading zeros are lost ('0389' is not "
            "389). Write the column as text."
        )
    casts, zoned, unsure = [], ["false"], ["false"]
    for name, kind in {**wanted, **BESIDE.get(table, {})}.items():
        if name not in columns:
            casts.append(f"CAST(NULL AS {kind}) AS {name}")
            continue
        column, found = identifier(columns[name][0]), columns[name][1]
        text = f"nullif(trim({column}), '')" if found == "VARCHAR" else column
        if kind == "TIMESTAMP":
            casts.append(f"{clock.time(text, found)} AS {name}")
            zoned.append(clock.bears_zone(text, found))
            unsure.append(clock.unsure(text, found))
        else:
            casts.append(f"{_whole(text, found) if kind == 'BIGINT' else f'TRY_CAST({text} AS {kind})'} AS {name}")
    casts += [f"{' OR '.join(zoned)} AS zoned", f"{' OR '.join(unsure)} AS unsure"]
    con.execute(f"CREATE VIEW {table.lower()} AS SELECT {', '.join(casts)} FROM {source}")
    if table != "CHARTEVENTS" and clock.zone is None:
        (count,) = one(con, f"SELECT count(*) FROM {table.lower()} WHERE zoned")
        if count:
            raise zone_refused(path.name, count)
    if table in KEYS:
        rows, keys = one(con, f"SELECT count(*), count(DISTINCT {KEYS[table]}) FROM {table.lower()}")
        if rows != keys:
            raise DataError(
                f"{path.name} has {rows} rows for {keys} values of {KEYS[table].upper()}, which must be present and "
                "unique. Give the original table."
            )


def _whole(column: str, kind: str) -> str:
    """SQL of an identifier in a column of SQL type `kind`; null where it is no whole number: DuckDB rounds."""
    if kind == "VARCHAR":
        broken = f"contains({column}, '.') AND NOT regexp_full_match({column}, '[0-9]+[.]0*')"
    elif kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        broken = f"{column} <> floor({column})"
    else:
        return f"TRY_CAST({column} AS BIGINT)"
    return f"CASE WHEN NOT ({broken}) THEN TRY_CAST({column} AS BIGINT) END"


def _select_stays(con: duckdb.DuckDBPyConnection, wanted: IcuStays, cohort: Cohort, attrition: Attrition) -> None:
    """Make the table `stays` (stay, patient, start, stop, chosen), counting the stays that each rule drops."""
    codes = cohort.icd9
    among = ", ".join(quoted(code) for code in sorted(codes)) if codes else ""
    # A code may be written with its decimal point; in MIMIC it is implied.
    admitted = f"(SELECT hadm_id FROM diagnoses_icd WHERE replace(icd9_code, '.', '') IN ({among}))" if codes else ""
    con.execute(
        f"""
        CREATE TABLE candidates AS
        SELECT icustay_id, subject_id AS patient, intime AS start, coalesce(outtime, dischtime) AS stop,
               CASE WHEN date_sub('month', dob, intime) / 12.0 >= {HIDDEN_AGE_YEARS} THEN {HIDDEN_AGE_MEANS_YEARS}
                    WHEN dob <= intime THEN date_sub('month', dob, intime) / 12.0 END AS age,
               {f"coalesce(icustays.hadm_id IN {admitted}, false)" if codes else "true"} AS in_cohort
        FROM icustays LEFT JOIN patients USING (subject_id) LEFT JOIN admissions USING (hadm_id)
        """
    )
    hours = f"(epoch(stop) - epoch(start)) / 3600 >= {wanted.min_hours}"
    rules = [
        ("ICU stays in ICUSTAYS", "true"),
        ("INTIME known, and OUTTIME or DISCHTIME after it", "start < stop"),
        ("age known (DOB in PATIENTS, not after INTIME)", "age IS NOT NULL"),
        (f"aged {wanted.min_age:g} years or more at INTIME", f"age >= {wanted.min_age}"),
        (f"{wanted.min_hours:g} hours or more in the ICU", hours),
        (cohort.title, "in_cohort"),
    ]
    held = "true"
    for step, rule in rules:
        held = f"{held} AND {rule}"
        patients, stays = one(con, f"SELECT count(DISTINCT patient), count(*) FROM candidates WHERE {held}")
        attrition.add(step, patients=patients, stays=stays)
    if attrition.steps[-1].stays == 0:
        raise nothing_left(attrition)
    con.execute(
        "CREATE TABLE stays AS SELECT icustay_id, CAST(icustay_id AS VARCHAR) AS stay, CAST(patient AS VARCHAR) AS "
        f"patient, start, stop, coalesce({held}, false) AS chosen FROM candidates"
    )


def _load_events(
    con: duckdb.DuckDBPyConnection, names: Sequence[str], path: Path, clock: Clock, attrition: Attrition
) -> list[Reason]:
    """Fill `events` in one scan of CHARTEVENTS at `path`; return the reasons its fates refer to.

    Raises DataError where a time of the chosen items bears a zone and the clock has none.
    """
    items = ", ".join(
        f"({item}, {quoted(name)}, {str(item in FAHRENHEIT).lower()})" for name in names for item in ITEMS[name]
    )
    con.execute(f"CREATE TABLE items AS SELECT * FROM (VALUES {items}) AS t (itemid, signal, fahrenheit)")
    reasons = [
        Reason("of a stay that is in ICUSTAYS, and of its patient", "chosen IS NULL", counts_stays=False),
        Reason("of a stay that was selected", "NOT chosen"),
        Reason("with a readable CHARTTIME", "time IS NULL"),
        Reason("with a numeric value", "value IS NULL"),
        # CareVue has no error flag: null is kept.
        Reason("not marked as an error (ERROR = 1)", "error IS NOT DISTINCT FROM 1"),
        Reason("within the stay, or an hour of it", f"time < start - {MARGIN} OR time > stop + {MARGIN}"),
    ]
    if clock.zone is not None:
        reasons.insert(3, Reason(f"at a time that the clock of {clock.zone} showed once", "unsure"))
    if "temperature" in names:
        wrong = "signal = 'temperature' AND NOT fahrenheit AND value BETWEEN 70 AND 120"
        reasons.append(Reason("temperature filed as °C is in °C, not °F", wrong))
    reasons.append(Reason("within the plausible range", out_of_range(names)))
    con.execute(
        f"""
        CREATE TABLE events AS
        SELECT CASE WHEN chosen THEN patient END AS patient, CASE WHEN chosen THEN stay END AS stay,
               signal, time, value, zoned, {fate(reasons)} AS fate
        FROM (
            SELECT patient, stay, chosen, start, stop, error, signal, fahrenheit, zoned, unsure, charttime AS time,
                   CASE WHEN fahrenheit THEN (valuenum - 32) / 1.8 ELSE valuenum END AS value
            FROM chartevents JOIN items USING (itemid)
                 LEFT JOIN stays ON stays.icustay_id = chartevents.icustay_id
                     AND coalesce(CAST(chartevents.subject_id AS VARCHAR) = stays.patient, true)
        )
        """
    )
    (zoned,) = one(con, "SELECT count(*) FROM events WHERE zoned")
    if zoned and clock.zone is None:
        raise zone_refused(path.name, zoned)
    rows = con.execute("SELECT signal, count(*) FROM events GROUP BY signal").fetchall()
    counts = {name: dict(rows).get(name, 0) for name in names}
    attrition.add("CHARTEVENTS rows of the chosen items", rows=sum(counts.values()), signals=counts)
    return reasons
