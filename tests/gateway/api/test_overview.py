"""`GET /v1/gateway`: what a gateway says of itself, and to whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx2

from auth import EnvironmentKeys, generate_secret_key
from gateway.api.overview import described
from gateway.metrics.histogram import quantile
from gateway.metrics.snapshot import Snapshot
from tests.journeys.in_process import serving

if TYPE_CHECKING:
    from tests.gateway.api.asking import Asking
    from tests.redis_server import RedisServer


async def test_it_tells_who_is_there_and_how_things_go(api: Asking) -> None:
    """Viewers by transport, what they were told, and how Redis answers."""
    await api.create()
    path = f"/v1/events?run=run_1&token={api.credential}"
    async with api.client.stream("GET", path) as events:
        lines = events.aiter_lines()
        async with asyncio.timeout(10):
            while not (await anext(lines)).startswith("event: snapshot"):
                pass
        told = await api.ask("GET", "/v1/gateway")

    assert told["viewers"] == {"websocket": 0, "sse": 1, "poll": 0, "shape": 0}
    assert (told["feedsFollowed"], told["environments"], told["workers"]) == (1, 1, 1)
    assert told["uptimeSeconds"] > 0
    assert told["redis"]["up"] is True
    assert told["redis"]["roundTripSeconds"]["count"] > 0
    assert told["redis"]["roundTripSeconds"]["p50"] <= told["redis"]["roundTripSeconds"]["p99"]
    assert told["deliveryLag"].keys() == {"p50", "p99", "count"}


async def test_it_is_for_the_secret_key_alone(api: Asking) -> None:
    """What others do here is not a page's business."""
    async with api.with_token(["read:runs"]) as viewer:
        assert (await viewer.refused("GET", "/v1/gateway"))["status"] == 403
    async with api.with_token([], expires="1h") as nobody:
        assert (await nobody.refused("GET", "/v1/gateway"))["status"] == 403


async def test_what_is_of_all_environments_is_for_none_of_several(redis_server: RedisServer) -> None:
    """As /metrics: a key opens its own environment, and nothing of the others."""
    keys = [EnvironmentKeys.of(name, generate_secret_key()) for name in ("env_here", "env_there")]
    async with serving(redis_server.url, keys=keys) as inside, httpx2.AsyncClient(trust_env=False) as client:
        words = {"authorization": f"Bearer {keys[0].current.secret}"}
        answer = await client.get(f"{inside.url}/v1/gateway", headers=words)

    assert answer.status_code == 403
    assert "RUNCAST_METRICS_PORT" in answer.json()["detail"]


def test_what_was_not_counted_is_null() -> None:
    """Zero would be a statement."""
    told = described(Snapshot(), now=0.0)

    assert (told["version"], told["uptimeSeconds"], told["deliveriesTotal"]) == (None, None, None)
    assert told["deliveryLag"] == {"p50": None, "p99": None, "count": 0}


def test_a_part_of_what_was_observed_lies_below() -> None:
    """Within the bounds it is spread evenly; above them nobody knows more than that."""
    bounds = (1.0, 2.0, 4.0)

    assert quantile(bounds, (0, 0, 0, 0), 0.5) is None
    assert quantile(bounds, (10, 0, 0, 0), 0.5) == 0.5
    assert quantile(bounds, (0, 10, 0, 0), 1.0) == 2.0
    assert quantile(bounds, (5, 0, 5, 0), 0.75) == 3.0
    assert quantile(bounds, (0, 0, 0, 3), 0.5) == 4.0
