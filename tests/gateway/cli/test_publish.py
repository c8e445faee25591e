"""`runcast publish`: what it says is what the run is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.store.redis_keys import metadata_key, run_key
from tests.gateway.cli.commands import run
from tests.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


class Shell:
    """Somebody with a shell beside a Redis."""

    def __init__(self, redis: RedisServer, environment: EnvironmentId, directory: Path) -> None:
        self.redis, self.environment, self.directory = redis, environment, directory

    async def publish(self, *arguments: str) -> tuple[int, str, str]:
        environ = {"RUNCAST_REDIS_URL": self.redis.url, "RUNCAST_ENVIRONMENT": self.environment}
        return await run("publish", *arguments, directory=self.directory, **environ)

    async def says(self, *arguments: str) -> str:
        """Publish, which must do, and return the outcome."""
        code, output, errors = await self.publish(*arguments)
        assert code == 0, errors
        name, outcome = output.split()
        assert name == arguments[0]
        return outcome

    def row(self, name: str) -> dict[str, Any]:
        with self.redis.client() as client:
            stored = client.hgetall(run_key(self.environment, name))
        return {column: json.loads(text) for column, text in stored.items() if not column.startswith("_")}

    def metadata(self, name: str) -> dict[str, Any]:
        with self.redis.client() as client:
            stored = client.hgetall(metadata_key(self.environment, name))
        return {key: json.loads(text) for key, text in stored.items()}


@pytest.fixture
def shell(redis_server: RedisServer, environment: EnvironmentId, tmp_path: Path) -> Shell:
    return Shell(redis_server, environment, tmp_path)


async def test_a_run_from_its_beginning_to_its_end(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text('{"rows": 3}')
    begins = (
        "run_1",
        "--task",
        "resize",
        "--payload",
        "@payload.json",
        "--tag",
        "a",
        "--tag",
        "b",
        "--batch",
        "batch_1",
    )

    assert await shell.says(*begins) == "applied"
    assert await shell.says("run_1", "--status", "executing", "--progress", "3/10", "--text", "on it") == "applied"
    assert await shell.says("run_1", "--output", "[1]", "--set", "rows=3", "--set", "note=so far") == "applied"

    row = shell.row("run_1")
    assert [entry[1] for entry in row["transitions"]] == ["PENDING", "EXECUTING", "COMPLETED_SUCCESSFULLY"]
    assert (row["payload"], row["output"], row["runTags"], row["batchId"]) == ({"rows": 3}, [1], ["a", "b"], "batch_1")
    assert shell.metadata("run_1") == {
        "progress": {"current": 3, "total": 10, "percent": 30.0, "text": "on it"},
        "rows": 3,
        "note": "so far",
    }


async def test_a_status_with_a_task_creates_the_run_in_that_status(shell: Shell) -> None:
    assert await shell.says("run_1", "--task", "resize", "--status", "EXECUTING", "--payload", "7") == "applied"

    assert [entry[1] for entry in shell.row("run_1")["transitions"]] == ["EXECUTING"]
    assert shell.row("run_1")["payload"] == 7


async def test_an_error_means_that_it_failed(shell: Shell) -> None:
    assert await shell.says("run_1", "--task", "resize", "--error", "no room") == "applied"

    assert shell.row("run_1")["status"] == "COMPLETED_WITH_ERRORS"
    assert shell.row("run_1")["error"] == {"type": "STRING_ERROR", "raw": "no room"}


async def test_a_tag_alone(shell: Shell) -> None:
    await shell.says("run_1", "--task", "resize")
    assert await shell.says("run_1", "--tag", "late") == "applied"

    assert shell.row("run_1")["runTags"] == ["late"]


async def test_it_says_when_nothing_changed_or_it_came_too_late(shell: Shell) -> None:
    """Neither is an error: a script that runs again does no harm."""
    await shell.says("run_1", "--task", "resize", "--status", "COMPLETED")

    assert await shell.says("run_1", "--status", "COMPLETED") == "unchanged"
    assert await shell.says("run_1", "--status", "EXECUTING") == "stale"


@pytest.mark.parametrize(
    "said", [("--status", "EXECUTING"), ("--progress", "50%"), ("--set", "a=1"), ("--tag", "a"), ("--output", "1")]
)
async def test_a_run_that_does_not_exist_exits_with_3(shell: Shell, said: tuple[str, ...]) -> None:
    code, output, errors = await shell.publish("run_1", *said)

    assert (code, output) == (3, "")
    assert errors == "runcast: there is no run run_1; with --task it would be created\n"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run_1",), "nothing to say"),
        (("run 1", "--status", "EXECUTING"), "white space"),
        (("run_1", "--status", "BUSY"), "EXECUTING"),
        (("run_1", "--progress", "half"), "3/10"),
        (("run_1", "--text", "half"), "--progress"),
        (("run_1", "--set", "rows"), "KEY=JSON"),
        (("run_1", "--payload", "1"), "--task"),
        (("run_1", "--batch", "batch_1"), "--task"),
        (("run_1", "--task", "resize", "--payload", "{"), "--payload"),
        (("run_1", "--output", "@nowhere.json"), "nowhere.json"),
        (("run_1", "--task", "resize", "--tag", "a,b"), "a tag can't contain ','"),
    ],
)
async def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    shell: Shell, arguments: tuple[str, ...], word: str
) -> None:
    code, output, errors = await shell.publish(*arguments)

    assert (code, output) == (2, "")
    assert word in errors


async def test_what_redis_refuses_exits_with_2(shell: Shell) -> None:
    await shell.says("run_1", "--task", "resize")
    tags = [argument for number in range(8) for argument in ("--tag", f"tag_{number}")]
    await shell.says("run_1", *tags)
    code, _, errors = await shell.publish("run_1", "--tag", "a", "--tag", "b", "--tag", "c")

    assert code == 2
    assert "at most 10 tags" in errors


async def test_a_redis_that_can_not_be_reached_exits_with_6(tmp_path: Path) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    arguments = ("publish", "run_1", "--task", "resize", "--progress", "1/2")
    code, output, errors = await run(*arguments, directory=tmp_path, RUNCAST_REDIS_URL=url)

    assert (code, output) == (6, "")
    assert errors.startswith("runcast: Redis can't be reached, nothing was published.")
    assert "secret" not in errors


async def test_without_any_redis_it_exits_with_6_and_says_where_one_belongs(tmp_path: Path) -> None:
    code, _, errors = await run("publish", "run_1", "--task", "resize", directory=tmp_path)

    assert code == 6
    assert "RUNCAST_REDIS_URL" in errors
