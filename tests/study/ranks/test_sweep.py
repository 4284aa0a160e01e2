"""The experiment of a sweep, and a sweep from a table to its thresholds."""

import pytest

from loracast.errors import ConfigError, DataError
from loracast.study.engine import Plan
from loracast.study.ranks.result import Relation, read_sweep
from loracast.study.ranks.sweep import _left, is_rank_sweep, rank_experiment, sweep_ranks, sweep_tables
from loracast.study.summary import Summary, read_facts
from tests.conftest import cohort

FAST = {
    "window": {"context": 24, "horizon": 6, "stride": 18},
    "training": {"steps": 4, "batch_size": 32, "evaluate_every": 2, "learning_rate": 0.003},
    "forecasting": {"samples": 4},
}


def quiet(_):
    return None


def test_it_is_zero_shot_full_and_an_arm_a_rank(vitals, tiny):
    spec = rank_experiment(vitals, model=str(tiny), ranks=(2, 1), seeds=3)
    content = [arm.as_json() for arm in spec.arms]
    assert [(arm["method"], arm.get("rank")) for arm in content] == [
        ("zero-shot", None),
        ("full", None),
        ("lora", 1),
        ("lora", 2),
    ]
    assert is_rank_sweep(spec)
    assert (spec.seeds, spec.validation_scores, spec.name) == ((0, 1, 2), True, "vitals")
    assert spec.split.shares == (0.6, 0.2, 0.2)
    without = rank_experiment(vitals, model=str(tiny), ranks=(1, 2), full=False)
    assert [arm.method.name for arm in without.arms] == ["zero-shot", "lora", "lora"]


def test_an_experiment_is_a_sweep_where_one_model_has_the_ranks_of_one_method_alone(vitals, tiny):
    spec = rank_experiment(vitals, model=str(tiny), ranks=(1, 2), alpha_per_rank=8)
    assert is_rank_sweep(spec)
    zero_shot, full, first, second = spec.arms
    qv = rank_experiment(vitals, model=str(tiny), ranks=(1, 2), sites="qv").arms[2]
    dora = rank_experiment(vitals, model=str(tiny), ranks=(1, 2), method="dora").arms[3]
    for arms in ([zero_shot, full, first], [zero_shot, first, second, qv], [zero_shot, first, dora], [full, full]):
        assert not is_rank_sweep(spec.model_copy(update={"arms": tuple(arms)}))
    assert not is_rank_sweep(spec.model_copy(update={"validation_scores": False}))


def test_alpha_is_fixed_unless_it_is_asked_to_follow_the_rank(vitals, tiny):
    def alphas(**more):
        return [
            arm.as_json()["alpha"] for arm in rank_experiment(vitals, model=str(tiny), ranks=(1, 2, 8), **more).arms[2:]
        ]

    assert alphas() == [16, 16, 16]
    assert alphas(alpha=4) == [4, 4, 4]
    assert alphas(alpha_per_rank=8) == [8, 16, 64]


def test_settings_reach_their_place(vitals, tiny):
    spec = rank_experiment(
        vitals, model=str(tiny), ranks=(1, 2), sites="qv", split={"seed": 4}, name="other", method="dora", **FAST
    )
    assert (spec.windows.context, spec.training.steps, spec.forecast.samples) == (24, 4, 4)
    assert (spec.split.seed, spec.split.shares, spec.name) == (4, (0.6, 0.2, 0.2), "other")
    assert {(arm.method.name, arm.as_json()["sites"]) for arm in spec.arms[2:]} == {("dora", "qv")}


def test_ranks_beyond_the_matrices_are_left_out_and_told_where_none_were_asked_for(vitals, tiny):
    told = []
    spec = rank_experiment(vitals, model=str(tiny), say=told.append)
    assert [arm.as_json()["rank"] for arm in spec.arms[2:]] == [1, 2, 4, 8, 16]  # the tiny backbone is 16 wide
    assert len(told) == 1
    assert "32, 64" in told[0]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"ranks": (4,)}, "at least two"),
        ({"ranks": (2, 2)}, "at least two"),
        ({"ranks": (0, 2)}, "at least two"),
        ({"seeds": 0}, "at least 1"),
        ({"method": "full"}, "no rank to sweep"),
        ({"method": "nothing"}, "no rank to sweep"),
        ({"ranks": (1, 2), "training": {"step": 4}}, "training"),
    ],
)
def test_what_makes_no_sweep_is_refused(vitals, tiny, asked, reason):
    with pytest.raises(ConfigError, match=reason):
        rank_experiment(vitals, model=str(tiny), **asked)


def test_too_few_validation_patients_are_refused_before_anything_is_trained(vitals, tiny, tmp_path):
    # 14 patients: a fifth of them is 3.
    with pytest.raises(ConfigError, match="3 validation patients"):
        sweep_ranks(vitals, tmp_path / "out", model=str(tiny), ranks=(1, 2), say=quiet, **FAST)
    assert not (tmp_path / "out").exists()


def test_patients_without_a_validation_window_do_not_count(long_table, tiny, tmp_path):
    rows = cohort(40)
    short = {patient for patient, _, _ in rows if not patient.endswith(("0", "5"))}
    rows = {key: values[:20] if key[0] in short else values for key, values in rows.items()}
    table = long_table(rows)
    with pytest.raises(ConfigError, match="validation patients have a window"):
        sweep_ranks(table, tmp_path / "out", model=str(tiny), ranks=(1, 2), say=quiet, **FAST)
    assert not (tmp_path / "out").exists()


def test_a_signal_called_all_is_refused(long_table, tiny, tmp_path):
    rows = {(patient, stay, "all"): values for (patient, stay, signal), values in cohort(9).items() if signal == "map"}
    with pytest.raises(ConfigError, match="'all'"):
        sweep_ranks(long_table(rows), tmp_path / "out", model=str(tiny), ranks=(1, 2), say=quiet, **FAST)


def test_two_tables_of_one_name_are_refused(many, tiny, tmp_path):
    with pytest.raises(ConfigError, match="many"):
        sweep_tables([many.path, many.path], tmp_path, model=str(tiny), ranks=(1, 2), say=quiet, **FAST)


def test_a_table_that_is_not_there_is_told_before_another_is_trained_on(many, tiny, tmp_path):
    tables = [many.path, tmp_path / "missing.parquet"]
    with pytest.raises(DataError, match="missing"):
        sweep_tables(tables, tmp_path / "out", model=str(tiny), ranks=(1, 2), say=quiet, **FAST)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def swept(many, tiny, tmp_path_factory):
    """Two ranks, two seeds, four steps."""
    out = tmp_path_factory.mktemp("swept") / "out"
    sweep_ranks(many, out, model=str(tiny), ranks=(1, 2), seeds=2, progress=False, say=quiet, **FAST)
    return out


def test_a_sweep_is_written_beside_the_summary(swept):
    sweep = read_sweep(swept)
    assert (swept / "summary.json").is_file()
    assert (sweep.ranks, sweep.seeds, sweep.data) == ([1, 2], [0, 1], "many")
    assert sweep.patients == {"validation": 8, "test": 8}
    for threshold in sweep.thresholds.values():
        assert threshold.rank in (1, 2)
        assert len(threshold.by_seed) == 2
    assert set(sweep.zero_shot) == set(sweep.full) == {"all", "heart_rate", "map"}


def test_its_test_errors_and_their_intervals_are_those_of_the_summary(swept):
    sweep, summary = read_sweep(swept), read_facts(Summary, swept / "summary.json")
    arms = {arm.settings.get("rank"): arm for arm in summary.arms if arm.method == "lora"}
    for row in sweep.rows:
        if row.signal != "all":
            scores = arms[row.rank].scores[row.signal]
            assert (row.test.value, row.test.ci95) == (scores.mae, scores.ci95["mae"])
            assert row.trainable_parameters == arms[row.rank].trainable_parameters


def test_what_is_done_is_not_done_again(swept, many, tiny):
    before = {path: path.stat().st_mtime_ns for path in swept.glob("runs/*/result.json")}
    sweep = sweep_ranks(many, swept, model=str(tiny), ranks=(1, 2), seeds=2, progress=False, say=quiet, **FAST)
    assert sweep == read_sweep(swept)
    assert {path: path.stat().st_mtime_ns for path in swept.glob("runs/*/result.json")} == before


def test_several_tables_have_a_folder_each_and_a_second_table(many, long_table, tiny, tmp_path):
    other = long_table(cohort(30, seed=3), name="other.parquet")
    fast = {**FAST, "training": {"steps": 1, "evaluate_every": 1}}
    sweeps, relation = sweep_tables(
        [many.path, other.path],
        tmp_path / "out",
        model=str(tiny),
        ranks=(1, 2),
        seeds=1,
        full=False,
        progress=False,
        say=quiet,
        **fast,
    )
    assert [sweep.data for sweep in sweeps] == ["many", "other"]
    assert sweeps == [read_sweep(tmp_path / "out" / name) for name in ("many", "other")]
    assert read_facts(Relation, tmp_path / "out" / "thresholds.json") == relation
    assert [(row.data, row.signal) for row in relation.rows] == [
        ("many", "heart_rate"),
        ("many", "map"),
        ("other", "heart_rate"),
        ("other", "map"),
    ]


def test_tables_share_one_budget():
    assert _left(Plan(max_hours=2), 1800) == Plan(max_hours=1.5)
    assert 0 < (_left(Plan(max_hours=2), 9000).max_hours or 0) < 1e-6  # nothing more is begun
    assert _left(Plan(jobs=2), 9000) == Plan(jobs=2)
