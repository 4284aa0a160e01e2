"""The parity benchmark: a line a tensor, and an exit code that a script can act on."""

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture
def parity(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, list[dict[str, object]], str]]:
    """Run the script in this process: its exit code, its lines, and what it complained of."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # as a script is started
    main = runpy.run_path(str(ROOT / "benchmarks" / "parity.py"))["main"]

    def run(*arguments: str | Path) -> tuple[int, list[dict[str, object]], str]:
        # Rounding beside MOIRAI's narrow spike differs between processors (see tests/models/nets/test_moirai.py).
        code = main([*map(str, arguments), "--tolerance", "5e-4"])
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return run


def spoiled(folder: Path, name: str) -> None:
    """Change one number of the first case's tensor `name` by a hundredth of its size."""
    file = next(path for path in sorted(folder.rglob("*.safetensors")) if name in safetensors.torch.load_file(path))
    tensors = safetensors.torch.load_file(file)
    tensors[name].view(-1)[0] += 1e-2 * tensors[name].abs().max()
    safetensors.torch.save_file(tensors, file)


@pytest.mark.parametrize(
    ("family", "folder", "tensor"), [("moirai", "two-heads", "loc"), ("lag-llama", "tiny-mean", "df")]
)
def test_ports_agree_with_the_reference_and_a_wrong_number_is_found(parity, tmp_path, family, folder, tensor):
    golden = GOLDEN / family.replace("-", "_") / folder
    code, lines, _ = parity(family, golden)
    assert code == 0
    assert {tensor} <= {line["tensor"] for line in lines}
    copy = Path(shutil.copytree(golden, tmp_path / "copy"))
    spoiled(copy, tensor)
    code, lines, _ = parity(family, copy)
    assert code == 1
    assert [line["tensor"] for line in lines if line["max_rel_error"] > 5e-4] == [tensor]


def test_what_is_no_folder_of_reference_tensors_is_told_in_a_line(parity, tmp_path):
    code, lines, said = parity("moirai", tmp_path)
    assert (code, lines) == (2, [])
    assert len(said.strip().splitlines()) == 1
