import pytest

from loracast.data.schema import SIGNALS, signal_named, signals_named
from loracast.errors import DataError


def test_every_signal_has_a_unit_a_label_and_a_range_that_is_one():
    for name, signal in SIGNALS.items():
        assert signal.low < signal.high, name
        assert signal.label


def test_the_fixed_ranges_of_the_paper_are_there():
    scaled = {name: signal.scaled for name, signal in SIGNALS.items() if signal.scaled}
    assert scaled == {"heart_rate": (0, 300), "map": (0, 190), "resp_rate": (0, 100)}


def test_signals_keep_the_order_given_and_unknown_ones_are_refused_with_the_known():
    assert signals_named(["resp_rate", "map"]) == ("resp_rate", "map")
    with pytest.raises(DataError, match=r"Unknown signal: pulse. Known signals: heart_rate, map"):
        signals_named(["map", "pulse"])
    with pytest.raises(DataError, match="Name each once"):
        signals_named(["map", "map"])
    with pytest.raises(DataError, match="at least one"):
        signals_named([])


def test_a_signal_of_ones_own_needs_a_unit_and_takes_any_value():
    own = signal_named("lactate", {"lactate": "mmol/L"})
    assert (own.label, own.unit, own.scaled) == ("lactate", "mmol/L", None)
    assert own.low < -1e300
    assert signal_named("map", {}) is SIGNALS["map"]
    with pytest.raises(DataError, match="unit of signal 'lactate' is not stated"):
        signal_named("lactate", {})
