"""The core of the client, which does no I/O, in Node; and all of it there, without a browser."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.client.pages import ASSETS, CLIENT
from tests.journeys.gateway_process import token

if TYPE_CHECKING:
    from gateway.publisher import Publisher
    from tests.journeys.in_process import Inside

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_core_keeps_its_promises(tmp_path: Path) -> None:
    """Every promise of client/tests."""
    options = ["--bundle", "--platform=node", "--format=esm", "--out-extension:.js=.mjs", "--log-level=warning"]
    tests = sorted((CLIENT / "tests").glob("*.test.ts"))
    command = [CLIENT / "node_modules/.bin/esbuild", *tests, *options, f"--outdir={tmp_path}"]
    subprocess.run([*map(str, command)], check=True, timeout=60)
    built = [str(path) for path in sorted(tmp_path.glob("*.mjs"))]
    assert len(built) == len(tests)
    ended = await asyncio.to_thread(
        subprocess.run, ["node", "--test", *built], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_it_works_in_node(gateway: Inside, publisher: Publisher, run: str) -> None:
    """A run and its stream are followed to their end, and then nothing keeps the process alive."""
    publisher.create("write", id=run).start()
    working = publisher.run(run)
    working.stream("log").write("first")
    publisher.flush()
    script = Path(__file__).with_name("node_client.mjs")
    arguments = [str(ASSETS / "runcast.js"), gateway.url, token(), run]
    process = await asyncio.create_subprocess_exec(
        *("node", str(script), *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"live\n"
    working.stream("log").write("last")
    working.complete()
    publisher.flush()
    output, errors = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, errors) == (0, b"")
    told = json.loads(output)
    assert told["statuses"][-2:] == ["EXECUTING", "COMPLETED"]
    assert (told["last"], told["status"], told["lines"]) == ("COMPLETED", "COMPLETED", ["first", "last"])
    assert told["transport"] in ("websocket", "sse", None)
