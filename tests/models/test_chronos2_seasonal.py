"""A Chronos-2 that is given the season of a window beside it: in forecasting, in training and in its folder."""

from pathlib import Path

import pytest
import torch
from chronos import Chronos2Pipeline

from loracast.files import read_json
from loracast.models.chronos2 import Chronos2
from loracast.models.chronos_bolt import undisturbed
from loracast.models.registry import load_backbone
from loracast.models.seasonal_row import seasonal_rows
from loracast.types import LEVELS, Rows
from tests.models.tiny_chronos import save_chronos2, save_seasonal

NAN = float("nan")
CONTEXT = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_seasonal(tmp_path_factory.mktemp("seasonal") / "tiny-seasonal")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Chronos2:
    found = load_backbone(str(folder))
    assert isinstance(found, Chronos2)
    return found


@pytest.fixture(scope="module")
def library(folder: Path) -> Chronos2Pipeline:
    return Chronos2Pipeline.from_pretrained(str(folder), dtype=torch.float32)


def windows() -> torch.Tensor:
    """Two with a season, a straight line without one, and a season with a gap at its end."""
    time = torch.arange(float(CONTEXT))
    wave = torch.sin(2 * torch.pi * time / 12)
    gap = 70 + 3 * torch.cos(2 * torch.pi * time / 8)
    gap[-3:] = NAN
    return torch.stack([80 + wave, 5 * wave + 0.1 * time, time, gap])


def forecast(backbone: Chronos2, context: torch.Tensor, horizon: int, group: list[int] | None = None) -> torch.Tensor:
    rows = Rows(torch.zeros(len(context), dtype=torch.long), 3600, None if group is None else torch.tensor(group))
    return backbone.forecast(context, horizon, levels=LEVELS, samples=5, seed=0, rows=rows)


def given_to(library: Chronos2Pipeline, context: torch.Tensor, horizon: int) -> torch.Tensor:
    """Each window by itself, its row as a covariate with a known future, in the library's own words."""
    rows, found = seasonal_rows(context, horizon), []
    for one in range(len(context)):
        task: dict[str, object] = {"target": context[one].numpy()}
        if rows.there[one]:
            task["past_covariates"] = {"season": rows.past[one].numpy()}
            task["future_covariates"] = {"season": rows.future[one].numpy()}
        with undisturbed():
            quantiles, _ = library.predict_quantiles(
                [task], prediction_length=horizon, quantile_levels=list(LEVELS), unrolled_quantiles=list(LEVELS)
            )
        found.append(quantiles[0][0])
    return torch.stack(found)


@pytest.mark.parametrize("horizon", [6, 16, 40])
def test_the_forecast_is_the_librarys_with_the_row_as_a_covariate(backbone, library, horizon):
    context = windows()
    assert seasonal_rows(context, horizon).there.tolist() == [True, True, False, True]
    torch.testing.assert_close(
        forecast(backbone, context, horizon), given_to(library, context, horizon), rtol=1e-4, atol=1e-4
    )


def test_the_row_changes_a_forecast_where_there_is_a_season_and_nowhere_else(backbone, tmp_path):
    plain = load_backbone(str(save_chronos2(tmp_path / "plain")))
    assert not plain.seasonal_row
    plain.net.load_state_dict(backbone.net.state_dict())
    changed = (forecast(backbone, windows(), 16) - forecast(plain, windows(), 16)).abs().amax(dim=(1, 2))
    assert (changed[[0, 1, 3]] > 1e-3).all()
    assert changed[2] < 1e-4


def test_the_loss_is_the_librarys_over_the_targets_alone(backbone, library):
    context, future = windows(), 80 + torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    rows = seasonal_rows(context, 16)
    alone = []
    for one in range(4):
        both = [0, 1] if rows.there[one] else [0]
        past, known = (
            torch.stack([context[one], rows.past[one]])[both],
            torch.stack([NAN * future[one], rows.future[one]])[both],
        )
        target = torch.stack([future[one], NAN * future[one]])[both]
        loss = library.model(
            context=past,
            group_ids=torch.zeros(len(both), dtype=torch.long),
            future_covariates=known,
            future_target=target,
            num_output_patches=2,
        ).loss
        alone.append(loss.detach() * len(both))
    found = backbone.loss(context, future)
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), torch.stack(alone).mean(), rtol=1e-4, atol=0)


def test_signals_of_a_group_see_each_others_rows_and_no_other_groups(backbone):
    context = windows()
    joint = forecast(backbone, context, 8, [3, 3, 5, 5])
    assert (joint[0] - forecast(backbone, context, 8)[0]).abs().max() > 1e-4
    torch.testing.assert_close(forecast(backbone, context[2:], 8, [0, 0]), joint[2:], rtol=1e-4, atol=1e-4)


def test_a_saved_copy_keeps_the_row_and_an_older_folder_has_none(backbone, tmp_path):
    tmp_path.joinpath("copy").mkdir()
    backbone.save(tmp_path / "copy")
    assert read_json(tmp_path / "copy" / "config.json")["seasonal_row"] is True
    again = load_backbone(str(tmp_path / "copy"))
    torch.testing.assert_close(forecast(again, windows(), 16), forecast(backbone, windows(), 16), rtol=0, atol=0)
    assert not load_backbone(str(save_chronos2(tmp_path / "plain"))).seasonal_row
