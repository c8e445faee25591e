"""Streams through gateways that die: official clients write and read on, and nothing is missing or there twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.publisher import Publisher
from tests.gateway.triggerdev.stream_clients import OfficialReader, OfficialWriter
from tests.journeys.gateway_process import SECRET, GatewayProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer


@dataclass(frozen=True)
class Place:
    """Where a gateway process is to be found, also when it is another one."""

    url: str
    secret: str = SECRET


async def test_gateways_that_are_killed_cost_nothing(tmp_path: Path, own_redis: RedisServer) -> None:
    """Killed in the middle of uploads and reading; and before that, Redis is restarted."""
    gateway = GatewayProcess(tmp_path / "gateway.log", RUNCAST_REDIS_URL=own_redis.url)
    place = Place(gateway.url)
    values = {name: [[name, number] for number in range(400)] for name in ("aaaaaaaa", "bbbbbbbb")}
    with Publisher(own_redis.url) as publisher:
        run = publisher.create("answer", id="run_1")
        run.start()
        publisher.flush()
        gateway.start()
        try:
            path = "/realtime/v1/streams/run_1"
            readers = [OfficialReader(place, f"{path}/tokens", version=version) for version in ("v1", "v2", "v2")]
            reading = [asyncio.create_task(reader.all()) for reader in readers]
            writing = [
                asyncio.create_task(OfficialWriter(place, f"{path}/self/tokens", client=name).write(said, pause=0.01))
                for name, said in values.items()
            ]
            await OfficialReader(place, f"{path}/tokens").take(20)
            await asyncio.to_thread(own_redis.stop)
            await asyncio.to_thread(own_redis.start)
            await OfficialReader(place, f"{path}/tokens").take(100)
            await asyncio.to_thread(gateway.kill)
            assert not any(task.done() for task in writing)
            await asyncio.to_thread(gateway.start)
            await asyncio.gather(*writing)
            run.complete()
            publisher.flush()
            everything = await asyncio.gather(*reading)
        finally:
            gateway.stop()
    for name, said in values.items():
        assert [chunk for chunk in everything[0] if chunk[0] == name] == said
    assert len(everything[0]) == 800
    assert all(chunks == everything[0] for chunks in everything)
