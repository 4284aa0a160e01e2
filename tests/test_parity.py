"""The parity benchmark: a line a tensor, and an exit code that a script can act on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"


def parity(*arguments: str | Path) -> tuple[int, list[dict[str, object]], str]:
    # Rounding beside MOIRAI's narrow spike differs between processors (see tests/models/nets/test_moirai.py).
    command = [sys.executable, str(ROOT / "benchmarks" / "parity.py"), *map(str, arguments), "--tolerance", "5e-4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def spoiled(folder: Path, name: str) -> None:
    """Change one number of the first case's tensor `name` by a hundredth of its size."""
    file = next(path for path in sorted(folder.rglob("*.safetensors")) if name in safetensors.torch.load_file(path))
    tensors = safetensors.torch.load_file(file)
    tensors[name].view(-1)[0] += 1e-2 * tensors[name].abs().max()
    safetensors.torch.save_file(tensors, file)


@pytest.mark.parametrize(
    ("family", "folder", "tensor"), [("moirai", "two-heads", "loc"), ("lag-llama", "tiny-mean", "df")]
)
def test_ports_agree_with_the_reference_and_a_wrong_number_is_found(tmp_path, family, folder, tensor):
    golden = GOLDEN / family.replace("-", "_") / folder
    code, lines, _ = parity(family, golden)
    assert code == 0
    assert {tensor} <= {line["tensor"] for line in lines}
    copy = Path(shutil.copytree(golden, tmp_path / "copy"))
    spoiled(copy, tensor)
    code, lines, _ = parity(family, copy)
    assert code == 1
    assert [line["tensor"] for line in lines if line["max_rel_error"] > 5e-4] == [tensor]


def test_what_is_no_folder_of_reference_tensors_is_told_in_a_line(tmp_path):
    code, lines, said = parity("moirai", tmp_path)
    assert (code, lines) == (2, [])
    assert len(said.strip().splitlines()) == 1
