"""Thresholds beside properties."""

import pytest

from loracast.study.ranks.properties import PROPERTIES
from loracast.study.ranks.relation import relate
from loracast.study.ranks.tables import relation_table
from tests.study.ranks.test_tables import printed


def sweep_of(data, ranks, noises, *, gain=(-0.3, -0.1)):
    """A sweep whose signals have these thresholds and this noise."""
    signals = [f"signal{i}" for i in range(len(ranks))]
    return {
        "data": data,
        "backbone": "tiny",
        "method": "lora",
        "thresholds": {
            name: {"rank": rank, "vs_zero_shot": {"value": sum(gain) / 2, "ci95": list(gain)}}
            for name, rank in zip(["all", *signals], [64, *ranks], strict=True)
        },
        "rows": [
            {"signal": name, "rank": rank, "trainable_parameters": 100 * rank}
            for name in ["all", *signals]
            for rank in (1, 2, 4, 8, 16, 32, 64)
        ],
        "series": {
            name: {**dict.fromkeys(PROPERTIES, 1.0), "noise": noise, "seasonality": None}
            for name, noise in zip(signals, noises, strict=True)
        },
    }


def test_there_is_a_row_a_signal_of_every_data_set_and_none_for_all():
    found = relate([sweep_of("one", [1, 4], [0.9, 0.5]), sweep_of("two", [8], [0.2])])
    assert [(row["data"], row["signal"], row["rank"], row["trainable_parameters"]) for row in found["rows"]] == [
        ("one", "signal0", 1, 100),
        ("one", "signal1", 4, 400),
        ("two", "signal0", 8, 800),
    ]


def test_the_correlation_is_spearmans_with_the_number_of_its_rows():
    found = relate([sweep_of("one", [1, 2, 16], [0.9, 0.5, 0.4]), sweep_of("two", [64], [0.1])])
    assert found["correlations"]["noise"] == {"spearman": pytest.approx(-1), "rows": 4}


def test_what_is_the_same_everywhere_or_unknown_has_no_correlation():
    found = relate([sweep_of("one", [1, 2, 16], [0.9, 0.5, 0.4])])["correlations"]
    assert found["length"] == {"spearman": None, "rows": 3}
    assert found["seasonality"] == {"spearman": None, "rows": 0}
    assert relate([sweep_of("one", [4, 4, 4], [0.9, 0.5, 0.4])])["correlations"]["noise"]["spearman"] is None
    assert relate([sweep_of("one", [1, 2], [0.9, 0.5])])["correlations"]["noise"] == {"spearman": None, "rows": 2}


def test_the_warning_says_how_few_rows_and_where_tuning_gained_nothing():
    shown = relate([sweep_of("one", [1, 2], [0.9, 0.5])])
    assert "2 rows" in shown["warning"]
    assert "do not prove" in shown["warning"]
    assert "zero-shot" not in shown["warning"]
    flat = relate([sweep_of("one", [1, 2], [0.9, 0.5], gain=(-0.3, 0.1))])
    assert [row["beats_zero_shot"] for row in flat["rows"]] == [False, False]
    assert "In 2 of them the threshold is not shown better than zero-shot" in flat["warning"]


def test_the_table_shows_rows_coefficients_and_the_warning():
    found = relate([sweep_of("one", [1, 2, 16], [0.9, 0.5, 0.4])])
    text = printed(relation_table(found))
    for part in ("signal2", "1,600", "shown", "-1.00", "n=3", "n=0", "do not prove"):
        assert part in text
