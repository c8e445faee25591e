"""What most tests need: a real server, and an environment of their own in it that leaves no key without a lifetime."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from gateway.feeds import EnvironmentId
from gateway.store.redis_keys import prefix
from tests.longest import in_order
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The hundreds of processes that tests start read the same modules: those are compiled once, wherever Python is told to
# leave nothing behind.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes, or making one, is the machine's affair; and examples of one test may share a server.
settings.register_profile(
    "here", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("here")

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Files begin as they are collected."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In one of several processes the longest files come first; alone, all in the order that one expects."""
    if hasattr(config, "workerinput"):
        places = {file: place for place, file in enumerate(in_order({item.path: None for item in items}))}
        items.sort(key=lambda item: places[item.path])


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
            # Many at a time, and gone afterwards: what thousands of tests left would be looked through after each.
            found = list(client.scan_iter(match=prefix(name).replace("[", r"\[") + "*", count=10_000))
            lifetimes = client.pipeline(transaction=False)
            for key in found:
                lifetimes.pttl(key)
            endless = [key for key, lifetime in zip(found, lifetimes.execute(), strict=True) if lifetime == -1]
            assert not endless, f"{endless} in {kind} would stay for ever"
            if found:
                client.unlink(*found)
