"""Write the JSON schemas of the files in a results folder from the classes that validate them.

python docs/make_schemas.py
"""

import json
from pathlib import Path

from loracast.study.ranks.result import RankSweep
from loracast.study.summary import RunResult, Summary

FOLDER = Path(__file__).parent / "schema"
FILES = {"summary.json": Summary, "result.json": RunResult, "sweep.json": RankSweep}


def schemas() -> dict[str, str]:
    """The text of each schema by its file."""
    return {name: json.dumps(kind.model_json_schema(), indent=2) + "\n" for name, kind in FILES.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
