"""Many runs without fear: in several processes, on a cluster, killed at any moment, out of time."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import loracast.study.run
from loracast.errors import BudgetError, ConfigError, TrainingError
from loracast.files import read_json
from loracast.study.engine import Plan
from loracast.study.experiment import ExperimentSpec
from loracast.study.runs import status_of
from loracast.study.study import run_experiment
from loracast.study.summary import Summary
from tests.conftest import spec_of
from tests.processes import Child, child
from tests.study.test_study import numbers

ROOT = Path(__file__).parents[2]
WORDS = {"JAX_PLATFORMS": "cpu", "OMP_WAIT_POLICY": "PASSIVE"}


def run(spec: ExperimentSpec, out: Path, **more: Any) -> Summary:
    return run_experiment(spec, out, progress=False, say=lambda _: None, **more)


STARTED = """
import sys
from pathlib import Path
from loracast.study.engine import Plan
from loracast.study.study import run_experiment
from tests.conftest import spec_of

table, tiny, out = map(Path, sys.argv[1:4])
plan = Plan(jobs=int(sys.argv[4]))
run_experiment(spec_of(table, tiny), out, progress=False, say=print, plan=plan, resume=True)
"""


def has_begun(process: Child) -> bool:
    """Wait until its first run begins."""
    while not any(line.startswith("[") for line in process.said("stdout").splitlines()):
        assert not process.is_over(), process.said()
        time.sleep(0.05)
    return True


def test_killed_it_still_comes_to_the_same_numbers(vitals, tiny, done, tmp_path):
    out = tmp_path / "out"
    words = (STARTED, vitals.path, tiny, out, 2)
    with child(*words, cwd=ROOT, said=tmp_path / "first", **WORDS) as process:
        while not (finished := list(out.glob("runs/*/result.json"))):
            assert not process.is_over(), process.said()
            time.sleep(0.05)
    before = {path: path.stat().st_mtime_ns for path in finished}
    with child(*words, cwd=ROOT, said=tmp_path / "last", **WORDS) as process:
        assert process.ended() == 0, process.said()
    assert {path: path.stat().st_mtime_ns for path in finished} == before, "what was done is not touched again"
    assert numbers(out) == numbers(done)
    assert not list(out.rglob(".*.partial"))
    assert {row["state"] for row in status_of(out)} == {"done"}


DEATH = """
import os, signal, sys
from pathlib import Path
from loracast.study import run as runs
from loracast.study.engine import Plan
from loracast.study.study import run_experiment
from tests.conftest import spec_of

whole = runs.fit

def fit(task, *arguments, seed, **settings):
    if task.name == "tiny-t5 full" and seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(task, *arguments, seed=seed, **settings)

runs.fit = fit  # in every worker too: each imports this file
if __name__ == "__main__":
    table, tiny, out = map(Path, sys.argv[1:4])
    run_experiment(spec_of(table, tiny), out, progress=False, say=print, plan=Plan(jobs=2))
"""


def test_two_processes_come_to_the_numbers_of_one_and_a_worker_that_dies_costs_its_own_run_alone(
    spec, vitals, tiny, done, tmp_path
):
    script, out = tmp_path / "death.py", tmp_path / "out"
    script.write_text(DEATH)
    ended = subprocess.run(
        [sys.executable, str(script), str(vitals.path), str(tiny), str(out)],
        cwd=ROOT, env=os.environ | WORDS | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "1 of 8 runs failed; the 7 that are done are kept" in ended.stderr
    assert "was ended by signal 9 (killed" in ended.stderr
    told = {line for line in ended.stdout.splitlines() if line.startswith("[")}
    assert [line.split(", FAILED")[0] for line in told if "FAILED" in line] == ["[8/8] tiny-t5 full, seed 1"]
    assert len(told) == 8 + 1, "each is told as it begins"
    states = {(row["arm"], row["seed"]): row["state"] for row in status_of(out)}
    assert states.pop(("tiny-t5 full", 1)) == "failed"
    assert set(states.values()) == {"done"}
    summary = read_json(out / "summary.json")
    assert "tiny-t5 full" not in [arm["arm"] for arm in summary["arms"]]
    assert [(m["arm"], m["seed"], m["state"]) for m in summary["missing"]] == [("tiny-t5 full", 1, "failed")]
    run(spec, out)
    assert numbers(out) == numbers(done)


def test_a_run_that_fails_is_told_with_its_reason_and_tried_again(spec, done, tmp_path, monkeypatch):
    out = Path(shutil.copytree(done, tmp_path / "copy"))
    for name in ("tiny-t5-lora-r-2-s0", "tiny-t5-full-s0"):
        (out / "runs" / name / "result.json").unlink()
    with monkeypatch.context() as patched:
        patched.setattr("loracast.study.run.fit", lambda *_, **__: 1 // 0)
        with pytest.raises(TrainingError, match=r"2 of 8 runs failed(?s:.*)lora r=2, seed 0: ZeroDivisionError"):
            run(spec, out)
    failed = [row for row in status_of(out) if row["state"] == "failed"]
    assert [row["arm"] for row in failed] == ["tiny-t5 lora r=2", "tiny-t5 full"]
    assert "ZeroDivisionError" in read_json(out / "runs" / failed[0]["folder"] / "failed.json")["traceback"]
    run(spec, out)
    assert numbers(out) == numbers(done)
    assert {row["reason"] for row in status_of(out)} == {None}


def test_a_budget_stops_at_a_checkpoint_and_a_resume_comes_to_the_same_numbers(spec, done, tmp_path, monkeypatch):
    out, said = tmp_path / "out", []
    # Time stands still until the first checkpoint of the first LoRA run, and is over then.
    clock = {"now": 1000.0}
    monkeypatch.setattr("loracast.study.engine.time", SimpleNamespace(time=lambda: clock["now"]))
    monkeypatch.setattr("loracast.study.study.time", SimpleNamespace(time=lambda: 1000.0, monotonic=time.monotonic))
    whole = loracast.study.run.fit

    def fit(*arguments: Any, after_checkpoint: Any, **settings: Any) -> Any:
        def late() -> None:
            clock["now"] = 10_000.0
            after_checkpoint()

        return whole(*arguments, after_checkpoint=late, **settings)

    with monkeypatch.context() as patched:
        patched.setattr("loracast.study.run.fit", fit)
        summary = run_experiment(spec, out, progress=False, say=said.append, plan=Plan(max_hours=1))
    assert said[-1] == "The budget of 1 h is spent: 4 of 8 runs are done. --resume goes on."
    assert summary.arms[-1].arm == "tiny-t5 zero-shot"
    assert {row.state for row in summary.missing} == {"half-trained", "waiting"}
    assert (out / "runs" / "tiny-t5-lora-r-2-s0" / "checkpoints" / "checkpoint-2" / "complete.json").is_file()
    run(spec, out, resume=True)
    assert numbers(out) == numbers(done)


def test_a_budget_that_ends_before_any_arm_says_so(spec, tmp_path, monkeypatch):
    monkeypatch.setattr("loracast.study.engine.time", SimpleNamespace(time=lambda: 1e12))
    with pytest.raises(BudgetError, match=r"spent before any arm was done. Continue with --resume"):
        run(spec, tmp_path / "out", plan=Plan(max_hours=0.5))


def test_a_second_process_is_kept_out_of_the_folder(spec, vitals, tiny, tmp_path):
    words = (STARTED, vitals.path, tiny, tmp_path / "out", 1)
    with child(*words, cwd=ROOT, said=tmp_path / "said", **WORDS) as process:
        assert has_begun(process)
        with pytest.raises(ConfigError, match="Another process is at"):
            run(spec, tmp_path / "out")


def test_a_folder_of_another_version_is_refused(spec, done, tmp_path):
    out = Path(shutil.copytree(done, tmp_path / "copy"))
    file = out / "experiment.json"
    file.write_text(json.dumps({key: value for key, value in read_json(file).items() if key != "format"}))
    for look in (lambda: run(spec, out), lambda: status_of(out)):
        with pytest.raises(ConfigError, match=r"another version of loracast \(format 1, this one reads 3\)"):
            look()


RAY = """
import json, sys
from pathlib import Path
from ray.cluster_utils import Cluster
import ray
from loracast.study.engine import Plan
from loracast.errors import ConfigError
from loracast.study.study import run_experiment
from tests.conftest import spec_of

if __name__ == "__main__":
    table, tiny, out = map(Path, sys.argv[1:4])
    cluster = Cluster()
    for _ in range(2):
        cluster.add_node(wait=False, num_cpus=1)  # which would wait for half a minute, however busy the machine is
    cluster.wait_for_nodes(timeout=1800)
    plan = Plan(engine="ray", address=cluster.address)
    arms = [{"model": str(tiny), "method": method} for method in ("zero-shot", "lora")]
    run_experiment(spec_of(table, tiny, seeds=[0], arms=arms), out, progress=False, say=lambda _: None, plan=plan)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        nodes = len([node for node in ray.nodes() if node["Alive"]])
        ray.shutdown()
        too_large = Plan(engine="ray", address=cluster.address, cpus=2)
        run_experiment(spec_of(table, tiny), out.with_name("other"), say=lambda _: None, plan=too_large)
    except ConfigError as error:
        print(json.dumps({"nodes": nodes, "error": str(error)}))
    cluster.shutdown()
"""


PATIENT_RAY = {
    f"RAY_{name}": "1800000" if name.endswith("_ms") else "1800"
    for name in (
        "agent_register_timeout_ms", "gcs_rpc_server_connect_timeout_s", "gcs_server_request_timeout_seconds",
        "health_check_initial_delay_ms", "health_check_timeout_ms", "py_gcs_connect_timeout_s",
        "raylet_start_wait_time_s", "worker_register_timeout_seconds",
    )
}  # fmt: skip
"""A busy machine is none that has failed: Ray's own limits are of ten seconds to a minute."""


def test_a_ray_cluster_of_two_nodes_comes_to_the_same_numbers(vitals, tiny, done, tmp_path):
    script, out = tmp_path / "on_ray.py", tmp_path / "out"
    script.write_text(RAY)
    ended = subprocess.run(
        [sys.executable, str(script), str(vitals.path), str(tiny), str(out)],
        cwd=ROOT, env=os.environ | WORDS | PATIENT_RAY | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    found, expected = numbers(out), numbers(done)
    assert len(found) == 5
    assert all(found[name] == expected[name] for name in found)
    told = json.loads(ended.stdout.strip().splitlines()[-1])
    assert told["nodes"] == 2
    assert "no node of the cluster has (1 CPUs, 0 GPUs; 1 CPUs, 0 GPUs)" in told["error"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"jobs": 0}, "at least 1"),
        ({"engine": "spark"}, "Engines: processes, ray"),
        ({"max_hours": -1}, "more than 0"),
        ({"gpus": 1}, "add --engine ray"),
        ({"address": "auto"}, "add --engine ray"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        Plan(**settings)


def test_a_context_and_a_share_of_patients_are_settings_of_an_arm(vitals, tiny, tmp_path):
    arms = [
        {"model": str(tiny), "method": "zero-shot"},
        {"model": str(tiny), "method": "zero-shot", "context": 8},
        {"model": str(tiny), "method": "full"},
        {"model": str(tiny), "method": "lora", "patients": 0.3},
        {"model": str(tiny), "method": "lora", "context": 8},
    ]
    summary = run(spec_of(vitals.path, tiny, arms=arms, seeds=[0]), tmp_path / "out")
    found = {arm.arm.removeprefix("tiny-t5 "): arm for arm in summary.arms}
    counts = {name: arm.train_patients for name, arm in found.items()}
    assert counts["lora r=2 patients=0.3"] == round(0.3 * counts["full"])
    errors = {name: found[name].scores["map"].mae for name in ("zero-shot", "zero-shot context=8")}
    assert len(set(errors.values())) == 2
    short = found["lora r=2 context=8"]
    own = short.scores["map"].mae - errors["zero-shot context=8"]
    assert short.vs_zero_shot["map"].mae_difference == pytest.approx(own)
    assert short.vs_full == found["lora r=2 patients=0.3"].vs_full == {}, "full learnt on other terms"
    targets = {arm.scores["map"].n_cells for arm in summary.arms}
    assert len(targets) == 1, "whatever is seen, the same targets are scored"
