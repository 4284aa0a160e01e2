import errno

import duckdb
import pytest

from loracast.data.workspace import csv_source, source_of, workspace
from loracast.errors import DataError
from loracast.texts import identifier, quoted


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
