"""The core of the client, which does no I/O, in Node."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.client.pages import CLIENT

if TYPE_CHECKING:
    from pathlib import Path

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
