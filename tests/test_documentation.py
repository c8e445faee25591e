"""What the README and the docs show is what is there, and it works."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

import auth
from gateway import Publisher, errors
from gateway.store.redis_keys import metadata_key, run_key, stream_key
from gateway.transports import refusals
from tests.gateway.serving import ServedGateway

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

ROOT = Path(__file__).parent.parent
SECRET = "an-example-secret-of-thirty-two-bytes"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def shown_files() -> list[tuple[str, str]]:
    """Each example that the README or a page shows, with what it shows of it."""
    pages = [read("README.md"), *(read(f"docs/{path.name}") for path in sorted((ROOT / "docs").glob("*.md")))]
    pattern = r"<!-- (examples/\S+) -->\n```\w+\n(.*?)```"
    return [shown for page in pages for shown in re.findall(pattern, page, re.DOTALL)]


@pytest.mark.parametrize(("name", "text"), shown_files())
def test_pages_show_the_examples_as_they_are(name: str, text: str) -> None:
    """Whoever copies code from a page copies code that these tests run."""
    assert read(name) == text


def test_every_example_is_shown() -> None:
    """No example is left to rot unseen."""
    examples = [*(ROOT / "examples").glob("*.*"), *(ROOT / "examples").glob("*/*.py")]
    assert {path.relative_to(ROOT).as_posix() for path in examples} <= {name for name, _ in shown_files()}


def test_the_job_of_the_readme_completes(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """The smallest useful example runs as it stands, and its run can be read afterwards."""
    environ = {**os.environ, "RUNCAST_REDIS_URL": redis_server.url, "RUNCAST_ENVIRONMENT": environment}
    job = subprocess.run(
        [sys.executable, "examples/export_job.py"], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    run = job.stdout.strip()
    with redis_server.client() as client:
        assert client.hget(run_key(environment, run), "status") == '"COMPLETED_SUCCESSFULLY"'
        assert client.hget(run_key(environment, run), "output") == '{"rows":1000}'
        progress = json.loads(client.hget(metadata_key(environment, run), "progress") or "null")
    assert (progress["current"], progress["percent"]) == (1000, 100)


def test_the_celery_app_of_the_docs_tells_its_progress(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """One line, and a task's runs are there: status, output and the progress that it gave Celery."""
    script = (
        "from examples.celery_app import app, resize\n"
        "app.conf.task_always_eager = True\n"
        "print(resize.delay(['a', 'b']).id)\n"
    )
    environ = {**os.environ, "RUNCAST_REDIS_URL": redis_server.url, "RUNCAST_ENVIRONMENT": environment}
    task = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    run = task.stdout.strip()
    with redis_server.client() as client:
        assert client.hget(run_key(environment, run), "status") == '"COMPLETED_SUCCESSFULLY"'
        assert client.hget(run_key(environment, run), "output") == "2"
        progress = json.loads(client.hget(metadata_key(environment, run), "progress") or "null")
    assert (progress["current"], progress["total"]) == (2, 2)


def test_the_token_endpoint_of_the_docs_signs_tokens_that_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it hands out allows the customer's tag, and nothing else."""
    monkeypatch.setenv("RUNCAST_SECRET_KEY", SECRET)
    endpoint = importlib.import_module("examples.token_endpoint")
    with TestClient(endpoint.app) as client:
        token = client.post("/token").json()["token"]
    grant = auth.verify(token, auth.Keyring([auth.EnvironmentKeys.of("default", SECRET)])).grant
    assert grant.allows("read", [auth.Resource("tags", "customer:7")])
    assert not grant.allows("read", [auth.Resource("tags", "customer:8")])


async def test_the_viewer_of_the_docs_tells_a_run_until_its_end(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """The example follows a run of a real gateway, and ends with it."""
    async with ServedGateway(redis_server, environment) as gateway:
        gateway.publisher.create("export", id="run_1").progress(3, 10)
        gateway.publisher.run("run_1").complete()
        environ = {**os.environ, "RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.token(["read:runs:run_1"])}
        command = [sys.executable, "examples/follow_run.py", "run_1"]
        viewer = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True
        )
    assert viewer.stdout.startswith("COMPLETED {'current': 3, 'total': 10")


def test_the_streaming_job_of_the_docs_writes_its_tokens(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """Each word is a chunk, and the stream is whole when the run has ended."""
    environ = {**os.environ, "RUNCAST_REDIS_URL": redis_server.url, "RUNCAST_ENVIRONMENT": environment}
    job = subprocess.run(
        [sys.executable, "examples/stream_tokens.py"], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    run = job.stdout.strip()
    with redis_server.client() as client:
        assert client.hget(run_key(environment, run), "status") == '"COMPLETED_SUCCESSFULLY"'
        assert client.xlen(stream_key(environment, run, "tokens")) == 12
        assert client.xlen(stream_key(environment, run, "log")) == 1


def test_the_job_of_the_docs_that_asks_a_person_goes_on_with_the_answer(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """It waits, and does what was sent."""
    environ = {**os.environ, "RUNCAST_REDIS_URL": redis_server.url, "RUNCAST_ENVIRONMENT": environment}
    command = [sys.executable, "examples/approval.py"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        run = job.stdout.readline().strip()
        with Publisher(redis_server.url, environment=environment) as publisher:
            publisher.run(run).input("approval").send(True)
        assert job.wait(20) == 0
    with redis_server.client() as client:
        assert client.hget(run_key(environment, run), "status") == '"COMPLETED_SUCCESSFULLY"'
        assert client.hget(run_key(environment, run), "output") == '{"refunded":40}'
        assert client.hget(metadata_key(environment, run), "question") == '"Refund 40 euros?"'


def source_files() -> list[str]:
    return [path.read_text(encoding="utf-8") for room in ("gateway", "auth") for path in (ROOT / room).rglob("*.py")]


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    """The settings page lists exactly the variables that the code reads."""
    pattern = r"\bRUNCAST_[A-Z_]+[A-Z]\b"
    used = {name for text in source_files() for name in re.findall(pattern, text)}
    documented = set(re.findall(pattern, read("docs/settings.md")))
    assert used == documented


def test_every_error_code_is_documented() -> None:
    """A client's author finds every code that can come in the protocol's table, with its HTTP status."""
    documented = read("docs/protocol.md")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GatewayError)]
    of_the_protocol = {kind.code for kind in kinds} - {"internal_error", "misconfigured", "bad_change", "too_large"}
    for code in of_the_protocol:
        assert f"`{code}`" in documented, f"{code} is not in docs/protocol.md"


def test_every_close_code_is_documented() -> None:
    """As with errors: what a socket is closed with is in the table, with whether to come back."""
    table = read("docs/protocol.md").partition("### Close codes")[2].partition("\n## ")[0]
    for name, code in vars(refusals).items():
        if name.isupper() and isinstance(code, int):
            assert re.search(rf"^\| (\d+, )*{code}\b", table, re.MULTILINE), f"{name} ({code}) is not in the table"


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link of a page is a file that exists."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", read(page)):
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def anchors(path: Path) -> set[str]:
    """What can stand behind a `#`: the headings of a page, as GitHub spells them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_anchors_of_links_are_headings(page: str) -> None:
    """Who follows a link to a part of a page gets there."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", read(page)):
        linked = (ROOT / page).parent / target if target else ROOT / page
        assert anchor in anchors(linked), f"{page} links to {target}#{anchor}"
