"""The command itself: its list of commands, its version, and how fast it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from gateway.cli import COMMANDS, load
from tests.gateway.cli.commands import run

if TYPE_CHECKING:
    from pathlib import Path

#: What only the commands that need it may load; none of it is needed to print a help text or to mint a token.
HEAVY = ("starlette", "uvicorn", "redis", "websockets", "rich", "orjson", "asyncio")


async def test_help_lists_every_command(tmp_path: Path) -> None:
    code, output, _ = await run("--help", directory=tmp_path)

    assert code == 0
    for name, lazy in COMMANDS.items():
        assert f"  {name} " in output
        assert lazy.summary.split(",")[0][:40] in output


@pytest.mark.parametrize("name", COMMANDS)
async def test_every_command_has_a_help_text(tmp_path: Path, name: str) -> None:
    code, output, _ = await run(name, "--help", directory=tmp_path)

    assert code == 0
    assert output.startswith(f"Usage: runcast {name} ")
    assert load(name).name == name


async def test_a_command_that_is_not_there_exits_with_2_and_names_the_one_that_was_meant(tmp_path: Path) -> None:
    code, _, errors = await run("wach", directory=tmp_path)

    assert code == 2
    assert "'watch'" in errors


@pytest.mark.parametrize("arguments", [("--version",), ("version",)])
async def test_it_says_which_version_it_is(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert await run(*arguments, directory=tmp_path) == (0, f"runcast {version('runcast')}\n", "")


async def test_the_version_as_json_is_versioned_itself(tmp_path: Path) -> None:
    _, output, _ = await run("version", "--json", directory=tmp_path)

    assert json.loads(output) | {"v": 1, "runcast": version("runcast")} == json.loads(output)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["token", "mint", "--help"]])
def test_starting_loads_only_what_the_command_needs(arguments: list[str]) -> None:
    loaded = _loaded_by(arguments)

    assert [name for name in HEAVY if name in loaded] == []
    assert "gateway.cli" in loaded


def _loaded_by(arguments: list[str]) -> set[str]:
    script = (
        "import sys\nfrom gateway.cli import main\n"
        f"try: main({arguments!r}, prog_name='runcast')\n"
        "except SystemExit: print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines())
