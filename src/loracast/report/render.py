"""Tables for people: columns chosen from a frame, formatted once, and one function a form.

`table_of` makes a `Table` of a frame and the columns declared for it. `terminal`, `markdown`, `latex` and `html` write
that; `csv` writes the frame itself, raw numbers and all. Whatever a text might mean to a form is escaped (`files`).
"""

import csv as writing
import io
import json
import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from loracast.files.texts import csv_text, latex_text, markdown_text, terminal_text
from loracast.report.readable import ABSENT

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment
    from rich.table import Table as RichTable

Row = Mapping[Any, Any]
"""A row of a frame by column; what is missing is None."""
Rows = Sequence[Row]
"""A small table without a frame, so that a list needs no pandas; every row has the same columns."""
Look = Literal["", "best", "interval", "dim", "italic", "better", "worse", "open", "code"]


@dataclass(frozen=True)
class Cell:
    """A finished text with how it looks, where a form can show that; `link` is where it leads on a page.

    `value` is what a page sorts it by; what has none stands last.
    """

    text: str
    look: Look = ""
    link: str = ""
    value: float | str | None = None


@dataclass(frozen=True)
class Column:
    """A column for people: its head, and how a row of the frame is written in it.

    `words` stand on the left, numbers on the right. An optional column is left out where no row has anything in it.
    `least` is how narrow a terminal may make words, in signs. A page sorts by a column that has a `value`; `order` is
    how the rows stand in it from the start.
    """

    head: str
    written: Callable[[Row], str | Cell]
    words: bool = False
    optional: bool = False
    least: int = 8
    value: Callable[[Row], float | str | None] | None = None
    order: Literal["", "ascending", "descending"] = ""


@dataclass(frozen=True)
class Group:
    """Rows under a heading of their own; without a title they stand alone."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """What every form writes: heads, cells by group, a title above and notes below.

    `kind` is the class of the page's style sheet; `loud` asks for a title that cannot be overlooked.
    """

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    kind: str = ""
    loud: bool = False

    def __rich__(self) -> "RichTable":
        return terminal(self)

    def __bool__(self) -> bool:
        return any(group.rows for group in self.groups)


def table_of(
    frame: "pd.DataFrame | Rows",
    columns: Sequence[Column],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    kind: str = "",
    group: Callable[[Row], str] | None = None,
) -> Table:
    """Write a frame in `columns`; `group` says under which heading a row stands, neighbours together."""
    found = [(group(row) if group else "", [_cell(column, row) for column in columns]) for row in records(frame)]
    shown = [
        place
        for place, column in enumerate(columns)
        if not column.optional or any(cells[place].text not in ("", ABSENT) for _, cells in found)
    ]
    groups: list[tuple[str, list[tuple[Cell, ...]]]] = []
    for head, cells in found:
        if not groups or groups[-1][0] != head:
            groups.append((head, []))
        groups[-1][1].append(tuple(cells[place] for place in shown))
    return Table(
        tuple(columns[place] for place in shown),
        tuple(Group(head, tuple(rows)) for head, rows in groups),
        title,
        tuple(notes),
        kind,
    )


def records(frame: "pd.DataFrame | Rows") -> list[dict[Hashable, Any]]:
    """The rows of a frame with None for whatever is missing; rows as they are."""
    if isinstance(frame, Sequence):
        return [dict(row) for row in frame]
    columns = {
        name: [None if gone else value for value, gone in zip(column.tolist(), column.isna().tolist(), strict=True)]
        for name, column in frame.items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _cell(column: Column, row: Row) -> Cell:
    written = column.written(row)
    cell = written if isinstance(written, Cell) else Cell(written)
    return cell if column.value is None else replace(cell, value=column.value(row))


def verdict_cell(verdict: str | None) -> Cell:
    """A verdict in its colour; nothing where there is none."""
    if verdict is None:
        return Cell("")
    return Cell(verdict, "better" if verdict == "better" else "worse" if verdict == "worse" else "open")


_TERMINAL = {"best": "bold", "dim": "dim", "italic": "italic", "better": "green", "worse": "red"}


def terminal(table: Table) -> "RichTable":
    """For the terminal: texts are no markup, and numbers are never broken nor cut."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    def shown(text: str, style: str = "") -> RichText:
        return RichText(terminal_text(text), style=style)

    made = RichTable(
        title=shown(table.title) if table.title else None,
        title_justify="left",
        title_style="bold yellow" if table.loud else "bold",
        caption=shown("\n".join(table.notes)) if table.notes else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 0 if len(table.columns) > 5 else 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for place, column in enumerate(table.columns):
        if column.words:
            made.add_column(shown(column.head), overflow="fold", min_width=min(column.least, _width(table, place)))
        else:
            made.add_column(shown(column.head), justify="right", no_wrap=True)
    for group in table.groups:
        if group.title:
            made.add_row(shown(group.title, style="bold cyan"))
        for row in group.rows:
            made.add_row(*(shown(cell.text, style=_TERMINAL.get(cell.look, "")) for cell in row))
        made.add_section()
    return made


def _width(table: Table, place: int) -> int:
    """The longest line of a column."""
    texts = [table.columns[place].head, *(row[place].text for group in table.groups for row in group.rows)]
    return max(len(line) for text in texts for line in text.split("\n"))


def markdown(table: Table) -> str:
    """As Markdown: the title, the table, and each note as a paragraph."""
    lines = [markdown_text(table.title), ""] if table.title else []
    lines.append(_markdown_line([column.head for column in table.columns]))
    lines.append("|" + "|".join("---" if column.words else "--:" for column in table.columns) + "|")
    for group in table.groups:
        if group.title:
            lines.append(_markdown_line([group.title, *[""] * (len(table.columns) - 1)]))
        lines += [_markdown_line([cell.text or ABSENT for cell in row]) for row in group.rows]
    for note in table.notes:
        lines += ["", markdown_text(note)]
    return "\n".join(lines) + "\n"


def _markdown_line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_text(text.strip()) for text in texts) + " |"


def csv(frame: "pd.DataFrame | Rows") -> str:
    """The rows as they are, for a script: raw numbers to the last digit, nothing where something is missing.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    stream = io.StringIO()
    rows = records(frame)
    names = list(rows[0]) if isinstance(frame, Sequence) and rows else list(getattr(frame, "columns", ()))
    writer = writing.writer(stream, lineterminator="\n")
    writer.writerow([csv_text(str(name)) for name in names])
    for row in rows:
        writer.writerow([csv_text(value) if isinstance(value, str) else value for value in row.values()])
    return stream.getvalue()


def as_json(frame: "pd.DataFrame | Rows") -> str:
    """The rows as a list of objects: raw numbers, null where something is missing or is no finite number."""
    rows = [
        {
            str(name): None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        for row in records(frame)
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def latex(table: Table) -> str:
    r"""As LaTeX: a booktabs tabular a group, so that each fits a page.

    Every text is escaped, and what pdfLaTeX in a plain article has no sign for is named by its code point.
    """
    sides = "".join("l" if column.words else "r" for column in table.columns)
    lines = [r"% needs \usepackage{booktabs}"]
    for group in table.groups:
        lines += [f"% {re.sub(r'[^ -~]', '?', group.title or table.title)}", r"{\tiny\setlength{\tabcolsep}{2pt}%"]
        lines += [rf"\begin{{tabular}}{{@{{}}{sides}@{{}}}}", r"\toprule"]
        lines += [_latex_line([column.head for column in table.columns]), r"\midrule"]
        lines += [_latex_line([cell.text or ABSENT for cell in row]) for row in group.rows]
        lines += [r"\bottomrule", r"\end{tabular}}", ""]
    return "\n".join(lines) + "\n"


def _latex_line(texts: Sequence[str]) -> str:
    # A cell that begins with a bracket would be taken for the optional argument of the row's end before it.
    return " & ".join(f"{{{latex_text(text)}}}" for text in texts) + r" \\"


def html(table: Table) -> str:
    """As HTML: a captioned table in a labelled box that scrolls by itself."""
    made: str = templates().get_template("macros.html").make_module().table(table)  # type: ignore[attr-defined]
    return str(made)


@lru_cache(maxsize=1)
def templates() -> "Environment":
    """The templates of the page. Whatever they are given is escaped, and a name that they miss is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("loracast.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
