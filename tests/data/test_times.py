"""One rule for times, whether they are text or typed, and whatever time zone the machine is in."""

import os
import time as clock_of_machine
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loracast.data.readers.table import write_table
from loracast.data.times import FIRST_YEAR, LAST_YEAR, Clock
from loracast.data.workspace import workspace
from loracast.errors import ConfigError, DataError
from tests.data.conftest import cells, sums_up

OWN = {"patient": "who", "time": "at", "value": "x", "signal": "heart_rate"}
BERLIN = "Europe/Berlin"
# Eight hours over the night that the clocks went back, as text with offsets.
EIGHT = [f"2024-10-27 0{h}:00:00+02:00" for h in (0, 1, 2)] + [f"2024-10-27 0{h}:00:00+01:00" for h in (2, 3, 4, 5, 6)]
EIGHT_HOURS = [datetime(2024, 10, 27, h) for h in range(8)]


def frame_of(times):
    return pd.DataFrame({"who": "p", "at": times, "x": [80.0 + i for i in range(len(times))]})


def put(frame, tmp_path, **options):
    out = tmp_path / "own.parquet"
    attrition = write_table(frame, out, overwrite=True, **{"grid": "60min", **OWN, **options})
    assert sums_up(attrition.as_json())
    return {time: value for (_, time), value in cells(out).items()}, attrition


def instants():
    return pd.to_datetime(pd.Series(EIGHT), utc=True)


def as_frame(tmp_path):
    return frame_of(EIGHT)


def as_csv(tmp_path):
    frame_of(EIGHT).to_csv(tmp_path / "own.csv", index=False)
    return tmp_path / "own.csv"


def as_typed(tmp_path):
    return frame_of(instants())


def as_typed_elsewhere(tmp_path):
    return frame_of(instants().dt.tz_convert("Asia/Tokyo"))


def as_parquet(tmp_path):
    frame = frame_of(instants())
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "typed.parquet")
    return tmp_path / "typed.parquet"


every_form = pytest.mark.parametrize("form", [as_frame, as_csv, as_typed, as_typed_elsewhere, as_parquet])


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kathmandu"])
def machine(request, monkeypatch):
    """A machine in that time zone."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", request.param)
    clock_of_machine.tzset()
    yield request.param
    if before is None:
        monkeypatch.delenv("TZ")
    else:
        monkeypatch.setenv("TZ", before)
    clock_of_machine.tzset()


@every_form
def test_times_with_an_offset_are_refused_unless_it_is_said_whose_clock_is_meant(form, tmp_path, machine):
    with pytest.raises(DataError, match=r"8 times in column 'at' bear a time zone or an offset.*--zone"):
        put(form(tmp_path), tmp_path)


@every_form
def test_with_a_zone_eight_hours_are_eight_cells_wherever_the_machine_is(form, tmp_path, machine):
    found, attrition = put(form(tmp_path), tmp_path, zone=BERLIN)
    assert list(found) == EIGHT_HOURS
    assert list(found.values()) == [80 + i for i in range(8)]
    (note,) = attrition.notes
    assert "The clock of Europe/Berlin was set within 1 stay of 1 patient" in note.text


@pytest.mark.parametrize(
    "text",
    [
        "2024-07-01T10:00:00Z",
        "2024-07-01 10:00:00z",
        "2024-07-01 12:00:00+02:00",
        "2024-07-01 12:00+02",
        "2024-07-01T12:00:00.000+0200",
        "2024-07-01 12:00:00 +02:00",
        "2024-07-01 10:00:00 UTC",
        "2024-07-01 12:00:00 Europe/Berlin",
    ],
)
def test_a_zone_is_seen_however_it_is_written(text, tmp_path):
    with pytest.raises(DataError, match="bear a time zone"):
        put(frame_of([text]), tmp_path)
    found, _ = put(frame_of([text]), tmp_path, zone="America/New_York")
    assert list(found) == [datetime(2024, 7, 1, 6)]


def test_times_without_a_zone_are_the_clock_on_the_wall_wherever_the_machine_is(tmp_path, machine):
    naive = pd.date_range("2024-03-31 00:00", periods=6, freq="h")  # clocks go forward here in Berlin
    found, attrition = put(frame_of(naive), tmp_path)
    assert list(found) == list(naive.to_pydatetime())
    assert put(frame_of(naive.astype(str)), tmp_path)[0] == found
    assert attrition.notes == []


def test_the_database_of_a_reader_is_in_no_time_zone_of_the_machine(tmp_path, machine):
    with workspace(tmp_path / "own.parquet") as con:
        found = con.execute("SELECT CAST(TIMESTAMPTZ '2024-07-01 12:00:00+02' AS VARCHAR)").fetchall()
    assert found == [("2024-07-01 10:00:00+00",)]


def test_each_stay_goes_by_the_clock_of_its_first_measurement(tmp_path):
    summer = datetime(2024, 7, 1, 10, tzinfo=ZoneInfo("UTC"))
    winter = datetime(2024, 12, 1, 10, tzinfo=ZoneInfo("UTC"))
    frame = frame_of([summer, winter]).assign(visit=["s", "w"])
    found, attrition = put(frame, tmp_path, stay="visit", zone=BERLIN)
    assert list(found) == [datetime(2024, 7, 1, 12), datetime(2024, 12, 1, 11)]
    assert attrition.notes == []


def test_with_a_zone_times_that_its_clock_showed_twice_or_never_are_left_out_and_counted(tmp_path):
    back = ["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 03:00"]
    found, attrition = put(frame_of(back), tmp_path, zone=BERLIN)
    assert list(found.values()) == [80, None, None, 83]  # three hours passed between 1:00 and 3:00
    (step,) = [step for step in attrition.steps if "the clock of Europe/Berlin showed once" in step.name]
    assert step.dropped_rows == 2
    forward = ["2024-03-31 01:00", "2024-03-31 02:30", "2024-03-31 03:00"]
    found, attrition = put(frame_of(forward), tmp_path, zone=BERLIN)
    assert list(found.values()) == [80, 82]
    assert attrition.steps[1].dropped_rows == 1


def test_times_with_and_without_an_offset_stand_on_one_clock(tmp_path):
    found, _ = put(frame_of(["2024-07-01 12:00", "2024-07-01T11:00:00Z"]), tmp_path, zone=BERLIN)
    assert list(found) == [datetime(2024, 7, 1, 12), datetime(2024, 7, 1, 13)]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%d-%m-%Y %H:%M", "01-03-2024 08:00"),
        ("%d-%m-%y %H:%M", "01-03-24 08:00"),
        ("%m/%d/%Y %I:%M %p", "03/01/2024 08:00 AM"),
        ("%d.%m.%Y %H:%M:%S", "01.03.2024 08:00:00"),
    ],
)
def test_a_format_says_how_times_are_written_and_is_named_where_it_is_needed(form, text, tmp_path):
    with pytest.raises(DataError, match=r"does not parse as year-month-day.*--time-format '%d-%m-%Y %H:%M'"):
        put(frame_of([text]), tmp_path)
    found, _ = put(frame_of([text]), tmp_path, time_format=form)
    assert list(found) == [datetime(2024, 3, 1, 8)]


def test_an_offset_in_a_format_is_one_as_well(tmp_path):
    for text in ("01.07.2024 12:00 +0200", "01.07.2024 12:00 +02:00", "01.07.2024 10:00 Z"):
        with pytest.raises(DataError, match="bear a time zone"):
            put(frame_of([text]), tmp_path, time_format="%d.%m.%Y %H:%M %z")
        found, _ = put(frame_of([text]), tmp_path, time_format="%d.%m.%Y %H:%M %z", zone=BERLIN)
        assert list(found) == [datetime(2024, 7, 1, 12)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zone": "Berlin"}, "'Berlin' is no time zone.*Europe/Berlin"),
        ({"time_format": "%Q"}, "'%Q' is no format of a time"),
        ({"time_format": "%Y-%m-%dT%H:%MZ"}, "takes a time zone or an offset for letters. Write %z"),
    ],
)
def test_zones_and_formats_that_do_not_exist_are_refused(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        put(frame_of(["2024-07-01 12:00"]), tmp_path, **options)


def test_a_format_for_a_column_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--time-format is for times that are text; column 'at' holds TIMESTAMP"):
        put(frame_of([datetime(2024, 7, 1)]), tmp_path, time_format="%Y-%m-%d")


@pytest.mark.parametrize(
    "times",
    [
        ["01-03-24 08:00"],  # day, month, year: no year of our era
        ["0024-03-01 08:00"],
        ["2024-03-01 08:00 PM"],
        ["infinity"],
        ["epoch"],
        ["99999-01-01"],
        [f"{FIRST_YEAR - 1}-12-31 23:59"],
        [f"{LAST_YEAR + 1}-01-01"],
        pd.Series([datetime(FIRST_YEAR - 1, 12, 31)]).astype("datetime64[us]"),
    ],
)
def test_no_time_lies_in_a_year_that_nobody_means(times, tmp_path):
    with pytest.raises(DataError, match=r"1 of 1 rows have a .*--time-format"):
        put(frame_of(times), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_first_and_the_last_year_are_years(tmp_path):
    found, _ = put(frame_of([f"{FIRST_YEAR}-01-01 00:00"]), tmp_path)
    assert list(found) == [datetime(FIRST_YEAR, 1, 1)]
    found, _ = put(frame_of([f"{LAST_YEAR}-12-31 23:00"]), tmp_path)
    assert list(found) == [datetime(LAST_YEAR, 12, 31) + timedelta(hours=23)]


@pytest.mark.parametrize(
    "form", ["%Y-%m-%d %H:%M +02:00", "%Y-%m-%d %H:%M CET", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d %H:%M Europe/Berlin"]
)
def test_a_zone_among_the_letters_of_a_format_is_refused(tmp_path, form):
    with pytest.raises(ConfigError, match="takes a time zone or an offset for letters"):
        put(frame_of(["2021-07-30 16:43"]), tmp_path, time_format=form)


@pytest.mark.parametrize("form", ["%H:%M", "%d.%m. %H:%M", "%Y %H:%M"])
def test_a_format_without_a_whole_date_is_refused(tmp_path, form):
    with pytest.raises(ConfigError, match="tells no whole date"):
        put(frame_of(["12:30"]), tmp_path, time_format=form)


@pytest.mark.parametrize("form", ["%-d/%-m/%y %H:%M", "%Y-%m-%dT%H:%M:%S", "%d %b %Y at %I:%M %p", "%Y %j %H"])
def test_other_letters_and_other_ways_to_write_a_date_are_a_format(form):
    with duckdb.connect() as con:
        Clock(time_format=form).check(con)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_instants_of_every_precision_are_refused_and_read_with_a_zone(tmp_path, unit):
    times = pa.array([datetime(2021, 7, 30, 16), datetime(2021, 7, 30, 17)], pa.timestamp(unit, "UTC"))
    pq.write_table(pa.table({"who": ["p", "p"], "at": times, "x": [80.0, 81.0]}), tmp_path / "in.parquet")
    with pytest.raises(DataError, match="bear a time zone"):
        put(tmp_path / "in.parquet", tmp_path)
    found, _ = put(tmp_path / "in.parquet", tmp_path, zone="Europe/Berlin")
    assert list(found) == [datetime(2021, 7, 30, 18), datetime(2021, 7, 30, 19)]
