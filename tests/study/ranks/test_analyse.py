"""From finished runs to sweep.json."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loracast.errors import ConfigError, DataError
from loracast.scoring.compare import Statistics, summarise
from loracast.study.ranks import analyse, read_sweep
from loracast.study.ranks.analyse import refuse_few_patients
from tests.conftest import PATIENT, STAY


def rows(sweep, signal):
    return {row["rank"]: row for row in sweep["rows"] if row["signal"] == signal}


def test_the_content_is_as_documented(made_up):
    sweep = analyse(made_up({2: 3.0, 1: 5.0, 4: 3.0}), resamples=200)
    json.dumps(sweep, allow_nan=False)
    assert (sweep["format"], sweep["backbone"], sweep["method"], sweep["data"]) == (1, "tiny", "lora", "made-up")
    assert (sweep["ranks"], sweep["seeds"], sweep["alphas"]) == ([1, 2, 4], [0, 1], [16.0] * 3)
    assert sweep["patients"] == {"validation": 10, "test": 10}
    assert set(sweep["windows"]) == {"validation", "test"}
    assert list(sweep["thresholds"]) == ["all", "heart_rate", "map"] == list(sweep["zero_shot"]) == list(sweep["full"])
    assert [(row["signal"], row["rank"]) for row in sweep["rows"]] == [
        (signal, rank) for signal in ("all", "heart_rate", "map") for rank in (1, 2, 4)
    ]
    for row in sweep["rows"]:
        assert row["metric"] == ("mase" if row["signal"] == "all" else "mae")
        assert row["overfit"] == {"flagged": False, "gap": 0, "seeds": 0}
        assert (row["trainable_parameters"], row["train_seconds"]) == (100 * row["rank"], 2.0)
        for side in ("validation", "test"):
            low, high = row[side]["ci95"]
            assert low < row[side]["value"] < high
    assert {(entry["trainable_parameters"], entry["train_seconds"]) for entry in sweep["full"].values()} == {
        (5000, 2.0)
    }
    assert set(sweep["series"]) == {"heart_rate", "map"}
    assert set(sweep["series"]["map"]) == {"length", "missing", "noise", "seasonality", "scale_distance"}


def test_the_numbers_are_those_of_the_scores(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    sweep = analyse(out, resamples=50)
    for side, file in (("validation", "validation.parquet"), ("test", "cells.parquet")):
        found = summarise([Statistics.from_parquet(out / "runs" / f"lora-r-2-s{seed}" / file) for seed in (0, 1)])
        for signal in ("heart_rate", "map"):
            assert rows(sweep, signal)[2][side]["value"] == pytest.approx(found[signal]["mae"])
        windows = {name: s["n_windows"] - s["excluded"]["mase_windows"] for name, s in found.items()}
        pooled = sum(found[name]["mase"] * count for name, count in windows.items()) / sum(windows.values())
        assert rows(sweep, "all")[2][side]["value"] == pytest.approx(pooled)


def test_the_threshold_is_where_gains_end_for_all_and_each_signal(made_up):
    sweep = analyse(made_up({1: 5.0, 2: 3.0, 4: 3.0}), resamples=200)
    for threshold in sweep["thresholds"].values():
        assert (threshold["rank"], threshold["best_rank"], threshold["by_seed"]) == (2, 2, [2, 2])
        assert threshold["test_difference"] == {"value": 0, "ci95": [0, 0]}
        assert threshold["vs_zero_shot"]["ci95"][1] < 0
    assert rows(sweep, "map")[1]["difference"]["value"] == pytest.approx(2)
    assert [rows(sweep, "all")[rank]["difference"]["worse"] for rank in (1, 2, 4)] == [True, False, False]
    assert sweep["notes"] == []


def test_test_patients_choose_nothing(made_up):
    sweep = analyse(made_up({1: {"validation": 5.0, "test": 1.0}, 2: {"validation": 3.0, "test": 4.0}}), resamples=200)
    threshold = sweep["thresholds"]["map"]
    assert threshold["rank"] == 2
    assert rows(sweep, "map")[1]["test"]["value"] < rows(sweep, "map")[2]["test"]["value"]


def test_the_test_difference_tells_what_the_smaller_rank_costs_on_test_patients(made_up):
    # A tie on validation but for a little chance, which rank 2 has won; on test rank 1 errs by one more.
    ranks = {1: {"validation": 3.0, "test": 4.0}, 2: {"validation": 2.999, "test": 3.0}}
    sweep = analyse(made_up(ranks, chance=True), resamples=200)
    found = rows(sweep, "map")
    assert found[2]["validation"]["value"] < found[1]["validation"]["value"]
    threshold = sweep["thresholds"]["map"]
    assert (threshold["rank"], threshold["best_rank"]) == (1, 2)
    assert threshold["test_difference"]["value"] == pytest.approx(1, abs=0.05)
    assert threshold["test_difference"]["ci95"][0] > 0.9


def test_a_rank_that_gains_nothing_over_zero_shot_is_noted(made_up):
    sweep = analyse(made_up({1: 3.0, 2: 3.0}, zero_shot=3.0), resamples=200)
    assert sweep["thresholds"]["all"]["rank"] == 1
    assert any("All signals: rank 1 is not shown better than zero-shot" in note for note in sweep["notes"])


def test_a_threshold_at_the_end_is_noted(made_up):
    sweep = analyse(made_up({1: 5.0, 2: 3.0}), resamples=200)
    assert any("All signals: the threshold is the largest rank" in note for note in sweep["notes"])


def test_one_seed_is_noted_and_a_sweep_without_full_has_none(made_up):
    sweep = analyse(made_up({1: 5.0, 2: 3.0, 4: 3.0}, seeds=1, full=None), resamples=200)
    assert sweep["full"] is None
    assert any("one training seed" in note for note in sweep["notes"])


def test_a_seed_that_is_not_finished_everywhere_counts_for_none(made_up):
    out = made_up({1: 5.0, 2: 3.0, 4: 3.0})
    (out / "runs" / "lora-r-2-s1" / "result.json").unlink()
    sweep = analyse(out, resamples=100)
    assert sweep["seeds"] == [0]
    assert len(sweep["thresholds"]["all"]["by_seed"]) == 1
    assert any("Seed 1 is not finished for every rank" in note for note in sweep["notes"])
    assert any(note.endswith("not in this: tiny lora r=2 (seed 1).") for note in sweep["notes"])


def test_a_rank_without_a_finished_run_is_left_out_and_noted(made_up):
    out = made_up({1: 5.0, 2: 3.0, 4: 3.0})
    for seed in (0, 1):
        (out / "runs" / f"lora-r-4-s{seed}" / "result.json").unlink()
    sweep = analyse(out, resamples=100)
    assert (sweep["ranks"], sweep["seeds"]) == ([1, 2], [0, 1])
    assert any("tiny lora r=4 (seed 0), tiny lora r=4 (seed 1)" in note for note in sweep["notes"])


def test_the_same_call_gives_the_same_numbers(made_up):
    out = made_up({1: 3.1, 2: 3.0})
    assert analyse(out, resamples=100) == analyse(out, resamples=100)


def test_no_patient_is_named(made_up):
    text = json.dumps(analyse(made_up({1: 5.0, 2: 3.0}), resamples=50))
    assert PATIENT not in text
    assert STAY not in text


def test_runs_without_validation_scores_are_refused(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    (out / "runs" / "lora-r-1-s0" / "validation.parquet").unlink()
    with pytest.raises(DataError, match="validation"):
        analyse(out)


def test_runs_on_other_windows_are_refused(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    file = out / "runs" / "lora-r-2-s0" / "cells.parquet"
    pq.write_table(pq.read_table(file).slice(7), file)
    with pytest.raises(DataError, match="same windows"):
        analyse(out)


def test_a_zero_shot_on_other_windows_is_refused(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    file = out / "runs" / "zero-shot-s0" / "cells.parquet"
    cells: pd.DataFrame = pq.read_table(file).to_pandas()
    pq.write_table(pa.Table.from_pandas(cells.assign(n_mae=cells["n_mae"] * 2), preserve_index=False), file)
    with pytest.raises(DataError, match="same windows"):
        analyse(out)


def test_what_is_no_sweep_is_refused(made_up, tmp_path):
    with pytest.raises(ConfigError, match="no finished arm with a rank"):
        analyse(tmp_path / "nothing")
    out = made_up({1: 5.0, 2: 3.0})
    other = out / "runs" / "vera"
    shutil.copytree(out / "runs" / "lora-r-1-s0", other)
    result = json.loads((other / "result.json").read_text())
    (other / "result.json").write_text(json.dumps(result | {"method": "vera"}))
    with pytest.raises(ConfigError, match="tiny lora, tiny vera"):
        analyse(out)


def test_arms_that_differ_in_more_than_the_rank_are_refused(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    other = out / "runs" / "half"
    shutil.copytree(out / "runs" / "lora-r-1-s0", other)
    result = json.loads((other / "result.json").read_text())
    (other / "result.json").write_text(json.dumps(result | {"arm": "tiny lora r=1 patients=0.5"}))
    with pytest.raises(ConfigError, match="rank 1"):
        analyse(out)


def test_a_signal_with_too_few_validation_patients_is_noted(made_up):
    out = made_up({1: 5.0, 2: 3.0})
    for file in out.glob("runs/*/validation.parquet"):
        cells = pq.read_table(file).to_pandas()
        codes = np.unique(cells["patient"])[:7]
        kept = cells[(cells["signal"] != "map") | cells["patient"].isin(codes[:5])]
        pq.write_table(pa.Table.from_pandas(kept, preserve_index=False), file)
    sweep = analyse(out, resamples=50)
    assert set(sweep["thresholds"]) == {"all", "heart_rate"}
    assert any("map: 5 validation patients are too few" in note for note in sweep["notes"])


@pytest.mark.parametrize("patients", [0, 5])
def test_too_few_validation_patients_are_refused_with_what_to_do(patients):
    with pytest.raises(ConfigError, match=rf"{patients} validation patients.*at least 6.*larger share"):
        refuse_few_patients(patients)
    refuse_few_patients(6)


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"sweep\.json"):
        read_sweep(tmp_path)
