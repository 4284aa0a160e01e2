"""A window's own past as a covariate: the period that is found, the row that is made of it, and where there is none."""

import pytest
import torch

from loracast.models.seasonal_row import beside, periods, seasonal_rows

NAN = float("nan")


def sine(steps: int, period: float = 24.0) -> torch.Tensor:
    return torch.sin(2 * torch.pi * torch.arange(float(steps)) / period)[None]


def noise(windows: int, steps: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(windows, steps, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [48, 96, 500])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_period_of_a_clean_season_is_found_in_any_unit_and_on_any_level(steps: int, unit: float) -> None:
    assert periods(unit * (5 + sine(steps))).tolist() == [24]


@pytest.mark.parametrize("spoil", ["trend", "noise", "outlier", "single gaps", "end", "beginning"])
def test_the_period_is_found_behind_what_series_of_nature_have(spoil: str) -> None:
    context = sine(144)
    if spoil == "trend":
        context = context + 0.2 * torch.arange(144.0)
    elif spoil == "noise":
        context = context + 0.4 * noise(1, 144)
    elif spoil == "outlier":
        context[0, -1] = 60.0
    elif spoil == "single gaps":
        context[noise(1, 144) > 0.3] = NAN
    elif spoil == "end":
        context[0, -20:] = NAN
    else:
        context[0, :50] = NAN
    assert abs(int(periods(context)[0]) - 24) <= 1


def test_the_shortest_of_the_lags_that_agree_is_the_period() -> None:
    assert periods((torch.arange(210.0) % 7 < 2).float()[None]).tolist() == [7]


@pytest.mark.parametrize(
    "context",
    [
        torch.full((1, 48), 3.0),
        torch.full((1, 48), NAN),
        torch.arange(48.0)[None],
        sine(40),
        sine(5, 2.0),
        sine(3, 3.0),
    ],
    ids=["constant", "empty", "straight", "longer than half", "below three", "three steps"],
)
def test_there_is_no_row_without_a_season(context: torch.Tensor) -> None:
    rows = seasonal_rows(context, 6)
    assert rows.period.tolist() == [0]
    assert not rows.there.any()
    assert rows.past.isnan().all()
    assert rows.future.isnan().all()


def test_most_walks_have_none() -> None:
    assert (periods(noise(500, 96).cumsum(dim=1)) > 0).float().mean() < 0.3


def test_the_past_is_the_series_a_period_late_and_the_future_the_mean_of_the_last_cycles() -> None:
    cycle = torch.tensor([0.0, 4.0, 1.0, 3.0, 9.0])
    context = torch.cat([cycle, cycle + 1, cycle + 2, cycle + 3])[None]
    rows = seasonal_rows(context - 0.0, 7)
    assert rows.period.tolist() == [5]
    assert rows.past[0, :5].isnan().all()
    torch.testing.assert_close(rows.past[0, 5:], context[0, :-5])
    torch.testing.assert_close(rows.future[0], torch.cat([cycle + 2, cycle[:2] + 2]))


def test_two_cycles_are_enough_and_a_gap_in_one_is_filled_by_the_other() -> None:
    context = sine(48)
    context[0, 30] = NAN
    rows = seasonal_rows(context, 24)
    torch.testing.assert_close(rows.future[0], sine(24)[0], atol=1e-5, rtol=0)
    context[0, 6] = NAN
    assert seasonal_rows(context, 24).future[0, 6].isnan()


def test_a_row_depends_on_its_own_window_alone() -> None:
    several = torch.cat([sine(96), noise(3, 96), sine(96, 12.0)])
    together = seasonal_rows(several, 12)
    for one in range(len(several)):
        alone = seasonal_rows(several[one : one + 1], 12)
        assert alone.period[0] == together.period[one]
        torch.testing.assert_close(alone.past[0], together.past[one], equal_nan=True, rtol=0, atol=0)
        torch.testing.assert_close(alone.future[0], together.future[one], equal_nan=True, rtol=0, atol=0)


def test_every_window_has_two_rows_and_an_empty_one_is_seen_by_nobody() -> None:
    context = torch.cat([sine(48), torch.arange(48.0)[None], sine(48, 8.0)])
    given = beside(context, 6, torch.tensor([0, 0, 4]))
    assert given.group.tolist()[:3] == [0, 0, 0]
    assert given.group.tolist().count(given.group[3].item()) == 1
    assert given.group.tolist()[4:] == [4, 4]
    assert given.target.tolist() == [True, False] * 3
    assert given.known[given.target].isnan().all()
    assert given.context[3].isnan().all()
