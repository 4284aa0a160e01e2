import errno
import os

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loracast.data.workspace import connect, csv_source, reading, source_of, told_names, workspace
from loracast.errors import DataError
from loracast.files.texts import identifier, quoted


def read(path):
    with duckdb.connect() as con:
        return con.execute(f"SELECT * FROM {csv_source(path)}").fetchall()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_csv_is_read_as_text_with_quotes_and_either_line_ending(tmp_path, ending):
    path = tmp_path / "it's.csv"
    path.write_bytes(ending.join(['"A",b', '0389,"x, ""y"""', ",2", ""]).encode())
    assert read(path) == [("0389", 'x, "y"'), (None, "2")]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("a,b\n1,2\n".encode("utf-8-sig"))
    assert read(path) == [("1", "2")]
    assert "'a': 'VARCHAR'" in csv_source(path)


@pytest.mark.parametrize("header", ["", "a,a\n"])
def test_a_csv_without_a_header_of_different_names_is_refused(tmp_path, header):
    (tmp_path / "a.csv").write_text(header)
    with pytest.raises(DataError, match="does not begin with a line of different column names"):
        csv_source(tmp_path / "a.csv")


def test_a_file_that_is_no_gzip_is_refused(tmp_path):
    (tmp_path / "a.csv.gz").write_text("a,b\n")
    with pytest.raises(DataError, match="truncated or damaged"):
        source_of(tmp_path / "a.csv.gz")


def test_names_and_texts_cannot_break_out_of_their_quotes():
    with duckdb.connect() as con:
        query = "SELECT " + quoted("it's") + " AS " + identifier('a "b"')
        assert con.execute(query).fetchall() == [("it's",)]


def test_the_workspace_leaves_nothing_behind_even_after_a_failure(tmp_path):
    out = tmp_path / "new" / "out.parquet"
    with pytest.raises(duckdb.CatalogException), workspace(out) as con:
        con.execute("SELECT * FROM nothing")
    assert list(out.parent.iterdir()) == []


def test_a_full_disk_is_the_callers_to_solve_and_a_mistake_of_ours_is_not_hidden(tmp_path):
    with pytest.raises(DataError, match=r"The disk under .* is full"), workspace(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(duckdb.ParserException), workspace(tmp_path / "out") as con:
        con.execute("SELEKT 1")


NAMES = [
    "data[1].csv",
    "a*b.csv",
    "q?.csv",
    "x].csv",
    "[!a].csv",
    "~t.csv",
    "{x}.csv",
    "na'me;.csv",
    "[[].csv",
    "d**.csv",
]


@pytest.mark.parametrize("folder", ["plain", "p[1]", "**", "~", "year=1", "s3:"])
def test_the_file_that_is_named_is_read_and_no_other(tmp_path, folder):
    (tmp_path / folder).mkdir()
    for name in [*NAMES, "data1.csv", "ab.csv", "axb.csv", "qq.csv", "a.csv", "t.csv", "d.csv"]:
        (tmp_path / folder / name).write_text(f"year,b\n{name},2\n")
    assert [read(tmp_path / folder / name) for name in NAMES] == [[(name, "2")] for name in NAMES]


def test_a_parquet_is_read_by_its_name_and_a_folder_above_it_is_no_column(tmp_path):
    folder = tmp_path / "patient=7"
    folder.mkdir()
    for name, value in (("a[1].parquet", 1), ("a1.parquet", 2)):
        pq.write_table(pa.table({"patient": [value]}), folder / name)
    with connect() as con:
        assert con.execute(f"SELECT * FROM {source_of(folder / 'a[1].parquet')}").fetchall() == [(1,)]


def test_a_table_in_parts_is_read_whole_with_the_columns_that_its_folders_name(tmp_path):
    for part in (1, 2):
        (tmp_path / "a.parquet" / f"item={part}").mkdir(parents=True)
        pq.write_table(pa.table({"value": [part]}), tmp_path / "a.parquet" / f"item={part}" / "part.parquet")
    with connect() as con:
        found = con.execute(f"SELECT value, item FROM {source_of(tmp_path / 'a.parquet')} ORDER BY ALL").fetchall()
    assert [(value, int(item)) for value, item in found] == [(1, 1), (2, 2)]


def test_a_path_that_duckdb_reads_otherwise_is_refused(tmp_path):
    (tmp_path / "a\\b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="has a backslash in its path"):
        source_of(tmp_path / "a\\b.csv")
    (tmp_path / "q?").mkdir()
    with pytest.raises(DataError, match=r"has a \? in its path"), workspace(tmp_path / "q?" / "out.parquet"):
        pass


@pytest.mark.parametrize("name", ["it's;.parquet", "a[1]?.parquet", "s3:x.parquet", 'q"q.parquet'])
def test_the_name_of_the_output_is_no_language(tmp_path, name):
    with workspace(tmp_path / name) as con:
        con.execute("CREATE TABLE a AS SELECT 1")
    assert list(tmp_path.iterdir()) == []


def test_lines_may_end_as_on_an_old_mac(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\r1,2\r3,4\r")
    assert read(path) == [("1", "2"), ("3", "4")]


def test_a_column_without_a_name_gets_one_and_twins_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",value\n0,2\n")
    assert read(path) == [("0", "2")]
    assert "'Unnamed: 0': 'VARCHAR'" in csv_source(path)
    path.write_text("value,VALUE\n1,2\n")
    with pytest.raises(DataError, match="value, VALUE"):
        csv_source(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a;b\n1;2\n", r"its delimiter is not ','.*--delimiter ';'"),
        (b"a,b\n1,\xfc\n", r"line 2, of .*not UTF-8: say how it is encoded \(--encoding latin-1"),
        (b"\xe4,b\n1,2\n", "has a header that is no UTF-8"),
        (b"a" * 2**21, "has no header: its first line does not end"),
        (b'"a,b\n1,2\n', "has no header"),
        (b"a,b\r\n1,2\n", "its lines end in different ways"),
        (b'a,b\n1,"Zq7x\n', "a quote is not closed"),
    ],
)
def test_what_is_wrong_with_a_csv_is_told_and_nothing_of_it_quoted(tmp_path, content, told):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=told) as caught, reading(tmp_path / "out"):
        read(path)
    assert "Zq7x" not in str(caught.value)


def test_what_duckdb_says_of_a_value_is_left_out(tmp_path):
    with pytest.raises(DataError, match="Conversion Error") as caught, workspace(tmp_path / "out") as con:
        con.execute("SELECT CAST('Zq7x' AS INTEGER)").fetchall()
    assert "Zq7x" not in str(caught.value)


def test_nothing_is_fetched_whatever_a_query_asks_for():
    with connect() as con, pytest.raises(duckdb.Error, match="httpfs"):
        con.execute("SELECT * FROM read_csv('http://127.0.0.1:9/a.csv')")


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "missing"])
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, kind):
    path = tmp_path / "a.csv"
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "missing": lambda: None,
     "link": lambda: path.symlink_to(tmp_path / "nowhere")}[kind]()  # fmt: skip
    told = {"pipe": "is a pipe", "folder": "is a folder", "link": "is a link to a file", "missing": "is not there"}
    with pytest.raises(DataError, match=told[kind]):
        source_of(path)


def test_a_row_that_stands_where_a_header_should_is_not_shown():
    assert told_names(["patient", "time"]) == "patient, time"
    assert "Zq7x" not in told_names(["Zq7x", "2150-03-01 10:00:00", "80.5"])
