"""What was dropped on the way from the source to the long table, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loracast.errors import DataError
from loracast.files import read_json, write_json

COUNTS = ("patients", "stays", "rows")


@dataclass(frozen=True)
class Step:
    """What is left after one step, and what the step dropped; None where the step cannot know.

    `signals` has the rows that are left of each signal, `lost` how many patients have lost the last row of a signal
    at this step, for each signal that anybody has lost.
    """

    name: str
    patients: int | None
    stays: int | None
    rows: int | None
    dropped_patients: int | None
    dropped_stays: int | None
    dropped_rows: int | None
    signals: dict[str, int] | None
    lost: dict[str, int] | None = None

    def as_json(self) -> dict[str, Any]:
        """The step as the attrition file has it."""
        return {
            "step": self.name,
            "patients": self.patients,
            "stays": self.stays,
            "rows": self.rows,
            "dropped_rows": self.dropped_rows,
            "dropped_stays": self.dropped_stays,
            "dropped_patients": self.dropped_patients,
            "signals": self.signals,
            "lost": self.lost,
        }


@dataclass(frozen=True)
class Note:
    """What a reader has noticed and nobody should overlook: a sentence, and how much it concerns, where that is known.

    `rows` are measurements, `signal` is the one they are of.
    """

    text: str
    signal: str | None = None
    patients: int | None = None
    rows: int | None = None


@dataclass
class Attrition:
    """The counted steps of one reading; `table` describes what came out (rows, observed and missing cells).

    `reading` has the settings that read another frame of the same columns alike, where a frame or a file of a caller's
    own was read.

    >>> table.attrition.steps[0].name
    'rows given'
    """

    steps: list[Step] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    table: dict[str, Any] | None = None
    reading: dict[str, Any] | None = None

    def add(
        self,
        name: str,
        *,
        patients: int | None = None,
        stays: int | None = None,
        rows: int | None = None,
        signals: Mapping[str, int] | None = None,
        lost: Mapping[str, int] | None = None,
    ) -> None:
        """Record what is left after a step; what it dropped follows from the last step that knew."""
        left = {"patients": patients, "stays": stays, "rows": rows}
        dropped = {kind: self._dropped(kind, count) for kind, count in left.items()}
        self.steps.append(
            Step(
                name=name,
                patients=patients,
                stays=stays,
                rows=rows,
                dropped_patients=dropped["patients"],
                dropped_stays=dropped["stays"],
                dropped_rows=dropped["rows"],
                signals=None if signals is None else dict(signals),
                lost=None if lost is None else dict(lost),
            )
        )

    def _dropped(self, kind: str, left: int | None) -> int | None:
        if left is None:
            return None
        before = next((n for step in reversed(self.steps) if (n := getattr(step, kind)) is not None), left)
        assert left <= before, f"a step cannot add {kind}"
        return before - left

    def as_json(self) -> dict[str, Any]:
        """`{"steps": [...], "notes": [...], "reading": {...}, "table": {...}}`; what there is none of is absent."""
        notes = [asdict(note) for note in self.notes]
        content: dict[str, Any] = {"steps": [step.as_json() for step in self.steps], "notes": notes}
        content |= {} if self.reading is None else {"reading": self.reading}
        return content if self.table is None else {**content, "table": self.table}

    @classmethod
    def from_json(cls, content: Any) -> Attrition | None:
        """What `as_json` gave; None for anything else, as where another version wrote it."""
        try:
            steps = [Step(**{"name" if key == "step" else key: value for key, value in one.items()})
                     for one in content["steps"]]  # fmt: skip
            notes = [Note(**one) for one in content.get("notes", [])]
        except (AttributeError, KeyError, TypeError):
            return None
        return cls(steps, notes, content.get("table"), content.get("reading"))

    def as_text(self) -> str:
        """A plain table: one line a step, what is left and, in brackets, what the step dropped; then what to notice."""
        signals = list(dict.fromkeys(name for step in self.steps for name in step.signals or {}))
        rows = [["step", *COUNTS, *signals]]
        for step in self.steps:
            cells = [_cell(getattr(step, kind), getattr(step, f"dropped_{kind}")) for kind in COUNTS]
            cells += [_cell((step.signals or {}).get(name), None) for name in signals]
            rows.append([step.name, *cells])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        lines.insert(1, "-" * len(lines[0]))
        for step in self.steps:
            for name, patients in (step.lost or {}).items():
                lines.append(f"{counted(patients, 'patient')} left without {name} at: {step.name}")
        if self.table is not None:
            lines.append(
                f"{self.table['rows']:,} cells on the {self.table['grid_seconds'] // 60} min grid in "
                f"{self.table['series']:,} series: {self.table['observed']:,} observed, "
                f"{self.table['missing']:,} missing and left missing"
            )
        lines += [f"Note: {note.text}" for note in self.notes]
        return "\n".join(line.rstrip() for line in lines)


def counted(number: int, noun: str) -> str:
    """A number and what it counts: `1 stay`, `1,204 stays`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def attrition_path(out: Path) -> Path:
    """Where the attrition of the long table `out` is kept: `<stem>.attrition.json` beside it."""
    return out.with_name(f"{out.stem}.attrition.json")


def read_attrition(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The `steps` of an attrition that was written, and its `notes` if it has some; raises DataError without steps."""
    content = read_json(file)
    found = {key: content[key] for key in ("steps", "notes") if key in content} if isinstance(content, dict) else {}
    rows = [row for part in found.values() for row in (part if isinstance(part, list) else [part])]
    if "steps" not in found or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file} lists no steps, so it is no attrition. Read the data again, or move it away.")
    return found


def write_attrition(attrition: Attrition, out: Path, *, overwrite: bool = False) -> None:
    """Write the attrition beside the long table `out`, whole or not at all; raises ConfigError as `write_json` does."""
    write_json(attrition_path(out), attrition.as_json(), overwrite=overwrite)


def _cell(left: int | None, dropped: int | None) -> str:
    if left is None:
        return ""
    return f"{left:,} (-{dropped:,})" if dropped else f"{left:,}"
