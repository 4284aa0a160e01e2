import gzip
import json
import shutil
import subprocess
import sys
from collections import Counter
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from loracast.data import readers
from loracast.data.checked import LONG_SCHEMA
from loracast.data.cohort import COHORTS
from loracast.data.readers.mimic3 import ITEMS, NEVER, TABLES, find_tables
from loracast.data.schema import SIGNALS
from loracast.data.table import Table
from loracast.errors import DataError
from tests.data.conftest import ADMITTED, ONE_PATIENT, cells, minute, sums_up, write_tables

VITALS = ("heart_rate", "map", "sbp", "dbp", "resp_rate", "spo2", "temperature")


def heart_rates(rows):
    """CHARTEVENTS of ONE_PATIENT: heart rates at minutes after admission."""
    return [(100, 211, minute(at), str(value), value, "") for at, value in rows]


def read_one(folder, tmp_path, **options):
    out = tmp_path / "vitals.parquet"
    content = {"source": "mimic3", "path": folder, "signals": ("heart_rate",), "grid": "60min", **options}
    attrition = readers.reader_of(content).read(out)
    return cells(out), attrition.as_json()


def dropped_at(attrition, text):
    (step,) = [step for step in attrition["steps"] if text in step["step"]]
    return step


def test_items_that_only_look_like_vital_signs_are_never_read():
    chosen = {item for items in ITEMS.values() for item in items}
    assert not chosen & set(NEVER)
    assert {219, 619, 224688, 226253, 6072, 224027, 677, 679, 220046, 220047, 8548} <= set(NEVER)


def test_every_signal_has_items_of_both_vocabularies_and_no_item_has_two_signals():
    assert list(ITEMS) == list(SIGNALS)
    assert all(any(i < 20_000 for i in items) and any(i > 220_000 for i in items) for items in ITEMS.values())
    assert max(Counter(item for items in ITEMS.values() for item in items).values()) == 1


@pytest.mark.parametrize("cohort", list(COHORTS))
def test_what_was_planted_comes_out_and_what_was_corrupted_does_not(simulated, tmp_path, cohort):
    out = tmp_path / "vitals.parquet"
    attrition = readers.read("mimic3", simulated, out, signals=VITALS, cohort=cohort, grid="5min").attrition.as_json()
    truth = pq.read_table(simulated / "truth.parquet").to_pydict()
    read = cells(out)
    stays = set(pq.read_table(out, columns=["stay"])["stay"].to_pylist())
    assert len(stays) == attrition["steps"][-1]["stays"]
    planted = {
        (series, time): (value, artefact)
        for series, stay, time, value, artefact in zip(
            truth["series"], truth["stay"], truth["time"], truth["value"], truth["artefact"], strict=True
        )
        if stay in stays
    }
    clean = {key: value for key, (value, artefact) in planted.items() if not artefact}
    expected = {key: value for key, value in clean.items() if value is not None}
    found = {key: value for key, value in read.items() if value is not None and key in clean}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), rtol=1e-12)
    artefacts = [key for key, (_, artefact) in planted.items() if artefact]
    assert all(read.get(key) != planted[key][0] for key in artefacts)
    assert sums_up(attrition)


def test_the_stays_of_a_simulated_cohort_are_those_a_plain_query_selects(simulated, tmp_path):
    out = tmp_path / "vitals.parquet"
    readers.read("mimic3", simulated, out, cohort="explicit", grid="5min", min_age=18, min_hours=12)
    query = f"""
        SELECT DISTINCT s.icustay_id::VARCHAR FROM '{simulated}/ICUSTAYS.csv.gz' s
        JOIN '{simulated}/PATIENTS.csv.gz' p USING (subject_id) JOIN '{simulated}/ADMISSIONS.csv.gz' a USING (hadm_id)
        WHERE p.dob + INTERVAL 18 YEAR <= s.intime AND coalesce(s.outtime, a.dischtime) - s.intime >= INTERVAL 12 HOUR
        AND s.hadm_id::VARCHAR IN (SELECT hadm_id FROM read_csv('{simulated}/DIAGNOSES_ICD.csv.gz', all_varchar = true)
                          WHERE icd9_code IN ('99591', '99592', '78552'))
        """
    with duckdb.connect() as con:
        expected = con.execute(query).fetchall()
    assert set(pq.read_table(out)["stay"].to_pylist()) == {stay for (stay,) in expected}


def test_simulated_tables_are_labelled_as_simulated_and_others_are_not(simulated, tables, tmp_path):
    readers.read("mimic3", simulated, tmp_path / "simulated.parquet")
    readers.read("mimic3", tables(CHARTEVENTS=heart_rates([(60, 80), (120, 82)])), tmp_path / "real.parquet")
    assert Table.open(tmp_path / "simulated.parquet").simulated
    assert not Table.open(tmp_path / "real.parquet").simulated


def test_the_long_table_has_the_documented_columns_order_and_metadata(simulated, tmp_path):
    out = tmp_path / "vitals.parquet"
    readers.read("mimic3", simulated, out, grid="5min")
    schema = pq.read_schema(out)
    assert [(field.name, field.type) for field in schema] == [(field.name, field.type) for field in LONG_SCHEMA]
    info = json.loads(schema.metadata[b"loracast"])
    assert info["source"] == "mimic3"
    assert info["grid_seconds"] == 300
    assert info["cohort"] == "explicit"
    assert info["units"] == {"heart_rate": "1/min", "map": "mmHg", "resp_rate": "1/min"}
    table = Table.open(out)
    assert table.step_seconds == 300
    assert table.signals == ("heart_rate", "map", "resp_rate")
    assert json.loads((tmp_path / "vitals.attrition.json").read_text())["steps"]


def test_a_cell_holds_what_was_measured_up_to_its_label_and_missing_stays_missing(tables, tmp_path):
    folder = tables(CHARTEVENTS=heart_rates([(1, 70), (60, 80), (60.5, 100), (299, 90)]))
    read, _ = read_one(folder, tmp_path)
    at = [ADMITTED + timedelta(hours=h) for h in range(1, 6)]
    assert [read["100/heart_rate", time] for time in at] == [75, 100, None, None, 90]
    assert len(read) == 5


def test_an_error_flag_drops_a_row_and_no_flag_keeps_it(tables, tmp_path):
    rows = [
        (100, 211, minute(60), "80", 80, ""),
        (100, 220045, minute(60), "200", 200, 1),
        (100, 220045, minute(120), "90", 90, 0),
    ]
    read, attrition = read_one(tables(CHARTEVENTS=rows), tmp_path)
    assert list(read.values()) == [80, 90]
    assert dropped_at(attrition, "ERROR")["dropped_rows"] == 1


def test_measurements_of_two_items_at_the_same_time_are_averaged_before_the_cell_is(tables, tmp_path):
    rows = [
        (100, 52, minute(30), "60", 60, ""),
        (100, 456, minute(30), "70", 70, ""),
        (100, 52, minute(40), "80", 80, ""),
    ]
    read, attrition = read_one(tables(CHARTEVENTS=rows), tmp_path, signals=("map",))
    assert list(read.values()) == [72.5]
    assert dropped_at(attrition, "repeats")["dropped_rows"] == 0
    assert dropped_at(attrition, "disagree")["dropped_rows"] == 1


def test_temperatures_become_celsius_by_item_and_fahrenheit_filed_as_celsius_is_dropped_and_counted(tables, tmp_path):
    rows = [
        (100, 678, minute(60), "98.6", 98.6, ""),
        (100, 676, minute(120), "38", 38, ""),
        (100, 223762, minute(180), "98.6", 98.6, ""),
        (100, 677, minute(240), "37", 37, ""),
        (100, 223761, minute(300), "95", 95, ""),
    ]
    read, attrition = read_one(tables(CHARTEVENTS=rows), tmp_path, signals=("temperature",))
    assert [None if value is None else round(value, 6) for value in read.values()] == [37, 38, None, None, 35]
    assert dropped_at(attrition, "not °F")["dropped_rows"] == 1
    assert attrition["steps"][6]["rows"] == 4


@pytest.mark.parametrize(("value", "kept"), [(0, False), (0.5, True), (300, True), (301, False), (-8, False)])
def test_heart_rates_beyond_the_plausible_range_are_dropped_and_counted(tables, tmp_path, value, kept):
    read, attrition = read_one(tables(CHARTEVENTS=heart_rates([(60, 80), (120, value), (180, 81)])), tmp_path)
    assert list(read.values()) == [80, value if kept else None, 81]
    assert dropped_at(attrition, "plausible")["dropped_rows"] == (not kept)


def test_rows_without_a_stay_of_another_stay_without_a_number_or_time_are_counted_apart(tables, tmp_path):
    rows = [
        *heart_rates([(60, 80), (120, 82)]),
        ("", 211, minute(60), "80", 80, ""),
        (555, 211, minute(60), "80", 80, ""),
        (100, 211, minute(90), "refused", "", ""),
        (100, 211, "long ago", "80", 80, ""),
        (100, 211, ADMITTED - timedelta(minutes=61), "80", 80, ""),
        (100, 211, ADMITTED + timedelta(days=366), "80", 80, ""),
    ]
    read, attrition = read_one(tables(CHARTEVENTS=rows), tmp_path)
    assert list(read.values()) == [80, 82]
    counts = {
        text: dropped_at(attrition, text)["dropped_rows"]
        for text in ("is in ICUSTAYS", "CHARTTIME", "numeric", "within the stay")
    }
    assert counts == {"is in ICUSTAYS": 2, "CHARTTIME": 1, "numeric": 1, "within the stay": 2}
    assert sums_up(attrition)


@pytest.mark.parametrize(
    ("born", "min_age", "kept"),
    [
        ("2132-03-01", 18, True),
        ("2132-03-02", 18, False),
        ("1850-03-01", 90, True),
        ("1850-03-01", 92, False),
        ("2150-03-02", 0, False),
    ],
)
def test_age_counts_to_the_day_and_hidden_ages_are_91(tables, tmp_path, born, min_age, kept):
    folder = tables(PATIENTS=[(1, born)])
    if kept:
        read_one(folder, tmp_path, min_age=min_age)
    else:
        with pytest.raises(DataError, match="Nothing is left"):
            read_one(folder, tmp_path, min_age=min_age)


def test_a_stay_without_outtime_ends_with_the_admission(tables, tmp_path):
    folder = tables(ICUSTAYS=[(1, 10, 100, ADMITTED, "")], CHARTEVENTS=heart_rates([(60, 80), (60 * 80, 82)]))
    read, _ = read_one(folder, tmp_path)
    assert [value for value in read.values() if value is not None] == [80, 82]


@pytest.mark.parametrize("code", ["99591", "99592", "78552", "995.92"])
def test_explicit_codes_are_text_and_admit(tables, tmp_path, code):
    assert read_one(tables(DIAGNOSES_ICD=[(10, "0389"), (10, code)]), tmp_path)[0]


def test_an_empty_cohort_is_refused_with_the_table_that_shows_why_and_nothing_is_written(tables, tmp_path):
    folder = tables(DIAGNOSES_ICD=[(10, "0389")])
    with pytest.raises(DataError, match=r"(?s)Nothing is left.*explicit sepsis code.*0 \(-1\)"):
        read_one(folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]


def test_a_cohort_without_measurements_is_refused(tables, tmp_path):
    with pytest.raises(DataError, match=r"(?s)Nothing is left.*CHARTEVENTS rows"):
        read_one(tables(CHARTEVENTS=[(100, 646, minute(60), "98", 98, "")]), tmp_path)


def test_csv_gz_and_parquet_in_any_case_give_the_same_bytes(simulated, tmp_path):
    plain, upper, parquet = tmp_path / "plain", tmp_path / "upper", tmp_path / "parquet"
    for folder in (plain, upper, parquet):
        folder.mkdir()
    text = pa_csv.ConvertOptions(column_types={"ICD9_CODE": pa.string()}, strings_can_be_null=True)
    for name in TABLES:
        content = gzip.decompress((simulated / f"{name}.csv.gz").read_bytes())
        header, body = content.split(b"\n", 1)
        (plain / f"{name.lower()}.csv").write_bytes(header.lower() + b"\n" + body)
        (upper / f"{name.title()}.CSV.GZ").write_bytes(gzip.compress(content, 1))
        pq.write_table(pa_csv.read_csv(pa.BufferReader(content), convert_options=text), parquet / f"{name}.parquet")
    digests = set()
    for folder in (simulated, plain, upper, parquet):
        if folder != simulated:
            shutil.copy(simulated / "SIMULATED.json", folder)
        readers.read("mimic3", folder, tmp_path / f"{folder.name}.out.parquet", grid="5min")
        digests.add(Table.open(tmp_path / f"{folder.name}.out.parquet").fingerprint)
    assert len(digests) == 1


def test_the_order_of_the_rows_of_chartevents_does_not_matter(tmp_path):
    rows = [(100, 678, minute(at), "", 97 + (at * 7 % 31) / 10, "") for at in range(0, 600, 3)]
    for name, ordered in (("up", rows), ("down", rows[::-1])):
        folder = write_tables(tmp_path / name, {**ONE_PATIENT, "CHARTEVENTS": ordered})
        readers.read("mimic3", folder, tmp_path / f"{name}.parquet", signals=("temperature",))
    assert (tmp_path / "up.parquet").read_bytes() == (tmp_path / "down.parquet").read_bytes()


def test_a_value_quoted_only_late_in_the_file_does_not_confuse_the_columns(tables, tmp_path):
    rows = [*heart_rates([(60, 80)] * 30_000), (100, 374, minute(60), "Arm, Right Lower", "", "")]
    read, _ = read_one(tables(CHARTEVENTS=rows), tmp_path)
    assert list(read.values()) == [80]


@pytest.mark.parametrize(
    ("signals", "options", "message"),
    [
        (("pulse",), {}, "Unknown signal: pulse. Known signals: heart_rate"),
        (("heart_rate",), {"cohort": "angus"}, "Unknown cohort: 'angus'. Known cohorts: 'explicit'"),
        (("heart_rate",), {"grid": "7min"}, "divides a day"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(tables, tmp_path, signals, options, message):
    with pytest.raises(DataError, match=message):
        readers.read("mimic3", tables(), tmp_path / "out.parquet", signals=signals, **options)


def test_a_missing_folder_or_table_is_named_with_where_it_was_looked_for(tables, tmp_path):
    with pytest.raises(DataError, match=r"No folder .*nowhere"):
        find_tables(tmp_path / "nowhere", TABLES)
    folder = tables()
    (folder / "ICUSTAYS.csv.gz").unlink()
    with pytest.raises(DataError, match=r"Missing table: ICUSTAYS. Looked in .*tables for ICUSTAYS \+ .csv, .csv.gz"):
        read_one(folder, tmp_path)


def test_a_table_that_is_there_twice_is_refused(tables, tmp_path):
    folder = tables()
    (folder / "chartevents.csv").write_text("")
    with pytest.raises(DataError, match="CHARTEVENTS more than once"):
        read_one(folder, tmp_path)


def test_a_missing_column_is_named_with_the_file_and_what_it_has(tables, tmp_path):
    folder = tables()
    (folder / "CHARTEVENTS.csv.gz").write_bytes(gzip.compress(b"ICUSTAY_ID,ITEMID,VALUENUM\n100,211,80\n"))
    with pytest.raises(DataError, match=r"CHARTEVENTS.csv.gz has no column CHARTTIME, ERROR. It has: icustay_id"):
        read_one(folder, tmp_path)


def test_icd_codes_stored_as_numbers_are_refused(tables, tmp_path):
    folder = tables()
    (folder / "DIAGNOSES_ICD.csv.gz").unlink()
    pq.write_table(pa.table({"HADM_ID": [10], "ICD9_CODE": [99592]}), folder / "DIAGNOSES_ICD.parquet")
    with pytest.raises(DataError, match="leading zeros are lost"):
        read_one(folder, tmp_path)


def test_a_stay_that_is_listed_twice_is_refused(tables, tmp_path):
    folder = tables(ICUSTAYS=ONE_PATIENT["ICUSTAYS"] * 2)
    with pytest.raises(DataError, match="2 rows for 1 values of ICUSTAY_ID"):
        read_one(folder, tmp_path)


@pytest.mark.parametrize("share", [0.5, 0.999])
def test_a_truncated_csv_gz_is_refused_without_quoting_patients_and_nothing_is_written(simulated, tmp_path, share):
    folder = tmp_path / "tables"
    shutil.copytree(simulated, folder)
    chart = folder / "CHARTEVENTS.csv.gz"
    content = chart.read_bytes()
    chart.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match="truncated or damaged") as caught:
        readers.read("mimic3", folder, tmp_path / "out.parquet")
    assert "90000" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]


def test_a_broken_line_is_refused_by_number_without_quoting_it(tables, tmp_path):
    folder = tables(CHARTEVENTS=[*heart_rates([(60, 80)] * 5), (100, 211, minute(1), "SECRET", 1, "", "x")])
    with pytest.raises(DataError, match=r"line 7, of .*Expected Number of Columns: 6 Found: 7") as caught:
        read_one(folder, tmp_path)
    assert "SECRET" not in str(caught.value)


def test_a_full_disk_leaves_nothing_under_the_final_name(simulated, tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from loracast.data.readers import read;"
        "from loracast.errors import DataError; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: read('mimic3', Path(sys.argv[1]), Path(sys.argv[2]), grid='5min')\n"
        "except DataError as error: print(error); sys.exit(7)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(simulated), str(tmp_path / "out.parquet")], capture_output=True, text=True
    )
    assert (done.returncode, "disk" in done.stdout) == (7, True), done.stderr[-2000:]
    assert list(tmp_path.iterdir()) == []


def test_a_failed_reading_leaves_an_earlier_table_as_it_was(tables, tmp_path):
    out = tmp_path / "out.parquet"
    out.write_text("earlier")
    with pytest.raises(DataError):
        readers.read("mimic3", tables(DIAGNOSES_ICD=[(10, "0389")]), out, overwrite=True)
    assert out.read_text() == "earlier"


def test_what_is_being_done_is_told(tables, tmp_path):
    said = []
    readers.read("mimic3", tables(), tmp_path / "out.parquet", signals=("heart_rate",), say=said.append)
    assert any("CHARTEVENTS" in line for line in said)


def with_offsets(text):
    """Tables whose chart times bear an offset as text."""
    rows = [(100, 211, f"{minute(at)}{text}", "80", 80, "") for at in (30, 90)]
    return {"CHARTEVENTS": rows}


def test_a_chart_time_with_an_offset_is_refused_unless_it_is_said_whose_clock_is_meant(tables, tmp_path):
    folder = tables(**with_offsets("-05:00"))
    with pytest.raises(DataError, match=r"2 times in CHARTEVENTS.csv.gz bear a time zone or an offset.*--zone"):
        read_one(folder, tmp_path)
    read, attrition = read_one(folder, tmp_path, zone="America/New_York")
    assert [time for _, time in read] == [minute(60), minute(120)]
    assert sums_up(attrition)


def test_every_time_of_the_tables_is_held_to_the_rule(tables, tmp_path):
    stay = [(1, 10, 100, f"{ADMITTED}Z", f"{ADMITTED + timedelta(hours=24)}Z")]
    with pytest.raises(DataError, match=r"1 times in ICUSTAYS.csv.gz bear a time zone"):
        read_one(tables(ICUSTAYS=stay), tmp_path)


def test_a_typed_column_with_a_zone_is_held_to_it_too(tables, tmp_path):
    folder = tables(**with_offsets(""))
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(
            f"COPY (SELECT * REPLACE (charttime::TIMESTAMPTZ AS charttime) FROM '{folder}/CHARTEVENTS.csv.gz') "
            f"TO '{folder}/CHARTEVENTS.parquet'"
        )
    (folder / "CHARTEVENTS.csv.gz").unlink()
    with pytest.raises(DataError, match=r"2 times in CHARTEVENTS.parquet bear a time zone"):
        read_one(folder, tmp_path)
    read, _ = read_one(folder, tmp_path, zone="UTC")
    assert [time for _, time in read] == [minute(60), minute(120)]


def test_two_values_at_one_minute_are_averaged_and_counted_as_what_they_are(tables, tmp_path):
    rows = [*heart_rates([(5, 80), (65, 81), (65, 81)]), (100, 220045, minute(5), "180", 180, "")]
    read, attrition = read_one(tables(CHARTEVENTS=rows), tmp_path)
    assert list(read.values()) == [130, 81]
    assert dropped_at(attrition, "repeats")["dropped_rows"] == 1
    assert dropped_at(attrition, "disagree")["dropped_rows"] == 1
    assert "50.0% of the measurements of heart_rate" in attrition["notes"][0]["text"]


def test_a_patient_who_loses_a_whole_signal_is_counted_where_it_happens(tables, tmp_path):
    rows = [*heart_rates([(5, 80)]), (100, 442, minute(5), "120/80", "", ""), (100, 52, minute(5), "0", 0, "")]
    _, attrition = read_one(tables(CHARTEVENTS=rows), tmp_path, signals=("heart_rate", "sbp", "map"))
    assert dropped_at(attrition, "numeric value")["lost"] == {"sbp": 1}
    assert dropped_at(attrition, "plausible")["lost"] == {"map": 1}


def with_events(folder, *rows):
    """The folder with a CHARTEVENTS that names the patient, as the original does."""
    head = "SUBJECT_ID,ICUSTAY_ID,ITEMID,CHARTTIME,VALUE,VALUENUM,ERROR"
    lines = [",".join(map(str, row)) for row in rows]
    (folder / "CHARTEVENTS.csv.gz").write_bytes(gzip.compress("\n".join([head, *lines, ""]).encode()))
    return folder


def test_a_row_of_another_patient_is_not_filed_under_the_stay(tables, tmp_path):
    folder = with_events(
        tables(), (1, 100, 211, minute(60), 80, 80, ""), (2, 100, 211, minute(120), 81, 81, ""),
        ("", 100, 211, minute(180), 82, 82, ""),
    )  # fmt: skip
    found, attrition = read_one(folder, tmp_path)
    assert list(found.values()) == [80, None, 82]
    assert dropped_at(attrition, "and of its patient")["dropped_rows"] == 1


@pytest.mark.parametrize(("item", "rows"), [("211.0", 2), ("211.4", 1), ("210.6", 1)])
def test_an_identifier_that_is_no_whole_number_is_none(tables, tmp_path, item, rows):
    folder = with_events(tables(), (1, 100, 211, minute(60), 80, 80, ""), (1, 100, item, minute(120), 81, 81, ""))
    found, _ = read_one(folder, tmp_path)
    assert len(found) == rows


def test_the_longest_stay_may_be_asked_for(tables, tmp_path):
    with pytest.raises(DataError, match="hours or more in the ICU"):
        read_one(tables(), tmp_path, min_hours=1e308)
