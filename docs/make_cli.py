"""Write docs/cli.md from the commands themselves.

python docs/make_cli.py
"""

from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from loracast.cli import app

PAGE = Path(__file__).parent / "cli.md"


def commands() -> list[list[str]]:
    """Every command that does something, as the words that call it."""
    found = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [[name, each] for each in inner] if inner else [[name]]
    return found


def page() -> str:
    """The page: the help of every command."""
    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
    parts = ["# Command line", "", "Made by `python docs/make_cli.py`; a test fails when it is stale.", ""]
    for words in commands():
        result = runner.invoke(app, [*words, "--help"], prog_name="loracast")
        lines = "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())
        parts += [f"## loracast {' '.join(words)}", "", "```", lines, "```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
