"""Polls that are held until something happens: for how long, how many, and who ends them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gateway.triggerdev import feeds
from gateway.triggerdev.shape import reading
from tests.gateway.store.changing import Changing
from tests.gateway.triggerdev.polls import IDLE, held
from tests.gateway.triggerdev.shape.serving import Feeds
from tests.redis_server import binaries, running_server

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


class TestHolding:
    """A live request with nothing to tell."""

    async def test_it_ends_after_a_while_where_it_was(
        self, served: Feeds, changing: Changing, short_hold: None
    ) -> None:
        """With nothing but that there is nothing."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        before, began = client.offset, time.monotonic()
        answer = await client.poll(live=True)

        assert answer.body == IDLE
        assert client.offset == before
        assert time.monotonic() - began > 0.04

    async def test_who_hangs_up_is_let_go(self, served: Feeds, changing: Changing) -> None:
        """Nothing of the request stays."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        gone = asyncio.Event()
        asking = asyncio.create_task(client.ask(live=True, gone=gone))
        while not served.services.counters.viewers["shape"]:
            await asyncio.sleep(0.001)
        gone.set()
        with pytest.raises(EOFError):
            await asking

        assert served.services.counters.viewers["shape"] == 0
        assert not served.expirations.viewers()

    async def test_a_stop_answers_who_waits_and_who_comes(self, served: Feeds, changing: Changing) -> None:
        """The client comes again, and finds another gateway; or this one once more, which has a turn for it, too."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        for _ in range(2):
            waiting = await held(served, client)
            served.stop()

            assert (await waiting).body == IDLE

    async def test_who_finds_no_place_waits_for_the_refusal(
        self, redis_server: RedisServer, environment: EnvironmentId, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some clients come again a tenth of a second after a 429. Who does not wait for news needs no place."""
        monkeypatch.setattr(feeds, "REFUSAL_SECONDS", 0.05)
        changing.create()
        async with Feeds(redis_server, environment, connections=1).serving() as served:
            first, second = served.client("runs/run_1"), served.client("runs/run_1")
            await first.poll()
            await second.poll()
            waiting = await held(served, first)
            began = time.monotonic()
            answer = await second.ask(live=True)
            assert answer.status == 429
            assert time.monotonic() - began >= 0.04
            assert int(answer.headers["x-ratelimit-reset"]) > time.time() * 1000
            assert "retry-after" in answer.headers
            changing.apply(status="EXECUTING")
            await waiting
            assert (await second.ask(live=True)).status == 200

    async def test_without_redis_they_come_again(
        self, tmp_path: Path, environment: EnvironmentId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Never an answer that would end a subscription."""
        with running_server(tmp_path, binaries()["valkey"], "--appendonly", "no") as redis:
            async with Feeds(redis, environment).serving() as served:
                with redis.client() as client:
                    Changing(client, environment).create()
                viewer = served.client("runs/run_1")
                await viewer.poll()
                redis.stop()
                monkeypatch.setattr(reading, "READ_SECONDS", 0.3)
                answer = await served.get("runs/run_1", {"offset": "-1"})
                assert answer.status == 503
                assert "retry-after" in answer.headers
