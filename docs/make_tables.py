"""Write the tables of README.md and docs/study.md from the committed result files.

python docs/make_tables.py
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loracast.report.compact import compact_markdown
from loracast.report.ranks import rank_markdown, relation_markdown, threshold_markdown
from loracast.report.tables import result_markdown
from loracast.study.bench import bench_markdown


def sharing_markdown(found: dict[str, Any]) -> str:
    """What `benchmarks/sharing.py` measured, as a sentence."""
    asked, together, apart = found["settings"], found["together"]["seconds"], found["apart"]["seconds"]
    return (
        f"Zero-shot and ranks {asked['ranks']} of {asked['backbone']}, {asked['steps']} steps each: {together:.0f} s "
        f"in one experiment, {apart:.0f} s in {len(asked['ranks'].split(','))} (`python benchmarks/sharing.py`; "
        f"{found['hardware']['processor']}). Together is {found['ratio']:.2f} times as fast by wall time, "
        f"{found['processor_ratio']:.2f} times by processor time.\n"
    )


ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "study.md")
BLOCK = re.compile(r"<!-- (\w+): (\S+)((?: \S+)*) -->\n.*?<!-- end -->", re.DOTALL)
TABLES: dict[str, tuple[str, Callable[..., str]]] = {
    "table": ("summary.json", result_markdown),
    "compact": ("summary.json", lambda summary, *methods: compact_markdown(summary, methods or None)),
    "ranks": ("sweep.json", rank_markdown),
    "thresholds": ("sweep.json", threshold_markdown),
    "relation": ("thresholds.json", relation_markdown),
    "bench": ("bench.json", bench_markdown),
    "sharing": ("sharing.json", sharing_markdown),
}
"""Each kind of block with its file and what makes it; words behind the folder choose methods."""


def filled(text: str) -> str:
    """The text with every table block made anew from the file that it names."""

    def block(match: re.Match[str]) -> str:
        kind, folder, words = match[1], match[2], match[3].split()
        file, make = TABLES[kind]
        content: dict[str, Any] = json.loads((ROOT / folder / file).read_text(encoding="utf-8"))
        return f"<!-- {kind}: {' '.join([folder, *words])} -->\n{make(content, *words).strip()}\n<!-- end -->"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
