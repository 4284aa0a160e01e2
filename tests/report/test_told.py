"""What is said of a table of forecasts: nothing that needs no saying, and everything that does."""

from loracast.report.told import forecast_told
from loracast.scoring.facts import Forecasts
from loracast.study.summary import ForecastFacts

PLAIN = ForecastFacts(
    series=42, too_sparse=0, least_observed=0.5, context=24, samples=100, precision="float32", clipped=False,
    keyed=False, signals={},
)  # fmt: skip


def told(**changes) -> list[str]:
    return forecast_told(PLAIN.model_copy(update=changes))


def test_a_table_names_patients_unless_it_is_keyed():
    first, only = told()
    assert first == "Forecast 42 series."
    assert "by name; --keyed FILE" in only
    assert "pseudonyms" in told(keyed=True)[-1]


def test_series_without_numbers_are_counted_with_the_rule():
    first, note, _ = told(too_sparse=2)
    assert first == "Forecast 40 of 42 series."
    assert note.startswith("2 series without numbers (null): less than 50% of the context of 24 steps was measured")


def test_what_cannot_be_is_counted_by_signal_and_whether_it_was_clipped():
    signals = {"spo2": Forecasts(steps=1200, beyond_range=7), "map": Forecasts(steps=6, beyond_range=0)}
    assert told(signals=signals)[1].endswith("spo2 7 of 1,200; --clip sets them to its bounds.")
    assert told(signals=signals, clipped=True)[1].endswith("they were set to its bounds.")


def test_another_precision_than_the_usual_is_said():
    assert told(precision="bfloat16")[1].startswith("Computed in bfloat16")
    assert len(told(precision=None)) == len(told()) == 2


def test_few_paths_are_said_and_where_none_are_drawn_nothing_is():
    assert "Drawn from 49 sample paths" in told(samples=49)[1]
    assert len(told(samples=50)) == len(told(samples=None)) == 2
