"""`runcast completion`: the lines that it prints make a shell complete."""

from __future__ import annotations

import asyncio
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from tests.gateway.cli.commands import run, surroundings

if TYPE_CHECKING:
    from pathlib import Path


async def completed(directory: Path, *words: str) -> set[str]:
    """What a real bash offers for the last of *words*, with our lines in it."""
    _, lines, _ = await run("completion", "bash", directory=directory)
    command = directory / "runcast"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gateway.cli "$@"\n')
    command.chmod(0o755)
    script = f"""
        {lines}
        COMP_WORDS=({shlex.join(words)})
        COMP_CWORD={len(words) - 1}
        # What bash calls when the tabulator key is pressed.
        function=$(complete -p runcast | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function {shlex.quote(str(command))}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", script),
        stdout=asyncio.subprocess.PIPE,
        cwd=directory,
        env=surroundings(directory, {}) | {"PYTHONPATH": ":".join(sys.path)},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return set(output.decode().split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("runcast", "comp"), {"completion"}),
        (("runcast", "token", ""), {"mint", "inspect", "revoke"}),
        (("runcast", "doctor", "--or"), {"--origin"}),
        (("runcast", "completion", ""), {"bash", "zsh", "fish"}),
    ],
)
async def test_bash_completes_commands_their_commands_and_options(
    tmp_path: Path, words: tuple[str, ...], offered: set[str]
) -> None:
    assert await completed(tmp_path, *words) == offered


@pytest.mark.parametrize(("shell", "word"), [("zsh", "compdef"), ("fish", "complete --command runcast")])
async def test_other_shells_have_lines_too(tmp_path: Path, shell: str, word: str) -> None:
    code, output, errors = await run("completion", shell, directory=tmp_path)

    assert (code, errors) == (0, "")
    assert word in output


async def test_a_shell_that_is_not_known_exits_with_2_and_names_those_that_are(tmp_path: Path) -> None:
    code, _, errors = await run("completion", "tcsh", directory=tmp_path)

    assert (code, "fish" in errors) == (2, True)
