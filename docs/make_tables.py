"""Write the tables of README.md from the committed result files.

python docs/make_tables.py
"""

import json
import re
from pathlib import Path

from loracast.report.tables import result_markdown

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- table: (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str) -> str:
    """The text with every table block made anew from the summary that it names."""

    def block(match: re.Match[str]) -> str:
        summary = json.loads((ROOT / match[1] / "summary.json").read_text(encoding="utf-8"))
        return f"<!-- table: {match[1]} -->\n{result_markdown(summary).strip()}\n<!-- end -->"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    page = ROOT / "README.md"
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
