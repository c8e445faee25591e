"""docs/command-line.md is what the commands are."""

from __future__ import annotations

import re

from gateway.cli import COMMANDS
from gateway.cli.executing import NOT_EXECUTABLE, NOT_FOUND, TIMED_OUT
from gateway.cli.exits import ExitCode
from tests.command_line import BEGIN, PAGE, reference


def page() -> tuple[str, str]:
    """What people wrote, and what the commands say."""
    prose, _, told = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return prose, told


def test_the_page_has_the_help_of_every_command_as_it_is() -> None:
    """`python -m tests.command_line` writes it anew."""
    assert page()[1].strip() == reference().strip()


def test_every_exit_code_is_in_the_table_and_no_other() -> None:
    table = page()[0].partition("## Exit codes")[2].partition("`runcast exec`")[0]

    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == set(ExitCode)
    for code in (TIMED_OUT, NOT_EXECUTABLE, NOT_FOUND):
        assert re.search(rf"\b{code}\b", page()[0])


def test_commands_and_options_that_are_spoken_of_exist() -> None:
    prose, told = page()

    assert set(re.findall(r"`runcast ([a-z]+)", prose)) <= COMMANDS.keys()
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose):
        assert option in told, f"{option} is nobody's"
