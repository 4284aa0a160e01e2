"""For the site: examples in docstrings (`>>>`) as blocks of code. In Markdown alone they would be quotations."""

import re
from typing import Any

import griffe

BLOCK = re.compile(r"(?:^|(?<=\n\n))(>>> .*?)(?=\n\n|\Z)", re.DOTALL)


class DoctestBlocks(griffe.Extension):
    """Fence what begins with a prompt, up to the next empty line."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each name that griffe reads, with its docstring."""
        if obj.docstring is not None:
            obj.docstring.value = BLOCK.sub(r"```pycon\n\1\n```", obj.docstring.value)
