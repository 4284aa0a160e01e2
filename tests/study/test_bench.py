"""Every arm of a bench in a process of its own: what it costs, or why it cannot be told."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import loracast.study.bench as room
from loracast.errors import ConfigError
from loracast.study.bench import bench, bench_table, side_by_side, side_by_side_markdown
from loracast.study.bench.places import backbones_here, is_here
from loracast.study.bench.series import synthetic_windows

SMALL = {"steps": 2, "batch_size": 4, "context": 24, "horizon": 6, "windows": 4, "samples": 2}
KILLED = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
BROKEN = [sys.executable, "-c", "import sys; sys.exit('no room for a network')"]


def said(table: object) -> str:
    console = Console(width=300)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


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


def test_what_would_have_to_be_downloaded_is_not_among_the_defaults(monkeypatch):
    monkeypatch.setattr("loracast.study.bench.places.is_cached", lambda name: name == "amazon/chronos-t5-tiny")
    assert set(backbones_here()) == {"chronos-t5-nano", "moirai-nano", "lag-llama-nano", "chronos-t5-tiny"}
    assert is_here("amazon/chronos-t5-tiny")
    assert not is_here("chronos-t5-mini")


def test_a_table_has_a_line_for_every_arm_and_says_why_one_is_empty(measured):
    text = said(bench_table(json.loads(measured.read_text())))
    assert "tiny-t5" in text
    assert "refused" in text
    assert "bitfit" in text.split("refused: ")[1]
    assert "GPU memory" not in text


def test_machines_lie_side_by_side_with_their_ratio(measured, tmp_path):
    content = json.loads(measured.read_text())
    lora = next(row for row in content["rows"] if row["method"] == "lora")
    lora["step_seconds"]["median"] *= 3
    content["hardware"]["processor"] = "Slow CPU"
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps(content))
    head, _, *lines = side_by_side_markdown([measured, slow]).splitlines()
    cells = next(dict(zip(head.split(" | "), line.split(" | "), strict=True)) for line in lines if "| lora |" in line)
    assert (cells["step B/A"], cells["forecast B/A"]) == ("3.00", "1.00")
    assert "Slow CPU" in said(side_by_side([measured, slow]))


def test_files_of_other_settings_are_not_compared(measured, tmp_path):
    content = json.loads(measured.read_text())
    content["settings"]["batch_size"] = 64
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="batch_size 64 against 4"):
        side_by_side([measured, other])


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"format": 2}'])
def test_what_is_no_bench_is_not_compared(text, measured, tmp_path):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ConfigError, match=r"other\.json"):
        side_by_side([measured, tmp_path / "other.json"])
    with pytest.raises(ConfigError, match=r"none\.json"):
        side_by_side([measured, tmp_path / "none.json"])
    with pytest.raises(ConfigError, match="1 file given"):
        side_by_side([measured])


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
