"""Every arm of a bench in a process of its own: what it costs, or why it cannot be told."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import loracast.study.bench as room
from loracast.errors import ConfigError
from loracast.study.bench import bench
from loracast.study.bench.arm import WARM_UP
from loracast.study.bench.settings import Settings, read_bench
from loracast.study.bench.windows import synthetic_windows

SMALL = {"steps": 2, "batch_size": 4, "context": 24, "horizon": 6, "windows": 4, "samples": 2}
KILLED = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
BROKEN = [sys.executable, "-c", "import sys; sys.exit('no room for a network')"]


@pytest.fixture(scope="module")
def measured(tiny, tmp_path_factory) -> Path:
    """A bench of two methods and one that the backbone cannot have: Chronos-T5 has no bias."""
    out = tmp_path_factory.mktemp("bench") / "bench.json"
    bench([str(tiny)], ["zero-shot", "lora", "bitfit"], **SMALL, out=out, say=lambda _: None)
    return out


def rows(file: Path) -> dict[str, dict]:
    return {row["method"]: row for row in json.loads(file.read_text())["rows"]}


def test_an_arm_that_trains_has_the_cost_of_a_step_of_an_adapter_and_of_a_forecast(measured):
    row = rows(measured)["lora"]
    assert row["status"] == "done"
    assert 0 < row["step_seconds"]["low"] <= row["step_seconds"]["median"] <= row["step_seconds"]["high"]
    assert 0 < row["trainable_parameters"] < row["total_parameters"]
    assert row["adapter_bytes"] > 4 * row["trainable_parameters"]
    assert row["forecast_milliseconds_per_window"] > 0
    assert row["load_seconds"] > 0
    assert row["peak_memory_bytes"] > 1e7


def test_an_arm_that_does_not_train_only_forecasts(measured):
    row = rows(measured)["zero-shot"]
    assert (row["step_seconds"], row["adapter_bytes"], row["trainable_parameters"]) == (None, None, 0)
    assert row["forecast_milliseconds_per_window"] > 0


def test_a_method_that_the_backbone_refuses_is_recorded_with_the_reason(measured):
    row = rows(measured)["bitfit"]
    assert row["status"] == "refused"
    assert "bitfit" in row["reason"]


def test_the_file_says_what_was_measured_on_what_and_names_no_folder(measured, tiny):
    content = json.loads(measured.read_text())
    assert content["format"] == 1
    assert content["settings"] == SMALL
    assert content["hardware"]["torch_threads"] >= 1
    assert str(tiny.parent) not in measured.read_text()


@pytest.mark.parametrize(("command", "reason"), [(KILLED, "SIGKILL"), (BROKEN, "no room for a network")])
def test_a_process_that_dies_is_an_arm_that_failed_and_the_others_go_on(command, reason, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "COMMAND", command)
    result = bench([str(tiny)], ["zero-shot", "lora"], **SMALL, out=tmp_path / "b.json", say=lambda _: None)
    assert [row["status"] for row in result["rows"]] == ["failed", "failed"]
    assert all(reason in row["reason"] for row in result["rows"])


def test_a_resumed_bench_keeps_what_is_measured(measured, tiny, tmp_path, monkeypatch):
    out = tmp_path / "bench.json"
    out.write_text(measured.read_text())
    monkeypatch.setattr(room, "COMMAND", KILLED)
    result = bench([str(tiny)], ["zero-shot", "lora", "full"], **SMALL, out=out, resume=True, say=lambda _: None)
    status = {row["method"]: row["status"] for row in result["rows"]}
    assert status == {"zero-shot": "done", "lora": "done", "bitfit": "refused", "full": "failed"}
    assert rows(out)["lora"] == rows(measured)["lora"]


def test_a_failed_arm_is_tried_again(measured, tiny, tmp_path, monkeypatch):
    content = json.loads(measured.read_text())
    content["rows"] = [{"backbone": tiny.name, "method": "lora", "status": "failed", "reason": "killed by SIGKILL"}]
    out = tmp_path / "bench.json"
    out.write_text(json.dumps(content))
    monkeypatch.setattr(room, "COMMAND", BROKEN)
    result = bench([str(tiny)], ["lora"], **SMALL, out=out, resume=True, say=lambda _: None)
    assert "no room" in result["rows"][0]["reason"]


def test_nothing_is_overwritten_or_mixed(measured, tiny):
    before = measured.read_text()
    with pytest.raises(ConfigError, match="--resume"):
        bench([str(tiny)], ["lora"], **SMALL, out=measured)
    with pytest.raises(ConfigError, match="samples 2"):
        bench([str(tiny)], ["lora"], **SMALL | {"samples": 3}, out=measured, resume=True)
    assert measured.read_text() == before


@pytest.mark.parametrize(
    ("backbones", "methods", "changed", "message"),
    [
        (["chronos-t9"], None, {}, "No backbone chronos-t9"),
        (None, ["laura"], {}, "No method 'laura'"),
        (["chronos-t5-nano", "chronos-t5-nano"], ["lora"], {}, "same name"),
        (None, None, {"steps": 0}, "steps 0 given"),
        (None, None, {"samples": 1}, "samples 1 given; a bench needs 2"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(backbones, methods, changed, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        bench(backbones, methods, **SMALL | changed, out=tmp_path / "bench.json")
    assert list(tmp_path.iterdir()) == []


def test_steps_are_those_of_the_one_loop_without_the_first_ones(tiny, monkeypatch):
    from loracast.models.registry import load_backbone
    from loracast.study.bench import arm as process
    from loracast.tuning.arm import ArmSpec
    from loracast.tuning.attach import attach

    curves, fit = [], process.fit
    monkeypatch.setattr(process, "fit", lambda *asked, **more: curves.append(fit(*asked, **more)) or curves[-1])
    arm = ArmSpec(model=str(tiny), method="lora")
    found, meter = process._trained(attach(load_backbone(str(tiny)), arm.method), arm, Settings(**SMALL))
    (curve,) = curves
    assert curve.steps == len(curve.step_seconds) == WARM_UP + SMALL["steps"]
    assert found["median"] == pytest.approx(sum(curve.step_seconds[WARM_UP:]) / 2)
    assert 0 < meter.seconds < curve.seconds


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"format": 2}'])
def test_what_is_no_bench_is_not_read(text, measured, tmp_path):
    assert read_bench(measured)["settings"] == SMALL
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ConfigError, match=r"other\.json"):
        read_bench(tmp_path / "other.json")
    with pytest.raises(ConfigError, match=r"none\.json"):
        read_bench(tmp_path / "none.json")


def test_the_series_are_plausible_have_gaps_and_are_the_same_each_time():
    windows = synthetic_windows(30, 24, 6)
    context, future = windows.batch(slice(None))
    again = synthetic_windows(30, 24, 6).batch(slice(None))[0]
    assert np.array_equal(context, again, equal_nan=True)
    assert 0.05 < np.isnan(context).mean() < 0.25
    assert not np.isnan(context).all(axis=1).any()
    assert not np.isnan(future).all(axis=1).any()
    assert np.nanmin(context) > 0
    assert np.nanmax(context) < 250
