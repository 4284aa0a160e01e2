"""What the tests of the steps share: short settings, and an adapter."""

from pathlib import Path
from typing import Any

import pytest

from loracast.data.table import Table
from loracast.study.steps.adapting import adapt_table

WINDOW = {"context": 24, "horizon": 6, "stride": 6}
LOOP = {"steps": 4, "batch_size": 32, "evaluate_every": 2}
FEW = {"samples": 4}


def adapt(table: Table | Path, out: Path, tiny: Path, **more: Any) -> dict[str, Any]:
    settings = {"window": WINDOW, "training": LOOP, "progress": False, **more}
    return adapt_table(table, out, arm={"model": str(tiny), "method": "lora"}, **settings)


@pytest.fixture(scope="session")
def adapter(vitals: Table, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapted") / "adapter"
    adapt(vitals, out, tiny)
    return out
