import pytest

from loracast.data.schema import SIGNALS
from loracast.data.units import (
    CONVERSIONS,
    LOOKALIKES,
    UNIT_SPELLINGS,
    canonical,
    conversion,
    convertible,
    kept_units,
    refuse_names,
    unit_in,
    unit_of,
)
from loracast.errors import DataError


def test_every_unit_is_spelt_and_no_spelling_is_of_two():
    assert {signal.unit for signal in SIGNALS.values()} <= set(UNIT_SPELLINGS)
    spellings = [one for several in UNIT_SPELLINGS.values() for one in several]
    assert len(spellings) == len(set(spellings))
    assert all(canonical(unit) == unit for unit in UNIT_SPELLINGS)


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("[degF]", "°F"),
        ("Deg. C", "°C"),
        ("mm[Hg]", "mmHg"),
        ("MMOL/L", "mmol/L"),
        ("μmol/L", "µmol/L"),
        ("umol / l", "µmol/L"),
        ("insp/min", "1/min"),
        ("furlong", None),
        ("mm", None),
    ],
)
def test_units_are_known_by_their_usual_spellings(written, unit):
    assert canonical(written) == unit


@pytest.mark.parametrize(
    ("signal", "given", "kept", "value", "expected"),
    [
        ("temperature", "F", "°C", 98.6, 37),
        ("temperature", "K", "°C", 310.15, 37),
        ("skin", "C", "degF", 37, 98.6),
        ("glucose", "mmol/L", "mg/dL", 5.5, 99.088),
        ("glucose", "mg/dL", "mmol/L", 90.08, 5),
        ("creatinine", "µmol/L", "mg/dL", 88.4, 1.0),
        ("lactate", "mg/dL", "mmol/L", 9.008, 1),
        ("map", "kPa", "mmHg", 10, 75.0062),
        ("spo2", "fraction", "%", 0.97, 97),
        ("heart_rate", "Hz", "1/min", 1.5, 90),
        ("anything", "mmol/L", "µmol/L", 2, 2000),
    ],
)
def test_values_are_converted_as_the_field_converts_them(signal, given, kept, value, expected):
    found = conversion(signal, given, kept)
    assert (value - found.minus) * found.times == pytest.approx(expected, rel=1e-4)
    back = found.inverse()
    assert (expected - back.minus) * back.times == pytest.approx(value, rel=1e-4)


def test_what_cannot_be_converted_is_not():
    assert conversion("sodium", "mmol/L", "mg/dL") is None  # no molar mass of it is known
    assert conversion("glucose", "mmHg", "mg/dL") is None
    assert convertible("glucose", "mg/dL") == ["mmol/L", "µmol/L"]
    with pytest.raises(DataError, match=r"glucose is given in 'mmHg', but is kept in mg/dL.*known: mmol/L, µmol/L"):
        kept_units(["glucose"], {"glucose": "mmHg"})


def test_a_table_that_states_another_unit_of_a_known_signal_is_refused_and_not_converted():
    assert unit_of("lactate", "mmol/L") == "mmol/L"
    assert unit_of("glucose", "mg/dl") == "mg/dL"
    with pytest.raises(DataError, match="glucose is given in 'mmol/L', but loracast keeps it in mg/dL"):
        unit_of("glucose", "mmol/L")


@pytest.mark.parametrize(
    ("name", "signal", "unit"),
    [
        ("Historic Glucose mmol/L", "glucose", "mmol/L"),
        ("glucose_mmol_l", "glucose", "mmol/L"),
        ("cgm_mgdl", "glucose", "mg/dL"),
        ("Glucose Value (mg/dL)", "glucose", "mg/dL"),
        ("Glucose Rate of Change (mg/dL/min)", "glucose", "mg/dL/min"),
        ("Creatinine [µmol/l]", "creatinine", "µmol/L"),
        ("temp_f", "temperature", "°F"),
        ("TempF", "temperature", "°F"),
        ("Temperature (°C)", "temperature", "°C"),
        ("temp (F)", "temperature", "°F"),
        ("degrees F", "temperature", "°F"),
        ("SpO2 (%)", "spo2", "%"),
        ("SpO2 fraction", "spo2", "1"),
        ("ABP kPa", "map", "kPa"),
        ("MAP_mmHg", "map", "mmHg"),
        ("HR (bpm)", "heart_rate", "1/min"),
        ("value", "temperature", None),
        ("surf", "temperature", None),
        ("hr_f", "heart_rate", None),
        ("percentile", "spo2", None),
    ],
)
def test_the_unit_in_the_name_of_a_column_is_seen(name, signal, unit):
    assert unit_in(name, signal) == unit


def test_a_name_that_says_another_unit_is_refused_unless_the_caller_states_one():
    with pytest.raises(DataError, match=r"'temp_f' says °F, but temperature is kept in °C.*--unit temperature=°F"):
        refuse_names({"temperature": "temp_f"}, {})
    with pytest.raises(DataError, match=r"says mg/dL/min, but glucose is kept in mg/dL\. Give --unit glucose=mg/dL if"):
        refuse_names({"glucose": "rate mg/dL/min"}, {})
    refuse_names({"temperature": "temp_f"}, {"temperature": "°F"})
    refuse_names({"glucose": "cgm_mgdl", "map": "value", "skin": "skin_mmol/L"}, {})


def test_where_another_unit_would_put_values_hardly_any_of_their_own_lie():
    for signal, others in LOOKALIKES.items():
        kept = SIGNALS[signal]
        for other in others:
            found = conversion(signal, other.unit, kept.unit)
            assert found is not None
            converted = [(bound - found.minus) * found.times for bound in (other.low, other.high)]
            assert kept.low <= converted[0] < converted[1] <= kept.high, (signal, other)


def test_conversions_go_both_ways_once():
    assert not {(other, one) for one, other in CONVERSIONS} & set(CONVERSIONS)
