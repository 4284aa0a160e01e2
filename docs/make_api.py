"""Write docs/api.md, the public names by the room they live in; the site fills it from their docstrings.

python docs/make_api.py
"""

from pathlib import Path

import loracast
from loracast.tuning.method import Method

PAGE = Path(__file__).parent / "api.md"
GROUPS = {
    "Data": ("loracast.data",),
    "Models, adapting, comparing": ("loracast.doorway", "loracast.models", "loracast.tuning.adapter"),
    "Studies and reports": ("loracast.study", "loracast.report"),
    "Methods": ("loracast.tuning.method",),
    "Settings": ("loracast.spec", "loracast.tuning.arm", "loracast.types"),
    "Errors": ("loracast.errors",),
}
"""The headings, each with the rooms whose names stand below it: the first that fits."""
HEAD = """# Python

The public names, as `import loracast as lc` has them: `lc.Table`, `lc.adapt`, … On the site each is followed by its
docstring; on GitHub follow the path. Importing loads no torch; a name is resolved when it is first used.

Made by `python docs/make_api.py`; a test fails when it is stale.
"""


def options_of(name: str) -> str:
    """Of a method its settings are shown, and not what the training asks of it."""
    kind = getattr(loracast, name)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        return ""
    return f"    options: {{ members: [{', '.join(kind.model_fields)}] }}\n"


def page() -> str:
    """The page: a heading a group, a line a name."""
    left = dict(sorted(loracast._HOME.items()))
    parts = [HEAD]
    for title, rooms in GROUPS.items():
        names = [name for name, home in left.items() if home.startswith(rooms)]
        if names:
            parts.append(f"## {title}\n")
            parts += [f"::: {left.pop(name)}.{name}\n{options_of(name)}" for name in names]
    if left:
        raise SystemExit(f"no group of docs/make_api.py has {', '.join(left)}")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
