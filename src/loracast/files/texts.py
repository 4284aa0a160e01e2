"""Texts and names of a caller made safe for the little languages they are put in, so that they mean only themselves.

SQL and the file patterns of DuckDB, a terminal, spreadsheets that read CSV, Markdown, LaTeX. (HTML: Jinja2 escapes.)
"""

import os
import re
import unicodedata
from pathlib import Path

from loracast.errors import DataError


def quoted(text: str | Path) -> str:
    """A SQL string literal; of a path that is written to, give it whole (`absolute`): DuckDB reads a leading ~."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def one_file(path: Path) -> str:
    """A SQL string literal: the DuckDB pattern that fits this file and no other, whatever is in its name.

    DuckDB takes `[ ] * ?` for a pattern, what begins with `~` or `s3://` for another place, and a backslash for the end
    of a folder's name. The last has no other spelling: raises DataError for it, and for a name that is not UTF-8.
    """
    text = plain_path(path)
    return quoted(re.sub(r"[\[*?]", lambda sign: f"[{sign[0]}]", text))


def plain_path(path: Path) -> str:
    """A whole path that DuckDB can be given; raises DataError where it has signs that DuckDB reads otherwise."""
    text = str(path.absolute())
    if "\\" in text and os.sep == "/":
        raise DataError(f"{text} has a backslash in its path, which DuckDB takes for a folder. Rename it.")
    if "\0" in text or not _is_utf8(text):
        shown = text.encode(errors="replace").decode()
        raise DataError(f"{shown} has a name that is no text in UTF-8. Rename it.")
    return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def terminal_text(text: str) -> str:
    """A text without the signs that steer a terminal (colours, cursor, bell), but with its line ends."""
    return "".join("\ufffd" if unicodedata.category(sign) == "Cc" and sign != "\n" else sign for sign in text)


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""With what a text begins that a spreadsheet carries out (OWASP, "CSV Injection")."""


def csv_text(text: str) -> str:
    """A text that no spreadsheet takes for a formula: one that could be begins with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def markdown_text(text: str) -> str:
    """A text in which Markdown sees no bar, no line break, no tag, no link and no emphasis."""
    for sign, written_as in _MARKDOWN.items():
        text = text.replace(sign, written_as)
    return text


_MARKDOWN = {
    "\\": "\\\\", "|": "\\|", "\n": " ", "\r": " ", "<": "&lt;", "](": "]\\(", "`": "\\`", "*": "\\*", "_": "\\_",
}  # fmt: skip
"""In this order: the backslash first."""


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "−": "$-$", "–": "--", "—": "---", "×": r"$\times$", "±": r"$\pm$",
    "°": r"$^\circ$", "µ": r"$\mu$", "μ": r"$\mu$", "≤": r"$\le$", "≥": r"$\ge$", "²": "$^2$", "³": "$^3$",
    "·": r"$\cdot$", "…": r"\dots{}", "√": r"$\surd$", "₂": "$_2$", "‰": r"$^0\!/\!_{00}$", "“": "``", "”": "''",
    "’": "'", "\n": " ", "\r": " ", "\t": " ", "\u00a0": "~", "\u202f": r"\,",
}  # fmt: skip


def latex_text(text: str) -> str:
    """A text as LaTeX that compiles without a package."""
    return "".join(_LATEX.get(sign) or _latex_sign(sign) for sign in text.strip())


def _latex_sign(sign: str) -> str:
    if " " <= sign <= "~" or "À" <= sign <= "ÿ":
        return sign
    return rf"\texttt{{U+{ord(sign):04X}}}"
