"""docs/triggerdev.md is true: its table of calls, its example in Node, and its commands for the React page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from playwright.async_api import expect

from gateway import Publisher
from tests.journeys.browser import chromium
from tests.journeys.gateway_process import SECRET, GatewayProcess, clean_environ, running_gateway
from tests.journeys.react_page import ROOT
from tests.journeys.test_dev import running_dev
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.redis_server import RedisServer

PAGE = (ROOT / "docs" / "triggerdev.md").read_text(encoding="utf-8")
CALLS = Path(__file__).with_name("sdk_calls.mjs")
CLIENTS = ROOT / "tests" / "clients" / "node_modules"
VERSIONS = ("4.5.0", "4.8.3")
BATCH = "batch_1"


@pytest.fixture
def gateway(own_redis: RedisServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path / "log", own_redis.url) as gateway:
        yield gateway


@pytest.fixture
def run(own_redis: RedisServer) -> str:
    """A run that has ended, with a stream; one with the id of its batch goes on, and can be sent something."""
    with Publisher(own_redis.url) as publisher:
        publisher.create("report", id=BATCH).start()
        with publisher.running("report", tags=["customer:7"], batch=BATCH) as run:
            run.progress(3, 4)
            run.stream("text").write("word")
    return run.id


def documented_calls() -> dict[str, str]:
    """What the page says of each call; one that works otherwise than elsewhere does work."""
    table = PAGE.partition("<!-- calls -->")[2].partition("\n\n")[0]
    rows = (row.split(" | ") for row in table.splitlines() if row.startswith("| `"))
    return {name: row[1].replace("differs", "works") for row in rows for name in re.findall("`([^`]+)`", row[0])}


@pytest.mark.parametrize("version", VERSIONS)
async def test_each_call_does_what_the_table_says(gateway: GatewayProcess, run: str, version: str) -> None:
    """Works, or answers at once with the status of the table."""
    environ = clean_environ(TRIGGER_API_URL=gateway.url, TRIGGER_SECRET_KEY=SECRET)
    command = ["node", str(CALLS), str(CLIENTS / f"sdk-{version}"), run, BATCH]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environ, capture_output=True, text=True, check=True, timeout=30
    )
    assert json.loads(done.stdout) == documented_calls()


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_example_in_node_needs_nothing_but_its_variables(
    gateway: GatewayProcess, run: str, version: str, tmp_path: Path
) -> None:
    """It follows a run to its end, and mints a token; where the gateway is stands in its environment."""
    installed = tmp_path / "node_modules" / "@trigger.dev"
    installed.mkdir(parents=True)
    (installed / "sdk").symlink_to(CLIENTS / f"sdk-{version}")
    shutil.copy(ROOT / "examples" / "follow_run.mjs", tmp_path)
    environ = clean_environ(TRIGGER_API_URL=gateway.url, TRIGGER_SECRET_KEY=SECRET)
    done = await asyncio.to_thread(
        subprocess.run,
        ["node", "follow_run.mjs", run],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    told, token = done.stdout.split("\n")[:2]
    assert told == "COMPLETED 75"
    assert token.startswith("eyJ")


def commands() -> list[str]:
    """What the page says to type."""
    return PAGE.partition("<!-- commands -->\n```sh\n")[2].partition("\n```")[0].split("\n")


@pytest.fixture
def example(tmp_path: Path) -> Iterator[str]:
    """The address of the page, as the commands start it; what is installed is not installed anew."""
    dev, packages, backend = commands()
    install, _, make = packages.partition(" && ")
    assert (dev, install) == ("runcast dev", "npm ci --prefix examples/react")
    subprocess.run(shlex.split(make), cwd=ROOT, check=True, capture_output=True, timeout=30)
    directory = tmp_path / "checkout"
    directory.mkdir()
    (directory / "examples").symlink_to(ROOT / "examples")
    with running_dev(directory):
        port = free_port()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environ = clean_environ(PORT=str(port), PATH=path, PYTHONPATH=str(ROOT))
        with (tmp_path / "backend").open("wb") as log:
            shell = ["sh", "-c", backend]
            process = subprocess.Popen(
                shell, cwd=directory, env=environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            transport = httpx2.HTTPTransport(retries=10)  # until it listens
            with httpx2.Client(transport=transport, trust_env=False) as client:
                assert client.get(f"http://127.0.0.1:{port}/").status_code == 200
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


async def test_reports_are_written_read_and_approved(example: str) -> None:
    """What a person does who tries it: orders three reports, watches, approves one, and looks at its record."""
    async with chromium() as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        await page.goto(example)
        await page.get_by_role("button", name="Write three reports").click()
        runs = page.get_by_role("region", name="All reports")
        report = page.get_by_role("region", name="Report", exact=True)
        await expect(runs.get_by_role("listitem")).to_have_count(3)
        await expect(page.get_by_role("region", name="This order")).to_contain_text("0 of 3 ended")
        await expect(report).to_contain_text("adding up")
        await expect(page.get_by_role("region", name="Text")).to_contain_text(
            "Sales grew in every month", timeout=15_000
        )
        await report.get_by_role("button", name="Approve").click(timeout=15_000)
        await expect(report).to_contain_text("completed")
        await expect(page.get_by_role("region", name="This order")).to_contain_text("1 of 3 ended")
        await expect(page.get_by_role("log").get_by_role("listitem")).to_have_text(["Sales completed"])

        await report.get_by_role("button", name="Everything").click()
        steps = ["reading orders", "adding up", "comparing with last year", "writing"]
        lines = page.get_by_role("region", name="Log").get_by_role("paragraph")
        await expect(lines).to_have_text([re.compile(f"{step}$") for step in steps])
        await expect(page.get_by_role("region", name="Text")).to_contain_text(
            "What was left over in May was sold in June."
        )

        await report.get_by_role("button", name="Record").click()
        await expect(page.get_by_role("region", name="Output")).to_have_text('{ "words": 17, "approved": true }')

        await runs.get_by_role("button", name="Stock").click()
        await report.get_by_role("button", name="Live").click()
        await report.get_by_role("button", name="Reject").click(timeout=15_000)
        await expect(report).to_contain_text("completed")
        assert said == []
