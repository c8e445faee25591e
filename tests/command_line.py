"""
The reference part of docs/command-line.md, written from the commands' own help.

`python -m tests.command_line` writes it anew, after a command or an option has changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from typer.testing import CliRunner

from gateway.cli import COMMANDS, load, main

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = Path(__file__).parents[1] / "docs" / "command-line.md"
BEGIN: Final = "<!-- from the commands' own help: python -m tests.command_line -->\n"
#: As wide as help is on most terminals.
_COLUMNS: Final = "80"


def names() -> Iterator[tuple[str, ...]]:
    """Every command, and every command of a command, in words."""
    for name in COMMANDS:
        inner = getattr(load(name), "commands", {})
        yield from ((name, one) for one in inner)
        if not inner:
            yield (name,)


def reference() -> str:
    """The part, as it should be."""
    return "\n".join(f"## `runcast {' '.join(words)}`\n\n```text\n{help_of(words)}```\n" for words in names())


def help_of(words: tuple[str, ...]) -> str:
    """What `--help` prints, without blanks at the ends of lines."""
    done = CliRunner().invoke(main, [*words, "--help"], env={"COLUMNS": _COLUMNS}, prog_name="runcast")
    assert done.exit_code == 0, done.output
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.strip().splitlines())


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.partition(BEGIN)[0] + BEGIN + "\n" + reference(), encoding="utf-8")
