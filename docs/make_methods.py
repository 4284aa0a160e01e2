"""Write the table of methods in docs/methods.md from the classes themselves.

python docs/make_methods.py
"""

import re
from pathlib import Path

from loracast.tuning.method import Method
from loracast.tuning.methods import BUILT_IN

PAGE = Path(__file__).parent / "methods.md"
BLOCK = re.compile(r"(<!-- methods -->\n).*?(<!-- end -->)", re.DOTALL)


def row(kind: type[Method]) -> str:
    """One method as a line of the table."""
    usual = kind()
    settings = [f"`{name}={getattr(usual, name)}`" for name in kind.model_fields if name != "sites"]
    sites = getattr(usual, "sites", "")
    rate = f"{kind.learning_rate:g}" if kind.learning_rate else ""
    source = (kind.__doc__ or "").splitlines()[0].rstrip(".")
    cells = (f"`{kind.name}`", kind.summary, " ".join(settings), f"`{sites}`" if sites else "", rate, source)
    return f"| {' | '.join(cells)} |"


def filled(text: str) -> str:
    """The page with its table made anew."""
    head = ["| method | what is trained | settings | sites | learning rate | what it is |", "|---|---|---|---|---|---|"]
    table = "\n".join([*head, *map(row, BUILT_IN)])
    return BLOCK.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
