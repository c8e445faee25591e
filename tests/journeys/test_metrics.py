"""`/metrics` of a gateway of several processes: whoever answers tells of all of them, of the dead ones too."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import httpx2
import psutil

from gateway import Publisher
from tests.gateway.monitoring.scraping import Scrape, scrape
from tests.journeys.gateway_process import ENVIRONMENT, SECRET, running_gateway, token
from tests.journeys.viewers import WebSocketViewer
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.redis_server import RedisServer

VIEWERS = 6


class Watching:
    """Scrapes again and again, as several Prometheus servers would, and trusts none of the answers."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._seen: dict[object, float] = {}

    async def look(self) -> Scrape:
        """One answer, of whichever process; no counter in it may be less than in any before."""
        found = await scrape(self._url)
        for name, value in found.counters().items():
            assert value >= self._seen.get(name, 0), f"{name} went back from {self._seen[name]} to {value}"
            self._seen[name] = value
        return found

    async def until(self, holds: Callable[[Scrape], bool], what: str) -> Scrape:
        """Look until all of some answers in a row, so of more than one process, say so."""
        agreeing = 0
        async with asyncio.timeout(30):
            while agreeing < 8:
                found = await self.look()
                agreeing = agreeing + 1 if holds(found) else 0
                await asyncio.sleep(0.02)
        assert agreeing, what
        return found


async def test_a_sum_never_goes_back_though_a_worker_is_killed(tmp_path: Path, redis_server: RedisServer) -> None:
    """Two processes, viewers at both, one is killed with SIGKILL and replaced: its counts stay, its viewers don't."""
    port = free_port()
    settings = {"RUNCAST_WORKERS": "2", "RUNCAST_METRICS_PORT": str(port)}
    with running_gateway(tmp_path / "log", redis_server.url, **settings) as gateway:
        watching = Watching(port)
        viewers = [WebSocketViewer(gateway, token(), {"all": True}) for _ in range(VIEWERS)]
        async with asyncio.TaskGroup() as entering:
            for viewer in viewers:
                entering.create_task(viewer.__aenter__())
        await watching.until(lambda found: found.value("runcast_viewers") == VIEWERS, "all viewers")
        with Publisher(redis_server.url, environment=ENVIRONMENT) as publisher:
            for number in range(20):
                await asyncio.to_thread(publisher.create, "resize", id=f"run_counted_{number}")
        before = await watching.until(
            lambda found: found.value("runcast_deliveries_total") >= 20 * VIEWERS, "all deliveries"
        )
        assert before.value("runcast_workers") == 2

        killed = _serving(gateway.pid)[0]
        os.kill(killed, signal.SIGKILL)
        after = await watching.until(
            lambda found: (
                found.value("runcast_workers") == 2
                and found.value("runcast_workers_started_total") == 3
                and found.value("runcast_viewers") == VIEWERS
            ),
            "another worker, and the viewers back",
        )
        for viewer in viewers:
            await viewer.leave()

    assert after.value("runcast_changes_heard_total") >= before.value("runcast_changes_heard_total")
    assert after.value("runcast_connections_total") >= VIEWERS


def _serving(supervisor: int) -> list[int]:
    """The processes that serve, among those that a gateway has started."""
    children = psutil.Process(supervisor).children()
    return [child.pid for child in children if "multiprocessing.spawn" in " ".join(child.cmdline())]


async def test_the_port_of_its_own_has_metrics_and_health_and_nothing_else(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """There nobody is asked for a key; where viewers come there are no metrics."""
    port = free_port()
    with running_gateway(tmp_path / "log", redis_server.url, RUNCAST_METRICS_PORT=str(port)) as gateway:
        private = f"http://127.0.0.1:{port}"
        key = {"authorization": f"Bearer {SECRET}"}
        async with httpx2.AsyncClient(trust_env=False) as client:

            async def status(url: str) -> int:
                return (await client.get(url, headers=key)).status_code

            assert [await status(private + path) for path in ("/metrics", "/livez", "/readyz")] == [200, 200, 200]
            assert [await status(private + path) for path in ("/v1/events?all=true", "/v1/runs", "/")] == [404] * 3
            assert [await status(gateway.url + path) for path in ("/metrics", "/livez")] == [404, 200]
            assert (await client.post(f"{private}/metrics")).status_code == 405
            text = (await client.get(f"{private}/metrics")).text
    assert SECRET not in text
    assert redis_server.url not in text
