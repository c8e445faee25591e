"""What most tests need: a real server, and an environment of their own in it that leaves no key without a lifetime."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest

from gateway.feeds import EnvironmentId
from gateway.store.redis_keys import prefix
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RedisServer]]:
    with contextlib.ExitStack() as running:
        yield {
            kind: running.enter_context(running_server(tmp_path_factory.mktemp(kind), binary, "--appendonly", "no"))
            for kind, binary in binaries().items()
        }


@pytest.fixture
def redis_server(_servers: dict[str, RedisServer]) -> RedisServer:
    """A server that many tests share: do not stop it. For faults there is `own_redis`."""
    return _servers["valkey"]


@pytest.fixture(params=binaries())
def each_redis_server(request: pytest.FixtureRequest, _servers: dict[str, RedisServer]) -> RedisServer:
    """As `redis_server`, but the test runs once on every kind."""
    return _servers[request.param]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for this test alone, which has on disk what it said it has."""
    directory = tmp_path / "redis"
    directory.mkdir()
    with running_server(directory, binaries()["valkey"]) as server:
        yield server


@pytest.fixture
def environment(_servers: dict[str, RedisServer]) -> Iterator[EnvironmentId]:
    """An environment that nobody else uses. Afterwards each of its keys must have a lifetime."""
    name = EnvironmentId(f"env_{next(_numbers)}")
    yield name
    for kind, server in _servers.items():
        with server.client() as client:
            for key in client.scan_iter(match=prefix(name).replace("[", r"\[") + "*"):
                assert client.pttl(key) >= 0, f"{key} in {kind} would stay for ever"
