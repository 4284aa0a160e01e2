"""The terminal's table of a sweep."""

import io

import pytest
from rich.console import Console

from loracast.study.ranks import analyse, threshold_table


def printed(table, width=120):
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(table)
    return console.file.getvalue()


@pytest.fixture
def sweep(made_up):
    return analyse(made_up({1: 5.0, 2: 3.0, 4: 3.0}), resamples=100)


def test_the_threshold_is_marked_and_ranks_that_are_ruled_out_are_named(sweep):
    text = printed(threshold_table(sweep))
    assert text.count("→ 2 *") == 3
    assert text.count("worse +") == 3
    for part in ("zero-shot", "full", "all, MASE", "map, MAE", "by seed: 2, 2", "10 validation"):
        assert part in text


def test_it_fits_eighty_columns_without_cutting_a_number(sweep):
    text = printed(threshold_table(sweep), width=80)
    assert "…" not in text
    assert "→ 2 *" in text


def test_a_sweep_without_full_or_test_scores_is_shown(sweep):
    sweep["full"] = None
    for row in sweep["rows"]:
        row["test"] = {"value": None, "ci95": None}
    assert "–" in printed(threshold_table(sweep))
