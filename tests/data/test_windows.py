"""Windows second: each lies in one series, on its patient's side, and holds what the table holds."""

import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from loracast.data.series import series_of
from loracast.data.split import SIDES, split_patients
from loracast.data.table import Table, patients_of
from loracast.data.windows import cut_windows, open_windows, patients_with_windows, split_and_cut
from loracast.errors import ConfigError, DataError
from loracast.files import digest
from loracast.spec import SplitSpec, WindowSpec
from loracast.training.task import Examples
from tests.conftest import START, write_long

SPEC = WindowSpec(context=24, horizon=6, stride=5)


def sides_of(table: Table, seed: int = 0) -> dict[str, str]:
    return split_patients(patients_of(table), SplitSpec(seed=seed))


def origins(table: Table, windows) -> Iterator[tuple[str, int, int, str, str, int]]:
    """Side, row and code of every window with patient, signal and start of the series that its offset lies in."""
    ends, starts, ones = [], [], []
    total = 0
    for one in series_of(table):
        if len(one.values) < windows.meta["context"] + windows.meta["horizon"]:
            continue
        starts.append(total)
        total += len(one.values)
        ends.append(total)
        ones.append(one)
    for side in SIDES:
        found = windows.side(side)
        for row in range(len(found)):
            offset = int(found.index[row, 0])
            at = int(np.searchsorted(ends, offset, side="right"))
            assert offset + windows.meta["context"] + windows.meta["horizon"] <= ends[at], "crosses into another series"
            yield side, row, int(found.patient[row]), ones[at].patient, ones[at].signal, offset - starts[at]


@st.composite
def tables(draw) -> dict[tuple[str, str, str], list[float | None]]:
    """Three to five patients, one to two stays each, of any length, with any gaps between observed ends."""
    rows = {}
    for patient in range(draw(st.integers(3, 5))):
        for stay in range(draw(st.integers(1, 2))):
            length = draw(st.integers(2, 40))
            seen = draw(st.lists(st.booleans(), min_size=length, max_size=length))
            values = [float(patient * 10_000 + stay * 1000 + i) if s else None for i, s in enumerate(seen)]
            values[0], values[-1] = 1.0, 2.0
            rows[f"p{patient}", f"s{patient}-{stay}", "heart_rate"] = values
    return rows


@given(
    rows=tables(),
    context=st.integers(4, 8),
    horizon=st.integers(1, 4),
    stride=st.integers(1, 5),
    shares=st.tuples(st.sampled_from([0.01, 0.5, 1.0]), st.sampled_from([0.01, 0.5, 1.0])),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_store_holds_exactly_the_windows_that_a_plain_loop_finds(tmp_path, rows, context, horizon, stride, shares):
    table, out = write_long(tmp_path / "t.parquet", rows), Path(tempfile.mkdtemp(dir=tmp_path)) / "w"
    spec = WindowSpec(
        context=context, horizon=horizon, stride=stride, min_context_observed=shares[0], min_target_observed=shares[1]
    )
    sides = sides_of(table)
    expected: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
    for one in series_of(table):
        for start in range(0, len(one.values) - context - horizon + 1, stride):
            cut = one.values[start : start + context + horizon]
            seen = (~np.isnan(cut[:context])).sum(), (~np.isnan(cut[context:])).sum()
            if min(seen) >= 1 and seen[0] / context >= shares[0] and seen[1] / horizon >= shares[1]:
                expected[sides[one.patient]].append(cut)
    if not all(expected.values()):
        with pytest.raises(DataError, match="No window"):
            cut_windows(table, sides, spec, out)
        return
    windows = cut_windows(table, sides, spec, out)
    for side in SIDES:
        found = windows.side(side)
        cut = [np.concatenate([w["context"], w["future"]]) for w in (found[i] for i in range(len(found)))]
        np.testing.assert_array_equal(cut, expected[side])


@pytest.mark.parametrize(
    ("hidden", "attrition"),
    [
        ((2, 3), {"context_too_sparse": 0, "target_too_sparse": 0}),
        ((1, 2, 3), {"context_too_sparse": 3, "target_too_sparse": 0}),
        ((5, 6), {"context_too_sparse": 0, "target_too_sparse": 0}),
        ((4, 5, 6), {"context_too_sparse": 0, "target_too_sparse": 3}),
    ],
)
def test_a_window_of_which_just_half_is_measured_is_kept(tmp_path, hidden, attrition):
    values = [None if step in hidden else float(step) for step in range(8)]
    # One window a patient whose steps are hidden, and one that is whole, so that no side is empty.
    rows = {(f"p{n}", f"s{n}-{k}", "map"): row for n in range(3) for k, row in enumerate((values, [1.0] * 8))}
    table = write_long(tmp_path / "t.parquet", rows)
    found = cut_windows(table, sides_of(table), WindowSpec(context=4, horizon=4), tmp_path / "w").meta["attrition"]
    assert {name: found[name] for name in attrition} == attrition


def test_windows_never_cross_series_and_lie_on_their_patients_side(vitals, tmp_path):
    sides = sides_of(vitals)
    windows = cut_windows(vitals, sides, SPEC, tmp_path / "w")
    patients = list(sides)
    found = list(origins(vitals, windows))
    assert len(found) == sum(windows.meta["counts"].values())
    for side, row, code, patient, signal, start in found:
        assert patients[code] == patient
        assert sides[patient] == side
        assert vitals.signals[int(windows.side(side).signal[row])] == signal
        assert start % SPEC.stride == 0
    codes = windows.patients()
    assert not codes["train"] & codes["test"]
    assert not codes["train"] & codes["validation"]
    assert not codes["validation"] & codes["test"]


def test_the_counts_add_up(vitals, tmp_path):
    spec = WindowSpec(context=24, horizon=6, stride=3, min_context_observed=0.85, min_target_observed=0.8)
    meta = cut_windows(vitals, sides_of(vitals), spec, tmp_path / "w").meta
    lost = meta["attrition"]
    assert lost["context_too_sparse"] > 0
    assert lost["target_too_sparse"] > 0
    assert sum(meta["counts"].values()) == lost["windows"] - lost["context_too_sparse"] - lost["target_too_sparse"]
    assert sum(meta["patients"].values()) == len(patients_of(vitals))
    assert lost["series"] == len(list(series_of(vitals)))


def test_the_same_table_and_split_give_the_same_bytes(vitals, tmp_path):
    for name in ("one", "two"):
        cut_windows(vitals, sides_of(vitals), SPEC, tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_a_batch_holds_the_same_as_its_windows_one_by_one(vitals, tmp_path):
    train = cut_windows(vitals, sides_of(vitals), SPEC, tmp_path / "w").train
    for rows in train.batches(7):
        context, future = train.batch(rows)
        assert context.shape[1:] == (24,)
        for i, row in enumerate(range(rows.start, rows.stop)):
            np.testing.assert_array_equal(train[row]["context"], context[i])
            np.testing.assert_array_equal(train[row]["future"], future[i])


def test_the_order_of_batches_does_not_depend_on_the_number_of_workers(vitals, tmp_path):
    train = cut_windows(vitals, sides_of(vitals), SPEC, tmp_path / "w").train

    def batches(workers: int) -> list[dict[str, torch.Tensor]]:
        shuffled = torch.Generator().manual_seed(3)
        examples = Examples(train)
        return list(
            DataLoader(
                examples, 16, shuffle=True, num_workers=workers, generator=shuffled, collate_fn=examples.together
            )
        )

    for one, other in zip(batches(0), batches(2), strict=True):
        for name in one:
            assert torch.equal(one[name].nan_to_num(-1), other[name].nan_to_num(-1))


def test_every_window_knows_when_it_starts(vitals, tmp_path):
    windows = cut_windows(vitals, sides_of(vitals), SPEC, tmp_path / "w")
    began = int((START - datetime(1970, 1, 1)).total_seconds())
    for side, row, _, _, _, step in origins(vitals, windows):
        assert windows.side(side).starts(slice(row, row + 1)).tolist() == [began + 3600 * step]


@pytest.fixture
def ragged(tmp_path) -> Table:
    """Four stays whose two signals begin at different hours, and where one of them is often missing."""
    rng = np.random.default_rng(0)
    rows = {}
    for number in range(4):
        for signal, late in (("heart_rate", 0), ("map", 3 + number)):
            values = rng.normal(80, 5, 60).tolist()
            values[1:late] = [None] * max(0, late - 1)
            rows[f"p{number}", f"s{number}", signal] = values[late:] if signal == "map" else values
    table = write_long(tmp_path / "ragged.parquet", rows)
    frame = pq.read_table(table.path).to_pandas()
    late = frame.groupby("series")["value"].transform("size")
    frame.loc[frame["signal"] == "map", "time"] += pd.to_timedelta(60 - late, unit="h")
    pq.write_table(pa.Table.from_pandas(frame, schema=pq.read_schema(table.path), preserve_index=False), table.path)
    return Table.open(table.path)


def test_joint_windows_of_a_stay_start_together_and_stand_beside_each_other(ragged, tmp_path):
    spec = WindowSpec(context=24, horizon=6, stride=5, joint=True)
    windows = cut_windows(ragged, sides_of(ragged), spec, tmp_path / "w")
    began = int((START - datetime(1970, 1, 1)).total_seconds())
    for side in SIDES:
        found = windows.side(side)
        assert found.groups < len(found)
        for i in range(found.groups):
            rows = found.group(i)
            assert len(set(found.patient[rows])) == len(set(found.starts(rows))) == 1
            assert sorted(set(found.signal[rows])) == list(found.signal[rows])
            assert ((found.starts(rows) - began) // 3600 % 5 == 0).all()
        pairs = {(p, s) for p, s in zip(found.patient, found.starts(slice(None)), strict=True)}
        assert len(pairs) == found.groups, "no group is torn apart"


@pytest.mark.parametrize(("stride", "starts", "too_short"), [(30, 2 + 1, 0), (31, 1, 4)])
def test_joint_windows_begin_with_their_stay_and_every_series_is_counted(ragged, tmp_path, stride, starts, too_short):
    # One signal lasts 60 hours, the other begins some hours later and so has no use for the first start.
    spec = WindowSpec(context=24, horizon=6, stride=stride, joint=True)
    meta = cut_windows(ragged, sides_of(ragged), spec, tmp_path / "w").meta
    assert sum(meta["counts"].values()) == 4 * starts
    assert meta["attrition"]["series_too_short"] == too_short
    assert meta["attrition"]["series"] == 8


def test_two_stays_of_one_patient_with_the_same_clock_are_two_groups(tmp_path):
    rows = {
        (f"p{i}", f"s{i}{stay}", signal): [80.0] * 30 for i in range(3) for stay in "ab" for signal in ("map", "sbp")
    }
    table = write_long(tmp_path / "t.parquet", rows)
    spec = WindowSpec(context=24, horizon=6, joint=True)
    windows = cut_windows(table, sides_of(table), spec, tmp_path / "w")
    for side in SIDES:
        assert len(windows.side(side)) == 2 * windows.side(side).groups == 4


@pytest.mark.parametrize("size", [1, 3, 4, 1000])
def test_batches_and_choices_of_joint_windows_take_whole_groups(ragged, tmp_path, size):
    spec = WindowSpec(context=24, horizon=6, stride=5, joint=True)
    train = cut_windows(ragged, sides_of(ragged), spec, tmp_path / "w").train
    slices = list(train.batches(size))
    assert [rows.start for rows in slices] == [0, *(rows.stop for rows in slices[:-1])]
    assert slices[-1].stop == len(train)
    numbers = [set(train.numbers(rows)) for rows in slices]
    assert sum(map(len, numbers)) == len(set.union(*numbers)) == train.groups
    few = train.some(6, seed=0)
    assert {tuple(row) for row in few.index} <= {tuple(row) for row in train.index}
    assert few.groups == 6 * train.groups // len(train)


def test_a_training_batch_of_joint_windows_numbers_its_groups(ragged, tmp_path):
    spec = WindowSpec(context=24, horizon=6, stride=5, joint=True)
    examples = Examples(cut_windows(ragged, sides_of(ragged), spec, tmp_path / "w").train)
    batch = examples.together([examples[i] for i in range(3)])
    sizes = [len(examples[i]["start"]) for i in range(3)]
    assert batch["group"].tolist() == [i for i, size in enumerate(sizes) for _ in range(size)]
    assert batch["context"].shape == (sum(sizes), 24)


def test_values_and_indices_are_mapped_not_read(vitals, tmp_path):
    windows = cut_windows(vitals, sides_of(vitals), SPEC, tmp_path / "w")
    for side in SIDES:
        assert isinstance(windows.side(side).values, np.memmap)
        assert isinstance(windows.side(side).index, np.memmap)
    assert isinstance(windows.train.some(5, seed=0).values, np.memmap)
    opened = open_windows(tmp_path / "w")
    np.testing.assert_array_equal(opened.test.index, windows.test.index)


def test_a_choice_of_windows_is_seeded_and_keeps_their_order(vitals, tmp_path):
    train = cut_windows(vitals, sides_of(vitals), SPEC, tmp_path / "w").train
    few = train.some(10, seed=1)
    assert len(few) == 10
    assert np.all(np.diff(few.index[:, 0]) > 0)
    np.testing.assert_array_equal(few.index, train.some(10, seed=1).index)
    assert train.some(10_000, seed=1) is train


def test_where_no_window_is_left_the_error_names_side_and_reason(long_table, tmp_path):
    table = long_table({(f"p{i}", f"s{i}", "map"): [70.0] * (40 if i else 20) for i in range(3)})
    with pytest.raises(DataError, match=r"left for .*Of 3 series 1 are shorter than a window") as caught:
        cut_windows(table, sides_of(table), WindowSpec(context=24, horizon=6), tmp_path / "w")
    assert not any(name in str(caught.value) for name in ("p0", "s0"))
    assert [path.name for path in tmp_path.iterdir()] == ["vitals.parquet"]


def test_the_refusal_says_how_many_patients_each_side_got(long_table, tmp_path):
    table = long_table({(f"p{i}", f"s{i}", "map"): [70.0] * (40 if i < 2 else 20) for i in range(6)})
    with pytest.raises(
        DataError, match=r"Patients: train 4 \(\d with windows\), validation 1 \(\d with windows\), test 1"
    ):
        split_and_cut(table, SplitSpec(), WindowSpec(context=24, horizon=6), tmp_path / "w")


@pytest.mark.parametrize("joint", [False, True])
def test_patients_with_windows_are_those_of_whom_one_is_cut(vitals, tmp_path, joint):
    spec = WindowSpec(context=24, horizon=6, stride=5, min_context_observed=0.95, joint=joint)
    found = patients_with_windows(vitals, spec)
    sides = split_patients(patients_of(vitals), SplitSpec(), found)
    windows = cut_windows(vitals, sides, spec, tmp_path / "w")
    codes = set().union(*windows.patients().values())
    assert found == {patient for code, patient in enumerate(sides) if code in codes}
    assert 0 < len(found) < len(sides)
    assert windows.spec == spec.resolved(vitals.step_seconds)


def test_each_side_gets_patients_with_windows_where_there_are_three(long_table, tmp_path):
    sides = sides_of(long_table({(f"p{i}", f"s{i}", "map"): [70.0] * 40 for i in range(10)}))
    having = [patient for patient, side in sides.items() if side == "train"][:3]
    table = long_table({(p, f"s{p}", "map"): [70.0] * (40 if p in having else 20) for p in sides})
    spec = WindowSpec(context=24, horizon=6)
    windows = split_and_cut(table, SplitSpec(), spec, tmp_path / "w")
    assert windows.count_patients() == {"train": 1, "validation": 1, "test": 1}
    assert windows.meta["patients"] == {"train": 8, "validation": 1, "test": 1}
    assert windows.meta["split_by_windows"]
    shorter = split_and_cut(table, SplitSpec(), WindowSpec(context=12, horizon=6), tmp_path / "short")
    assert not shorter.meta["split_by_windows"]
    assert shorter.meta["split_fingerprint"] == digest(sides)


def test_sparse_targets_are_the_reason_given_where_they_are(long_table, tmp_path):
    sparse = [70.0, *[None] * 38, 70.0]
    table = long_table({(f"p{i}", f"s{i}", "map"): sparse for i in range(3)})
    with pytest.raises(DataError, match=r"of 6 windows 6 have a context and 0 a target that is measured too rarely"):
        cut_windows(table, sides_of(table), WindowSpec(context=24, horizon=6), tmp_path / "w")


def test_a_folder_without_windows_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"windows\.json is missing"):
        open_windows(Path(tmp_path))


def test_a_smaller_share_of_the_patients_is_part_of_a_larger_one(vitals, tmp_path):
    train = cut_windows(vitals, sides_of(vitals), WindowSpec(context=24, horizon=6), tmp_path / "w").train
    everyone = set(train.patient.tolist())
    chosen = [set(train.of_patients(share, seed=3).patient.tolist()) for share in (0.01, 0.3, 0.6, 1.0)]
    assert [len(some) for some in chosen] == [1, round(0.3 * len(everyone)), round(0.6 * len(everyone)), len(everyone)]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3] == everyone
    some = train.of_patients(0.3, seed=3)
    assert len(some) == sum(patient in chosen[1] for patient in train.patient.tolist())
    assert {frozenset(train.of_patients(0.3, seed=s).patient.tolist()) for s in range(9)} != {frozenset(chosen[1])}


def test_who_sees_less_of_the_context_sees_its_end_and_the_same_future(vitals, tmp_path):
    test = cut_windows(vitals, sides_of(vitals), WindowSpec(context=24, horizon=6), tmp_path / "w").test
    short = test.seeing(8)
    rows = slice(0, 5)
    (context, future), (seen, same) = test.batch(rows), short.batch(rows)
    np.testing.assert_array_equal(seen, context[:, -8:])
    np.testing.assert_array_equal(same, future)
    np.testing.assert_array_equal(short.starts(rows), test.starts(rows) + 16 * test.step_seconds)
    assert test.seeing(None) is test.seeing(24) is test


def test_more_context_than_the_windows_have_is_refused_not_read_from_the_series_before(vitals, tmp_path):
    test = cut_windows(vitals, sides_of(vitals), WindowSpec(context=24, horizon=6), tmp_path / "w").test
    with pytest.raises(ConfigError, match=r"context of 30 steps is longer than the windows' \(24\)"):
        test.seeing(30)


def test_a_window_whose_last_steps_nobody_observed_is_left_out_for_who_sees_only_them(long_table, tmp_path):
    gap = [80.0] * 18 + [None] * 6 + [81.0] * 6
    table = long_table({(f"p{i}", f"s{i}", "heart_rate"): gap if i < 3 else [80.0, 81.0] * 15 for i in range(10)})
    sides = {f"p{i}": ("train", "validation", "test")[i % 3] for i in range(10)}
    spec = WindowSpec(context=24, horizon=6)
    whole = cut_windows(table, sides, spec, tmp_path / "whole")
    short = cut_windows(table, sides, spec, tmp_path / "short", shortest=6)
    assert sum(whole.meta["counts"].values()) == 10
    assert sum(short.meta["counts"].values()) == 7
    assert short.meta["attrition"]["context_too_sparse"] == 3
    for side in (short.train, short.validation, short.test):
        assert not np.isnan(side.seeing(6).batch(slice(None))[0]).all(axis=1).any()
