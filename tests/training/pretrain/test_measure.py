from collections.abc import Callable
from typing import Any

import pytest
import torch

from loracast.models.base import ModelCard
from loracast.training.pretrain.measure import synthetic_scores


class _Persistent:
    """Forecasts what the last value does, so that its score is known."""

    card = ModelCard("persistent", "none", "naive", 0, None, None, "-")

    def windows_a_pass(self, samples: int) -> int:
        return 16

    def forecast(self, context: torch.Tensor, horizon: int, **settings: object) -> torch.Tensor:
        rows = [row[torch.isfinite(row)][-1] for row in context]
        return torch.stack(rows)[:, None, None].expand(-1, horizon, 1)


@pytest.mark.parametrize("spectral", [False, True])
def test_a_backbone_that_repeats_the_last_value_scores_like_it(spectral: bool) -> None:
    backbone: Any = _Persistent()
    scores = synthetic_scores(backbone, seed=5, spectral=spectral, count=80, context=48, horizon=8)
    for table in (scores["mean_mase"], scores["median_mase"]):
        assert table["zero-shot"] == pytest.approx(table["last-value"], rel=1e-6)
        assert table["seasonal-naive"] > 0
    assert scores["series"] + scores["left_out"] == 80
    assert scores["series"] > 60


def test_the_same_seed_measures_the_same() -> None:
    measure: Callable[[int], dict[str, object]] = lambda seed: synthetic_scores(  # noqa: E731
        _Persistent(),  # type: ignore[arg-type]
        seed=seed,
        count=40,
        context=48,
        horizon=8,
    )
    assert measure(1) == measure(1)
    assert measure(1) != measure(2)
