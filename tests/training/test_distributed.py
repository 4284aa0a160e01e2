"""Several processes under torchrun train what one process trains, and fail together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from loracast.errors import ConfigError
from loracast.study.steps import adapt_table
from loracast.training import distributed
from loracast.tuning.adapter import read_card
from loracast.types import Table
from tests.conftest import cohort, write_long
from tests.models.tiny_ports import save_moirai
from tests.training.test_memory import without_dropout

ROOT = Path(__file__).parents[2]
WINDOW = {"context": 24, "horizon": 6}
# One and a half epochs, so that a batch that is not full is shared too.
LOOP = {"steps": 12, "batch_size": 32, "evaluate_every": 6}


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine's CPU."""
    asked = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(asked, cwd=ROOT, env=settings, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="module")
def certain(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random Chronos-T5 without dropout, whose masks no two processes would share."""
    return str(without_dropout(tiny, tmp_path_factory.mktemp("certain") / "tiny-t5"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Fourteen patients whose series have no gaps."""
    return write_long(tmp_path_factory.mktemp("whole") / "vitals.parquet", cohort(14, gaps=0))


def assert_alike(one: Path, two: Path) -> None:
    """Losses and trained numbers are equal but for the rounding of float32 sums, made in another order."""
    cards = [read_card(folder) for folder in (one, two)]
    for loss in ("validation_loss", "validation_loss_at_start"):
        assert cards[0][loss] == pytest.approx(cards[1][loss], rel=1e-5)
    assert cards[0]["best_step"] == cards[1]["best_step"]
    weights = [load_file(folder / "adapter_model.safetensors") for folder in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=1e-3, atol=1e-4)


def test_two_processes_of_the_command_line_adapt_as_one_does(whole, certain, tmp_path):
    asked = [str(whole.path), "--backbone", certain, "--method", "lora", "--context", "24", "--horizon", "6"]
    ran = torchrun("-m", "loracast", "adapt", *asked, "--rank", "2", "--steps", "12", "--out", str(tmp_path / "two"))
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two"]
    arm = {"backbone": certain, "method": "lora", "rank": 2}
    adapt_table(whole, tmp_path / "one", arm=arm, window=WINDOW, training={"steps": 12}, progress=False)
    assert_alike(tmp_path / "one", tmp_path / "two")


SCRIPT = """
import sys
from pathlib import Path
from tests.test_distributed import adapted
adapted(*sys.argv[1:])
"""


def adapted(table: str, certain: str, moirai: str, out: str) -> None:
    """Adapt to series with gaps, by a backbone whose loss is a mean over steps, and to groups of unequal size."""
    from loracast.training import fit as loop

    learn, training = loop.fit, {**LOOP, "steps": 6, "evaluate_every": 3}
    from loracast.study import steps

    def fit(attached, *settings, **more):
        native = attached.backbone.card.horizon
        attached.backbone.counted = lambda _, future: int((~future[:, :native].isnan()).sum())
        curve = learn(attached, *settings, **more)
        if distributed.is_main():
            (Path(out) / "learning.json").write_text(json.dumps(curve.as_json()))
        return curve

    steps.fit = fit
    Path(out).mkdir(exist_ok=True)
    arm = {"backbone": certain, "method": "lora", "rank": 2}
    adapt_table(table, Path(out) / "gaps", arm=arm, window=WINDOW, training=LOOP, progress=False)
    steps.fit = learn
    arm, joint = {"backbone": moirai, "method": "lora", "rank": 2}, {**WINDOW, "joint": True}
    adapt_table(table, Path(out) / "joint", arm=arm, window=joint, training=training, progress=False)


def test_gaps_and_groups_of_unequal_size_are_shared_without_changing_the_loss(certain, tmp_path, monkeypatch):
    rows = cohort(14)
    lone = {key: values for key, values in rows.items() if key[2] == "map" or int(key[0][-2:]) % 3}
    table = write_long(tmp_path / "vitals.parquet", lone)
    moirai = str(save_moirai(tmp_path / "moirai"))
    ran = torchrun(_script(tmp_path), str(table.path), certain, moirai, str(tmp_path / "two"))
    assert ran.returncode == 0, ran.stderr
    monkeypatch.setattr("loracast.study.steps.fit", None)  # puts the real one back at the end
    adapted(str(table.path), certain, moirai, str(tmp_path / "one"))
    for kind in ("gaps", "joint"):
        assert_alike(tmp_path / "one" / kind, tmp_path / "two" / kind)
    curves = [json.loads((tmp_path / name / "learning.json").read_text()) for name in ("one", "two")]
    for kind in ("train", "validation"):
        losses = [[entry["loss"] for entry in curve[kind]] for curve in curves]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert [curve["micro_batch"] for curve in curves] == [32, 16]


def _script(folder: Path) -> str:
    file = folder / "adapted.py"
    file.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{SCRIPT}")
    return str(file)


FAILS = """
from loracast.training import distributed
if not distributed.is_main():
    raise SystemExit(3)
distributed.barrier()
"""


def test_a_process_that_fails_ends_all(tmp_path):
    (tmp_path / "fails.py").write_text(FAILS)
    assert torchrun(str(tmp_path / "fails.py")).returncode != 0


def _launched(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int) -> None:
    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", processes)):
        monkeypatch.setenv(name, str(value))


def test_a_process_that_stands_alone_is_the_main_one_and_waits_for_nobody(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")  # a cluster's own, without the ranks that torchrun sets
    assert distributed.world_size() == 1
    assert distributed.is_main()
    distributed.barrier()
    with distributed.main_first():
        assert distributed.total([1.5, 2]) == [1.5, 2]
    distributed.refuse_grid()


def test_torchrun_says_who_a_process_is(monkeypatch):
    _launched(monkeypatch, 1, 4)
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (1, 4, False)
    assert distributed.share_of(32) == 8


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_read(monkeypatch, tmp_path):
    _launched(monkeypatch, 0, 3)
    with pytest.raises(ConfigError, match=r"batch_size of 32 cannot be shared by 3 .* such as 33"):
        adapt_table(tmp_path / "none", tmp_path / "a", arm={"backbone": "chronos-t5-nano", "method": "lora"})


def test_a_grid_is_refused_under_torchrun(monkeypatch):
    _launched(monkeypatch, 0, 2)
    with pytest.raises(ConfigError, match="--jobs N, or with --engine ray"):
        distributed.refuse_grid()
