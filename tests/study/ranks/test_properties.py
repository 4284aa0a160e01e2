"""What series are like, on series whose answer is known, and thresholds beside that."""

import numpy as np
import pytest

from loracast.data.windows import WindowSet, cut_windows
from loracast.spec import WindowSpec
from loracast.study.ranks.properties import (
    PROPERTIES,
    corpus_spread,
    describe,
    noise,
    relate,
    relative_spread,
    seasonality,
)
from loracast.study.ranks.result import Correlation, Measured, Overfit, RankRow, RankSweep, Threshold
from tests.conftest import PATIENT, STAY

NAN = np.nan


def rng(seed=0):
    return np.random.default_rng(seed)


def with_gaps(values, share=0.3):
    return np.where(rng(9).random(len(values)) < share, NAN, values)


def test_white_noise_is_all_noise():
    assert noise(rng().normal(size=4000)) == pytest.approx(1, abs=0.05)


def test_a_random_walk_and_a_ramp_have_almost_none():
    assert noise(rng().normal(size=4000).cumsum()) < 0.02
    assert noise(np.arange(500.0)) < 0.001


def test_neighbours_that_repel_each_other_have_more_than_one():
    assert noise(np.tile([-1.0, 1.0], 500)) == pytest.approx(2, abs=0.01)


def test_noise_on_a_wave_is_its_share_of_the_variance():
    wave = np.sqrt(2) * np.sin(np.arange(8000) * 2 * np.pi / 400)  # variance 1
    assert noise(wave + 0.5 * rng().normal(size=8000)) == pytest.approx(0.25 / 1.25, abs=0.02)


def test_gaps_do_not_change_noise():
    values = rng().normal(size=6000)
    assert noise(with_gaps(values)) == pytest.approx(noise(values), abs=0.06)


def test_a_sine_of_the_season_is_all_season():
    assert seasonality(np.sin(np.arange(400) * 2 * np.pi / 24), 24) == pytest.approx(1)
    assert seasonality(np.sin(np.arange(400) * 2 * np.pi / 7), 7) == pytest.approx(1)


def test_a_sine_of_half_another_season_is_against_it():
    assert seasonality(np.sin(np.arange(400) * 2 * np.pi / 48), 24) == pytest.approx(-1, abs=0.01)


def test_noise_and_drift_have_no_season():
    assert abs(seasonality(rng().normal(size=6000), 24)) < 0.1
    assert seasonality(rng().normal(size=6000).cumsum(), 24) < 0.1
    assert abs(np.corrcoef(*(lambda x: (x[:-24], x[24:]))(rng().normal(size=6000).cumsum()))[0, 1]) > 0.9


def test_a_trend_does_not_hide_a_season():
    t = np.arange(400)
    assert seasonality(np.sin(t * 2 * np.pi / 24) + 0.5 * t, 24) == pytest.approx(1)


def test_gaps_are_skipped_and_weaken_no_season():
    wave = np.sin(np.arange(2000) * 2 * np.pi / 24)
    assert seasonality(with_gaps(wave), 24) > 0.95


@pytest.mark.parametrize(("values", "season"), [(np.arange(40.0), 24), (np.arange(400.0), 1), (np.full(400, NAN), 24)])
def test_what_has_no_season_to_measure_has_none(values, season):
    assert np.isnan(seasonality(values, season))


@pytest.mark.parametrize("values", [np.full(50, 3.0), np.array([1.0]), np.full(9, NAN), np.array([1.0, NAN, 2.0])])
def test_a_constant_or_lone_series_has_no_noise(values):
    assert np.isnan(noise(values))


def test_shape_does_not_depend_on_level_or_unit():
    values = rng().normal(size=500).cumsum() + np.sin(np.arange(500) * 2 * np.pi / 24)
    for changed in (values * 18.0, values + 250.0):
        assert noise(changed) == pytest.approx(noise(values))
        assert seasonality(changed, 24) == pytest.approx(seasonality(values, 24))


def test_the_relative_spread_is_the_deviation_over_the_level():
    assert relative_spread(np.array([90.0, NAN, 110.0])) == pytest.approx(0.1)
    assert np.isnan(relative_spread(np.array([-1.0, 1.0])))


def test_the_corpus_spreads_by_about_a_third_of_its_level():
    assert corpus_spread() == pytest.approx(0.28, abs=0.05)


@pytest.fixture
def cut(long_table, tmp_path):
    def windows(rows) -> WindowSet:
        table = long_table(rows)
        sides = {patient: "train" for patient, _, _ in rows}
        # Two more patients for the sides that must not be looked at.
        return cut_windows(table, sides | others(sides), WindowSpec(context=24, horizon=6), tmp_path / "cut").train

    def others(sides):
        names = sorted(sides)
        return {names[-2]: "validation", names[-1]: "test"}

    return windows


def cohort_of(make, *, patients=8, length=120):
    """Patients 0 to 5 train; 6 and 7 hold what must not be seen."""
    rows = {}
    for number in range(patients):
        values = make(number, length) if number < 6 else np.linspace(1e6, 2e6, length)
        named = (f"{PATIENT}{number}", f"{STAY}{number}", "heart_rate")
        rows[named] = [None if np.isnan(v) else float(v) for v in values]
    return rows


def test_a_signal_is_described_by_its_training_series(cut):
    def make(number, length):
        wave = 100 + 10 * np.sin(np.arange(length) * 2 * np.pi / 24)
        wave[5:-1:10] = NAN
        return wave

    found = describe(cut(cohort_of(make)))
    assert set(found) == {"heart_rate"}
    assert set(found["heart_rate"]) == set(PROPERTIES)
    assert found["heart_rate"]["length"] == 120
    assert found["heart_rate"]["missing"] == pytest.approx(12 / 120)
    assert found["heart_rate"]["seasonality"] > 0.98
    assert found["heart_rate"]["noise"] < 0.05
    spread = 10 / np.sqrt(2) / 100
    assert found["heart_rate"]["scale_distance"] == pytest.approx(np.log10(spread / corpus_spread()), abs=0.02)


def test_two_stays_of_a_patient_are_two_series(cut):
    rows = cohort_of(lambda number, length: 100 + rng(number).normal(size=length), length=120)
    rows[(f"{PATIENT}0", f"{STAY}0b", "heart_rate")] = rows[(f"{PATIENT}0", f"{STAY}0", "heart_rate")][:60]
    found = describe(cut(rows))["heart_rate"]
    assert found["length"] == 120  # seven series; run together two would have 180
    assert found["missing"] == 0
    assert found["noise"] == pytest.approx(1, abs=0.15)


def test_a_level_that_jumps_between_stays_is_neither_noise_nor_spread(cut):
    found = describe(cut(cohort_of(lambda number, length: 100 * (number + 1) + np.arange(length) / 100)))
    assert found["heart_rate"]["noise"] < 0.01


def test_a_constant_signal_has_what_can_be_had(cut):
    found = describe(cut(cohort_of(lambda number, length: np.full(length, 5.0))))["heart_rate"]
    assert found == {"length": 120, "missing": 0, "noise": None, "seasonality": None, "scale_distance": None}


def test_of_many_series_a_seeded_choice_is_read(cut, monkeypatch):
    windows = cut(cohort_of(lambda number, length: 100 + rng(number).normal(size=length)))
    whole = describe(windows)["heart_rate"]
    monkeypatch.setattr("loracast.study.ranks.properties._MOST_SERIES", 3)
    monkeypatch.setattr("loracast.study.ranks.properties._MOST_WINDOWS", 3)
    assert describe(windows) == describe(windows)
    assert describe(windows)["heart_rate"]["noise"] != whole["noise"]


def sweep_of(data, ranks, noises, *, gain=(-0.3, -0.1)):
    """A sweep whose signals have these thresholds and this noise."""
    signals, tried = [f"signal{i}" for i in range(len(ranks))], [1, 2, 4, 8, 16, 32, 64]
    thresholds = dict(zip(["all", *signals], [64, *ranks], strict=True))
    unlooked = {"validation": Measured(), "test": Measured(), "difference": Measured(), "worse": False}
    return RankSweep(
        model="tiny",
        method="lora",
        data=data,
        metric="mase",
        ranks=tried,
        alphas=[16.0] * len(tried),
        seeds=[0],
        patients={},
        windows={},
        rows=[
            RankRow(
                signal=name,
                metric="mae",
                rank=rank,
                trainable_parameters=100 * rank,
                overfit=Overfit(flagged=False, gap=0, seeds=0),
                train_seconds=1,
                **unlooked,
            )
            for name in thresholds
            for rank in tried
        ],
        thresholds={
            name: Threshold(
                rank=rank,
                best_rank=rank,
                by_seed=[rank],
                test_difference=Measured(),
                vs_zero_shot=Measured(value=sum(gain) / 2, ci95=gain),
            )
            for name, rank in thresholds.items()
        },
        series={
            name: {**dict.fromkeys(PROPERTIES, 1.0), "noise": noise, "seasonality": None}
            for name, noise in zip(signals, noises, strict=True)
        },
    )


def test_there_is_a_row_a_signal_of_every_data_set_and_none_for_all():
    found = relate([sweep_of("one", [1, 4], [0.9, 0.5]), sweep_of("two", [8], [0.2])])
    assert [(row.data, row.signal, row.rank, row.trainable_parameters) for row in found.rows] == [
        ("one", "signal0", 1, 100),
        ("one", "signal1", 4, 400),
        ("two", "signal0", 8, 800),
    ]
    assert found.rows[0].properties == {**dict.fromkeys(PROPERTIES, 1.0), "noise": 0.9, "seasonality": None}


def test_the_correlation_is_spearmans_with_the_number_of_its_rows():
    found = relate([sweep_of("one", [1, 2, 16], [0.9, 0.5, 0.4]), sweep_of("two", [64], [0.1])])
    assert set(found.correlations) == set(PROPERTIES)
    assert (found.correlations["noise"].spearman, found.correlations["noise"].rows) == (pytest.approx(-1), 4)


def test_what_is_the_same_everywhere_or_unknown_has_no_correlation():
    found = relate([sweep_of("one", [1, 2, 16], [0.9, 0.5, 0.4])]).correlations
    assert found["length"] == Correlation(spearman=None, rows=3)
    assert found["seasonality"] == Correlation(spearman=None, rows=0)
    assert relate([sweep_of("one", [4, 4, 4], [0.9, 0.5, 0.4])]).correlations["noise"].spearman is None
    assert relate([sweep_of("one", [1, 2], [0.9, 0.5])]).correlations["noise"] == Correlation(spearman=None, rows=2)


def test_rows_where_tuning_gained_nothing_are_counted():
    assert relate([sweep_of("one", [1, 2], [0.9, 0.5])]).flat == 0
    flat = relate([sweep_of("one", [1, 2], [0.9, 0.5], gain=(-0.3, 0.1))])
    assert ([row.beats_zero_shot for row in flat.rows], flat.flat) == ([False, False], 2)
