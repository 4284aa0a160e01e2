"""A whole experiment: each run once, on the same windows, to the same numbers, whatever happens on the way."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loracast.data.table import Table
from loracast.errors import ConfigError
from loracast.report import write_report
from loracast.study.experiment import ExperimentSpec
from loracast.study.runs import runs_of
from loracast.study.study import run_experiment
from loracast.study.summary import Summary, read_facts
from tests.conftest import PATIENT, STAY, cohort, save_backbone, spec_of, write_long
from tests.processes import child


def run(spec: ExperimentSpec, out: Path, **more: Any) -> Summary:
    return run_experiment(spec, out, progress=False, say=lambda _: None, **more)


def times(out: Path, pattern: str = "runs/*/[!e]*") -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob(pattern)}


def numbers(out: Path) -> dict[str, Any]:
    """What every run found, without what it cost."""
    found = {}
    for folder in sorted((out / "runs").iterdir()):
        result = json.loads((folder / "result.json").read_text())
        found[folder.name] = result["scores"], result["best_step"], (folder / "quantiles.npy").read_bytes()
    return found


def test_there_is_a_folder_a_run_and_nothing_is_left_of_checkpoints(done):
    assert sorted(path.name for path in (done / "runs").iterdir()) == [
        "context-mean-s0",
        "last-value-s0",
        "seasonal-naive-s0",
        "tiny-t5-full-s0",
        "tiny-t5-full-s1",
        "tiny-t5-lora-r-2-s0",
        "tiny-t5-lora-r-2-s1",
        "tiny-t5-zero-shot-s0",
    ]
    assert not [path for path in done.rglob("*") if "checkpoint" in path.name or path.name.endswith(".partial")]


def test_every_run_forecast_every_test_window(done):
    windows = json.loads((done / "summary.json").read_text())["windows"]
    for folder in (done / "runs").iterdir():
        quantiles = np.load(folder / "quantiles.npy", allow_pickle=False)
        assert quantiles.shape == (windows["counts"]["test"], 6, 9)
        assert quantiles.dtype == np.float32
        assert np.isfinite(quantiles).all()


def test_what_is_done_is_not_done_again(spec, done):
    before = times(done)
    summary = read_facts(Summary, done / "summary.json")
    assert run(spec, done) == summary
    assert times(done) == before
    assert before


def test_the_same_spec_gives_the_same_numbers_elsewhere(spec, done, tmp_path):
    run(spec.model_copy(update={"arms": spec.arms[:2], "seeds": (0,)}), tmp_path / "again")
    found, expected = numbers(tmp_path / "again"), numbers(done)
    for name in found:
        assert found[name] == expected[name], name
    for file in (tmp_path / "again" / "runs" / "tiny-t5-lora-r-2-s0" / "adapter").iterdir():
        assert file.read_bytes() == (done / "runs" / "tiny-t5-lora-r-2-s0" / "adapter" / file.name).read_bytes()


def test_another_seed_is_another_result_of_training(done):
    for arm in ("tiny-t5-lora-r-2", "tiny-t5-full"):
        one, other = (json.loads((done / "runs" / f"{arm}-s{seed}" / "learning.json").read_text()) for seed in (0, 1))
        assert one["train"] != other["train"]


def test_a_run_that_was_lost_is_done_again_alone(spec, done, tmp_path):
    out = Path(shutil.copytree(done, tmp_path / "copy"))
    lost = out / "runs" / "tiny-t5-lora-r-2-s1"
    (lost / "result.json").unlink()
    before = times(out)
    run(spec, out)
    assert {name for name, when in times(out).items() if before.get(name) != when} == {
        str(path.relative_to(out)) for path in lost.glob("[!e]*")
    }
    assert numbers(out) == numbers(done)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
from loracast.study import run as runs
from tests.conftest import spec_of
from tests.study.test_study import run

table, tiny, out = map(Path, sys.argv[1:])
whole, calls = runs.fit, 0

def fit(task, *arguments, **settings):
    def counted(batch):
        global calls
        calls += torch.is_grad_enabled()
        if calls == 8:  # the fourth step of the second seed
            os.kill(os.getpid(), signal.SIGKILL)
        return task.loss(batch)
    return whole(replace(task, loss=counted), *arguments, **settings)

runs.fit = fit
run(spec_of(table, tiny), out)
"""


@pytest.mark.parametrize("resume", [True, False])
def test_a_killed_experiment_goes_on_to_the_same_numbers(spec, vitals, tiny, done, tmp_path, killed, resume):
    out = Path(shutil.copytree(killed, tmp_path / "out"))
    assert (out / "runs" / "tiny-t5-lora-r-2-s1" / "checkpoints" / "checkpoint-2" / "complete.json").is_file()
    before = times(out, "runs/tiny-t5-lora-r-2-s0/[!e]*")
    assert before
    run(spec, out, resume=resume)
    assert times(out, "runs/tiny-t5-lora-r-2-s0/[!e]*") == before
    assert numbers(out) == numbers(done)
    for name in ("tiny-t5-lora-r-2-s1", "tiny-t5-full-s0"):
        assert (out / "runs" / name / "learning.json").read_bytes() == (
            done / "runs" / name / "learning.json"
        ).read_bytes()


@pytest.fixture(scope="module")
def killed(vitals: Table, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("killed") / "out"
    root, said = Path(__file__).parents[2], out.with_name("said")
    with child(KILLED, vitals.path, tiny, out, cwd=root, said=said) as one:
        assert one.ended() == -signal.SIGKILL, one.said()
    assert not (out / "summary.json").exists()
    return out


def test_a_folder_of_another_spec_is_refused_and_left_as_it_is(vitals, tiny, done):
    before = times(done, "**/*")
    other = spec_of(vitals.path, tiny, training={"steps": 5})
    with pytest.raises(ConfigError, match=r"holds results of another spec \(small, .*Nothing was changed"):
        run(other, done)
    assert times(done, "**/*") == before


def test_a_folder_with_something_else_in_it_is_refused(spec, tmp_path):
    (tmp_path / "thesis.tex").write_text("words")
    with pytest.raises(ConfigError, match="is not empty and holds no experiment"):
        run(spec, tmp_path)
    (tmp_path / "file").write_text("words")
    with pytest.raises(ConfigError, match="is a file"):
        run(spec, tmp_path / "file")
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex", "file"}


def test_data_that_changed_under_the_windows_are_refused(done, tiny, tmp_path):
    out = Path(shutil.copytree(done, tmp_path / "copy"))
    other = write_long(tmp_path / "other.parquet", cohort(14, seed=5))
    with pytest.raises(ConfigError, match="have changed since the windows were cut"):
        run(spec_of(other.path, tiny), out)


def test_weights_that_changed_between_runs_are_refused(spec, vitals, tiny, done, tmp_path):
    out = Path(shutil.copytree(done, tmp_path / "copy"))
    (out / "runs" / "tiny-t5-full-s1" / "result.json").unlink()
    other = save_backbone(tmp_path / "elsewhere" / "tiny-t5", seed=4)
    with pytest.raises(ConfigError, match="weights of tiny-t5 have changed between the runs"):
        run(spec_of(vitals.path, other), out)


def test_a_result_of_another_spec_in_a_runs_place_is_refused(spec, done, tmp_path):
    out = Path(shutil.copytree(done, tmp_path / "copy"))
    file = out / "runs" / "last-value-s0" / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "run_id": "0" * 16}))
    with pytest.raises(ConfigError, match="last-value-s0 holds a result of another spec"):
        run(spec, out)


def test_an_unknown_method_or_backbone_is_refused_before_anything_is_written(vitals, tiny, tmp_path):
    arms = [{"model": str(tiny), "method": "zero-shot"}, {"model": str(tiny), "method": "lorra"}]
    with pytest.raises(ConfigError, match="No method 'lorra'"):
        run(spec_of(vitals.path, tiny, arms=arms), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_zero_shot_trains_nothing_and_so_runs_once(spec, tmp_path):
    names = [(one.name, one.seed) for one in runs_of(spec, tmp_path)]
    assert names.count(("tiny-t5 zero-shot", 0)) == 1
    assert ("tiny-t5 zero-shot", 1) not in names
    assert {seed for name, seed in names if name == "tiny-t5 lora r=2"} == {0, 1}


def test_every_arm_sees_the_same_windows(done):
    found = [json.loads(path.read_text()) for path in done.glob("runs/*/result.json")]
    assert len({json.dumps([one["windows"], one["data"]]) for one in found}) == 1
    examples = [json.loads(path.read_text()) for path in done.glob("runs/*/examples.json")]
    shown = [[(e["kind"], e["signal"], e["context"], e["future"]) for e in one] for one in examples]
    assert all(one == shown[0] for one in shown)


@pytest.mark.usefixtures("one_figure")
def test_no_shared_file_names_a_patient_a_stay_or_a_path(done, vitals, tiny, tmp_path):
    out = Path(shutil.copytree(done, tmp_path / "reported"))
    write_report(out)
    shared = [path for path in out.rglob("*") if path.is_file()]
    assert {"report.html", "summary.json", "result.json", "examples.json", "learning.json"} <= {p.name for p in shared}
    for file in shared:
        content = file.read_bytes()
        for secret in (PATIENT, STAY, str(vitals.path.parent), str(tiny.parent)):
            assert secret.encode() not in content, (str(file.relative_to(out)), secret)


def test_the_experiment_says_which_run_it_is_at(spec, done):
    said: list[str] = []
    run_experiment(spec, done, progress=False, say=said.append)
    assert said == ["8 of 8 runs were done before"]
