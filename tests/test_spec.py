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


@pytest.mark.parametrize(
    ("seconds", "context", "horizon"), [(600, 36, 18), (601, 143, 35), (3600, 24, 6), (3601, 24, 6), (86_400, 24, 6)]
)
def test_the_last_step_of_a_kind_of_grid_belongs_to_it(seconds, context, horizon):
    spec = WindowSpec().resolved(seconds)
    assert (spec.context, spec.horizon) == (context, horizon)


def test_what_is_asked_for_without_a_word_is_what_it_always_was():
    windows, split = WindowSpec(), SplitSpec()
    assert (windows.min_context_observed, windows.min_target_observed, windows.joint) == (0.5, 0.5, False)
    assert (split.seed, split.shares, split.folds, split.fold) == (0, (0.8, 0.1, 0.1), None, 0)


@pytest.mark.parametrize(
    ("kind", "within", "beyond"),
    [
        (WindowSpec, {"context": 4}, {"context": 3}),
        (WindowSpec, {"horizon": 1}, {"horizon": 0}),
        (WindowSpec, {"stride": 1}, {"stride": 0}),
        (WindowSpec, {"min_context_observed": 1}, {"min_context_observed": 1.001}),
        (WindowSpec, {"min_target_observed": 0.001}, {"min_target_observed": 0}),
        (SplitSpec, {"folds": 3}, {"folds": 2}),
        (SplitSpec, {"folds": 5, "fold": 4}, {"folds": 5, "fold": 5}),
        (SplitSpec, {"shares": (0.5, 0.25, 0.25)}, {"shares": (0.5, 0.25, 0.26)}),
        (SplitSpec, {"shares": (0.98, 0.01, 0.01)}, {"shares": (1.0, 0.0, 0.0)}),
        (SplitSpec, {"seed": 2**32 - 1}, {"seed": 2**32}),
        (TrainSpec, {"steps": 1}, {"steps": 0}),
        (TrainSpec, {"warmup_share": 0}, {"warmup_share": 1}),
    ],
)
def test_what_stands_on_the_limit_is_taken_and_what_lies_beyond_is_not(kind, within, beyond):
    parse(kind, within, "The spec")
    with pytest.raises(ConfigError, match="The spec asks for what cannot be done"):
        parse(kind, beyond, "The spec")


def test_specs_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        SplitSpec().seed = 3


def test_a_misspelt_key_is_told_with_the_keys_there_are():
    with pytest.raises(
        ConfigError, match=r"The training asks for .*\n  stepz: Extra inputs .* Keys: steps, batch_size"
    ):
        parse(TrainSpec, {"stepz": 3}, "The training")
