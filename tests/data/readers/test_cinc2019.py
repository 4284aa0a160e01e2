import gzip
import io
import os
import tarfile
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from loracast.data.readers.cinc2019 import Cinc2019Reader
from loracast.data.table import Table
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
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
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
    attrition = Cinc2019Reader(path=source, **{"signals": ("heart_rate", "map"), **options}).read(out, overwrite=True)
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
    assert [step["patients"] for step in attrition["steps"][:4]] == [3, 3, 3, 2]
    assert sums_up(attrition)
    table = Table.open(out)
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
    assert attrition["steps"][3]["dropped_patients"] == 2
    (note,) = attrition["notes"]
    assert note["patients"] == 1
    assert "30% of the hours of these patients (6 of 20) bear a SepsisLabel of 0" in note["text"]


def test_nobody_left_is_refused_with_the_table_that_shows_why(tmp_path):
    with pytest.raises(DataError, match=r"(?s)Nothing is left.*40 hourly rows or more"):
        read(packed(tmp_path, "folder"), tmp_path, min_hours=40)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"p1": "HR|MAP\n80|70\n"}, "File 1 of .*/set has no column ICULOS, SepsisLabel. It has: HR, MAP"),
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
    with pytest.raises(DataError, match=r"File 4 of .*/set has the name of another"):
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


def tar_of(path, *members, mode="w:gz"):
    """An archive of members given as (name, text or a kind of link)."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.type, member.linkname = content, "training/p000001.psv"
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content.encode()))
    return path


def test_links_and_files_with_a_header_alone_are_counted(tmp_path):
    links = [
        (f"training/q{n}.psv", kind) for n, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE))
    ]
    records = [(f"training/{name}.psv", text) for name, text in {**RECORDS, "p000009": HEADER + "\n"}.items()]
    source = tar_of(tmp_path / "set.tar.gz", *records, *links)
    _, attrition = read(source, tmp_path)
    assert [(step["step"], step["patients"]) for step in attrition["steps"][:3]] == [
        ("members named .psv", 7),
        ("files, not links", 4),
        ("patients with an hourly row", 3),
    ]


def test_a_link_to_nothing_and_a_pipe_in_a_folder_are_counted_and_never_opened(tmp_path):
    source = packed(tmp_path, "folder")
    (source / "p7.psv").symlink_to(tmp_path / "nowhere.psv")
    os.mkfifo(source / "p8.psv")
    _, attrition = read(source, tmp_path)
    assert [step["patients"] for step in attrition["steps"][:2]] == [5, 3]


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_an_archive_that_unpacks_to_more_than_any_such_data_is_refused_with_little_memory(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("loracast.data.readers.archive.MOST_AN_ARCHIVE", 2**22)
    source = packed(tmp_path, kind, {f"p{n}": record(14) + "\n" * 900_000 for n in range(6)})
    assert source.stat().st_size < 2**17
    with pytest.raises(DataError, match=r"unpacks to more than"):
        read(source, tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_record_that_no_patient_has_is_refused_before_it_is_read_whole(tmp_path, kind):
    source = packed(tmp_path, kind, {"p1": record(14) + "\n" * 2_000_000})
    with pytest.raises(DataError, match=r"File 1 of .* more than 1 MiB"):
        read(source, tmp_path)


def test_a_zip_that_states_less_than_it_holds_is_refused(tmp_path):
    source = packed(tmp_path, "zip", {"p1": record(14)})
    with zipfile.ZipFile(source) as archive:
        size = archive.infolist()[0].file_size
    content = source.read_bytes()
    source.write_bytes(content.replace(size.to_bytes(4, "little"), (size - 30).to_bytes(4, "little")))
    with pytest.raises(DataError, match="truncated or damaged"):
        read(source, tmp_path)


def test_a_long_header_before_a_member_is_not_read_into_memory(tmp_path):
    source = tmp_path / "set.tar.gz"
    with tarfile.open(source, "w:gz") as archive:
        member = tarfile.TarInfo("long")
        member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**24
        archive.addfile(member, io.BytesIO(bytes(2**24)))
    with pytest.raises(DataError, match=r"truncated or damaged \(ReadError\)"):
        read(source, tmp_path)


def test_an_encrypted_zip_is_called_so(tmp_path):
    source = packed(tmp_path, "zip")
    content = bytearray(source.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(signature)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(signature, place + 1)
    source.write_bytes(content)
    with pytest.raises(DataError, match="is encrypted"):
        read(source, tmp_path)


def test_no_message_names_a_patient(tmp_path):
    for number, text in enumerate(("", "HR\n80\n", record(13).replace("|75|", "|low|"), record(13) + "80\n", "\xff")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "Zq7x.psv").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError) as caught:
            read(folder, tmp_path)
        assert "Zq7x" not in str(caught.value)


def _cut(path, at):
    path.write_bytes(path.read_bytes()[:at])


def _flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0x55
    path.write_bytes(bytes(content))


def _follow(path, at):
    path.write_bytes(path.read_bytes() + b"p000009.psv" + bytes(501))


@pytest.mark.parametrize("damage", [_cut, _flip, _follow], ids=["cut", "a flipped bit", "more after the end"])
@pytest.mark.parametrize("inside", [0, 10])
def test_a_damaged_header_is_not_the_end_of_a_tar(tmp_path, damage, inside):
    path = packed(tmp_path, "tar.gz")
    plain = tmp_path / "set.tar"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    second = 512 + -(-len(RECORDS["p000001"]) // 512) * 512
    damage(plain, second + inside)
    with pytest.raises(DataError, match="truncated or damaged"):
        read(plain, tmp_path)


@pytest.mark.parametrize("number", ["1_00", "\u0668\u0660"])
def test_a_number_as_programs_or_other_scripts_write_it_is_refused(tmp_path, number):
    records = {"p000001": RECORDS["p000001"].replace("80", number)}
    assert number in records["p000001"]
    with pytest.raises(DataError, match="signs that no number has"):
        read(packed(tmp_path, "folder", records), tmp_path)
