"""Quantiles of sample paths stand where what comes next lies below them as often as their level says."""

import pytest
import torch

from loracast.models.draws import quantiles_of

LEVELS = (0.1, 0.5, 0.9)


@pytest.mark.parametrize("samples", [10, 20, 100])
def test_an_interval_of_right_paths_holds_as_much_as_it_says(samples):
    drawn = torch.randn((20_000, samples + 1, 1), generator=torch.Generator().manual_seed(0))
    found = quantiles_of(drawn[:, :-1], LEVELS)
    below = (drawn[:, -1] < found[:, 0, [0, 2]]).float().mean(dim=0)
    torch.testing.assert_close(below, torch.tensor([0.1, 0.9]), atol=0.01, rtol=0)


def test_the_lowest_of_nine_paths_is_the_quantile_at_a_tenth_and_the_middle_one_the_median():
    paths = torch.tensor([9.0, 1, 8, 2, 7, 3, 6, 4, 5]).view(1, 9, 1)
    assert quantiles_of(paths, LEVELS).tolist() == [[[1.0, 5.0, 9.0]]]


def test_between_two_paths_quantiles_lie_on_a_line_and_beyond_the_outermost_at_these():
    paths = torch.tensor([[[0.0, 10.0], [2.0, 30.0], [4.0, 50.0]]])
    found = quantiles_of(paths, (0.1, 0.375, 0.5, 0.9))
    torch.testing.assert_close(found, torch.tensor([[[0.0, 1.0, 2.0, 4.0], [10.0, 20.0, 30.0, 50.0]]]))
