"""From series to tokens: ids, filling, standardising, groups, and the patch size for a window."""

import math

import pytest
import torch

from loracast.models.nets.packing import Series, arrange, by_step, fixed_patch_size, pack, standardiser

NAN = float("nan")


def walk(rows: int, steps: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, steps, generator=torch.Generator().manual_seed(seed)).cumsum(dim=1)


def series(context: torch.Tensor, horizon: int, group: list[int] | None = None) -> Series:
    groups = None if group is None else torch.tensor(group)
    return arrange(context, walk(len(context), horizon, seed=9), groups)[0]


def test_a_short_series_is_filled_up_on_the_left_and_its_time_starts_with_what_was_observed():
    context = walk(1, 20)
    context[0, :6] = NAN
    packed = pack(series(context, 10), 8)
    assert packed.sample_id.tolist() == [[0, 1, 1, 1, 1]]
    assert packed.time_id.tolist() == [[0, 0, 1, 2, 3]]
    assert packed.forecast.tolist() == [[False, False, False, True, True]]
    assert packed.observed.sum(dim=2).tolist() == [[0, 6, 8, 8, 2]]
    assert packed.past == 3


def test_time_goes_on_through_a_gap():
    context = walk(1, 32)
    context[0, 8:24] = NAN
    packed = pack(series(context, 8), 8)
    assert packed.time_id.tolist() == [[0, 1, 2, 3, 4]]
    assert packed.sample_id.tolist() == [[1] * 5]


def test_with_nothing_observed_the_past_is_padding_at_time_zero():
    packed = pack(series(torch.full((1, 16), NAN), 8), 8)
    assert packed.time_id.tolist() == [[0, 0, 1]]
    assert packed.sample_id.tolist() == [[0, 0, 1]]
    assert packed.loc.isfinite().all()
    assert packed.scale.isfinite().all()


def test_the_steps_of_the_horizon_come_back_from_their_tokens():
    made = series(walk(6, 20), 13, [0, 0, 1, 1, 2, 2])
    packed = pack(made, 8)
    assert torch.equal(by_step(packed.values[:, packed.past :], 2, 13), made.future)
    assert packed.variate_id.tolist() == [[0, 0, 0, 1, 1, 1, 0, 0, 1, 1]] * 3


def test_the_scale_is_a_sample_deviation_of_what_was_observed_in_the_past():
    context = walk(1, 30)
    context[0, 3:9] = NAN
    loc, scale = standardiser(series(context, 5))
    seen = context[0][context[0].isfinite()].double()
    assert loc.item() == pytest.approx(seen.mean().item(), rel=1e-6)
    assert scale.item() == pytest.approx(math.sqrt(seen.var(correction=1).item() + 1e-5), rel=1e-6)


@pytest.mark.parametrize(("values", "loc"), [([7.0] * 8, 7.0), ([NAN] * 8, 0.0), ([NAN] * 7 + [3.0], 3.0)])
def test_a_series_without_spread_has_the_smallest_scale(values, loc):
    found = standardiser(series(torch.tensor([values]), 4))
    assert [x.item() for x in found] == pytest.approx([loc, math.sqrt(1e-5)])


def test_with_scaling_off_values_are_left_as_they_are():
    packed = pack(series(walk(2, 16), 8), 8, scaling=False)
    assert not packed.loc.any()
    assert torch.equal(packed.scale, torch.ones_like(packed.scale))


def test_rows_of_a_group_are_variates_of_one_sample_wherever_they_stand():
    context = torch.arange(5.0)[:, None].expand(5, 8)
    made, index = arrange(context, context[:, :4], torch.tensor([7, 3, 7, 3, 7]))
    assert made.present.tolist() == [[True, True, False], [True, True, True]]
    assert index[made.present].tolist() == [1, 3, 0, 2, 4]
    assert made.past[..., 0].tolist() == [[1, 3, 0], [0, 2, 4]]


def test_a_variate_that_a_sample_lacks_is_padding_and_no_target():
    packed = pack(series(walk(3, 16), 8, [0, 0, 1]), 8)
    assert packed.sample_id.tolist() == [[1] * 6, [1, 1, 0, 0, 1, 0]]
    assert packed.forecast[1].tolist() == [False] * 4 + [True, False]
    assert not packed.observed[1, [2, 3, 5]].any()


def test_padding_ends_where_the_first_signal_of_a_group_begins():
    context = walk(2, 16)
    context[0, :12] = NAN
    context[1, :5] = NAN
    assert series(context, 4, [0, 0]).padding.sum(dim=1).tolist() == [5]


def test_holding_out_makes_the_end_of_the_past_the_future():
    context = walk(2, 20)
    context[1, 17] = NAN
    held = series(context, 6).hold_out(5)
    assert torch.equal(held.past[:, 0], context[:, :15])
    assert torch.equal(held.future[0, 0], context[0, 15:])
    assert held.future_observed.sum(dim=2).tolist() == [[5], [4]]


@pytest.mark.parametrize(
    ("context", "horizon", "variates", "patch"),
    [
        (72, 36, 1, 32),
        (24, 6, 1, 8),
        (6, 6, 1, 8),
        (63, 36, 1, 16),
        (5000, 96, 1, 32),
        (20000, 96, 1, 64),
        (512, 96, 40, 64),
        (100_000, 96, 1, 128),
    ],
)
def test_a_window_of_which_only_the_shape_is_known_has_a_patch_size(context, horizon, variates, patch):
    assert fixed_patch_size((128, 8, 16, 32, 64), context, horizon, variates, 512) == patch
