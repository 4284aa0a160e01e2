"""Write docs/checks.md from the checks themselves and the words in which a report tells them.

python docs/make_checks.py
"""

import inspect
from pathlib import Path

from loracast.report.doubts import WORDS
from loracast.report.words import capital
from loracast.scoring.checks import CHECKS

PAGE = Path(__file__).parent / "checks.md"
HEAD = """# Checks

Numbered reasons not to believe a result. Each looks at the summary of an experiment and says *passed*, *warning* with what
it found, or *not applicable*, with why. A warning stops nothing: it stands under the answer in the report, on the terminal
and in `summary.json`. None names a patient. [Scores](scores.md) says what the numbers mean that they look at.

Made by `python docs/make_checks.py`; a test fails when it is stale.

| check | warns of | a finding holds | not applicable where |
|---|---|---|---|
"""


def page() -> str:
    """The page: a line a check."""
    rows = []
    for code, look in CHECKS.items():
        doc = " ".join((inspect.getdoc(look) or "").removeprefix(f"{code}. ").split())
        words = WORDS[code]
        cells = (code, capital(words.title), doc, words.not_applicable or "it always applies")
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
