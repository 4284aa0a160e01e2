"""What an experiment's runs are, and what is told of them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from loracast.files import write_json
from loracast.spec import TrainSpec
from loracast.study.runs import FAILED, Place, _decisive, runs_of
from tests.conftest import spec_of


def test_a_reason_is_told_without_the_paths_of_this_machine(tmp_path):
    run = Place("arm", 0, tmp_path / "arm")
    write_json(run.folder / FAILED, {"error": "OSError: No room: '/home/jane/data/icu/x.parquet', see /var/log/syslog"})
    assert run.reason() == "OSError: No room: '…/x.parquet', see …/syslog"
    assert run.state() == "failed"


@pytest.mark.parametrize(
    ("file", "state"),
    [("result.json", "done"), (FAILED, "failed"), ("checkpoints/x", "half-trained"), (None, "waiting")],
)
def test_how_far_a_run_is_follows_from_what_its_folder_holds(tmp_path, file, state):
    run = Place("arm", 0, tmp_path)
    if file is not None:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("{}")
    assert run.state() == state


def test_two_patterns_that_differ_in_signs_alone_have_folders_of_their_own(vitals, tiny):
    arms = [{"model": str(tiny), "method": "zero-shot"}]
    arms += [{"model": str(tiny), "method": "lora", "sites": sites} for sites in (r".*\\.[qv]", r".*.[qv]")]
    runs = runs_of(spec_of(vitals.path, tiny, arms=arms), Path("out"))
    assert len({run.folder for run in runs}) == len(runs)


def test_baselines_stand_before_the_arms_and_networks_run_with_every_seed(vitals, tiny):
    runs = runs_of(spec_of(vitals.path, tiny, baselines=["ets", "nhits"]), Path("out"))
    names = [(run.name, run.seed) for run in runs]
    assert names[3:6] == [("ets", 0), ("nhits", 0), ("nhits", 1)]
    assert names[6][0] == "tiny-t5 zero-shot"


def test_a_run_is_named_by_its_dropout_only_where_that_is_off(vitals, tiny):
    """With it every training was made before anybody could ask: such a result is still that of the same run."""
    windows = SimpleNamespace(meta=dict.fromkeys(("table_fingerprint", "split_fingerprint", "context", "horizon"), "x"))
    spec = spec_of(vitals.path, tiny)
    on, off = (spec.model_copy(update={"training": TrainSpec(base_dropout=acts)}) for acts in (True, False))
    lora = runs_of(spec, Path("out"))[-1]
    assert lora.run_id(on, windows) != lora.run_id(off, windows)
    assert set(_decisive(off.training)) - set(_decisive(on.training)) == {"base_dropout"}
