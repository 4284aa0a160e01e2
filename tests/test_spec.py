"""How windows follow from a grid, and that what is asked for does not change."""

import pytest

from loracast.errors import ConfigError
from loracast.spec import SplitSpec, TrainSpec, WindowSpec, parse


@pytest.mark.parametrize(
    ("seconds", "context", "horizon", "season"),
    [(300, 72, 36, 12), (3600, 24, 6, 24), (900, 96, 24, 96), (600, 36, 18, 6), (60, 360, 180, 60), (7200, 24, 6, 12)],
)
def test_windows_follow_from_the_grid(seconds, context, horizon, season):
    spec = WindowSpec().resolved(seconds)
    assert (spec.context, spec.horizon, spec.stride, spec.season) == (context, horizon, horizon, season)


def test_what_is_given_stays_and_the_rest_follows_from_it():
    spec = WindowSpec(context=48, horizon=12, stride=3, season=7).resolved(300)
    assert (spec.context, spec.horizon, spec.stride, spec.season) == (48, 12, 3, 7)
    assert WindowSpec(context=8).resolved(300).season == 1
    assert WindowSpec(horizon=9).resolved(3600).stride == 9


def test_specs_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        SplitSpec().seed = 3


def test_a_misspelt_key_is_told_with_the_keys_there_are():
    with pytest.raises(
        ConfigError, match=r"The training asks for .*\n  stepz: Extra inputs .* Keys: steps, batch_size"
    ):
        parse(TrainSpec, {"stepz": 3}, "The training")
