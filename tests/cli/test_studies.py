"""The commands of a study, as a user types them: methods, sweeps, where a grid stands, merged adapters."""

import json
import os
from pathlib import Path
from unittest import mock

import pytest

from loracast.cli import main
from loracast.models.registry import backbones
from loracast.tuning.methods import methods


@pytest.fixture
def loracast(capfd):
    """Run a command in this process; return its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_the_papers_count_of_fourierft_comes_out(loracast):
    asked = "params --backbone chronos-t5-tiny --method fourierft --sites qv --frequencies 100 --json"
    code, out, err = loracast(*asked.split())
    assert (code, err, json.loads(out)["trainable_parameters"]) == (0, "", 2400)
    asked = "params --backbone chronos-t5-tiny --method fourierft --sites qkvo --frequencies 50 --json"
    assert json.loads(loracast(*asked.split())[1])["trainable_parameters"] == 2400


@pytest.mark.parametrize(("size", "count"), [("tiny", 3072), ("small", 9216), ("base", 27648)])
def test_the_papers_count_of_norms_within_attention_comes_out(loracast, size, count):
    sites = r"(encoder.*layer\.0|decoder.*layer\.[01])\.layer_norm"
    code, out, _ = loracast(
        "params", "--backbone", f"chronos-t5-{size}", "--method", "layernorm", "--sites", sites, "--json"
    )
    assert (code, json.loads(out)["trainable_parameters"]) == (0, count)


def test_methods_tell_what_works_on_one_backbone_of_every_family(loracast):
    code, out, _ = loracast("methods", "--json")
    rows = json.loads(out)
    assert code == 0
    assert {row["method"] for row in rows} == {"peft:NAME"} | {
        name for name, one in methods().items() if "pretrained" in one.kinds
    }
    assert len({row["backbone"] for row in rows}) == len({family.name for family, _ in backbones().values()})
    others = [row for row in rows if row["method"] == "peft:NAME"]
    assert all("count one by its name" in row["refused"] and "hra" in row["summary"] for row in others)
    named = [row for row in rows if row not in others]
    refused = {(row["method"], row["backbone"]): row["refused"] for row in named if row["refused"]}
    assert set(refused) == {("bitfit", "chronos-t5-tiny")}
    assert "has no bias terms" in refused["bitfit", "chronos-t5-tiny"]
    assert all(row["trainable_parameters"] > 0 for row in rows if not row["refused"] and row["method"] != "zero-shot")


def test_methods_of_a_folder_are_counted_on_what_it_holds(loracast, tiny):
    _, out, _ = loracast("methods", "--backbone", tiny)
    assert "tiny-t5" in out
    assert "1,536" in out  # LoRA of rank 2
    assert "bitfit: tiny-t5 has no bias terms" in out


def test_a_sweep_tells_its_threshold_and_goes_on_where_it_was(loracast, vitals, tiny, tmp_path):
    def swept(*more: object) -> tuple[int, str, str]:
        return loracast(
            "sweep", "ranks", "--backbone", tiny, "--data", vitals.path, "--ranks", "1,4", "--seeds", "1", "--steps",
            "3", "--samples", "2", "--context", "24", "--horizon", "6", "--out", tmp_path / "out", *more,
        )  # fmt: skip

    code, _, err = swept()
    assert code == 2
    assert "validation patients" in err, "fourteen patients leave fewer than six to validate"
    assert not list((tmp_path / "out").glob("runs/*"))


def test_where_a_grid_stands_is_told_in_its_order(loracast, done):
    code, out, _ = loracast("status", done, "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["state"] for row in rows] == ["done"] * 8
    assert rows[0]["arm"] == "last-value"
    assert "8 done" in loracast("status", done)[1]


def test_a_merged_adapter_is_a_backbone_that_forecasts(loracast, done, tiny, vitals, tmp_path):
    adapter = done / "runs" / "tiny-t5-lora-r-2-s0" / "adapter"
    code, out, err = loracast("merge", adapter, "--backbone", tiny, "--out", tmp_path / "merged")
    assert (code, out) == (0, f"Wrote {tmp_path / 'merged'}\n"), err
    code, out, _ = loracast(
        "forecast", vitals.path, "--backbone", tmp_path / "merged", "--context", "24", "--horizon", "6",
        "--samples", "2", "--out", tmp_path / "f.parquet",
    )  # fmt: skip
    assert code == 0
    assert out.startswith("Forecast 42 series")


def test_sweeps_that_are_not_there_cannot_be_related(loracast, done, tmp_path):
    code, _, err = loracast("sweep", "relate", done, "--out", tmp_path / "thresholds.json")
    assert code == 2
    assert "No sweep.json in" in err
    assert not Path(tmp_path / "thresholds.json").exists()
