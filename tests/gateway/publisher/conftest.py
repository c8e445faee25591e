"""A publisher on a real server, and the environment it speaks to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.publisher import Publisher
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
def publisher(redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Publisher]:
    with Publisher(redis_server.url, environment=environment) as publisher:
        yield publisher


@pytest.fixture
def stored(redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Changing]:
    """What came of it: rows, metadata, events."""
    with redis_server.client() as client:
        yield Changing(client, environment)
