"""Damaged tables: CSV, compressed CSV, long tables, MIMIC folders and the archives of the Challenge 2019."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loracast.data.attrition import Attrition, attrition_path, write_attrition
from loracast.data.readers.archive import Found, records_of
from loracast.data.readers.cinc2019 import Cinc2019Reader
from loracast.data.readers.mimic3 import Mimic3Reader
from loracast.data.readers.table import write_table
from loracast.data.series import series_of
from loracast.data.table import Table
from loracast.data.workspace import connect, csv_source, reading
from loracast.files import file_digest
from tests.conftest import cohort, write_long
from tests.data.conftest import ONE_PATIENT, minute, sums_up, write_tables
from tests.data.readers.test_cinc2019 import RECORDS
from tests.fuzz.damage import changed, damaged, fuzz, told

ROWS = [f"p{n % 3},2150-03-01 {n:02d}:30:00,{80 + n}.5" for n in range(20)]
CSV = "\n".join(["patient,time,value", *ROWS, ""]).encode()
PLAIN = {"patient": "patient", "time": "time", "value": "value"}


def rows_of(path: Path) -> list[tuple[object, ...]]:
    with reading(path), connect() as con:
        return con.execute(f"SELECT * FROM {csv_source(path)}").fetchall()


@fuzz
@given(content=damaged(CSV))
def test_every_row_of_a_damaged_csv_is_read_as_it_stands_or_the_file_is_refused(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    found = told("csv", lambda: rows_of(path))
    if found and not any(sign in content for sign in (b'"', b"\r")):  # else there is more than one way to read it
        lines = [line for line in content.decode("utf-8-sig").split("\n")[1:] if line]
        assert found[0] == [tuple(cell or None for cell in line.split(",")) for line in lines]


@fuzz
@given(content=damaged(gzip.compress(CSV, mtime=0)))
def test_a_damaged_gzip_is_refused_or_gives_the_same_rows(tmp_path, content):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(content)
    found = told("csv.gz", lambda: rows_of(path))
    if found:
        (tmp_path / "whole.csv").write_bytes(CSV)
        assert found[0] == rows_of(tmp_path / "whole.csv")


@fuzz
@given(content=damaged(CSV))
def test_what_a_damaged_csv_gives_is_counted(tmp_path, content):
    path, out = tmp_path / "a.csv", tmp_path / "out.parquet"
    path.write_bytes(content)
    out.unlink(missing_ok=True)
    attrition_path(out).unlink(missing_ok=True)
    found = told("table", lambda: write_table(path, out, grid="60min", signal="heart_rate", **PLAIN))
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    if found:
        assert sums_up(found[0].as_json())
        assert Table.open(out).signals == ("heart_rate",)


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """A long table and its attrition, and the series in it."""
    path = tmp_path_factory.mktemp("long") / "a.parquet"
    table = write_long(path, cohort(3, hours=30))
    attrition = Attrition()
    attrition.table = {"sha256": file_digest(path)}
    write_attrition(attrition, path)
    return path.read_bytes(), attrition_path(path).read_bytes(), values_of(table)


def values_of(table) -> list[tuple[str, bytes]]:
    return [(one.series, one.values.tobytes()) for one in series_of(table)]


@fuzz
@given(data=st.data())
def test_a_damaged_long_table_is_refused_where_its_attrition_stands_beside_it(tmp_path, long, data):
    content, attrition, series = long
    path = tmp_path / "a.parquet"
    attrition_path(path).write_bytes(attrition)
    path.write_bytes(data.draw(damaged(content)))
    found = told("long table", lambda: values_of(Table.open(path)))
    assert found is None or found[0] == series


@fuzz
@given(data=st.data())
def test_a_damaged_long_table_alone_ends_in_no_traceback(tmp_path, long, data):
    path = tmp_path / "a.parquet"
    path.write_bytes(data.draw(damaged(long[0])))
    told("long table alone", lambda: values_of(Table.open(path)))


@fuzz
@given(data=st.data())
def test_metadata_that_says_something_else_is_refused_or_taken_as_it_stands(tmp_path, long, data):
    path = tmp_path / "a.parquet"
    table = pq.read_table(io.BytesIO(long[0]))
    said = {"source": "test", "simulated": False, "grid_seconds": 3600, "units": {"map": "mmHg"}, "licence": "CC0"}
    text = data.draw(changed(said))
    pq.write_table(table.replace_schema_metadata({b"loracast": text}), path)
    found = told("metadata", lambda: Table.open(path))
    assert found is None or found[0].step_seconds == 3600


@fuzz
@given(data=st.data())
def test_rows_that_contradict_the_schema_are_refused_or_read_whole(tmp_path, long, data):
    path = tmp_path / "a.parquet"
    table = pq.read_table(io.BytesIO(long[0]))
    kept = np.arange(len(table))
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(kept) - 1))
        kept = data.draw(st.sampled_from((np.delete(kept, at), np.insert(kept, at, kept[-1]), np.roll(kept, at))))
    pq.write_table(table.take(kept), path)
    found = told("rows", lambda: sum(len(values) // 4 for _, values in values_of(Table.open(path))))
    assert found is None or found[0] == len(kept)


MIMIC = {**ONE_PATIENT, "CHARTEVENTS": [(100, 211, minute(60 * n), "80", 80 + n, "") for n in range(12)]}


@fuzz
@given(data=st.data())
def test_a_damaged_mimic_folder_is_refused_or_counted(tmp_path, data):
    folder, out = write_tables(tmp_path / "mimic", MIMIC, ".csv"), tmp_path / "out.parquet"
    file = folder / f"{data.draw(st.sampled_from(sorted(MIMIC)))}.csv"
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    out.unlink(missing_ok=True)
    attrition_path(out).unlink(missing_ok=True)
    found = told("mimic", lambda: Mimic3Reader(path=folder, signals=("heart_rate",), cohort="all").read(out))
    if found:
        assert sums_up(found[0].as_json())


def archived(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in RECORDS.items():
                archive.writestr(f"{name}.psv", text)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, text in RECORDS.items():
                member = tarfile.TarInfo(f"{name}.psv")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@fuzz
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_gives_the_same_records(tmp_path, kind, data):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data.draw(damaged(archived(kind))))
    count = Found()
    found = told(kind, lambda: list(records_of(path, count)))
    if found:
        assert {record.text for record in found[0]} <= set(RECORDS.values())
        assert count.files + count.linked + count.others >= len(RECORDS)


@fuzz
@given(data=st.data())
def test_a_damaged_record_is_refused_or_counted(tmp_path, data):
    folder, out = tmp_path / "set", tmp_path / "out.parquet"
    folder.mkdir(exist_ok=True)
    for name, text in RECORDS.items():
        (folder / f"{name}.psv").write_text(text)
    (folder / "p000001.psv").write_bytes(data.draw(damaged(RECORDS["p000001"].encode())))
    out.unlink(missing_ok=True)
    attrition_path(out).unlink(missing_ok=True)
    found = told("record", lambda: Cinc2019Reader(path=folder, signals=("heart_rate",)).read(out))
    if found:
        assert found[0].as_json()["steps"][0]["patients"] == len(RECORDS)
        assert sums_up(found[0].as_json())
