"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loracast.report.readable import (
    count,
    decimals_for,
    duration,
    energy,
    interval,
    memory,
    moment,
    number,
    percent,
    plural,
    share,
    size,
    span,
)


def test_counts_are_grouped_and_measures_carry_a_true_minus() -> None:
    assert count(49152) == "49,152"
    assert number(-0.314, 2) == "−0.31"
    assert number(0.314, 2, sign=True) == "+0.31"
    assert interval((3.1, 3.78), 2) == "[3.10, 3.78]"
    assert percent(0.8134) == "81.3 %"


def test_numbers_that_are_all_small_keep_their_significant_digits() -> None:
    decimals = decimals_for([3.2e-9, 5e-9])
    assert number(3.2e-9, decimals) == "3.20e−9"
    assert number(-4.56e-10, decimals + 1, sign=True) == "−4.56e−10"
    assert interval((0.0, 5e-9), decimals) == "[0.0000000, 5.00e−9]"
    assert number(0.000321, decimals_for([0.000321])) == "0.000321"
    assert decimals_for([3.2e-9, 5.0]) == 5


def test_zero_is_never_negative() -> None:
    assert number(-0.001, 2) == "0.00"
    assert number(0.001, 2, sign=True) == "0.00"


@pytest.mark.parametrize(
    "write", [count, duration, span, memory, percent, size, moment, energy, lambda value: number(value, 2)]
)
@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_a_dash(write, value) -> None:
    assert write(value) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.03, "< 0.1 s"),
        (0.42, "0.4 s"),
        (12.3, "12 s"),
        (59.7, "1 min 00 s"),
        (72.4, "1 min 12 s"),
        (7512, "2 h 05 min"),
    ],
)
def test_durations_name_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(300, "5 min"), (3600, "1 h"), (5400, "1 h 30 min"), (86400, "1 d"), (90000, "25 h")]
)
def test_spans_are_as_short_as_they_can_be(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_memory_changes_unit_at_a_gigabyte() -> None:
    assert memory(640e6) == "640 MB"
    assert memory(1.213e9) == "1.2 GB"


def test_files_short_times_and_energy_carry_the_unit_that_fits() -> None:
    assert [size(value) for value in (812, 24_300, 1_312_000, 14_000_000, 2.4e9)] == [
        "812 B", "24 kB", "1.3 MB", "14 MB", "2.4 GB",
    ]  # fmt: skip
    assert [moment(value) for value in (0.00042, 0.0123, 0.4, 1.34, 75.0, 1e-7)] == [
        "0.42 ms", "12 ms", "400 ms", "1.3 s", "75 s", "< 0.01 ms",
    ]  # fmt: skip
    assert [energy(value) for value in (0.25, 120, 4_210, 1.3e6)] == ["0.25 J", "120 J", "4.2 kJ", "1.3 MJ"]


def test_shares_keep_two_digits() -> None:
    assert share(49152, 8_394_496) == "0.59 %"
    assert share(0, 10) == "0 %"
    assert share(10, 10) == "100 %"
    assert share(1, 0) == "–"


def test_plurals() -> None:
    assert plural(1, "patient") == "1 patient"
    assert plural(1200, "patient") == "1,200 patients"
    assert plural(2, "series") == "2 series"


@given(st.floats(1e-4, 1e4))
def test_decimals_leave_two_to_four_digits(value: float) -> None:
    decimals = decimals_for([value, 3 * value])
    assert abs(float(number(value, decimals).replace(",", "")) - value) <= 0.06 * value
