"""The spectral corpus: each series from its index alone, and every ingredient there in the share that is said."""

import pytest
import torch

from loracast.training.pretrain import spectra

CONTEXT, HORIZON, COUNT = 96, 24, 1500


@pytest.fixture(scope="module")
def drawn() -> spectra.Series:
    return spectra.draw(3, range(COUNT), CONTEXT, HORIZON)


@pytest.fixture(scope="module")
def standard(drawn: spectra.Series) -> torch.Tensor:
    """The series around their median, in median absolute deviations, gaps filled with 0."""
    x = drawn.values.double()
    around = x - x.nanmedian(dim=1, keepdim=True).values
    spread = around.abs().nanmedian(dim=1, keepdim=True).values
    return torch.where(spread > 0, around / spread, torch.zeros_like(around)).nan_to_num(nan=0.0)


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    assert torch.equal(one.isnan(), other.isnan())
    scale = other.abs().nan_to_num(nan=0.0).amax(dim=1, keepdim=True)
    torch.testing.assert_close(one / scale, other / scale, rtol=0, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize(("context", "horizon"), [(16, 8), (24, 6), (1024, 96)])
def test_series_have_the_asked_shape_are_never_infinite_and_the_same_again(context: int, horizon: int) -> None:
    first, again = (spectra.draw(1, range(40), context, horizon) for _ in range(2))
    assert first.values.shape == (40, context + horizon)
    assert first.values.dtype == torch.float32
    assert not first.values.isinf().any()
    assert torch.equal(first.values.nan_to_num(nan=-1), again.values.nan_to_num(nan=-1))
    assert (first.period >= 1).all()


def test_a_series_is_the_same_alone_in_another_order_and_in_any_batch() -> None:
    together = spectra.draw(5, range(60), 64, 16)
    backwards = spectra.draw(5, range(59, -1, -1), 64, 16)
    same(backwards.values.flip(0), together.values)
    for index in (0, 7, 31, 59):
        alone = spectra.draw(5, [index], 64, 16)
        same(alone.values, together.values[index : index + 1])
        assert alone.period[0] == together.period[index]


def test_another_seed_or_index_is_another_series() -> None:
    found = torch.cat([spectra.draw(seed, range(20), 32, 8).values for seed in (1, 2)]).nan_to_num(nan=0.0)
    assert len(torch.unique(found, dim=0)) >= 39, "two of the forty may hold nothing"


def test_a_clean_season_repeats() -> None:
    """Without noise or level, a planted season of whole steps agrees with itself one period later."""
    tape = spectra._Tape.of(1, range(200), 240, torch.device("cpu"))
    period = torch.full((200, 1), 24.0)
    waves = spectra._season(tape, period)
    lagged = torch.nn.functional.cosine_similarity(waves[:, 24:], waves[:, :-24], dim=1)
    assert (lagged > 0.999).float().mean() > 0.5
    assert (lagged > 0.8).float().mean() > 0.9


def test_seasons_are_found_in_half_of_the_series(drawn: spectra.Series) -> None:
    from loracast.models.seasonal_row import periods

    share = (drawn.period > 1).float().mean()
    assert 0.5 < share < 0.6
    found, planted = periods(drawn.values[:, :CONTEXT]), drawn.period
    whole = (planted >= 3) & (planted <= CONTEXT / 2)
    assert ((found - planted).abs() <= 1)[whole].float().mean() > 3 * ((found - 24).abs() <= 1)[~whole].float().mean()
    assert ((found - planted).abs() <= 1)[whole].float().mean() > 0.3


def test_some_levels_drift_and_some_noise_is_white() -> None:
    tape = spectra._Tape.of(1, range(400), 256, torch.device("cpu"))
    level = spectra._level(tape)
    level = level - level.mean(dim=1, keepdim=True)
    persistence = torch.nn.functional.cosine_similarity(level[:, 1:], level[:, :-1], dim=1)
    assert (persistence > 0.95).float().mean() > 0.3
    assert (persistence < 0.7).float().mean() > 0.1
    flat = torch.nn.functional.cosine_similarity(tape.white[:, 1:], tape.white[:, :-1], dim=1)
    assert flat.abs().mean() < 0.1


def test_the_last_value_of_the_context_is_an_outlier_that_returns_in_a_twentieth(standard: torch.Tensor) -> None:
    last, before, after = (standard[:, CONTEXT + step].abs() for step in (-1, -2, 0))
    lonely = (last > 6) & (before < last / 2) & (after < last / 2)
    elsewhere = standard[:, 40].abs()
    usual = (elsewhere > 6) & (standard[:, 39].abs() < elsewhere / 2) & (standard[:, 41].abs() < elsewhere / 2)
    assert 0.02 < lonely.float().mean() < 0.08
    assert lonely.float().mean() > 2 * usual.float().mean()


def test_levels_shift_and_stay() -> None:
    tape = spectra._Tape.of(1, range(50), 100, torch.device("cpu"))
    changes = spectra._shifts(tape).diff(dim=1)
    assert ((changes.abs() > 1e-6).sum(dim=1) <= 3).all()
    assert (changes.abs().amax(dim=1) > 0.05).float().mean() > 0.9


def test_there_are_gaps_at_the_end_in_the_middle_and_before_the_beginning(drawn: spectra.Series) -> None:
    gap = drawn.values.isnan()
    assert 0.02 < gap.float().mean() < 0.15
    assert 0.03 < gap[:, CONTEXT - 1].float().mean() < 0.2
    assert 0.03 < gap[:, 0].float().mean() < 0.2
    ends = gap[:, CONTEXT - 2 : CONTEXT].all(dim=1) & ~gap[:, CONTEXT + 2]
    assert ends.float().mean() > 0.02


def test_some_series_are_counts_and_some_are_read_off_in_steps(drawn: spectra.Series) -> None:
    few = torch.tensor([len(row[row.isfinite()].unique()) <= 20 for row in drawn.values[:500]])
    assert 0.1 < few.float().mean() < 0.6


def test_units_span_twelve_powers_of_ten(drawn: spectra.Series) -> None:
    size = drawn.values.abs().nan_to_num(nan=0.0).amax(dim=1)
    size = size[size > 0].log10()
    assert size.min() < -5
    assert size.max() > 6
    assert (drawn.values.nanmean(dim=1) < 0).float().mean() > 0.1


def test_growth_is_exponential_in_some_and_weekends_differ_in_some() -> None:
    tape = spectra._Tape.of(1, range(300), 140, torch.device("cpu"))
    trend = spectra._trend(tape)
    bent = trend.diff(dim=1).diff(dim=1).abs().amax(dim=1) > 1e-5
    assert 0.3 < bent.float().mean() < 0.95
    weekend = spectra._weekend(tape, torch.full((300, 1), 10.0)) > 0
    assert (weekend.sum(dim=1) - 40).abs().max() <= 10
    torch.testing.assert_close(weekend[:, :70], weekend[:, 70:])


def test_responses_rise_at_once_and_decay() -> None:
    tape = spectra._Tape.of(1, range(200), 200, torch.device("cpu"))
    made = spectra._responses(tape)
    assert (made >= -1e-3 * made.amax(dim=1, keepdim=True)).all()
    assert (made.amax(dim=1) > 0).float().mean() > 0.5


def test_a_part_that_no_series_has_still_takes_its_numbers() -> None:
    """What comes after a part is the same whether or not some series of the batch have it."""
    for index in range(30):
        alone = spectra.draw(9, [index], 24, 8)
        both = spectra.draw(9, [index, index + 1000], 24, 8)
        same(both.values[:1], alone.values)
