"""Runs a file of tests in Node, with the packages that `npm ci` has put beside it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.journeys.gateway_process import clean_environ

HERE = Path(__file__).parent
INSTALLED = "tests/clients/node_modules/.installed"
_CLOSING_LINES = 120


async def run_in_node(file: str, environ: dict[str, str], *, seconds: float = 150) -> None:
    """
    Run `node/FILE` and fail, with the closing lines of what it said, when one of its tests does.

    It ends with its last test, whatever is open then.
    """
    node = shutil.which("node")
    assert node, "node is missing; scripts/system-packages installs it"
    assert (HERE / "node_modules").is_dir(), f"the clients are missing; `make {INSTALLED}` installs them"
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            node,
            str(HERE / "node" / "run.mjs"),
            file,
            env=clean_environ(**environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            status: int | str = await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            process.kill()
            await process.wait()
            status = f"not ended after {seconds} s"
        output.seek(0)
        closing = output.read().decode(errors="replace").splitlines()[-_CLOSING_LINES:]
    assert status == 0, "\n".join([f"{file}: {status}", *closing])
