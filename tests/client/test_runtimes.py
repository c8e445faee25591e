"""The package as npm packs it, where there is no page: Node, Deno, Bun, workers; and what a compiler makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import shutil
import subprocess
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.pages import CLIENT, PATIENCE_MS
from tests.journeys.gateway_process import clean_environ, token
from tests.journeys.jobs import LIFE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Page

    from gateway.publisher import Publisher
    from tests.client.pages import Pages
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs

pytestmark = pytest.mark.asyncio(loop_scope="module")
HERE = Path(__file__).with_name("runtimes")
INSTALLED = "tests/client/runtimes/node_modules/.installed"
SECONDS = 60
TRANSPORTS = ("websocket", "sse", "poll")
SERVICE = """
    await navigator.serviceWorker.register('%s', { type: 'module' });
    const { active: worker } = await navigator.serviceWorker.ready;
"""
#: What the compiler is told of a project, beside `strict`.
PROJECTS = {
    "nodenext": ["--module", "nodenext", "--lib", "es2023,dom"],
    "bundler": ["--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2023,dom"],
    "no page": ["--module", "nodenext", "--lib", "es2023"],
}
#: How a page gets a worker to post messages to, and what it can follow by. A service worker may not `import()`, and so
#: has only what comes at once: all of it when it is bundled.
WORKERS = {
    "dedicated": ("const worker = new Worker('worker.mjs', { type: 'module' });", TRANSPORTS),
    "shared": ("const { port: worker } = new SharedWorker('worker.mjs', { type: 'module' });", TRANSPORTS),
    "service": (SERVICE % "worker.mjs", TRANSPORTS[:1]),
    "service, bundled": (SERVICE % "worker.bundle.mjs", TRANSPORTS),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has installed the package, packed from a copy: others may pack it at this moment, too."""
    directory = tmp_path_factory.mktemp("project")
    source = shutil.copytree(CLIENT, directory / "source", ignore=shutil.ignore_patterns("node_modules", "dist"))
    (source / "node_modules").symlink_to(CLIENT / "node_modules")
    run("npm", "pack", "--silent", "--ignore-scripts=false", "--pack-destination", directory, cwd=source)
    (archive,) = directory.glob("*.tgz")
    project = shutil.copytree(HERE, directory / "project", ignore=shutil.ignore_patterns("node_modules", "package*"))
    (project / "package.json").write_text('{"private": true, "type": "module"}')
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    scope = project / "node_modules" / "@runcast"
    scope.mkdir(parents=True)
    (directory / "package").rename(scope / "client")
    return project


def run(*command: str | Path, cwd: Path) -> None:
    ended = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def runtime(pattern: str) -> Path:
    """A binary among those that npm has installed for this machine."""
    found = sorted((HERE / "node_modules").glob(pattern))
    assert found, f"a runtime is missing; `make {INSTALLED}` installs it"
    return found[0]


def bundle(project: Path, script: str, *options: str) -> None:
    """Put all that *script* needs into one file beside it."""
    out = script.replace(".mjs", ".bundle.mjs")
    run(
        CLIENT / "node_modules/.bin/esbuild",
        script,
        "--bundle",
        "--format=esm",
        f"--outfile={out}",
        *options,
        cwd=project,
    )


def commands(project: Path) -> dict[str, list[str | Path]]:
    """How the script is run in each place, by the transports that are good there."""
    bundle(project, "follow.mjs", "--platform=node")
    deno: list[str | Path] = [
        runtime("@deno/*/deno"),
        "run",
        "--no-prompt",
        "--allow-net=127.0.0.1",
        f"--allow-read={project}",
    ]
    native: list[str | Path] = ["node", "--import", "./like_native.mjs"]
    return {
        "node": ["node", "follow.mjs"],
        "node with a WebSocket": ["node", "--experimental-websocket", "follow.mjs"],
        "deno": [*deno, "follow.mjs"],
        "bun": [runtime("@oven/*/bin/bun"), "follow.mjs"],
        "bundled": ["node", "follow.bundle.mjs"],
        "native": [*native, "--experimental-websocket", "follow.mjs"],
        "native without a WebSocket": [*native, "follow.mjs"],
    }


#: Node 20 has no WebSocket unless it is asked for one; React Native reads no answer before its end.
USED = {
    "node": "sse",
    "node with a WebSocket": "websocket",
    "deno": "websocket",
    "bun": "websocket",
    "bundled": "sse",
    "native": "websocket",
    "native without a WebSocket": "poll",
}


async def test_everywhere_a_run_is_followed_to_its_end(
    installed: Path, quiet: Inside, publisher: Publisher, run: str
) -> None:
    """Its statuses and its stream, over the best that a place has; and then nothing keeps the process alive."""
    publisher.create("write", id=run).start()
    working = publisher.run(run)
    working.stream("log").write("first")
    publisher.flush()
    async with contextlib.AsyncExitStack() as running:
        processes = {
            name: await running.enter_async_context(started([*command, quiet.url, token(), run], installed))
            for name, command in (await asyncio.to_thread(commands, installed)).items()
        }
        for name, process in processes.items():
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
            assert line == b"live\n", (name, line, process.stderr and await process.stderr.read())
        working.stream("log").write("last")
        working.complete()
        publisher.flush()
        for name, process in processes.items():
            output, errors = await asyncio.wait_for(process.communicate(), SECONDS)
            assert process.returncode == 0, (name, errors.decode())
            told = json.loads(output)
            assert told["statuses"][-2:] == ["EXECUTING", "COMPLETED"], name
            assert (told["last"], told["status"], told["lines"]) == ("COMPLETED", "COMPLETED", ["first", "last"]), name
            assert told["transport"] == USED[name], name


@contextlib.asynccontextmanager
async def started(command: list[str | Path], project: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=project,
        env=clean_environ(DENO_DIR=str(project / ".deno"), DENO_NO_UPDATE_CHECK="1"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("project", PROJECTS)
async def test_its_types_are_those_that_people_use(installed: Path, project: str) -> None:
    """In strict projects, which look at every file of the package, too."""
    options = ["--noEmit", "--strict", "--target", "es2022", "--types", "", *PROJECTS[project]]
    sources = ["consumer.ts"] if project == "no page" else ["consumer.ts", "consumer.page.ts"]
    run(CLIENT / "node_modules/.bin/tsc", *options, *sources, cwd=installed)


@contextlib.contextmanager
def files(directory: Path) -> Iterator[str]:
    """An origin with what is in *directory*."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(directory))) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize("kind", WORKERS)
async def test_in_workers(installed: Path, pages: Pages, gateway: Inside, jobs: Jobs, run: str, kind: str) -> None:
    """Of each kind, as a module that another one imports."""
    jobs.create(run)
    setup, transports = WORKERS[kind]
    bundle(installed, "worker.mjs")
    (installed / "index.html").write_text("<!doctype html><title>A page with workers</title>")
    with files(installed) as url:
        page = await pages.context.new_page()
        await page.goto(url)
        for transport in transports:
            await begin(page, setup, {"url": gateway.url, "token": token(), "run": run, "transports": [transport]})
        await page.wait_for_function("told.every((each) => each.includes('live'))", timeout=PATIENCE_MS)
        for status in LIFE[1:]:
            jobs.say(run, status)
        await page.wait_for_function("told.every((each) => each.includes('over'))", timeout=PATIENCE_MS)
        wanted = [*LIFE, "over"]
        for told in await page.evaluate("told"):
            assert [each for each in told if each in wanted] == wanted
        await page.close()


async def begin(page: Page, setup: str, options: dict[str, Any]) -> None:
    await page.evaluate(
        f"""async (options) => {{
            {setup}
            const heard = [];
            (window.told ??= []).push(heard);
            const {{ port1, port2 }} = new MessageChannel();
            port1.onmessage = ({{ data }}) => heard.push(data);
            worker.postMessage(options, [port2]);
        }}""",
        options,
    )
