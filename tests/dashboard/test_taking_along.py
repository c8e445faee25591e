"""What is there to be copied works where it is pasted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest

from tests.journeys.gateway_process import SECRET, clean_environ

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

    from gateway import Publisher
    from tests.dashboard.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="package")

#: A shell would do a lot with it.
WILD: Final = "-it's$(exit)`;&*~=x"


async def copied(page: Page, button: Locator) -> str:
    """What is in the clipboard after a press."""
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.evaluate("navigator.clipboard.writeText('')")
    await button.click()
    text: str = await (await page.wait_for_function("navigator.clipboard.readText()")).json_value()
    return text


async def pasted(command: str, **settings: str) -> str:
    """What a command says in a shell that has `runcast` on its path, until it speaks of a run that is completed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_shell(
        command,
        env=clean_environ(**settings) | {"PATH": path},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    said = ""
    try:
        assert process.stdout is not None
        while "COMPLETED" not in said and (line := await process.stdout.readline()):
            said += line.decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a batch is watched on, for what may be added to it
        await process.wait()
    return said


async def test_what_is_said_of_a_terminal_works_in_one(visitor: Visitor, publisher: Publisher) -> None:
    """For a run, for one with a wild id, for a batch; and with the token that was minted, without any key."""
    for id in ("pasted_1", WILD):
        publisher.create("export", id=id, batch=WILD).complete()
    page = visitor.page
    key = {"RUNCAST_SECRET_KEY": SECRET}
    commands: list[tuple[str, dict[str, str]]] = []
    for path in ("/runs/pasted_1", f"/runs/{quote(WILD, safe='')}"):
        await visitor.go(path) if commands else await visitor.sign_in(SECRET, path)
        watch = visitor.card("Watch in a terminal")
        commands.append((await copied(page, watch.get_by_role("button", name="copy")), key))
    await page.get_by_role("button", name="Mint a token").click()
    minted = visitor.card("Let somebody else see it").locator("dd .copyable")
    commands.append((await copied(page, minted.nth(3).get_by_role("button")), {}))
    await visitor.go(f"/batches/{quote(WILD, safe='')}")
    commands.append((await copied(page, page.locator(".batch-head .copyable").nth(1).get_by_role("button")), key))
    told = await asyncio.gather(*(pasted(command, **settings) for command, settings in commands))
    assert all("COMPLETED" in said for said in told), told


async def test_ids_errors_and_documents_are_copied_as_they_are(visitor: Visitor, publisher: Publisher) -> None:
    with pytest.raises(ZeroDivisionError), publisher.running("export", id="copied/1", metadata={"file": {"n": 7}}):
        _ = 1 / 0
    page = visitor.page
    await visitor.sign_in(SECRET, "/runs/copied%2F1")
    assert await copied(page, page.locator(".run-id").get_by_role("button")) == "copied/1"
    error = await copied(page, visitor.card("Error").get_by_role("button"))
    assert error.startswith("ZeroDivisionError: division by zero\nTraceback ")
    document = await copied(page, visitor.card("Metadata").get_by_role("button", name="copy JSON"))
    assert document == '{\n  "file": {\n    "n": 7\n  }\n}'
