import io
import tarfile
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from loracast.data.readers.cinc2019 import Cinc2019Reader
from loracast.data.table import open_table
from loracast.errors import DataError
from tests.data.conftest import REAL, cells, sums_up

HEADER = "HR|O2Sat|Temp|SBP|MAP|DBP|Resp|Glucose|Age|ICULOS|SepsisLabel"
EPOCH = datetime(2100, 1, 1)


def record(hours, first=1, septic=False):
    """A .psv of hourly rows with a rising heart rate; every third pressure is missing."""
    rows = [
        f"{80 + h}|98|36.5|120|{'NaN' if h % 3 == 2 else 75}|60|NaN|NaN|61|{first + h}|{int(septic and h > 5)}"
        for h in range(hours)
    ]
    return "\n".join([HEADER, *rows]) + "\n"


RECORDS = {"p000001": record(14), "p000002": record(20, first=7, septic=True), "p000003": record(5)}


def packed(tmp_path, kind, records=RECORDS):
    """The records as a folder or an archive."""
    if kind == "folder":
        for name, text in records.items():
            (tmp_path / "set" / "deep").mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / "deep" / f"{name}.psv").write_text(text)
        return tmp_path / "set"
    path = tmp_path / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in records.items():
                archive.writestr(f"training/{name}.psv", text)
        return path
    with tarfile.open(path, f"w:{kind.split('.')[1]}") as archive:
        for name, text in {**records, "._p000001": "junk"}.items():
            member = tarfile.TarInfo(f"training/{name}.psv")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def read(source, tmp_path, **options):
    out = tmp_path / "out.parquet"
    attrition = Cinc2019Reader(path=source, **{"signals": ("heart_rate", "map"), **options}).read(out)
    return out, attrition.as_json()


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz", "tar.xz"])
def test_a_folder_and_archives_of_any_kind_are_read_alike(tmp_path, kind):
    out, attrition = read(packed(tmp_path, kind), tmp_path)
    found = cells(out)
    assert {series for series, _ in found} == {
        f"{p}/{s}" for p in ("p000001", "p000002") for s in ("heart_rate", "map")
    }
    assert found["p000002/heart_rate", EPOCH + timedelta(hours=7)] == 80
    assert found["p000001/map", EPOCH + timedelta(hours=3)] is None
    assert [step["patients"] for step in attrition["steps"][:2]] == [3, 2]
    assert sums_up(attrition)
    table = open_table(out)
    assert (table.source, table.step_seconds) == ("cinc2019", 3600)
    assert table.licence.startswith("CC BY 4.0")


def test_a_folder_of_archives_and_records_is_read_whole(tmp_path):
    names = list(RECORDS)
    folder = packed(tmp_path, "folder", {name: RECORDS[name] for name in names[:1]})
    for name, kind in zip(names[1:], ("zip", "tar.xz"), strict=True):
        packed(folder, kind, {name: RECORDS[name]})
    whole, parts = read(packed(tmp_path, "tar.gz"), tmp_path)[1], read(folder, tmp_path)[1]
    assert parts == whole


def test_only_septic_patients_are_kept_where_asked(tmp_path):
    out, attrition = read(packed(tmp_path, "folder"), tmp_path, septic_only=True)
    assert {series for series, _ in cells(out)} == {"p000002/heart_rate", "p000002/map"}
    assert attrition["steps"][1]["dropped_patients"] == 2


def test_nobody_left_is_refused_with_the_table_that_shows_why(tmp_path):
    with pytest.raises(DataError, match=r"(?s)Nothing is left.*40 hourly rows or more"):
        read(packed(tmp_path, "folder"), tmp_path, min_hours=40)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"p1": "HR|MAP\n80|70\n"}, "p1.psv has no column ICULOS, SepsisLabel. It has: HR, MAP"),
        ({"p1": ""}, "It has: nothing"),
        ({"p1": record(13).replace("|75|", "|low|")}, "text for a number"),
        ({"p1": record(13) + "80|98\n"}, "a line that does not fit its header"),
        ({"p1": record(13).replace("|3|0", "|NaN|0")}, "an hour without ICULOS"),
        ({}, "No .psv file in"),
    ],
)
def test_records_that_do_not_fit_are_refused_by_name(tmp_path, records, message):
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=message):
        read(packed(tmp_path, "folder", records), tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path):
    source = packed(tmp_path, "folder")
    (source / "p000001.psv").write_text(record(14))
    with pytest.raises(DataError, match=r"two files named p000001.psv"):
        read(source, tmp_path)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_a_truncated_archive_is_refused_and_nothing_is_written(tmp_path, kind):
    source = packed(tmp_path, kind)
    source.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(DataError, match="truncated or damaged"):
        read(source, tmp_path)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(("name", "message"), [("none", "No such source"), ("a.rar", "of no kind")])
def test_a_source_that_is_missing_or_of_another_kind_is_refused(tmp_path, name, message):
    if name != "none":
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        read(tmp_path / name, tmp_path)


def test_hours_of_real_septic_patients_are_those_of_a_plain_count(tmp_path):
    archives = list((REAL / "cinc2019").glob("*.tar.xz"))
    if not archives:
        pytest.skip("the Challenge 2019 data are not in ../shared/data")
    source = tmp_path / "some"
    source.mkdir()
    with tarfile.open(archives[0]) as archive:
        for _ in range(400):
            member = archive.next()
            (source / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    _, attrition = read(source, tmp_path, signals=("heart_rate",), min_hours=0)
    hours = 0
    for path in source.iterdir():
        lines = path.read_text().splitlines()[1:]
        hours += sum(0 < float(line.split("|")[0]) <= 300 for line in lines)
    assert attrition["steps"][-1]["rows"] == hours
    assert sums_up(attrition)
