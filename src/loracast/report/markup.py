"""The pieces that every page is built of: tables, figures, lists and marks as finished HTML."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape

from loracast.report.figures.style import Drawing

LONG = 420
"""Characters of a reason beyond which the rest is folded away."""


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, kind: str = "", texts: tuple[int, ...] = (0,)
) -> str:
    """A table of finished HTML cells in a box that scrolls by itself; the columns `texts` are words, others numbers.

    A row of one cell becomes a heading over the full width.
    """
    top = "".join(f'<th scope="col"{_side(place, texts)}>{head}</th>' for place, head in enumerate(heads))
    body = []
    for row in rows:
        if len(row) == 1:
            body.append(f'<tr class="group"><th scope="colgroup" colspan="{len(heads)}">{row[0]}</th></tr>')
            continue
        rest = "".join(f"<td{_side(place, texts)}>{cell}</td>" for place, cell in enumerate(row[1:], start=1))
        body.append(f'<tr><th scope="row">{row[0]}</th>{rest}</tr>')
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="{kind}">'
        f"<caption>{caption}</caption><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _side(place: int, texts: tuple[int, ...]) -> str:
    return "" if place in texts else ' class="n"'


def figure(label: str, drawing: Drawing, vector: str, *, file: str = "", head: bool = True) -> str:
    """A drawing whose SVG text is `vector`, inside the page itself; `file` says where else it lies."""
    data = base64.b64encode(vector.encode()).decode()
    width, height = drawing.figure.get_size_inches() * 96
    title = f"<h3>{escape(drawing.title)}</h3>" if head else ""
    number = f"<strong>{escape(label)}</strong> " if label else ""
    beside = f' <span class="file">{escape(file)}</span>' if file else ""
    return (
        f'<figure id="{drawing.name}">{title}'
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(drawing.title)}">'
        f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(drawing.alt)}" '
        f'width="{width:.0f}" height="{height:.0f}"></div>'
        f"<figcaption>{number}{escape(drawing.caption)}{beside}</figcaption></figure>"
    )


def strong(text: str, bold: bool) -> str:
    """The text, bold if asked."""
    return f"<strong>{text}</strong>" if bold else text


def small(text: str) -> str:
    """An interval beside its number."""
    return f'<span class="ci">{text}</span>' if text else ""


def verdict_mark(text: str) -> str:
    """A verdict of a comparison in its colour."""
    if not text:
        return ""
    kind = {"better": "better", "worse": "worse"}.get(text, "open")
    return f'<span class="verdict {kind}">{escape(text)}</span>'


def folded(title: str, content: str) -> str:
    """Something that opens on a click; nothing where there is no content."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>" if content else ""


def bullets(texts: Iterable[str]) -> str:
    """Plain texts as a list; nothing where there is none."""
    lines = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{lines}</ul>" if lines else ""


def long_text(text: str) -> str:
    """A text whose tail is folded away where it is long: cut behind a part of a list (`; `)."""
    cut = text.find("; ", LONG // 2) if len(text) > LONG else -1
    if cut < 0:
        return escape(text)
    rest = text[cut + 2 :]
    more = len(re.findall("; ", rest)) + 1
    return f"{escape(text[:cut])}; …{folded(f'and {more} more', escape(rest))}"


def capital(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[:1].upper() + text[1:]
