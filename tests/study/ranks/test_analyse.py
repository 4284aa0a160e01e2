"""From finished runs to what a sweep found."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loracast.errors import ConfigError, DataError
from loracast.files import read_json, write_json
from loracast.scoring.compare import compare, summarise
from loracast.scoring.sums import Sums
from loracast.study.ranks.analyse import analyse, refuse_few_patients, write_sweep
from loracast.study.ranks.result import Measured, Note, Overfit, read_sweep
from tests.conftest import PATIENT, STAY


def rows(sweep, signal):
    return {row.rank: row for row in sweep.rows if row.signal == signal}


def codes(sweep):
    return [note.code for note in sweep.notes]


def test_the_content_is_as_documented(made_up):
    sweep = analyse(made_up({2: 3.0, 1: 5.0, 4: 3.0}), resamples=200)
    assert (sweep.format, sweep.model, sweep.method, sweep.data, sweep.metric) == (3, "tiny", "lora", "made-up", "mase")
    assert (sweep.ranks, sweep.seeds, sweep.alphas) == ([1, 2, 4], [0, 1], [16.0] * 3)
    assert sweep.patients == {"validation": 10, "test": 10}
    assert set(sweep.windows) == {"validation", "test"}
    assert list(sweep.thresholds) == ["all", "heart_rate", "map"] == list(sweep.zero_shot) == list(sweep.full)
    assert [(row.signal, row.rank) for row in sweep.rows] == [
        (signal, rank) for signal in ("all", "heart_rate", "map") for rank in (1, 2, 4)
    ]
    for row in sweep.rows:
        assert row.metric == ("mase" if row.signal == "all" else "mae")
        assert row.overfit == Overfit(flagged=False, gap=0, seeds=0)
        assert (row.trainable_parameters, row.train_seconds) == (100 * row.rank, 2.0)
        for found in (row.validation, row.test):
            low, high = found.ci95
            assert low < found.value < high
    assert {(entry.trainable_parameters, entry.train_seconds) for entry in sweep.full.values()} == {(5000, 2.0)}
    assert {(entry.trainable_parameters, entry.train_seconds) for entry in sweep.zero_shot.values()} == {(0, None)}
    assert set(sweep.series) == {"heart_rate", "map"}
    assert set(sweep.series["map"]) == {"length", "missing", "noise", "seasonality", "scale_distance"}


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_arm_has_the_same_interval_in_the_summary_and_in_the_sweep(made_up, seeds):
    out = made_up({1: 5.0, 2: 3.0}, seeds=seeds, chance=True)
    sweep = analyse(out)

    def runs(rank):
        return [Sums.from_parquet(out / "runs" / f"lora-r-{rank}-s{seed}" / "cells.parquet") for seed in range(seeds)]

    for rank in (1, 2):
        for signal, scores in summarise(runs(rank)).items():
            test = rows(sweep, signal)[rank].test
            assert (test.value, test.ci95) == (scores.mae, scores.ci95["mae"])
    zero_shot = [Sums.from_parquet(out / "runs" / "zero-shot-s0" / "cells.parquet")]
    for signal, scores in summarise(zero_shot).items():
        assert sweep.zero_shot[signal].test == Measured(value=scores.mae, ci95=scores.ci95["mae"])
    for signal, difference in compare(runs(2), zero_shot, reference_name="zero-shot").items():
        threshold = sweep.thresholds[signal]
        assert threshold.rank == 2
        assert threshold.vs_zero_shot == Measured(value=difference.mae_difference, ci95=difference.ci95)


def test_all_signals_together_have_the_mase_of_all_windows(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    sweep = analyse(out, resamples=50)
    for side, file in (("validation", "validation.parquet"), ("test", "cells.parquet")):
        found = summarise([Sums.from_parquet(out / "runs" / f"lora-r-2-s{seed}" / file) for seed in (0, 1)])
        windows = {name: scores.n_windows - scores.excluded.mase_windows for name, scores in found.items()}
        pooled = sum(found[name].mase * count for name, count in windows.items()) / sum(windows.values())
        assert getattr(rows(sweep, "all")[2], side).value == pytest.approx(pooled)


def test_the_threshold_is_where_gains_end_for_all_and_each_signal(made_up):
    sweep = analyse(made_up({1: 5.0, 2: 3.0, 4: 3.0}), resamples=200)
    for threshold in sweep.thresholds.values():
        assert (threshold.rank, threshold.best_rank, threshold.by_seed) == (2, 2, [2, 2])
        assert threshold.test_difference == Measured(value=0, ci95=(0, 0))
        assert threshold.vs_zero_shot.ci95[1] < 0
    assert rows(sweep, "map")[1].difference.value == pytest.approx(2)
    assert [rows(sweep, "all")[rank].worse for rank in (1, 2, 4)] == [True, False, False]
    assert sweep.notes == []


def test_test_patients_choose_nothing(made_up):
    sweep = analyse(made_up({1: {"validation": 5.0, "test": 1.0}, 2: {"validation": 3.0, "test": 4.0}}), resamples=200)
    assert sweep.thresholds["map"].rank == 2
    assert rows(sweep, "map")[1].test.value < rows(sweep, "map")[2].test.value


def test_the_test_difference_tells_what_the_smaller_rank_costs_on_test_patients(made_up):
    # A tie on validation but for a little chance, which rank 2 has won; on test rank 1 errs by one more.
    ranks = {1: {"validation": 3.0, "test": 4.0}, 2: {"validation": 2.999, "test": 3.0}}
    sweep = analyse(made_up(ranks, chance=True), resamples=200)
    found = rows(sweep, "map")
    assert found[2].validation.value < found[1].validation.value
    threshold = sweep.thresholds["map"]
    assert (threshold.rank, threshold.best_rank) == (1, 2)
    assert threshold.test_difference.value == pytest.approx(1, abs=0.05)
    assert threshold.test_difference.ci95[0] > 0.9


def test_a_rank_that_gains_nothing_over_zero_shot_is_noted(made_up):
    sweep = analyse(made_up({1: 3.0, 2: 3.0}, zero_shot=3.0), resamples=200)
    assert sweep.thresholds["all"].rank == 1
    assert Note(code="not-better-than-zero-shot", signal="all", rank=1) in sweep.notes


def test_a_threshold_at_the_end_is_noted(made_up):
    sweep = analyse(made_up({1: 5.0, 2: 3.0}), resamples=200)
    assert Note(code="largest-rank", signal="all", rank=2) in sweep.notes


def test_one_seed_is_noted_and_a_sweep_without_full_has_none(made_up):
    sweep = analyse(made_up({1: 5.0, 2: 3.0, 4: 3.0}, seeds=1, full=None), resamples=200)
    assert sweep.full == {}
    assert codes(sweep) == ["one-seed"]


def test_a_seed_that_is_not_finished_everywhere_counts_for_none(made_up):
    out = made_up({1: 5.0, 2: 3.0, 4: 3.0})
    (out / "runs" / "lora-r-2-s1" / "result.json").unlink()
    sweep = analyse(out, resamples=100)
    assert sweep.seeds == [0]
    assert len(sweep.thresholds["all"].by_seed) == 1
    assert sweep.notes == [
        Note(code="seeds-left-out", count=1, names=["1"]),
        Note(code="runs-not-done", count=1, names=["tiny lora r=2 (seed 1)"]),
        Note(code="one-seed"),
    ]


def test_a_rank_without_a_finished_run_is_left_out_and_noted(made_up):
    out = made_up({1: 5.0, 2: 3.0, 4: 3.0})
    for seed in (0, 1):
        (out / "runs" / f"lora-r-4-s{seed}" / "result.json").unlink()
    sweep = analyse(out, resamples=100)
    assert (sweep.ranks, sweep.seeds) == ([1, 2], [0, 1])
    undone = ["tiny lora r=4 (seed 0)", "tiny lora r=4 (seed 1)"]
    assert Note(code="runs-not-done", count=2, names=undone) in sweep.notes


def test_what_is_written_is_read_again_and_names_no_patient(made_up):
    out = made_up({1: 3.1, 2: 3.0})
    sweep = write_sweep(out, "other")
    assert (read_sweep(out), sweep.data) == (sweep, "other")
    assert analyse(out, data="other") == sweep  # the same call gives the same numbers
    text = (out / "sweep.json").read_text()
    assert PATIENT not in text
    assert STAY not in text
    write_json(out / "sweep.json", json.loads(text) | {"format": 1}, overwrite=True)
    with pytest.raises(ConfigError, match="another version"):
        read_sweep(out)


def test_runs_without_validation_scores_are_refused(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    (out / "runs" / "lora-r-1-s0" / "validation.parquet").unlink()
    with pytest.raises(DataError, match=r"lora-r-1-s0/validation\.parquet"):
        analyse(out)


def test_runs_on_other_windows_are_refused(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    file = out / "runs" / "lora-r-2-s0" / "cells.parquet"
    pq.write_table(pq.read_table(file).slice(7), file)
    with pytest.raises(DataError, match="same windows"):
        analyse(out)


@pytest.mark.parametrize("arm", ["zero-shot", "full"])
def test_an_arm_beside_the_ranks_on_other_windows_is_refused(made_up, arm):
    out = made_up({1: 5.0, 2: 3.0}, seeds=1)
    file = out / "runs" / f"{arm}-s0" / "cells.parquet"
    cells: pd.DataFrame = pq.read_table(file).to_pandas()
    pq.write_table(pa.Table.from_pandas(cells.assign(n_mae=cells["n_mae"] * 2), preserve_index=False), file)
    with pytest.raises(DataError, match="same windows"):
        analyse(out)


def test_what_is_no_sweep_is_refused(made_up, tmp_path):
    with pytest.raises(ConfigError, match="no finished arm with a rank"):
        analyse(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"sweep\.json"):
        read_sweep(tmp_path)
    out = made_up({1: 5.0, 2: 3.0})
    copied(out, method="vera")
    with pytest.raises(ConfigError, match="tiny lora, tiny vera"):
        analyse(out)


def test_arms_that_differ_in_more_than_the_rank_are_refused(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    copied(out, arm="tiny lora r=1 patients=0.5")
    with pytest.raises(ConfigError, match="rank 1"):
        analyse(out)


def copied(out, **changes):
    """One more run, which is rank 1 with other facts."""
    other = out / "runs" / "other"
    shutil.copytree(out / "runs" / "lora-r-1-s0", other)
    write_json(other / "result.json", read_json(other / "result.json") | changes, overwrite=True)


def test_a_signal_with_too_few_validation_patients_is_noted(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    for file in out.glob("runs/*/validation.parquet"):
        cells = pq.read_table(file).to_pandas()
        kept = cells[(cells["signal"] != "map") | cells["patient"].isin(np.unique(cells["patient"])[:5])]
        pq.write_table(pa.Table.from_pandas(kept, preserve_index=False), file)
    sweep = analyse(out, resamples=50)
    assert set(sweep.thresholds) == {"all", "heart_rate"}
    assert Note(code="too-few-patients", signal="map", count=5) in sweep.notes


@pytest.mark.parametrize("patients", [0, 5])
def test_too_few_validation_patients_are_refused_with_what_to_do(patients):
    with pytest.raises(ConfigError, match=rf"{patients} validation patients.*at least 6.*larger share"):
        refuse_few_patients(patients)
    refuse_few_patients(6)
