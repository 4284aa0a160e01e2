"""Simulated patients: tables of MIMIC-III that no patient lived, read as those of MIMIC-III are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from loracast.data.readers import quiet
from loracast.data.readers.mimic3 import IcuStays, Mimic3Reader
from loracast.errors import DataError
from loracast.files import read_json
from loracast.spec import Seed
from loracast.types import Say

if TYPE_CHECKING:
    from loracast.data.attrition import Attrition


class SimulatedReader(IcuStays):
    """A seeded ICU cohort that no patient lived, written as MIMIC-III tables and read by the same reader."""

    summary: ClassVar[str] = "Simulate an ICU cohort as MIMIC-III tables. Seeded; no patient is real."
    example: ClassVar[str] = (
        "loracast data simulate --out simulated && loracast data mimic3 simulated --grid 5min --out v.parquet"
    )

    source: Literal["simulate"] = "simulate"
    patients: int = Field(default=120, ge=10)
    """How many patients."""
    seed: Seed = 0
    """Seed."""
    grid: str = "5min"
    """Step of the regular grid."""

    def read(
        self, out: Path | str, say: Say = quiet, *, overwrite: bool = False, temp: Path | None = None
    ) -> Attrition:
        """Simulate the tables into the folder `tables` beside `out`, unless they are there, and read them into `out`.

        Raises ConfigError where that folder holds anything else, and where nobody is left. `overwrite` and `temp`: see
        `Reader.read`.
        """
        from loracast.data.simulator import simulate

        tables = Path(out).parent / "tables"
        if not self._made(tables):
            say(f"Simulating {self.patients} patients (no patient is real)")
            simulate(tables, patients=self.patients, seed=self.seed)
        wanted = {name: getattr(self, name) for name in IcuStays.model_fields if name != "source"}
        return Mimic3Reader(path=tables, **wanted).read(out, say, overwrite=overwrite, temp=temp)

    def _made(self, tables: Path) -> bool:
        """Whether a folder holds the tables of these patients."""
        from loracast.data.simulator import MARK

        try:
            mark = read_json(tables / MARK)
        except DataError:
            return False
        made = mark if isinstance(mark, dict) else {}
        return (made.get("patients"), made.get("seed")) == (self.patients, self.seed)
