import csv
import gzip
import json
from collections import Counter, defaultdict
from datetime import datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from loracast.data.readers.mimic3 import FAHRENHEIT, ITEMS, NEVER
from loracast.data.simulator import simulate
from loracast.data.table import Table
from loracast.errors import ConfigError


def rows(folder, table):
    with gzip.open(folder / f"{table}.csv.gz", "rt", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def charted(simulated):
    return rows(simulated, "CHARTEVENTS")


COLUMNS = {
    "CHARTEVENTS": "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,ITEMID,CHARTTIME,STORETIME,CGID,VALUE,VALUENUM,VALUEUOM,"
    "WARNING,ERROR,RESULTSTATUS,STOPPED",
    "ICUSTAYS": "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,DBSOURCE,FIRST_CAREUNIT,LAST_CAREUNIT,FIRST_WARDID,LAST_WARDID,"
    "INTIME,OUTTIME,LOS",
    "ADMISSIONS": "ROW_ID,SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,DEATHTIME,ADMISSION_TYPE,ADMISSION_LOCATION,"
    "DISCHARGE_LOCATION,INSURANCE,LANGUAGE,RELIGION,MARITAL_STATUS,ETHNICITY,EDREGTIME,EDOUTTIME,DIAGNOSIS,"
    "HOSPITAL_EXPIRE_FLAG,HAS_CHARTEVENTS_DATA",
    "PATIENTS": "ROW_ID,SUBJECT_ID,GENDER,DOB,DOD,DOD_HOSP,DOD_SSN,EXPIRE_FLAG",
    "DIAGNOSES_ICD": "ROW_ID,SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE",
    "D_ITEMS": "ROW_ID,ITEMID,LABEL,ABBREVIATION,DBSOURCE,LINKSTO,CATEGORY,UNITNAME,PARAM_TYPE,CONCEPTID",
}


@pytest.mark.parametrize("table", list(COLUMNS))
def test_the_tables_have_the_columns_of_mimic_in_order(simulated, table):
    assert ",".join(rows(simulated, table)[0]) == COLUMNS[table]


def test_the_same_seed_gives_the_same_files_and_another_seed_others(simulated, tmp_path):
    again = simulate(tmp_path / "again", patients=30, seed=3, hours=(14, 26))
    other = simulate(tmp_path / "other", patients=30, seed=4, hours=(14, 26))
    for path in simulated.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    assert (other / "CHARTEVENTS.csv.gz").read_bytes() != (simulated / "CHARTEVENTS.csv.gz").read_bytes()


def test_it_says_that_no_patient_is_real(simulated):
    said = json.loads((simulated / "SIMULATED.json").read_text())
    assert "No patient is real" in said["statement"]
    assert (said["seed"], said["patients"]) == (3, 30)
    assert said["chartevents_rows"] == len(rows(simulated, "CHARTEVENTS"))
    truth = Table.open(simulated / "truth.parquet")
    assert truth.simulated
    assert truth.step_seconds == 300


def test_every_quirk_of_the_real_tables_is_there(simulated, charted):
    reasons = Counter(pq.read_table(simulated / "corrupted.parquet")["reason"].to_pylist())
    assert set(reasons) >= {
        "out of range", "no value", "no stay", "flagged as an error", "another year", "artefact", "alarm limit",
        "calculated twin",
    }  # fmt: skip
    items = {int(row["ITEMID"]) for row in charted}
    assert items & FAHRENHEIT
    assert items & {676, 223762}
    assert items & set(NEVER)
    assert any(item < 20_000 for item in items)
    assert any(item > 220_000 for item in items)
    stays = rows(simulated, "ICUSTAYS")
    assert any(not stay["OUTTIME"] for stay in stays)
    assert {stay["DBSOURCE"] for stay in stays} == {"carevue", "metavision"}
    assert max(Counter(stay["SUBJECT_ID"] for stay in stays).values()) > 1
    born = {row["SUBJECT_ID"]: datetime.fromisoformat(row["DOB"]) for row in rows(simulated, "PATIENTS")}
    ages = [(datetime.fromisoformat(stay["INTIME"]) - born[stay["SUBJECT_ID"]]).days / 365.25 for stay in stays]
    assert min(ages) < 18 < max(age for age in ages if age < 100) < 90 < 290 < max(ages)
    lengths = [float(stay["LOS"]) * 24 for stay in stays if stay["LOS"]]
    assert min(lengths) < 12 < max(lengths) <= 26


def test_an_error_flag_is_known_only_to_metavision(charted):
    flags = defaultdict(set)
    for row in charted:
        flags["metavision" if int(row["ITEMID"]) > 220_000 else "carevue"].add(row["ERROR"])
    assert flags == {"carevue": {""}, "metavision": {"0", "1"}}


def test_the_rows_not_marked_as_corrupted_are_the_truth_and_nothing_else(simulated, charted):
    corrupted = set(pq.read_table(simulated / "corrupted.parquet")["row_id"].to_pylist())
    signal_of = {item: name for name, items in ITEMS.items() for item in items}
    found = defaultdict(list)
    for row in charted:
        if int(row["ROW_ID"]) not in corrupted:
            time = datetime.fromisoformat(row["CHARTTIME"])
            cell = time + (datetime(1970, 1, 1) - time) % timedelta(minutes=5)
            value = float(row["VALUENUM"])
            item = int(row["ITEMID"])
            found[f"{row['ICUSTAY_ID']}/{signal_of[item]}", cell].append(
                (value - 32) / 1.8 if item in FAHRENHEIT else value
            )
    truth = pq.read_table(simulated / "truth.parquet").to_pydict()
    planted = {
        (series, time): value
        for series, time, value, artefact in zip(
            truth["series"], truth["time"], truth["value"], truth["artefact"], strict=True
        )
        if value is not None and not artefact
    }
    assert found.keys() == planted.keys()
    np.testing.assert_allclose([np.mean(found[key]) for key in planted], list(planted.values()), rtol=1e-12)


def test_signs_move_together_and_sepsis_shows(simulated):
    truth = pq.read_table(simulated / "truth.parquet").to_pandas()
    wide = truth.pivot(index=["stay", "time"], columns="signal", values="value")
    within = wide - wide.groupby("stay").transform("mean")
    assert within["heart_rate"].corr(within["resp_rate"]) > 0.3
    assert within["map"].corr(within["sbp"]) > 0.8
    # A third of the pulse pressure lies below the mean pressure, as at the bedside.
    mean = (wide["sbp"] + 2 * wide["dbp"]) / 3
    assert (mean - wide["map"]).abs().median() < 1
    septic = {
        row["HADM_ID"] for row in rows(simulated, "DIAGNOSES_ICD") if row["ICD9_CODE"] in ("99591", "99592", "78552")
    }
    stays = {row["ICUSTAY_ID"] for row in rows(simulated, "ICUSTAYS") if row["HADM_ID"] in septic}
    is_septic = wide.index.get_level_values("stay").isin(stays)
    assert wide["heart_rate"][is_septic].mean() > wide["heart_rate"][~is_septic].mean() + 5
    assert wide["map"][is_septic].quantile(0.05) < wide["map"][~is_septic].quantile(0.05)


@pytest.mark.parametrize("options", [{"patients": 9}, {"step_minutes": 7}, {"hours": (20, 10)}, {"hours": (0, 10)}])
def test_impossible_numbers_are_refused(tmp_path, options):
    with pytest.raises(ConfigError, match="Ask for 10 patients or more"):
        simulate(tmp_path / "out", **options)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        simulate(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
