"""Columns of a caller's own: what is read as it is told to be written, and what is refused with what would help."""

from datetime import datetime

import pandas as pd
import pytest

from loracast.data.readers.table import write_table
from loracast.data.table import Table
from loracast.errors import ConfigError, DataError
from tests.data.conftest import cells, sums_up

OWN = {"patient": "who", "time": "at", "value": "x", "signal": "glucose"}
HOURS = [datetime(2024, 3, 1, h) for h in range(20)]


def frame_of(values, **more):
    columns = {"who": "p", "at": HOURS[: len(values)], "x": values, **more}
    return pd.DataFrame(columns)


def put(frame, tmp_path, **options):
    out = tmp_path / "own.parquet"
    attrition = write_table(frame, out, overwrite=True, **{"grid": "60min", **OWN, **options})
    assert sums_up(attrition.as_json())
    return list(cells(out).values()), attrition


def written(tmp_path, text, name="own.csv", encoding="utf-8"):
    (tmp_path / name).write_text(text, encoding=encoding)
    return tmp_path / name


@pytest.mark.parametrize("missing", ["NA", "NULL", r"\N", "", "nan", " NA "])
def test_what_stands_for_no_value_everywhere_is_missing(tmp_path, missing):
    values, attrition = put(frame_of(["80", missing, "82"]), tmp_path)
    assert values == [80, None, 82]
    (step,) = [step for step in attrition.steps if step.name == "with a value"]
    assert step.dropped_rows == 1


def test_other_texts_are_listed_with_counts_and_taken_for_missing_when_told(tmp_path):
    frame = frame_of(["80", "Low", "High", "Low", "82", *["83"] * 5])
    with pytest.raises(DataError, match=r"3 of 10 rows have text.*'Low' \(2\), 'High' \(1\).*--missing Low"):
        put(frame, tmp_path)
    values, _ = put(frame, tmp_path, missing=("Low", "High"))
    assert values[:5] == [80, None, None, None, 82]


def test_a_number_that_stands_for_missing_does_so_however_it_is_written(tmp_path):
    for values in (["80", "-999", "-999.0", "82"], [80.0, -999, -999, 82]):
        assert put(frame_of(values), tmp_path, missing=("-999",))[0] == [80, None, None, 82]


@pytest.mark.parametrize(
    "values",
    [
        ["80", "555-1234", *["81"] * 5],  # has digits
        ["80", "Smith, John", *["81"] * 5],  # two words
        ["80", "Quattlebaumington", *["81"] * 5],  # long
        ["80", *[f"Name{letter}" for letter in "abcdefghijk"], *["81"] * 8],  # many different
        ["Ann", "Bob", "Ann", "81"],  # most rows: another column
    ],
)
def test_a_text_that_may_name_somebody_is_never_printed(tmp_path, values):
    with pytest.raises(DataError) as refused:
        put(frame_of(values), tmp_path)
    told = str(refused.value)
    assert "text instead of a number" in told
    assert not any(value in told for value in values if not value.isdigit())


def test_the_first_row_at_fault_is_numbered_and_not_quoted(tmp_path):
    frame = frame_of(["80", "81", "82"]).assign(at=["2024-03-01 00:00", "first of March", "1 March"])
    with pytest.raises(DataError, match=r"2 of 3 rows.*The first is row 2 below the names") as refused:
        put(frame, tmp_path)
    assert "March" not in str(refused.value)


def test_a_stated_unit_of_a_known_signal_is_converted_told_and_counted(tmp_path):
    values, attrition = put(frame_of([5.0, None, 10.0]), tmp_path, unit="mmol/L")
    assert values == [pytest.approx(90.08), None, pytest.approx(180.16)]
    (note,) = attrition.notes
    assert (note.signal, note.patients, note.rows) == ("glucose", 1, 2)
    assert note.text == "2 measurements of glucose, of 1 patient, converted from mmol/L to mg/dL."
    assert Table.open(tmp_path / "own.parquet").units == {"glucose": "mg/dL"}


def test_the_unit_in_the_name_of_the_value_column_is_not_ignored(tmp_path):
    frame = frame_of([5.0, 6.0]).rename(columns={"x": "Historic Glucose mmol/L"})
    with pytest.raises(DataError, match=r"says mmol/L, but glucose is kept in mg/dL.*--unit glucose=mmol/L"):
        put(frame, tmp_path, value="Historic Glucose mmol/L")
    assert put(frame, tmp_path, value="Historic Glucose mmol/L", unit="mmol/L")[0] == pytest.approx([90.08, 108.096])


def test_a_unit_column_converts_row_by_row(tmp_path):
    frame = frame_of([98.6, 37.0, 310.15], unit=["F", "degC", "K"])
    values, attrition = put(frame, tmp_path, signal="temperature", unit_column="unit")
    assert values == pytest.approx([37, 37, 37])
    assert [note.rows for note in attrition.notes] == [1, 1]


def test_a_signal_of_ones_own_is_kept_in_the_unit_of_its_rows_or_the_one_that_is_stated(tmp_path):
    one = frame_of([1.0, 2.0], unit="mg/dL")
    put(one, tmp_path, signal="creatinine", unit_column="unit")
    assert Table.open(tmp_path / "own.parquet").units == {"creatinine": "mg/dL"}
    two = frame_of([88.4, 1.0], unit=["µmol/L", "mg/dL"])
    with pytest.raises(DataError, match=r"'mg/dL' \(1 rows\), one of several: say which to keep"):
        put(two, tmp_path, signal="creatinine", unit_column="unit")
    values, _ = put(two, tmp_path, signal="creatinine", unit_column="unit", unit="mg/dL")
    assert values == pytest.approx([1, 1], rel=1e-3)


def test_rows_without_a_unit_are_in_the_one_that_is_stated_or_refused(tmp_path):
    frame = frame_of([5.0, 90.0], unit=[None, "mg/dL"])
    with pytest.raises(DataError, match=r"glucose: no unit \(1 rows\)"):
        put(frame, tmp_path, unit_column="unit")
    values, _ = put(frame, tmp_path, unit_column="unit", unit="mmol/L")
    assert values == pytest.approx([90.08, 90])


def test_units_that_convert_into_none_are_listed_with_counts_but_not_what_may_be_an_identifier(tmp_path):
    frame = frame_of([5.0, 90.0, 91.0, 92.0], unit=["furlong", "mg/dL", "furlong", "MRN0012345"])
    with pytest.raises(DataError, match=r"'furlong' \(2 rows\), not mg/dL") as refused:
        put(frame, tmp_path, unit_column="unit")
    assert "MRN" not in str(refused.value)
    with pytest.raises(ConfigError, match="'who' is given for the unit and the patient"):
        put(frame, tmp_path, unit_column="who")
    with pytest.raises(ConfigError, match="'who' is given for the signal and the patient"):
        put(frame, tmp_path, signal="who")


def test_of_many_signals_a_few_are_listed(tmp_path):
    frame = frame_of([1.0] * 15, what=[f"s{i:02d}" for i in range(15)])
    with pytest.raises(DataError, match=r"for 15 signals .*s09 and 5 more") as refused:
        put(frame, tmp_path, signal="what", unit="1")
    assert "s10" not in str(refused.value)


def test_a_csv_file_is_read_as_it_is_told_to_be_written(tmp_path):
    text = "Ein Titel für den Bericht\nwho;at;Größe\np;2024-03-01 00:00;36,5\np;2024-03-01 01:00;37,5\n"
    path = written(tmp_path, text, encoding="latin-1")
    form = {"delimiter": ";", "encoding": "latin-1", "skip_rows": 1}
    options = {"value": "Größe", "signal": "temperature", "decimal": ",", "csv_form": form}
    assert put(path, tmp_path, **options)[0] == [36.5, 37.5]


def test_a_point_beside_a_decimal_comma_is_not_taken_for_one(tmp_path):
    with pytest.raises(DataError, match="1 of 2 rows have text instead of a number"):
        put(frame_of(["100,5", "1.234"]), tmp_path, decimal=",")


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("who;at;x\np;2024-03-01;80\n", {}, DataError, "its delimiter is not ','. Say so .--delimiter ';'"),
        ("who,at,x\np,2024-03-01,80\nä,2024-03-01,80\n", {}, DataError, "--encoding latin-1"),
        ("who,at,x\np,2024-03-01,80\n", {"csv_form": {"delimiter": ";;"}}, ConfigError, "Give one character"),
        ("who,at,x\np,2024-03-01,80\n", {"csv_form": {"encoding": "utf-9"}}, ConfigError, "one of utf-8, latin-1"),
        ("who,at,x\np,2024-03-01,80\n", {"decimal": "'"}, ConfigError, "Give . or ,"),
    ],
)
def test_what_a_csv_file_is_not_is_refused_with_what_would_help(tmp_path, text, options, error, message):
    with pytest.raises(error, match=message):
        put(written(tmp_path, text, encoding="latin-1"), tmp_path, **options)


@pytest.mark.parametrize("nobody", ["NA", "nan", r"\N", "NULL", ""])
def test_rows_without_a_patient_are_not_one_patient_of_that_name(tmp_path, nobody):
    frame = frame_of([80.0, 81.0]).assign(who=["p", nobody])
    with pytest.raises(DataError, match="1 of 2 rows have no patient or stay"):
        put(frame, tmp_path)


@pytest.mark.parametrize("text", ["1_0", "8_1", "1e1_0"])
def test_a_number_as_programs_write_it_is_text(tmp_path, text):
    with pytest.raises(DataError, match="text instead of a number"):
        put(frame_of(["80", text]), tmp_path)


@pytest.mark.parametrize("text", ["nan", "inf", "1e400"])
def test_a_number_that_is_none_may_stand_for_missing(tmp_path, text):
    assert put(frame_of(["80", text, "82"]), tmp_path, missing=[text])[0] == [80, None, 82]


def test_a_word_that_is_a_patient_is_not_listed(tmp_path):
    frame = frame_of(["80", "ANNA", "low"]).assign(who=["p", "ANNA", "p"])
    with pytest.raises(DataError, match="text instead of a number") as refused:
        put(frame, tmp_path)
    assert "'low' (1)" in str(refused.value)
    assert "ANNA" not in str(refused.value)


def test_more_rows_to_skip_than_there_are_leave_no_header(tmp_path):
    path = written(tmp_path, "who,at,x\np,2024-03-01,80\n")
    with pytest.raises(DataError, match="does not begin with a line of different column names"):
        put(path, tmp_path, csv_form={"skip_rows": 10**12})
