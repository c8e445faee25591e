"""docs/quickstart.md: whoever pastes what stands there sees a bar move, with nothing but a wheel installed."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.examples.quickstart import PAGE, ROOT, ROWS, Walk, build_wheel, install_offline
from tests.examples.walking import steps_of
from tests.journeys.browser import chromium_browser

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.walking import Terminal


async def test_every_line_of_it_can_be_pasted(tmp_path: Path) -> None:
    """
    The wheel of this tree in an environment that is not ours, an empty directory, and a page from the disk. What pip
    would download is there already; `make quickstart` does that, too.
    """
    directory = tmp_path / "empty"
    directory.mkdir()
    install_offline(build_wheel(tmp_path / "dist"), directory)

    def begin(terminal: Terminal, serve: str) -> None:
        terminal.run(". .venv/bin/activate")
        terminal.paste(serve)

    async with chromium_browser() as browser:
        assert len(await Walk(directory, browser).go(begin)) == len(ROWS)

    where = subprocess.run(
        [directory / ".venv/bin/python", "-c", "import gateway, auth; print(gateway.__file__, auth.__file__)"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.count(str(directory / ".venv")) == 2


def test_what_is_installed_there_is_what_the_project_offers() -> None:
    """By the name of the project and of one of its extras."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = re.search(r'pip install "(\w+)\[(\w+)\]"', steps_of(PAGE)[0].commands)
    assert asked
    assert f'name = "{asked[1]}"' in project
    assert re.search(rf"^{asked[2]} = \[", project, re.MULTILINE)


def test_its_numbers_are_those_that_the_command_prints() -> None:
    """Of each step, both ways, and less than the five minutes that the page promises."""
    rows = re.findall(r"^\| (\S.*?) \| (\d+\.\d) \| (\d+\.\d) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(name for name, *_ in rows) == ROWS
    *steps, total = [[float(number) for number in numbers] for _, *numbers in rows]
    for column, whole in enumerate(total):
        assert abs(sum(step[column] for step in steps) - whole) < 0.1 * len(steps)  # rounded, each by itself
        assert whole < 300
