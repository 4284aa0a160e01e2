import numpy as np
import pytest

from loracast.data.schema import SIGNALS
from loracast.data.signs import LIMITS, vital_signs


def simulated(septic, step_minutes=5, hours=48, seed=1):
    steps = hours * 60 // step_minutes
    clock = np.tile(np.arange(steps) * step_minutes / 60 % 24, (200, 1))
    return vital_signs(np.random.default_rng(seed), clock, np.full(200, septic), step_minutes)


def test_every_value_is_possible_in_a_living_patient():
    for name, values in simulated(septic=True).items():
        low, high = LIMITS[name]
        assert SIGNALS[name].low < low <= values.min() <= values.max() <= high < SIGNALS[name].high + 1


def test_heart_rate_and_temperature_are_higher_in_the_afternoon_than_at_night():
    signs = simulated(septic=False)
    hours = np.arange(576) / 12 % 24
    for name, gap in (("heart_rate", 5), ("temperature", 0.25)):
        day, night = signs[name][:, np.abs(hours - 16.5) < 2], signs[name][:, np.abs(hours - 4.5) < 2]
        assert day.mean() - night.mean() > gap


@pytest.mark.parametrize(("name", "sign"), [("heart_rate", 1), ("resp_rate", 1), ("temperature", 1), ("map", -1)])
def test_sepsis_raises_heart_rate_breathing_and_temperature_and_lowers_pressure(name, sign):
    first_half = slice(0, 144)
    gap = simulated(septic=True)[name][:, first_half].mean() - simulated(septic=False)[name][:, first_half].mean()
    assert np.sign(gap) == sign


def test_pressure_recovers_sooner_than_heart_rate():
    ill, well = simulated(septic=True), simulated(septic=False)
    late = slice(180, 216)
    early = slice(60, 96)

    def left(name):
        gap = (ill[name] - well[name]).mean(axis=0)
        return gap[late].mean() / gap[early].mean()

    assert left("map") < left("heart_rate")


def test_the_pace_of_life_does_not_depend_on_how_often_it_is_charted():
    often, seldom = simulated(septic=False), simulated(septic=False, step_minutes=15)
    for name in often:
        assert often[name].std() == pytest.approx(seldom[name].std(), rel=0.15)
