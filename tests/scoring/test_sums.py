"""Windows to sums, sums to disk, and the runs of an arm laid on top of each other."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loracast.errors import ConfigError, DataError
from loracast.scoring import sums as module
from loracast.scoring.cell_tables import COLUMNS
from loracast.scoring.cells import METRICS, score_cells
from loracast.scoring.compare import summarise
from loracast.scoring.sums import Sums, by_signal, over_signals
from tests.scoring.arms import NAN, SIGNALS, C, H, arm, cohort, forecast_of, frame_of, sums_of


@settings(max_examples=25)
@given(st.integers(1, 130), st.permutations(range(120)))
def test_the_size_of_batches_and_the_order_of_windows_change_nothing(batch, order):
    truth, context, patient, signal = cohort()
    point = np.nan_to_num(truth, nan=0) + np.linspace(-3, 5, truth.size).reshape(truth.shape)
    whole = frame_of(sums_of(truth, forecast_of(point, 2), context, patient, signal))
    order = list(order)
    shuffled = (truth[order], forecast_of(point[order], 2), context[order], patient[order], signal[order])
    pd.testing.assert_frame_equal(frame_of(sums_of(*shuffled, batch=batch)), whole, rtol=1e-12)


def test_sums_survive_the_way_to_disk(tmp_path):
    sums = arm()
    path = tmp_path / "cells.parquet"
    sums.to_parquet(path)
    assert pq.read_schema(path).names == COLUMNS
    assert summarise([Sums.from_parquet(path)]) == summarise([sums])
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    path = tmp_path / "cells.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        Sums.from_parquet(path)
    pd.DataFrame({"patient": [1]}).to_parquet(path)
    with pytest.raises(DataError, match="not the sums"):
        Sums.from_parquet(path)


@pytest.mark.parametrize(
    ("column", "changed"),
    [
        ("patient", lambda values: values.astype(float)),
        ("windows", lambda values: -values),
        ("n_mae", lambda values: values.astype(float)),
        ("n_crps", lambda values: values - 10_000),
        ("sum_mae", lambda values: values.where(values.index > 0, np.inf)),
        ("sum_mae", lambda values: values.astype(int)),
        ("targets", lambda values: values.where(values.index > 0, NAN)),
        ("targets", lambda values: values.round().astype(int)),
        ("signal", lambda values: values.index),
        ("worst_sum", lambda values: values.round().astype(int)),
    ],
)
def test_columns_that_are_no_sums_and_counts_are_refused_with_the_name_of_the_file(tmp_path, column, changed):
    path = tmp_path / "run-s0" / "cells.parquet"
    path.parent.mkdir()
    cells = frame_of(arm())
    assert column in cells.columns
    cells.assign(**{column: changed(cells[column])}).to_parquet(path, index=False)
    with pytest.raises(DataError, match=r"^run-s0/cells\.parquet holds other things than sums and counts"):
        Sums.from_parquet(path)


def test_a_byte_that_turned_is_found_by_the_checksum_of_its_page(tmp_path):
    path = tmp_path / "cells.parquet"
    arm().to_parquet(path)
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(COLUMNS.index("sum_mae"))
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cells\.parquet cannot be read as Parquet \([A-Za-z]+Error\)"):
        Sums.from_parquet(path)


def test_sums_replace_those_of_an_earlier_try(tmp_path):
    arm().to_parquet(tmp_path / "cells.parquet")
    arm(shift=1.0).to_parquet(tmp_path / "cells.parquet")
    assert summarise([Sums.from_parquet(tmp_path / "cells.parquet")]) == summarise([arm(shift=1.0)])


def test_one_seed_of_an_arm_is_that_run_alone():
    together, alone = by_signal([arm(), arm(noise_seed=2)]), by_signal([arm(noise_seed=2)])
    for signal, sums in together.items():
        second = sums.seed(1)
        for name in ("sums", "step_sums", "worst"):
            np.testing.assert_array_equal(getattr(second, name), getattr(alone[signal], name))


def test_horizons_are_not_mixed():
    sums = arm()
    longer, code = np.ones((1, H + 1)), np.zeros(1, int)
    cells = score_cells(longer, forecast_of(longer), longer, patient=code, signal=code, signals=SIGNALS)
    with pytest.raises(DataError, match="Score one horizon at a time"):
        sums.add(cells)


def test_a_batch_whose_arrays_do_not_belong_together_is_refused():
    truth = np.ones((2, H))
    for patient, signal in (([0], [0, 0]), ([0, 0], [0, 2])):
        with pytest.raises(DataError, match="give one of each a window"):
            score_cells.__wrapped__(  # past the tests' own check of shapes
                truth, forecast_of(truth), truth, patient=np.array(patient), signal=np.array(signal), signals=SIGNALS
            )


def test_an_empty_batch_adds_nothing():
    truth, context, patient, signal = cohort()
    empty = score_cells(
        truth[:0], forecast_of(truth[:0]), context[:0], patient=patient[:0], signal=signal[:0], signals=SIGNALS
    )
    assert len(empty) == 0
    sums = arm()
    before = frame_of(sums)
    sums.add(empty)
    pd.testing.assert_frame_equal(frame_of(sums), before)


def test_an_arm_is_an_array_of_seeds_and_patients_a_signal():
    runs = [arm(noise_seed=seed) for seed in range(3)]
    found = by_signal(runs)
    assert list(found) == ["heart_rate", "spo2"]
    for name, sums in found.items():
        cells = frame_of(runs[1]).query("signal == @name")
        assert (sums.scores, sums.seeds) == (tuple(METRICS), 3)
        np.testing.assert_array_equal(sums.patients, np.unique(cells["patient"]))
        np.testing.assert_allclose(sums.sums[0, 1], cells.groupby("patient")["sum_mae"].sum())
        np.testing.assert_array_equal(sums.counts[0], cells.groupby("patient")["n_mae"].sum())
        by_step = cells.groupby("step")[["sum_mae", "n_mae"]].sum().iloc[1:]
        np.testing.assert_allclose(sums.step_sums[0, 1] / sums.step_counts[0], by_step["sum_mae"] / by_step["n_mae"])
        assert sums.windows == cells["windows"].sum()
        one, alone = sums.seed(1), by_signal([runs[1]])[name]
        np.testing.assert_array_equal(one.values(), alone.values())
        np.testing.assert_array_equal(one.by_step(), alone.by_step())


def test_what_is_added_after_a_look_is_seen_by_the_next():
    run, one = arm(), arm()
    before = by_signal([run])["spo2"]
    for part in one.parts():
        run.add(part)
    after = by_signal([run])["spo2"]
    assert np.allclose(after.sums, 2 * before.sums)
    assert after.windows == 2 * before.windows


def test_all_signals_together_pool_what_is_free_of_units():
    run = arm()
    found, cells = over_signals([run, run], ["mase"]), frame_of(run)
    assert found.values() == pytest.approx([cells["sum_mase"].sum() / cells["n_mase"].sum()])
    assert found.sums.shape == (1, 2, 15)


def test_a_patient_without_an_observed_target_is_not_counted_as_scored():
    truth = np.full((4, H), 80.0)
    truth[2:] = NAN  # patients 2 and 3
    sums = sums_of(truth, forecast_of(np.full((4, H), 81.0)), np.ones((4, C)), np.arange(4), np.zeros(4, int))
    found = by_signal([sums])["heart_rate"]
    np.testing.assert_array_equal(found.patients, [0, 1])
    assert found.windows == 4


def test_a_patient_with_a_single_observed_target_is_scored():
    truth = np.full((2, H), NAN)
    truth[0, 0] = 80.0
    sums = sums_of(truth, forecast_of(np.full((2, H), 81.0)), np.ones((2, C)), np.arange(2), np.zeros(2, int))
    found = by_signal([sums])["heart_rate"]
    np.testing.assert_array_equal(found.patients, [0])
    assert found.values()[0] == 1.0


@pytest.mark.parametrize(("shift", "alike"), [(1e-8, True), (5e-6, False)])
def test_targets_are_the_same_up_to_the_rounding_of_float32(shift, alike):
    truth, context, patient, signal = cohort()
    one, other = (
        sums_of(values, forecast_of(np.full(truth.shape, 80.0)), context, patient, signal)
        for values in (truth, truth * (1 + shift))
    )
    if alike:
        by_signal([one, other])
    else:
        with pytest.raises(DataError, match="did not score the same windows"):
            by_signal([one, other])


@pytest.mark.parametrize("other", [{"windows": 119}, {"seed": 3}, {"patients": 14}])
def test_runs_on_other_windows_are_no_arm(other):
    with pytest.raises(DataError, match="Two runs of an arm did not score the same windows"):
        by_signal([arm(), arm(**other)])
    with pytest.raises(DataError, match="Two runs of an arm did not score the same windows"):
        over_signals([arm(), arm(**other)], ["mase"])


def test_no_run_is_no_arm():
    with pytest.raises(ConfigError, match="No run to score"):
        by_signal([])
    assert by_signal([Sums()]) == {}


def peak_of(sums, batches, patients):
    """Most bytes that were taken at a time while windows of these patients were added."""
    truth, context, _, signal = cohort(patients)
    forecast = forecast_of(np.nan_to_num(truth, nan=80) + 1)
    cells = score_cells(truth, forecast, context, patient=np.arange(patients), signal=signal, signals=SIGNALS)
    tracemalloc.start()
    for _ in range(batches):
        sums.add(cells)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_ten_times_the_windows_take_no_more_memory_and_twice_the_patients_twice_as_much():
    few, many, others = (peak_of(Sums(), *sizes) for sizes in ((30, 400), (300, 400), (30, 800)))
    assert many < 1.1 * few
    assert 1.5 * few < others < 2.5 * few


def test_adding_up_grows_by_more_than_it_needs_so_that_it_is_seldom():
    sums, truth = Sums(), np.full((1, H), 80.0)
    sizes = set()
    for patient in range(600):
        cells = score_cells(
            truth,
            forecast_of(truth),
            np.ones((1, C)),
            patient=np.array([patient]),
            signal=np.array([0]),
            signals=SIGNALS,
        )
        sums.add(cells)
        sizes.add(len(sums._held["sums"]))
    assert len(sizes) < 40
    assert by_signal([sums])["heart_rate"].windows == 600


def test_more_patients_than_are_looked_at_together_are_all_there(monkeypatch, tmp_path):
    whole, wanted = frame_of(arm()), by_signal([arm()])
    monkeypatch.setattr(module, "_PLACES", 4)
    pd.testing.assert_frame_equal(frame_of(arm()), whole)
    arm().to_parquet(tmp_path / "cells.parquet")
    assert pq.ParquetFile(tmp_path / "cells.parquet").metadata.num_row_groups == 8  # 15 patients, 2 signals
    for name, found in by_signal([Sums.from_parquet(tmp_path / "cells.parquet")]).items():
        for fact in ("sums", "counts", "step_sums", "step_counts", "targets", "worst"):
            np.testing.assert_allclose(getattr(found, fact), getattr(wanted[name], fact), rtol=1e-12)


@pytest.mark.parametrize(
    "changed",
    [
        lambda cells: cells.iloc[:-1],
        lambda cells: pd.concat([cells, cells.iloc[:1]]),
        lambda cells: pd.concat([cells.iloc[1:], cells.iloc[-1:]]),
        lambda cells: cells.assign(step=cells["step"] * 10**12),
        lambda cells: cells.assign(windows=1),
        lambda cells: cells.assign(worst_sum=-cells["worst_sum"]),
        lambda cells: cells.assign(worst_n=cells["worst_n"].where(cells["step"] == 0, 1.0)),
    ],
)
def test_rows_that_are_not_once_for_each_step_are_refused(tmp_path, changed):
    path = tmp_path / "cells.parquet"
    changed(frame_of(arm())).to_parquet(path, index=False)
    with pytest.raises(DataError, match=r"cells\.parquet holds other things than sums and counts"):
        Sums.from_parquet(path)


def test_rows_in_another_order_and_other_kinds_of_numbers_are_the_same_sums(tmp_path):
    cells = frame_of(arm()).sample(frac=1, random_state=1)
    cells.astype({"patient": "int32", "n_mae": "uint16"}).to_parquet(tmp_path / "cells.parquet", index=False)
    pd.testing.assert_frame_equal(frame_of(Sums.from_parquet(tmp_path / "cells.parquet")), frame_of(arm()))


def test_what_is_not_known_of_the_worst_window_stays_so_whatever_is_added():
    known, unknown = (score_of_one(error) for error in (3.0, 5.0))
    unknown = replace(unknown, worst=np.full((1, 2), NAN))
    for order in ([known, unknown], [unknown, known], [unknown, unknown]):
        sums = Sums()
        for cells in order:
            sums.add(cells)
        assert np.isnan(by_signal([sums])["heart_rate"].worst).all()


def score_of_one(error, targets=H):
    """The sums of one window with this error at its first steps."""
    truth = np.where(np.arange(H) < targets, 80.0, NAN)[None]
    code = np.zeros(1, int)
    return score_cells(
        truth, forecast_of(np.full((1, H), 80 + error)), np.ones((1, C)), patient=code, signal=code, signals=SIGNALS
    )


@pytest.mark.parametrize("turned", [False, True])
def test_of_windows_with_equal_errors_the_one_with_more_targets_is_worst_in_whatever_batch(turned):
    cells = [score_of_one(2.0, targets=2), score_of_one(1.0, targets=4), score_of_one(0.5, targets=4)]
    sums = Sums()
    for some in reversed(cells) if turned else cells:
        sums.add(some)
    assert by_signal([sums])["heart_rate"].worst[:, 0].tolist() == [[4.0], [4.0]]
