"""Several processes under torchrun train what one process trains, and fail together."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from loracast.data.windows import Windows, open_windows
from loracast.errors import ConfigError
from loracast.spec import TrainSpec
from loracast.training import distributed
from tests.models.tiny_ports import save_moirai
from tests.training.test_fit import attached, train
from tests.training.test_memory import cut

ROOT = Path(__file__).parents[2]
LOOP = TrainSpec(batch_size=32, learning_rate=1e-3)


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine's CPU."""
    asked = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(asked, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)


SCRIPT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.training.test_distributed import adapted
for number in range(1, len(sys.argv), 4):
    adapted(*sys.argv[number : number + 4])
"""


class Asked(NamedTuple):
    """A training to be done by one process and by two: on what, of what, and how long."""

    windows: Windows
    model: Path
    steps: int
    work: Path

    def words(self, processes: str) -> list[str]:
        return [str(self.windows.folder), str(self.model), str(self.steps), str(self.work / processes)]


@pytest.fixture(scope="module")
def two(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    """A training with gaps and one in groups, both done by two processes, which start but once."""
    gaps, groups = (tmp_path_factory.mktemp(name) for name in ("gaps", "groups"))
    asked = {
        # Over one and a half epochs, so that a batch that is not full is shared too.
        "gaps": Asked(cut(gaps, gaps=0.15), tiny, 12, gaps),
        "groups": Asked(cut(groups, gaps=0, joint=True), save_moirai(groups / "moirai"), 6, groups),
    }
    (gaps / "adapted.py").write_text(SCRIPT)
    ran = torchrun(str(gaps / "adapted.py"), *(word for one in asked.values() for word in one.words("two")))
    assert ran.returncode == 0, ran.stderr
    return asked


def adapted(windows: str, model: str, steps: str, out: str) -> None:
    """LoRA on these windows; the main process writes the curve and the kept weights to `out`."""
    arm, folder = attached(Path(model), "lora"), Path(out)
    loop = LOOP.model_copy(update={"steps": int(steps), "evaluate_every": int(steps) // 2})
    curve = train(arm, open_windows(Path(windows)), folder / "checkpoints", loop)
    if distributed.is_main():
        (folder / "learning.json").write_text(json.dumps(curve.as_json()))
        save_file({name: p.detach().contiguous() for name, p in arm.trainable.items()}, folder / "kept.safetensors")
    distributed.barrier()


def assert_alike_for_one_and_for_two(asked: Asked) -> None:
    """Losses and trained numbers are equal but for the rounding of float32 sums, made in another order."""
    adapted(*asked.words("one"))
    one, two = (json.loads((asked.work / name / "learning.json").read_text()) for name in ("one", "two"))
    for kind in ("train", "validation"):
        losses = [[entry["loss"] for entry in curve[kind]] for curve in (one, two)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert one["best_step"] == two["best_step"]
    assert (one["micro_batch"], two["micro_batch"]) == (32, 16)
    weights = [load_file(asked.work / name / "kept.safetensors") for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("what", ["gaps", "groups"])
def test_series_with_gaps_and_groups_of_unequal_size_are_shared_without_changing_the_loss(two, what):
    assert_alike_for_one_and_for_two(two[what])


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


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    _launched(monkeypatch, 0, 3)
    with pytest.raises(ConfigError, match=r"batch_size of 32 cannot be shared by 3 .* such as 33"):
        distributed.share_of(32)


def test_a_grid_is_refused_under_torchrun(monkeypatch):
    _launched(monkeypatch, 0, 2)
    with pytest.raises(ConfigError, match="--jobs N, or with --engine ray"):
        distributed.refuse_grid()
