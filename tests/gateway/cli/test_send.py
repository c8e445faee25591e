"""`runcast send`: what it sends is what the job reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.publisher import Publisher
from tests.gateway.cli.commands import run
from tests.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
def environ(redis_server: RedisServer, environment: EnvironmentId) -> dict[str, str]:
    return {"RUNCAST_REDIS_URL": redis_server.url, "RUNCAST_ENVIRONMENT": environment}


async def test_the_job_reads_what_was_sent(environ: dict[str, str], tmp_path: Path) -> None:
    """JSON, text, and what is in a file; in this order."""
    (tmp_path / "answer.json").write_text('{"approved": true}')
    sent: list[tuple[str, Any]] = [("@answer.json", {"approved": True}), ("not JSON", "not JSON"), ("null", None)]
    with Publisher(environ["RUNCAST_REDIS_URL"], environment=environ["RUNCAST_ENVIRONMENT"]) as publisher:
        job = publisher.create("t", id="run_1")
        for argument, value in sent:
            code, output, errors = await run("send", "run_1", "approval", argument, directory=tmp_path, **environ)
            assert (code, output) == (0, "run_1 sent\n"), errors
            assert job.input("approval").wait(0) == value


async def test_nobody_reads_what_is_sent_to_no_run(environ: dict[str, str], tmp_path: Path) -> None:
    """One that never was, or has ended."""
    with Publisher(environ["RUNCAST_REDIS_URL"], environment=environ["RUNCAST_ENVIRONMENT"]) as publisher:
        publisher.create("t", id="run_1").complete()
    for name, says in (("run_1", "has ended"), ("run_2", "there is no run run_2")):
        code, output, errors = await run("send", name, "approval", "true", directory=tmp_path, **environ)
        assert (code, output) == (3, "")
        assert says in errors


async def test_what_can_t_be_sent_is_wrong_usage(environ: dict[str, str], tmp_path: Path) -> None:
    for arguments, says in ((("r", "a,b", "1"), "can't contain ','"), (("r", "a", "@none"), "none can't be read")):
        code, output, errors = await run("send", *arguments, directory=tmp_path, **environ)
        assert (code, output) == (2, "")
        assert says in errors


async def test_without_redis_nothing_was_sent(environ: dict[str, str], tmp_path: Path) -> None:
    environ["RUNCAST_REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    code, output, errors = await run("send", "r", "a", "1", directory=tmp_path, **environ)
    assert (code, output) == (6, "")
    assert "nothing was sent" in errors
