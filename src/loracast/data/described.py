"""What a long table holds, without naming anybody: a row a signal, and what a notebook shows of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from loracast.data.attrition import counted
from loracast.data.schema import SIGNALS
from loracast.data.workspace import connect, parquet_source, reading
from loracast.files.texts import quoted

if TYPE_CHECKING:
    import pandas as pd

    from loracast.data.table import Table


def described(table: Table) -> pd.DataFrame:
    """One row a signal: patients, stays, cells, share observed, median of the observed values, unit."""
    with reading(table.path), connect() as con:
        found = con.execute(
            "SELECT signal, count(DISTINCT patient) AS patients, count(DISTINCT (patient, stay)) AS stays, "
            "count(*) AS cells, count(value) / count(*) AS observed, median(value) AS median "
            f"FROM {_rows(table)} GROUP BY signal"
        ).df()
    frame: pd.DataFrame = found.set_index("signal").loc[list(table.signals)]
    frame["unit"] = [table.units[name] for name in table.signals]
    return frame


def as_html(table: Table) -> str:
    """A small table of facts for a notebook: no identifier, no value and no date of a patient."""
    with reading(table.path), connect() as con:
        (patients, stays, cells, seen), (middle, longest) = (
            con.execute(query).fetchall()[0]
            for query in (
                "SELECT count(DISTINCT patient), count(DISTINCT (patient, stay)), count(*), count(value) "
                f"FROM {_rows(table)}",
                f"SELECT median(n), max(n) FROM (SELECT (epoch(max(time)) - epoch(min(time)) + {table.step_seconds}) "
                f"/ 3600 AS n FROM {_rows(table)} GROUP BY patient, stay)",
            )
        )
    signals = [f"{SIGNALS[name].label if name in SIGNALS else name} ({table.units[name]})" for name in table.signals]
    facts = {
        "source": table.source + (", simulated" if table.simulated else ""),
        "signals": ", ".join(signals),
        "patients": f"{patients:,}",
        "stays": f"{stays:,}",
        "grid": f"{table.step_seconds / 60:g} min",
        "hours a stay": f"{middle:,.1f} (median), {longest:,.1f} (longest)",
        "observed": f"{seen / cells:.1%} of {cells:,} cells",
        "licence": table.licence,
        "dropped": _dropped(table),
    }
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(fact)}</td></tr>'
        for name, fact in facts.items()
    )
    notes = "".join(f"<li>{escape(note.text)}</li>" for note in (table.attrition.notes if table.attrition else []))
    told = f"<ul>{notes}</ul>" if notes else ""
    return f'<table><caption style="text-align:left">loracast table</caption><tbody>{rows}</tbody></table>{told}'


def _rows(table: Table) -> str:
    """SQL of the rows of the table's signals."""
    names = ", ".join(quoted(name) for name in table.signals)
    return f"(FROM {parquet_source(table.path)} WHERE signal IN ({names}))"


def _dropped(table: Table) -> str:
    """What each step of the reading left out."""
    if table.attrition is None:
        return "not known: the table has no attrition beside it"
    steps = [
        f"{counted(step.dropped_rows, 'row')} not {step.name}" for step in table.attrition.steps if step.dropped_rows
    ]
    return "; ".join(steps) or "nothing"
