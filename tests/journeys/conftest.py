"""What the journeys share: servers of their own, which a test may stop and kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.journeys.jobs import Jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.redis_server import RedisServer


@pytest.fixture
def jobs(own_redis: RedisServer) -> Iterator[Jobs]:
    """The jobs that publish to `own_redis`."""
    with Jobs(own_redis.url) as jobs:
        yield jobs
