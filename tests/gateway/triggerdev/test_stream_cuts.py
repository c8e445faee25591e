"""Connections that break anywhere: what was written is read, each chunk once and in order."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from gateway.triggerdev import stream_reader
from tests.gateway.triggerdev.stream_clients import OfficialReader, OfficialWriter, say_status, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.gateway.api.asking import Asking
    from tests.redis_server import RedisServer


@pytest.fixture
async def api(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Asking]:
    async with serving(redis_server, environment) as asking:
        yield asking


def writer(api: Asking, key: str, **options: Any) -> OfficialWriter:
    return OfficialWriter(api.gateway, f"/realtime/v1/streams/run_1/self/{key}", **options)


def reader(api: Asking, key: str, **options: Any) -> OfficialReader:
    return OfficialReader(api.gateway, f"/realtime/v1/streams/run_1/{key}", **options)


async def test_an_upload_that_is_cut_at_any_byte(api: Asking) -> None:
    """It asks where it is and goes on; also when it is cut again within the same line."""
    values = [{"n": 1}, "zwö", 3]
    size = sum(len(json.dumps(value, separators=(",", ":"))) + 1 for value in values)

    async def upload(cut: int) -> None:
        await writer(api, f"s{cut % 50}", client=f"{cut:08x}", cuts=(cut, cut // 2)).write(values, step=7)
        assert await writer(api, f"s{cut % 50}", client=f"{cut:08x}").probe() == 2

    await asyncio.gather(*(upload(cut) for cut in range(size + 1)))
    for key in range(min(50, size + 1)):
        assert [part.chunk for part in await reader(api, f"s{key}").take(3)] == values


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_reader_that_is_cut_at_any_byte(api: Asking, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the middle of what one upload has brought at once."""
    monkeypatch.setattr(stream_reader, "GRACE_SECONDS", 0.0)
    values = [{"n": 1}, "zwö", [None], 4]
    await writer(api, "small").write(values)
    await say_status(api, "COMPLETED")
    size = len((await api.client.get("/realtime/v1/streams/run_1/small")).content) + 20
    for start in range(0, size, 50):
        read = [reader(api, "small", version=version, cuts=(cut,)) for cut in range(start, min(start + 50, size))]
        for chunks in await asyncio.gather(*(one.all() for one in read)):
            assert chunks == values
        assert start or all(one.connections == 2 for one in read)


@pytest.mark.parametrize("seed", range(4))
async def test_everybody_is_cut_off_all_the_time(api: Asking, seed: int) -> None:
    """Two writers and six readers on one stream, all of them cut at random, while it is written."""
    chance = random.Random(seed)

    def value(name: str, number: int) -> Any:
        return {"of": name, "n": number, "text": chance.choice(["", "é", "x" * chance.randrange(300), "\\\n\"'"])}

    said = {name: [value(name, number) for number in range(300)] for name in ("aaaa", "bbbb")}
    writing = [
        asyncio.create_task(
            writer(api, "s", client=name, cuts=[chance.randrange(20_000) for _ in range(chance.randrange(8))]).write(
                values, step=chance.choice([3, 40, 1000, 20_000])
            )
        )
        for name, values in said.items()
    ]
    readers = [
        reader(
            api,
            "s",
            version=chance.choice(["v1", "v2"]),
            cuts=[chance.randrange(chance.choice([100, 3000, 30_000])) for _ in range(10)],
        )
        for _ in range(6)
    ]
    reading = [asyncio.create_task(one.all()) for one in readers]
    await asyncio.gather(*writing)
    await say_status(api, "COMPLETED")
    everything = await asyncio.gather(*reading)
    for name, values in said.items():
        assert [chunk for chunk in everything[0] if chunk["of"] == name] == values
    assert len(everything[0]) == 600
    assert all(chunks == everything[0] for chunks in everything)
